package study

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/suyashkumar/dicom/pkg/tag"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// oracle runs testdata/oracle/charsets.py.
func oracle(t *testing.T, args ...string) string {
	t.Helper()
	python := os.Getenv("PULMONODE_PYTHON")
	if python == "" || exec.Command(python, "-c", "import pydicom").Run() != nil {
		t.Skip("PULMONODE_PYTHON names no interpreter with pydicom")
	}
	out, err := exec.Command(python, append([]string{filepath.Join("..", "..", "testdata", "oracle", "charsets.py")}, args...)...).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestNamesOfEveryCharacterSetSayWhatPydicomSays goes through pydicom's files:
// Latin, Greek, Cyrillic, Arabic, Hebrew, Japanese and Korean by ISO 2022,
// GB18030, UTF-8.
func TestNamesOfEveryCharacterSetSayWhatPydicomSays(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(oracle(t), "*.dcm"))
	if err != nil || len(files) < 15 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	type pair struct {
		CT         string `json:"ct"`
		Result     string `json:"result"`
		AsReceived bool   `json:"as_received"`
	}
	var cases []pair
	for _, path := range files {
		f, err := dataset.Open(path, dataset.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		ct := f.Header
		ct.SetText(dataset.StudyInstanceUID, "UI", "1.2.3")
		// Two files have names in items alone: of these the name is made the
		// meaning of a requested procedure.
		nested := ct.Items(dataset.RequestedProcedureCodeSequence)
		for _, item := range nested {
			item.SetText(dataset.CodingSchemeDesignator, "SH", "99X")
			item.SetText(dataset.CodeMeaning, "LO", item.Raw(dataset.PatientName))
			request := &dataset.Dataset{}
			request.SetItems(dataset.RequestedProcedureCodeSequence, item)
			ct.SetItems(dataset.RequestAttributesSequence, request)
		}
		for _, asReceived := range []bool{false, true} {
			r := RepertoireOf(ct, asReceived)
			if asReceived && !r.asReceived {
				// One character set cannot be that of the file and of its item.
				if filepath.Base(path) != "chrSQEncoding.dcm" {
					t.Errorf("%s is not kept as received", filepath.Base(path))
				}
				continue
			}
			o := object()
			o.AsReceived = asReceived
			elements, err := Elements(ct, o)
			if err != nil {
				t.Fatal(err)
			}
			if requests := r.Requests(); len(requests) > 0 {
				elements = append(elements, Sequence(tag.ReferencedRequestSequence, requests...))
			}
			b, err := Write(elements)
			if err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(t.TempDir(), filepath.Base(path))
			if err := os.WriteFile(out, b, 0o600); err != nil {
				t.Fatal(err)
			}
			cases = append(cases, pair{path, out, asReceived})
		}
	}
	b, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(t.TempDir(), "cases.json")
	if err := os.WriteFile(list, b, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Log(oracle(t, list))
}

// One value that cannot stand as it is makes the whole result one in UTF-8: a
// data set has one character set.
func TestWhatCannotBeKeptAsReceivedIsInUTF8(t *testing.T) {
	long := strings.Repeat("\xe9", 65)
	for _, c := range []struct {
		name, charset, raw, wantRaw, wantSet string
	}{
		{"Latin-1", "ISO_IR 100", "M\xfcller^J\xf6rg", "M\xfcller^J\xf6rg", "ISO_IR 100"},
		{"no set named, as older scanners do", "", "M\xfcller^J\xf6rg", "M\xfcller^J\xf6rg", ""},
		{"an unknown set", "KLINGON", "D\xffe", "D\xffe", "KLINGON"},
		{"GB18030 whose second byte looks like a backslash", "GB18030", "\x81\x5c", "\x81\x5c", "GB18030"},
		{"one letter too long", "ISO_IR 100", long, strings.Repeat("é", 64), "ISO_IR 192"},
		{"64 letters in each group", "ISO_IR 100", long[:64] + "=" + long[:64], long[:64] + "=" + long[:64], "ISO_IR 100"},
		{"a group too many", "ISO_IR 100", "a=b=c=d", "a=b=c", "ISO_IR 192"},
		{"a zero byte inside", "ISO_IR 100", "M\xfc\x00ller", "Müller", "ISO_IR 192"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ct := header(c.charset)
			ct.SetText(dataset.PatientName, "PN", c.raw)
			o := object()
			o.AsReceived = true
			got := readBack(t, ct, o)
			if s := got.Raw(dataset.PatientName); s != c.wantRaw {
				t.Errorf("the name is %q, want %q", s, c.wantRaw)
			}
			if s := got.Raw(dataset.SpecificCharacterSet); s != c.wantSet {
				t.Errorf("the character set is %q, want %q", s, c.wantSet)
			}
		})
	}
}

func TestWhatWeSayIsASCII(t *testing.T) {
	o := object()
	o.AsReceived = true
	o.SeriesDescription = "Knoten 3 × 4 mm – geprüft"
	o.Algorithm.Version = "1.2.0 ✓"
	ct := header("ISO_IR 144")
	got := readBack(t, ct, o)
	for _, e := range got.Elements {
		for _, b := range e.Value {
			if b >= 0x80 {
				t.Errorf("%v is %q", e.Tag, e.Value)
				break
			}
		}
	}
	if s := got.Text(dataset.SeriesDescription); s != "Knoten 3 x 4 mm - gepr?ft" {
		t.Errorf("the description is %q", s)
	}
	o.AsReceived = false
	if s, err := readBack(t, ct, o).UTF8(dataset.SeriesDescription); s != o.SeriesDescription || err != nil {
		t.Errorf("in UTF-8 the description is %q, %v", s, err)
	}
}

func TestRequestsAreThoseOfTheImages(t *testing.T) {
	item := func(set map[dataset.Tag]string) *dataset.Dataset {
		d := &dataset.Dataset{}
		for at, v := range set {
			d.SetText(at, at.VR(), v)
		}
		return d
	}
	read := func(ct *dataset.Dataset) []*dataset.Dataset {
		elements, err := Elements(ct, object())
		if err != nil {
			t.Fatal(err)
		}
		return rewritten(t, append(elements, Sequence(tag.ReferencedRequestSequence, RepertoireOf(ct, false).Requests()...))).
			Items(dataset.ReferencedRequestSequence)
	}
	bare := header("")
	if RepertoireOf(bare, false).Requests() != nil {
		t.Error("images that name no request have one")
	}
	accession := header("")
	accession.SetText(dataset.AccessionNumber, "SH", "A-7")
	one := header("ISO_IR 100")
	one.SetText(dataset.AccessionNumber, "SH", "A-7")
	asked := item(map[dataset.Tag]string{dataset.RequestedProcedureID: "P-1", dataset.RequestedProcedureDescription: "CT Thorax nativ f\xfcr Verlauf"})
	code := item(map[dataset.Tag]string{dataset.CodeValue: "24627-2", dataset.CodingSchemeDesignator: "LN", dataset.CodeMeaning: "CT Chest"})
	asked.SetItems(dataset.RequestedProcedureCodeSequence, code, item(map[dataset.Tag]string{dataset.CodeValue: "half"}))
	one.SetItems(dataset.RequestAttributesSequence, asked)
	two := header("")
	two.SetText(dataset.AccessionNumber, "SH", "A-7")
	two.SetItems(dataset.RequestAttributesSequence, item(map[dataset.Tag]string{dataset.AccessionNumber: "A-8"}), item(map[dataset.Tag]string{dataset.RequestedProcedureID: "P-2"}))
	for _, c := range []struct {
		name string
		ct   *dataset.Dataset
		want [][4]string // accession, procedure, description, code
	}{
		{"an accession number alone", accession, [][4]string{{"A-7", "", "", ""}}},
		{"one request without an accession number of its own", one, [][4]string{{"A-7", "P-1", "CT Thorax nativ für Verlauf", "24627-2"}}},
		{"two requests, of which the images' number may be either's", two, [][4]string{{"A-8", "", "", ""}, {"", "P-2", "", ""}}},
	} {
		got := read(c.ct)
		if len(got) != len(c.want) {
			t.Errorf("%s: %d requests", c.name, len(got))
			continue
		}
		for i, q := range got {
			description, _ := q.UTF8(dataset.RequestedProcedureDescription)
			value := ""
			for _, p := range q.Items(dataset.RequestedProcedureCodeSequence) {
				value += p.Text(dataset.CodeValue)
			}
			if have := [4]string{q.Text(dataset.AccessionNumber), q.Text(dataset.RequestedProcedureID), description, value}; have != c.want[i] {
				t.Errorf("%s: %q, want %q", c.name, have, c.want[i])
			}
			if q.Text(dataset.StudyInstanceUID) != "1.2.3" {
				t.Errorf("%s: study %q", c.name, q.Text(dataset.StudyInstanceUID))
			}
			for _, t2 := range []dataset.Tag{dataset.ReferencedStudySequence, dataset.PlacerOrderNumberImagingServiceRequest, dataset.FillerOrderNumberImagingServiceRequest} {
				if q.Get(t2) == nil {
					t.Errorf("%s: %v, of type 2, is missing", c.name, t2)
				}
			}
		}
	}
}
