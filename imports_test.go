package pulmonode_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/pulmonode/pulmonode/"

// rooms lists, from the inside out, what each room may import of ours. A room
// covers the packages below it unless they have a row of their own; packages
// of one room may import one another as far as Go lets them.
var rooms = []struct {
	room string
	may  []string
}{
	{"dimse/dataset", nil},
	{"dimse/pdu", nil},
	{"dimse/ul", []string{"dimse/pdu"}},
	{"dimse", []string{"dimse"}},
	{"inference/result", nil},
	{"inference/models", nil},
	{"inference", []string{"dimse/dataset", "inference"}},
	{"sr", []string{"dimse/dataset", "inference/result", "sr"}},
	{"config", []string{"dimse"}},
	{"node/store", []string{"dimse", "inference/result", "config"}},
	{"node/series", []string{"dimse", "inference", "config", "node/store"}},
	{"node/job", []string{"dimse", "inference", "sr", "config", "node/store", "node/series"}},
	{"node/deliver", []string{"dimse", "inference/result", "sr", "config", "node/store", "node/series", "node/job"}},
	{"deploy", nil}, // tests alone
	{"node/audit", nil},
	{"node", []string{"dimse", "inference", "sr", "config", "node"}},
	{"deploy", nil}, // tests alone
	{"cmd", []string{"dimse", "inference", "sr", "config", "node", "cmd/internal"}},
}

// only lists what one room alone may import, so that there is one place that
// talks to each.
var only = map[string]string{
	"github.com/yalue/onnxruntime_go": "inference/onnx",
	"github.com/riverqueue/river":     "node/job",
	"modernc.org/sqlite":              "node/job",
	"github.com/jackc/pgx/v5":         "node/job",
	"github.com/lib/pq":               "node/job",
	"github.com/BurntSushi/toml":      "config",
	"github.com/spf13/cobra":          "cmd/pulmonode",
	"github.com/coreos/go-systemd":    "cmd/pulmonode",
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func TestImportRule(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		var ee *exec.ExitError
		if errors.As(err, &ee) {
			t.Fatalf("go list: %s", ee.Stderr)
		}
		t.Fatal(err)
	}
	seen := 0
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name, ours := strings.CutPrefix(p.ImportPath, module)
		if !ours {
			continue
		}
		seen++
		room, may := roomOf(name)
		if room == "" {
			t.Errorf("%s belongs to no room of the import rule", name)
		}
		for _, imp := range p.Imports {
			if target, ours := strings.CutPrefix(imp, module); ours {
				if !slices.ContainsFunc(may, func(m string) bool { return within(target, m) }) {
					t.Errorf("%s imports %s; %s may import only %q", name, target, room, may)
				}
			}
			for pkg, home := range only {
				if within(imp, pkg) && !within(name, home) {
					t.Errorf("%s imports %s; only %s may", name, imp, home)
				}
			}
		}
	}
	if seen < 10 {
		t.Errorf("the rule saw %d packages of ours", seen)
	}
}

// roomOf finds the innermost room that holds a package.
func roomOf(name string) (room string, may []string) {
	for _, r := range rooms {
		if within(name, r.room) && len(r.room) > len(room) {
			room, may = r.room, r.may
		}
	}
	return room, may
}

func within(pkg, room string) bool { return pkg == room || strings.HasPrefix(pkg, room+"/") }
