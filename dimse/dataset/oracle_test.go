package dataset_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// opinion is what testdata/oracle/elements.py says of a file.
type opinion struct {
	Path     string `json:"path"`
	Error    string `json:"error"`
	Syntax   string `json:"syntax"`
	Elements []struct {
		Tag  string   `json:"tag"`
		Text []string `json:"text"` // nil where character sets don't matter
	} `json:"elements"`
}

// pydicom reads the files of one of its data folders.
func pydicom(t *testing.T, folder string) map[string]opinion {
	t.Helper()
	python := os.Getenv("PULMONODE_PYTHON")
	if python == "" {
		t.Skip("PULMONODE_PYTHON names no interpreter with pydicom (make test installs one)")
	}
	if _, err := os.Stat(python); err != nil {
		t.Skipf("PULMONODE_PYTHON: %v", err)
	}
	out, err := exec.CommandContext(t.Context(), python, "../../testdata/oracle/elements.py", folder).Output()
	if err != nil {
		if ee := (*exec.ExitError)(nil); errors.As(err, &ee) {
			t.Fatalf("elements.py: %v\n%s", err, ee.Stderr)
		}
		t.Fatal(err)
	}
	said := map[string]opinion{}
	if err := json.Unmarshal(out, &said); err != nil {
		t.Fatal(err)
	}
	return said
}

// flat lists the attributes of a data set as elements.py does.
func flat(d *dataset.Dataset, path string, visit func(at string, d *dataset.Dataset, e *dataset.Element)) {
	for i := range d.Elements {
		e := &d.Elements[i]
		at := fmt.Sprintf("%s%04X,%04X", path, e.Tag.Group(), uint16(e.Tag))
		visit(at, d, e)
		for i, item := range e.Items {
			flat(item, fmt.Sprintf("%s[%d].", at, i), visit)
		}
	}
}

// Each name, comment and description of pydicom's files in other alphabets is to
// us what it is to pydicom.
func TestCharacterSetsAreReadAsPydicomReadsThem(t *testing.T) {
	said := pydicom(t, "charset_files")
	if len(said) < 17 {
		t.Errorf("pydicom brings %d files", len(said))
	}
	compared := 0
	for _, name := range slices.Sorted(maps.Keys(said)) {
		t.Run(name, func(t *testing.T) {
			theirs := said[name]
			f, err := dataset.Open(theirs.Path, dataset.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{}
			for _, e := range theirs.Elements {
				if e.Text != nil {
					want[e.Tag] = strings.Join(e.Text, `\`)
				}
			}
			flat(f.Header, "", func(at string, d *dataset.Dataset, e *dataset.Element) {
				want, ok := want[at]
				if !ok {
					return
				}
				compared++
				got, err := d.UTF8(e.Tag)
				if e.VR == "PN" {
					got = strings.TrimRight(got, "=") // empty groups at the end may be left out (PS3.5 6.2.1)
				}
				if err != nil || got != want {
					t.Errorf("(%s) is %q to us, %v; %q to pydicom", at, got, err, want)
				}
			})
		})
	}
	if compared < 170 {
		t.Errorf("only %d values were compared", compared)
	}
}

// notAsPydicom are the sample files that we do not read as pydicom does, and why.
var notAsPydicom = map[string]struct{ says, because string }{
	"MR_truncated.dcm":         {"cut short: Pixel Data says 8192 bytes", "a part of an image is not an image"},
	"rtplan_truncated.dcm":     {"cut short inside an element", "what is missing is not known"},
	"SC_rgb_jpeg.dcm":          {"(0008,0008) has no value representation", "its data set is implicit, though compressed ones are explicit (PS3.5 A.4); pydicom guesses"},
	"meta_missing_tsyntax.dcm": {"names no transfer syntax", "PS3.10 7.1 requires it; pydicom guesses"},
}

// Each sample file of pydicom, in every transfer syntax, has the attributes to us
// that it has to pydicom, or is refused for a reason that is written down.
func TestSampleFilesAreReadAsPydicomReadsThem(t *testing.T) {
	said := pydicom(t, "test_files")
	syntaxes := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(said)) {
		t.Run(name, func(t *testing.T) {
			theirs := said[name]
			f, err := dataset.Open(theirs.Path, dataset.Limits{})
			if expected, ok := notAsPydicom[name]; ok {
				if err == nil || !strings.Contains(err.Error(), expected.says) {
					t.Errorf("read with %v, not %q: %s", err, expected.says, expected.because)
				}
				return
			}
			if theirs.Error != "" {
				if err == nil {
					t.Errorf("read, where pydicom says %s", theirs.Error)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			syntaxes[f.TransferSyntax] = true
			var ours, want []string
			flat(f.Header, "", func(at string, _ *dataset.Dataset, _ *dataset.Element) { ours = append(ours, at) })
			for _, e := range theirs.Elements {
				want = append(want, e.Tag)
			}
			if !slices.Equal(ours, want) {
				t.Errorf("has to us, and has to pydicom\n%q\n%q", ours, want)
			}
			p := dataset.NewHeaderParser(f.TransferSyntax, dataset.Limits{})
			body, err := f.DataSet()
			if err != nil {
				t.Fatal(err)
			}
			defer body.Close()
			if _, err := io.Copy(p, body); err != nil {
				t.Fatal(err)
			}
			if _, err := p.Finish(); err != nil {
				t.Errorf("as it comes from the network: %v", err)
			}
		})
	}
	if len(syntaxes) < 11 {
		t.Errorf("the files are of %d transfer syntaxes: %v", len(syntaxes), syntaxes)
	}
}
