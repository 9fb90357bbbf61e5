package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A reader is another maker's program that is given the objects.
type reader struct {
	name    string
	takes   func(c *specimen, o object) bool                // which objects it is given
	version func(v *validation) (string, error)             // the error says why it is not here
	read    func(v *validation, objects []object) []finding // nothing found is a pass
}

// finding is an Error that a reader has with an object.
type finding struct {
	Case    string `json:"case"`
	Object  string `json:"object"`
	Reader  string `json:"reader"`
	Message string `json:"message"`
	Known   string `json:"known,omitempty"` // why it is none, where that is known
}

func every(*specimen, object) bool { return true }

// kinds takes the objects of some kinds.
func kinds(names ...string) func(*specimen, object) bool {
	return func(_ *specimen, o object) bool { return slices.Contains(names, o.Kind) }
}

// pixelmedTakes are the objects whose classes it knows. It takes seconds for each:
// it is given the short cases whole, and of those of an odd geometry one of a kind.
func pixelmedTakes(c *specimen, o object) bool {
	one := map[string]string{"seg": "binary", "sr": "comprehensive3d", "kos": "selection"}
	return one[o.Kind] != "" && o.Variant != "labelmap" && (c.golden || c.viewed && c.chest == nil && o.Variant == one[o.Kind])
}

// viewed are the segmentations that are opened in the browser.
func viewed(c *specimen, o object) bool {
	return o.Kind == "seg" && c.viewed && (o.Variant == "binary" || c.name == "8 nodules")
}

var readers = []reader{
	{"dciodvfy", every, dicom3tools, dciodvfy},
	{"dcentvfy", every, dicom3tools, dcentvfy},
	{"PixelMed", pixelmedTakes, pixelmedVersion, pixelmed},
	{"DCMTK dsrdump", kinds("sr", "kos"), program("dsrdump", "--version"), dsrdump},
	{"DCMTK dsr2xml", kinds("sr", "kos"), program("dsr2xml", "--version"), dsr2xml},
	{"highdicom", every, pythonPackage("highdicom"), script("oracle.py")},
	{"dcmqi", kinds("seg", "sr"), dcmqiVersion, dcmqi},
	{"dcmjs", kinds("seg", "sr"), npmPackage("dcmjs"), node("dcmjs")},
	{"Cornerstone adapters", kinds("seg"), npmPackage("@cornerstonejs/adapters"), node("adapters")},
	{"Orthanc", every, program("Orthanc", "--version"), orthancKeeps},
	{"OHIF in Chromium", viewed, ohifVersion, ohif},
}

// on makes a finding on an object.
func (o object) on(format string, args ...any) finding {
	return finding{Case: o.Case, Object: o.String(), Message: strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")}
}

// output runs a program; what it prints is its answer, whatever its exit status.
func (v *validation) output(name string, args ...string) (string, error) {
	c := exec.CommandContext(v.ctx, name, args...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.String(), err
}

var number = regexp.MustCompile(`\d+(\.\d+)+(\.snapshot\.\d+)?`)

// program gives the version that a program says.
func program(name, flag string) func(*validation) (string, error) {
	return func(v *validation) (string, error) {
		if _, err := exec.LookPath(name); err != nil {
			return "", fmt.Errorf("%s is not installed", name)
		}
		out, _ := v.output(name, flag)
		if n := number.FindString(out); n != "" {
			return n, nil
		}
		return "", fmt.Errorf("%s %s tells no version", name, flag)
	}
}

func dicom3tools(v *validation) (string, error) { return program("dciodvfy", "-version")(v) }

// dciodvfy checks each object against its IOD. Its exit status says nothing.
func dciodvfy(v *validation, objects []object) (out []finding) {
	for _, o := range objects {
		text, _ := v.output("dciodvfy", "-new", o.Path)
		out = append(out, errorsIn(o, text)...)
		if strings.TrimSpace(text) == "" || strings.Contains(text, "Abort") {
			out = append(out, o.on("it says nothing, or aborts: %q", text))
		}
	}
	return out
}

// errorsIn are the lines that begin with Error.
func errorsIn(o object, text string) (out []finding) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "Error") {
			out = append(out, o.on("%s", line))
		}
	}
	return out
}

