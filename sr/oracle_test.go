package sr

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/sr/study"
)

// python is an interpreter that has highdicom and pydicom.
func python(t *testing.T) string {
	t.Helper()
	p := os.Getenv("PULMONODE_PYTHON")
	if p == "" {
		t.Skip("PULMONODE_PYTHON names no interpreter with highdicom and pydicom")
	}
	if err := exec.Command(p, "-c", "import highdicom, pydicom").Run(); err != nil {
		t.Skipf("%s has no highdicom or no pydicom: %v", p, err)
	}
	return p
}

func ask(t *testing.T, script string, input any) {
	t.Helper()
	p := python(t)
	b, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "input.json")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(p, filepath.Join("..", "testdata", "oracle", script), path).CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", script, err, out)
		return
	}
	t.Logf("%s: %s", script, out)
}

func TestHighdicomReadsWhatWasPutIn(t *testing.T) {
	python(t)
	paths := dump(t)
	var cases []map[string]any
	for name, c := range everyReport() {
		segmentation := ""
		if c.o.Segmentation != nil {
			segmentation = c.o.Segmentation.SOPInstanceUID
		}
		cases = append(cases, map[string]any{
			"path": paths[name], "result": c.r, "segmentation": segmentation, "without_segment": c.o.Segmentation == nil,
		})
	}
	ask(t, "sr.py", cases)
}

// literal finds the codes that stand outside the table of this package.
var literal = regexp.MustCompile(`Code\{(?:Value: )?"([^"]+)", (?:Scheme: )?"([^"]+)", (?:Meaning: )?"([^"]+)"\}`)

// TestEveryCodeIsPublished holds every code that a result may have against the
// published dictionaries.
func TestEveryCodeIsPublished(t *testing.T) {
	codes := slices.Clone(all)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range literal.FindAllStringSubmatch(string(source), -1) {
			codes = append(codes, study.Code{Value: m[1], Scheme: m[2], Meaning: m[3]})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(codes) < len(all)+8 {
		t.Errorf("only %d codes were found beside the table: they are written in another form", len(codes)-len(all))
	}
	ask(t, "codes.py", codes)
}
