package pdf

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/sr"
)

// Attributes of PS3.3 C.24.2.
const (
	encapsulated    dataset.Tag = 0x00420011
	mimeType        dataset.Tag = 0x00420012
	sourceInstances dataset.Tag = 0x00420013
	documentLength  dataset.Tag = 0x00420015
)

func header() *dataset.Dataset {
	d := &dataset.Dataset{}
	for t, v := range map[dataset.Tag]string{
		dataset.SpecificCharacterSet: "ISO_IR 192",
		dataset.SOPClassUID:          dataset.CTImage,
		dataset.SOPInstanceUID:       "1.2.3.1",
		dataset.StudyInstanceUID:     "1.2.3",
		dataset.SeriesInstanceUID:    "1.2.4",
		dataset.FrameOfReferenceUID:  "1.2.5",
		dataset.PatientName:          "Müller^Jörg",
		dataset.PatientID:            "4711",
		dataset.PatientBirthDate:     "19500401",
		dataset.PatientSex:           "M",
		dataset.StudyDate:            "20260102",
		dataset.StudyDescription:     "CT Thorax",
		dataset.Manufacturer:         "Scanner Works",
	} {
		d.SetText(t, t.VR(), v)
	}
	return d
}

// analysed is a result with n nodules.
func analysed(n int) *result.Result {
	g := &result.Grid{Rows: 128, Columns: 128, Orientation: [6]float64{1, 0, 0, 0, 1, 0}, PixelSpacing: [2]float64{0.7, 0.7}, SliceSpacing: 1}
	r := &result.Result{
		Series: result.Series{StudyInstanceUID: "1.2.3", SeriesInstanceUID: "1.2.4", FrameOfReferenceUID: "1.2.5", Instances: 10},
		Closed: result.Closed{Time: time.Date(2026, 1, 2, 11, 0, 5, 0, time.UTC)}, Outcome: result.OutcomeNone, Grid: g, Slices: map[int]*result.Pixels{},
		Algorithm: result.Algorithm{Name: "pulmonode", Version: "1.2.0", Provider: "cpu", SmallestMM: 3, Models: []result.Model{{Role: "localize", Version: "2", SHA256: strings.Repeat("ab", 32)}}},
	}
	for z := range 10 {
		g.Instances = append(g.Instances, result.Instance{SOPClassUID: dataset.CTImage, SOPInstanceUID: fmt.Sprintf("1.2.3.%d", z+1), Position: result.Point{0, 0, float64(z)}})
		p := &result.Pixels{Rows: 128, Columns: 128, HU: make([]int16, 128*128)}
		for i := range p.HU {
			p.HU[i] = int16(-900 + i%128)
		}
		r.Slices[z] = p
	}
	for i := range n {
		x, y, z := 20+i%5*20, 20+i/5%5*20, i%10
		m := result.Mask{X0: x, Y0: y, Z0: z, NX: 6, NY: 6, NZ: 1, Bits: make([]bool, 36)}
		for j := range m.Bits {
			m.Bits[j] = true
		}
		at := g.LPS(float64(x)+2.5, float64(y)+2.5, z)
		r.Outcome = result.OutcomeNodules
		r.Nodules = append(r.Nodules, result.Nodule{
			ID: fmt.Sprintf("N%d", i+1), TrackingUID: fmt.Sprintf("2.25.7%d", i), KeySlice: g.Instances[z].SOPInstanceUID, Mask: m, CenterLPS: at,
			VolumeMM3: 120, LongAxisMM: 6.5, ShortAxisMM: 5.25, MaxDiam3DMM: 7, MeanHU: -20, SDHU: 35, NoduleProb: 0.9, Score: 0.8, Laterality: []string{"left", "right", ""}[i%3],
			Characteristics: map[string]result.Characteristic{
				"malignancy": {Probability: 0.72, Label: "high", Threshold: 0.65}, "margin": {Probability: 0.999, Label: "clear", Threshold: 0.5},
				"texture": {Probability: 0.4, Label: "subsolid", Threshold: 0.5}, "calcification": {Probability: 0.8, Label: "absent", Threshold: 0.5},
			},
		})
	}
	return r
}

