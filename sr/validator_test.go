package sr

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// dump writes every report into a folder and gives the paths by name.
func dump(t *testing.T) map[string]string {
	t.Helper()
	dir, out := t.TempDir(), map[string]string{}
	for name, c := range everyReport() {
		out[name] = put(t, dir, name, written(t, c.r, c.o))
	}
	return out
}

func put(t *testing.T, dir, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".dcm")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// dumpAll adds what is written beside reports.
func dumpAll(t *testing.T) map[string]string {
	out, dir := dump(t), t.TempDir()
	out["key objects"] = put(t, dir, "key objects", keyObjects(t, header(), found()))
	return out
}

func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return path
}

func TestDsrdumpReadsEveryReport(t *testing.T) {
	dsrdump := tool(t, "dsrdump")
	for name, path := range dumpAll(t) {
		out, err := exec.Command(dsrdump, path).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		for line := range strings.Lines(string(out)) {
			known := strings.Contains(line, "VR checker does not support this Specific Character Set: ISO_IR 192") || // DCMTK 3.6.7 without ICU
				strings.Contains(line, "Check for template constraints not yet supported") // of no template but few
			if !known && (strings.HasPrefix(line, "W:") || strings.HasPrefix(line, "E:")) {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
}

func TestDciodvfyFindsNoError(t *testing.T) {
	dciodvfy := tool(t, "dciodvfy")
	for name, path := range dumpAll(t) {
		out, _ := exec.Command(dciodvfy, path).CombinedOutput() // its exit status says nothing
		for line := range strings.Lines(string(out)) {
			if strings.HasPrefix(line, "Error") {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
}