// dcentvfy compares the entities of all objects of a case with those of its CT:
// patient, study, series, frame of reference.
func dcentvfy(v *validation, objects []object) (out []finding) {
	for of := range slices.Values(byCase(objects)) {
		images, _ := filepath.Glob(filepath.Join(v.ctOf(of[0].Case), "*.dcm"))
		args := images
		for _, o := range of {
			args = append(args, o.Path)
		}
		text, _ := v.output("dcentvfy", args...)
		// One CT image is enough to say that all differ.
		seen := map[string]bool{}
		for _, f := range errorsIn(object{Case: of[0].Case, Kind: "all"}, text) {
			f.Message = strings.ReplaceAll(f.Message, v.dir+"/", "")
			if k := betweenFiles.ReplaceAllString(f.Message, ""); !seen[k] {
				seen[k] = true
				out = append(out, f)
			}
		}
		if strings.Contains(text, "Abort") {
			out = append(out, of[0].on("%s", text))
		}
	}
	return out
}

var betweenFiles = regexp.MustCompile(`for file <.*> versus <[^>]*\.dcm>`)

// byCase groups objects, which lie in the order of their cases.
func byCase(objects []object) (out [][]object) {
	for i, o := range objects {
		if i == 0 || objects[i-1].Case != o.Case {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], o)
	}
	return out
}

// dsrdump prints a report in words. Those of the shorter cases are compared with
// what was printed before (-update).
func dsrdump(v *validation, objects []object) (out []finding) {
	for _, o := range objects {
		text, err := v.output("dsrdump", o.Path)
		if err != nil {
			out = append(out, o.on("%v: %s", err, text))
		}
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "W:") || strings.HasPrefix(line, "E:") {
				out = append(out, o.on("%s", line))
			}
		}
		if v.caseOf(o).golden {
			if err := v.golden(slug(o.Case)+"."+o.Variant+".txt", text); err != nil {
				out = append(out, o.on("%v", err))
			}
		}
	}
	return out
}

// golden compares a text with that of the file of an earlier run.
func (v *validation) golden(name, text string) error {
	path := filepath.Join("testdata", "validate", "golden", name)
	if v.update {
		return errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, []byte(text), 0o666))
	}
	want, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("no golden text: run with -update and read the difference: %w", err)
	}
	if a, b := strings.Split(text, "\n"), strings.Split(string(want), "\n"); !slices.Equal(a, b) {
		i := 0
		for i < min(len(a), len(b)) && a[i] == b[i] {
			i++
		}
		return fmt.Errorf("line %d differs from %s: run with -update and read the difference", i+1, path)
	}
	return nil
}

// dsr2xml makes XML of a report, which takes its tree as valid.
func dsr2xml(v *validation, objects []object) (out []finding) {
	for _, o := range objects {
		text, err := v.output("dsr2xml", o.Path)
		if err != nil || !strings.Contains(text, "</report>") {
			out = append(out, o.on("%v: %.300s", err, text))
		}
	}
	return out
}

// said reads "FILE<tab>ok" and "FILE<tab>what differs". A file of which nothing
// is said was not read.
func said(objects []object, text string, err error) (out []finding) {
	heard := map[string]bool{}
	byPath := map[string]object{}
	for _, o := range objects {
		byPath[o.Path] = o
	}
	for line := range strings.Lines(text) {
		path, message, _ := strings.Cut(strings.TrimSpace(line), "\t")
		o, ok := byPath[path]
		if !ok {
			continue
		}
		heard[path] = true
		if message != "ok" {
			out = append(out, o.on("%s", message))
		}
	}
	for _, o := range objects {
		if !heard[o.Path] {
			tail := text[max(0, len(text)-300):]
			out = append(out, o.on("it was not read: %v: %s", err, tail))
		}
	}
	return out
}

func paths(objects []object) []string {
	out := make([]string, len(objects))
	for i, o := range objects {
		out[i] = o.Path
	}
	return out
}

func ours(name string) string { return filepath.Join("testdata", "validate", name) }