func unanalysed(o result.Outcome, why string) *result.Result {
	r := analysed(0)
	r.Outcome, r.Reason, r.Grid, r.Algorithm = o, why, nil, result.Algorithm{}
	return r
}

func every() map[string]*result.Result {
	part := analysed(0)
	part.Partial, part.Warnings = true, []string{"the lungs are not wholly in view"}
	bare := analysed(1)
	bare.Nodules[0].LongAxisMM, bare.Nodules[0].MaxDiam3DMM = 0, 0
	return map[string]*result.Result{
		"nodules": analysed(3), "many": analysed(60), "not measured": bare, "none": analysed(0), "part": part,
		"skipped": unanalysed(result.OutcomeSkipped, "Slices are 5.0 mm apart; at most 3.0 mm are analysed: ask for the thin reconstruction."),
		"failed":  unanalysed(result.OutcomeFailed, "Slice 12 could not be decoded: send the series again."),
	}
}

// made writes the report of a result, and the document of the report.
func made(t *testing.T, ct *dataset.Dataset, r *result.Result) (document, object []byte) {
	t.Helper()
	b, err := sr.Write(ct, r, sr.Options{SOPInstanceUID: "2.25.1", SeriesInstanceUID: "2.25.2", DeviceUID: "2.25.3"})
	if err != nil {
		t.Fatal(err)
	}
	report, err := sr.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	if document, err = Document(ct, r, report); err != nil {
		t.Fatal(err)
	}
	if object, err = Write(ct, r, report, document, Options{SOPInstanceUID: "2.25.4", SeriesInstanceUID: "2.25.5", SeriesNumber: 9005, DeviceUID: "2.25.3"}); err != nil {
		t.Fatal(err)
	}
	return document, object
}

func TestTheObjectHoldsTheDocument(t *testing.T) {
	for name, r := range every() {
		document, object := made(t, header(), r)
		again, _ := made(t, header(), r)
		if !bytes.Equal(document, again) {
			t.Errorf("%s: two documents differ", name)
		}
		if !bytes.HasPrefix(document, []byte("%PDF-1.")) || len(document) > 1<<20 && name != "many" || len(document) > 4<<20 {
			t.Errorf("%s: a document of %d bytes", name, len(document))
		}
		f, err := dataset.Read(bytes.NewReader(object), int64(len(object)), dataset.Limits{HeaderBytes: 8 << 20, Elements: 1000, Depth: 8, ValueBytes: 8 << 20})
		if err != nil {
			t.Fatal(err)
		}
		h := f.Header
		for at, want := range map[dataset.Tag]string{
			dataset.SOPClassUID: dataset.EncapsulatedPDF, dataset.Modality: "DOC", mimeType: "application/pdf",
			dataset.BurnedInAnnotation: "YES", dataset.SeriesNumber: "9005", dataset.PatientName: "Müller^Jörg", dataset.StudyInstanceUID: "1.2.3",
		} {
			if got := h.Raw(at); got != want {
				t.Errorf("%s: %v is %q, want %q", name, at, got, want)
			}
		}
		if s := h.Items(sourceInstances); len(s) != 1 || s[0].Text(dataset.ReferencedSOPInstanceUID) != "2.25.1" {
			t.Errorf("%s: it does not name the report", name)
		}
		held := h.Get(encapsulated)
		if n, _ := h.Int(documentLength); n != len(document) || !bytes.HasPrefix(held.Value, document) || len(held.Value) > n+1 {
			t.Errorf("%s: the object holds %d bytes of %d", name, len(held.Value), len(document))
		}
	}
}

