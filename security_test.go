package pulmonode_test

import (
	"bufio"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// tests lists the tests and fuzz targets of the tree.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	found := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && path != "." && strings.HasPrefix(e.Name(), ".") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(text, -1) {
			found[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Every threat in SECURITY.md names a test, and every test that it names is there.
func TestEveryThreatHasItsTest(t *testing.T) {
	text, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	there := tests(t)
	quoted := regexp.MustCompile("`([^`]+)`")
	threats, table := 0, false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		cells := strings.Split(strings.Trim(line, "|"), "|")
		switch {
		case !strings.HasPrefix(line, "|"):
			table = false
			continue
		case line == "| threat | answer | test |":
			table = true
			continue
		case !table || strings.HasPrefix(line, "|---"):
			continue
		case len(cells) != 3:
			t.Errorf("%d cells in %q", len(cells), line)
			continue
		}
		threats++
		named := quoted.FindAllStringSubmatch(cells[2], -1)
		if len(named) == 0 || strings.TrimSpace(cells[1]) == "" {
			t.Errorf("no answer or no test: %q", strings.TrimSpace(cells[0]))
		}
		for _, n := range named {
			if !there[n[1]] {
				t.Errorf("%q: there is no test %s", strings.TrimSpace(cells[0]), n[1])
			}
		}
	}
	if threats < 40 {
		t.Errorf("only %d threats were read", threats)
	}
}

// What is built and tested with has one version, and where it is shipped or run
// with the tests one hash.
func TestWhatIsBuiltWithIsPinned(t *testing.T) {
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	tools := regexp.MustCompile(`[\w./-]+\.[a-z]+/[\w./-]+@\S+`).FindAllString(string(makefile), -1)
	if len(tools) < 3 {
		t.Errorf("the Makefile's tools: %q", tools)
	}
	version := regexp.MustCompile(`@v\d+\.\d+\.\d+$`)
	for _, tool := range tools {
		if !version.MatchString(tool) {
			t.Errorf("%s has no version of its own", tool)
		}
	}
	if !strings.Contains(string(makefile), "vulnerabilities") || strings.Contains(string(makefile), "-mod=mod") {
		t.Error("the Makefile lacks the target vulnerabilities, or lets builds change go.mod")
	}
	for name, hashed := range map[string]bool{
		"inference/onnx/runtime.txt": true, "testdata/oracle/requirements.txt": true, "testdata/validate/dcmqi.txt": true,
		"inference/training/requirements.txt": false,
	} {
		f, err := os.Open(name)
		if err != nil {
			t.Error(err)
			continue
		}
		defer f.Close()
		packages, hashes := 0, 0
		for lines := bufio.NewScanner(f); lines.Scan(); {
			line, _, _ := strings.Cut(strings.TrimSpace(lines.Text()), "#")
			switch {
			case strings.HasPrefix(line, "--hash=sha256:"):
				hashes++
			case line == "" || strings.HasPrefix(line, "-"):
			case !strings.Contains(line, "==") && !strings.Contains(line, " @ "):
				t.Errorf("%s: %s has no version", name, line)
			default:
				packages++
				hashes += strings.Count(line, "--hash=sha256:")
			}
		}
		if packages == 0 || hashed && hashes < packages {
			t.Errorf("%s: %d packages, %d hashes", name, packages, hashes)
		}
	}
}