// pythonPackage gives the version of a package of PULMONODE_PYTHON.
func pythonPackage(name string) func(*validation) (string, error) {
	return func(v *validation) (string, error) {
		out, err := v.output(v.python, "-c", "import importlib.metadata as m; print(m.version('"+name+"'))")
		if err != nil {
			return "", fmt.Errorf("PULMONODE_PYTHON (%s) has no %s", v.python, name)
		}
		return strings.TrimSpace(out), nil
	}
}

func script(name string) func(*validation, []object) []finding {
	return func(v *validation, objects []object) []finding {
		text, err := v.output(v.python, append([]string{ours(name)}, paths(objects)...)...)
		return said(objects, text, err)
	}
}

func (v *validation) dcmqiBin() string { return filepath.Join(v.cache, "dcmqi", "dcmqi", "bin") }

func dcmqiVersion(v *validation) (string, error) {
	if _, err := pythonPackage("SimpleITK")(v); err != nil {
		return "", err
	}
	return program(filepath.Join(v.dcmqiBin(), "segimage2itkimage"), "--version")(v)
}

func dcmqi(v *validation, objects []object) []finding {
	text, err := v.output(v.python, append([]string{ours("dcmqi.py"), v.dcmqiBin()}, paths(objects)...)...)
	return said(objects, text, err)
}

// classpath is Debian's pixelmed with what it needs.
const classpath = "/usr/share/java/pixelmed.jar:/usr/share/java/vecmath.jar:/usr/share/java/slf4j-api.jar:/usr/share/java/slf4j-nop.jar"

func pixelmedVersion(v *validation) (string, error) {
	jar, err := os.Readlink("/usr/share/java/pixelmed.jar")
	if err != nil {
		return "", errors.New("libpixelmed-java is not installed")
	}
	if _, err := exec.LookPath("javac"); err != nil {
		return "", errors.New("no Java development kit is installed")
	}
	return strings.TrimSuffix(strings.TrimPrefix(jar, "pixelmed-"), ".jar"), nil
}

// pixelmed validates each object against its IOD, and reports against their
// templates. Its style sheets hold more XPath operators than Java allows unasked.
func pixelmed(v *validation, objects []object) (out []finding) {
	args := []string{
		"-Djdk.xml.xpathTotalOpLimit=0", "-Djdk.xml.xpathExprOpLimit=0", "-Djdk.xml.xpathExprGrpLimit=0",
		"-cp", classpath, ours("PixelMed.java"),
	}
	text, err := v.output("java", append(args, paths(objects)...)...)
	var lines strings.Builder
	seen := map[string]bool{}
	for line := range strings.Lines(text) {
		path, rest, _ := strings.Cut(line, "\t")
		_, message, _ := strings.Cut(rest, "\t")
		switch {
		case strings.HasPrefix(message, "Error"):
			// The places of items, which are the same for each nodule.
			message = places.ReplaceAllString(message, "")
			if seen[path+message] {
				continue
			}
			seen[path+message] = true
			fmt.Fprintf(&lines, "%s\t%s\n", path, strings.TrimSpace(message))
		case strings.Contains(message, "complete"):
			fmt.Fprintf(&lines, "%s\tok\n", path)
		}
	}
	if err != nil {
		lines.WriteString(text[max(0, len(text)-300):])
	}
	return said(objects, lines.String(), err)
}

var places = regexp.MustCompile(` \d+(\.\d+)*:`)

func npmPackage(name string) func(*validation) (string, error) {
	return func(v *validation) (string, error) {
		if _, err := exec.LookPath("node"); err != nil {
			return "", errors.New("node is not installed")
		}
		out, err := v.output("node", "-p", `JSON.parse(require("fs").readFileSync("`+filepath.Join(v.cache, "node_modules", name, "package.json")+`")).version`)
		if err != nil {
			return "", fmt.Errorf("%s is not installed: run make validate", name)
		}
		return strings.TrimSpace(out), nil
	}
}

// node runs our script beside the packages, where node looks for them.
func node(name string) func(*validation, []object) []finding {
	return func(v *validation, objects []object) []finding {
		text, err := v.output("node", append([]string{filepath.Join(v.cache, "cornerstone.mjs"), name}, paths(objects)...)...)
		return said(objects, text, err)
	}
}