// What the document says is read by another program.
func TestTheDocumentSaysWhatTheReportSays(t *testing.T) {
	reader, err := exec.LookPath("pdftotext")
	if err != nil {
		t.Skip("pdftotext (poppler-utils) is not installed")
	}
	text := func(r *result.Result) string {
		document, _ := made(t, header(), r)
		path := filepath.Join(t.TempDir(), "report.pdf")
		if err := os.WriteFile(path, document, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(reader, "-layout", path, "-").Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(strings.Fields(string(out)), " ") // lines are broken where they end
	}
	negative := "no nodule found"
	for name, want := range map[string][]string{
		"nodules": {"Analysis completed: 3 nodules found.", "Müller, Jörg", "4711", "1950-04-01", "N3", "6.5 x 5.2 mm", "Malignant 72 % (high)", "Clear margin >99 % (clear)",
			"Further nodules can have been missed."},
		"not measured": {"not measured"},
		"none":         {"Analysis completed: no nodule found.", "evaluated for nodules of 3 mm and more", "This does not exclude nodules"},
		"part":         {"Analysis of a part", "not wholly in view", "This does not exclude nodules"},
		"skipped":      {"NOT ANALYSED", "5.0 mm apart"},
		"failed":       {"ANALYSIS FAILED", "Slice 12"},
		"many":         {"N60", "Page 2"},
	} {
		got := text(every()[name])
		for _, w := range append(want, "AI result - not verified - not for clinical use") {
			if !strings.Contains(got, w) {
				t.Errorf("%s: %q is missing in\n%s", name, w, got)
			}
		}
		if strings.Contains(got, negative) != (name == "none" || name == "part") {
			t.Errorf("%s: the document can be read as negative, or cannot:\n%s", name, got)
		}
	}
}

func TestNamesAreWrittenInLettersThatTheFontsHave(t *testing.T) {
	for pn, want := range map[string]string{
		"Müller^Jörg":      "Müller, Jörg",
		"Διονυσιος":        "Διονυσιος",
		"Люкceмбypг":       "Люкceмбypг",
		"Doe^Jane^Q^Dr^MD": "Doe, Jane Q",
		"Yamada^Tarou=山田^太郎=やまだ^たろう": "Yamada, Tarou",
		"=山田^太郎":      notShown,
		"שרון^דבורה":  notShown,
		"قباني^لنزار": notShown,
		"^^^^":        "",
		"":            "",
		"A\x1b[2J":    notShown,
	} {
		if got := nameOf(pn); got != want {
			t.Errorf("%q is written %q, want %q", pn, got, want)
		}
	}
}

// Whose document it is must be read right or not at all.
func TestTheHeadSaysOnlyWhatTheHeaderSays(t *testing.T) {
	for _, c := range []struct {
		at          dataset.Tag
		value       string
		fact, shown string
	}{
		{dataset.PatientID, "4711", "Patient ID", "4711"},
		{dataset.PatientID, "病人1", "Patient ID", notShown},
		{dataset.AccessionNumber, "放7", "Accession number", notShown},
		{dataset.PatientBirthDate, "1950.04.01", "Born", "1950-04-01"},
		{dataset.PatientBirthDate, "", "Born", ""},
		{dataset.PatientSex, "O", "Sex", "O"},
		{dataset.StudyDescription, "胸部CT", "Study", "2026-01-02  " + notShown},
	} {
		ct := header()
		ct.SetText(c.at, c.at.VR(), c.value)
		if facts := factsOf(ct); !slices.Contains(facts, fact{c.fact, c.shown}) {
			t.Errorf("%v of %q is shown in %q, want %q", c.at, c.value, facts, c.shown)
		}
	}
}

// A header may be as odd as it likes; a document there is.
func TestOddHeadersMakeADocument(t *testing.T) {
	ct := header()
	for _, at := range []dataset.Tag{dataset.PatientName, dataset.PatientID, dataset.StudyDescription, dataset.SeriesDescription} {
		ct.SetText(at, at.VR(), strings.Repeat("W\xff\x00(\\)", 200))
	}
	ct.SetText(dataset.PatientBirthDate, "DA", "unknown")
	made(t, ct, analysed(1))
}

func TestTheValidatorFindsNoError(t *testing.T) {
	validator, err := exec.LookPath("dciodvfy")
	if err != nil {
		t.Skip("dciodvfy (dicom3tools) is not installed")
	}
	for name, r := range every() {
		_, object := made(t, header(), r)
		path := filepath.Join(t.TempDir(), "pdf.dcm")
		if err := os.WriteFile(path, object, 0o600); err != nil {
			t.Fatal(err)
		}
		out, _ := exec.Command(validator, path).CombinedOutput() // its exit status says nothing
		for line := range strings.Lines(string(out)) {
			if strings.HasPrefix(line, "Error") {
				t.Errorf("%s: %s", name, line)
			}
		}
		if !strings.Contains(string(out), "EncapsulatedPDF") {
			t.Errorf("%s: the validator does not know the object:\n%s", name, out)
		}
	}
}
