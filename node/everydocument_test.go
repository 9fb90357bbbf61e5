package node

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/store"
	"github.com/pulmonode/pulmonode/sr"
)

// ctHeader is that of a CT image whose text is Latin-1.
func ctHeader() *dataset.Dataset {
	d := &dataset.Dataset{}
	for t, v := range map[dataset.Tag]string{
		dataset.SpecificCharacterSet:    "ISO_IR 100",
		dataset.SOPClassUID:             dataset.CTImage,
		dataset.SOPInstanceUID:          "1.2.4.1",
		dataset.StudyInstanceUID:        "1.2.3",
		dataset.SeriesInstanceUID:       "1.2.4",
		dataset.FrameOfReferenceUID:     "1.2.5",
		dataset.PatientName:             "M\xfcller^J\xf6rg",
		dataset.PatientID:               "4711",
		dataset.AccessionNumber:         "A-7",
		dataset.Manufacturer:            "Scanner Works",
		dataset.ImageOrientationPatient: `1\0\0\0\1\0`,
		dataset.PixelSpacing:            `0.7\0.7`,
	} {
		d.SetText(t, t.VR(), v)
	}
	return d
}

// resultOf is an analysis with n nodules.
func resultOf(n int) *result.Result {
	g := &result.Grid{
		Rows: 96, Columns: 96, Orientation: [6]float64{1, 0, 0, 0, 1, 0}, PixelSpacing: [2]float64{0.7, 0.7}, SliceSpacing: 1,
		OrientationString: `1\0\0\0\1\0`, PixelSpacingString: `0.7\0.7`, SliceThickness: "1",
	}
	r := &result.Result{
		Schema: result.Schema, Generation: 1, Outcome: result.OutcomeNone, Grid: g, Slices: map[int]*result.Pixels{}, TimingsS: map[string]float64{"load": 1, "localize": 2},
		Series:    result.Series{StudyInstanceUID: "1.2.3", SeriesInstanceUID: "1.2.4", FrameOfReferenceUID: "1.2.5", Instances: 12},
		Closed:    result.Closed{Reason: "geometry", Time: time.Date(2026, 1, 2, 11, 0, 5, 0, time.UTC)},
		Algorithm: result.Algorithm{Name: "pulmonode", Version: "1.2.0", Provider: "cpu", Models: []result.Model{{Role: "localize", Version: "2", SHA256: strings.Repeat("ab", 32)}}},
	}
	for z := range 12 {
		g.Instances = append(g.Instances, result.Instance{SOPClassUID: dataset.CTImage, SOPInstanceUID: fmt.Sprintf("1.2.4.%d", z+1), Position: result.Point{0, 0, float64(z)}, PositionString: fmt.Sprintf(`0\0\%d`, z)})
		p := &result.Pixels{Rows: 96, Columns: 96, HU: make([]int16, 96*96)}
		for i := range p.HU {
			p.HU[i] = int16(i%96*9 - 950)
		}
		r.Slices[z] = p
	}
	for i := range n {
		x, y, z := 10+i%6*12, 10+i/6%6*12, i%12
		m := result.Mask{X0: x, Y0: y, Z0: z, NX: 5, NY: 5, NZ: 1, Bits: make([]bool, 25)}
		for j := range m.Bits {
			m.Bits[j] = true
		}
		r.Outcome = result.OutcomeNodules
		r.Nodules = append(r.Nodules, result.Nodule{
			ID: fmt.Sprintf("N%d", i+1), TrackingUID: fmt.Sprintf("2.25.7%d", i), CenterLPS: g.LPS(float64(x)+2, float64(y)+2, z),
			Slices: []string{g.Instances[z].SOPInstanceUID}, KeySlice: g.Instances[z].SOPInstanceUID, Mask: m,
			VolumeMM3: 12.25, LongAxisMM: 4, ShortAxisMM: 3.5, MaxDiam3DMM: 4.5, MeanHU: -40, SDHU: 12, Score: 0.9, NoduleProb: 0.8, Laterality: "left",
			LongAxis: result.Axis{From: g.LPS(float64(x), float64(y)+2, z), To: g.LPS(float64(x)+4, float64(y)+2, z)},
			Characteristics: map[string]result.Characteristic{
				"malignancy": {Probability: 0.72, Label: "high", Threshold: 0.65}, "margin": {Probability: 0.9, Label: "clear", Threshold: 0.5},
				"texture": {Probability: 0.4, Label: "subsolid", Threshold: 0.5}, "calcification": {Probability: 0.8, Label: "absent", Threshold: 0.5},
			},
		})
	}
	return r
}

// sends is a configuration of which a destination is sent kinds.
func sends(kinds ...string) *config.Config {
	c := config.Default()
	c.Destination = []config.Destination{{Name: "pacs", Send: kinds}}
	return c
}

func documentsOf(t testing.TB, c *config.Config, r *result.Result) []store.File {
	t.Helper()
	uids := store.UIDs{Installation: "test"}
	files, err := newDocuments(c)(ctHeader(), r, func(kind string, index int) string { return uids.UID("1.2.4", 1, kind, index) })
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestDocumentsAreThoseThatAreAskedFor(t *testing.T) {
	failed := resultOf(0)
	failed.Outcome, failed.Reason, failed.Grid = result.OutcomeFailed, "Slice 2 could not be decoded: send the series again.", nil
	for _, c := range []struct {
		name  string
		sends []string
		r     *result.Result
		want  string
	}{
		{"two nodules", []string{"seg", "sr", "keyimage"}, resultOf(2), "seg.dcm key-1.dcm key-1.png key-2.dcm key-2.png key-summary.dcm key-summary.png sr.dcm"},
		{"two nodules, key objects and a document too", []string{"kos", "pdf"}, resultOf(2),
			"seg.dcm key-1.dcm key-1.png key-2.dcm key-2.png key-summary.dcm key-summary.png sr.dcm kos.dcm pdf.dcm report.pdf"},
		{"none", []string{"sr", "kos", "pdf"}, resultOf(0), "key-summary.dcm key-summary.png sr.dcm pdf.dcm report.pdf"},
		{"failed", []string{"sr", "kos", "pdf"}, failed, "sr.dcm pdf.dcm report.pdf"},
		{"nobody to send to", nil, resultOf(0), "key-summary.dcm key-summary.png sr.dcm"},
	} {
		var names []string
		instances := map[string]bool{}
		for _, f := range documentsOf(t, sends(c.sends...), c.r) {
			names = append(names, f.Name)
			b, err := f.Content()
			if err != nil {
				t.Fatal(err)
			}
			if f.SOPClassUID == "" {
				continue
			}
			object, err := dataset.Read(bytes.NewReader(b), int64(len(b)), dataset.Limits{HeaderBytes: 16 << 20, ValueBytes: 16 << 20})
			if err != nil {
				t.Fatalf("%s: %s: %v", c.name, f.Name, err)
			}
			h := object.Header
			if h.Text(dataset.SOPClassUID) != f.SOPClassUID || h.Text(dataset.SOPInstanceUID) != f.SOPInstanceUID || instances[f.SOPInstanceUID] {
				t.Errorf("%s: %s is %s of class %s", c.name, f.Name, h.Text(dataset.SOPInstanceUID), h.Text(dataset.SOPClassUID))
			}
			instances[f.SOPInstanceUID] = true
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%s: %s\nwant %s", c.name, got, c.want)
		}
	}
}

// The report refers to what was written beside it, and to nothing else.
func TestTheReportRefersToTheOtherDocuments(t *testing.T) {
	written := map[string]string{}
	var report []byte
	for _, f := range documentsOf(t, sends("seg", "sr", "keyimage"), resultOf(14)) {
		if f.SOPInstanceUID != "" {
			written[f.SOPInstanceUID] = f.Kind
		}
		if f.Kind == kindSR {
			report = f.Bytes
		}
	}
	d, err := dataset.Read(bytes.NewReader(report), int64(len(report)), dataset.Limits{HeaderBytes: 16 << 20, Elements: 1 << 20, Depth: 32})
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, study := range d.Header.Items(dataset.CurrentRequestedProcedureEvidenceSequence) {
		for _, series := range study.Items(dataset.ReferencedSeriesSequence) {
			for _, s := range series.Items(dataset.ReferencedSOPSequence) {
				kinds[written[s.Text(dataset.ReferencedSOPInstanceUID)]]++
			}
		}
	}
	if want := map[string]int{"": 12, kindSeg: 1, kindKeyImage: 14 + 2}; fmt.Sprint(kinds) != fmt.Sprint(want) {
		t.Errorf("evidence is %v, want %v", kinds, want)
	}
	read, err := sr.Read(report)
	if err != nil || len(read.Nodules) != 14 {
		t.Errorf("%v, %d nodules", err, len(read.Nodules))
	}
}

// Sixty pictures together are hundreds of megabytes; held is one.
func TestPicturesAreDrawnOneAtATime(t *testing.T) {
	pictures := 0
	for _, f := range documentsOf(t, sends("keyimage"), resultOf(60)) {
		if f.Kind == kindKeyImage || f.Kind == "png" {
			pictures++
			if f.Bytes != nil || f.Make == nil {
				t.Errorf("%s is drawn before it is written", f.Name)
			}
		}
	}
	if pictures != 2*(60+5) {
		t.Errorf("%d files of pictures", pictures)
	}
}

func TestTextIsInTheCharacterSetThatIsAskedFor(t *testing.T) {
	for set, want := range map[string][2]string{config.UTF8: {"ISO_IR 192", "Müller^Jörg"}, config.AsReceived: {"ISO_IR 100", "M\xfcller^J\xf6rg"}} {
		c := sends("seg", "sr", "keyimage", "kos", "pdf")
		c.Output.CharacterSet = set
		c.Output.SeriesDescriptionKOS = "Schichten"
		for _, f := range documentsOf(t, c, resultOf(1)) {
			if f.SOPClassUID == "" {
				continue
			}
			b, err := f.Content()
			if err != nil {
				t.Fatal(err)
			}
			d, err := dataset.Read(bytes.NewReader(b), int64(len(b)), dataset.Limits{HeaderBytes: 16 << 20, ValueBytes: 16 << 20})
			if err != nil {
				t.Fatal(err)
			}
			if got := [2]string{d.Header.Raw(dataset.SpecificCharacterSet), d.Header.Raw(dataset.PatientName)}; got != want {
				t.Errorf("%s: %s: %q, want %q", set, f.Name, got, want)
			}
			if s := d.Header.Text(dataset.SeriesDescription); f.Kind == kindKOS && s != "Schichten" {
				t.Errorf("%s: the series of %s is called %q", set, f.Name, s)
			}
		}
	}
}

// digests prints a line for each document.
func digests(t testing.TB) string {
	var b strings.Builder
	for _, f := range documentsOf(t, sends("seg", "sr", "keyimage", "kos", "pdf"), resultOf(4)) {
		content, err := f.Content()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %x\n", f.Name, sha256.Sum256(content))
	}
	return b.String()
}

// Another process has other seeds of its maps, and may have another locale and
// time zone; the documents are the same.
func TestAnotherProcessWritesTheSameBytes(t *testing.T) {
	if os.Getenv("PULMONODE_DIGESTS") != "" {
		fmt.Print("digests:\n", digests(t), "end\n")
		return
	}
	want := digests(t)
	for _, zone := range []string{"Asia/Tokyo", "America/St_Johns"} {
		c := exec.Command(os.Args[0], "-test.run=^TestAnotherProcessWritesTheSameBytes$", "-test.count=1")
		c.Env = append(slices.Clone(os.Environ()), "PULMONODE_DIGESTS=1", "TZ="+zone, "LC_ALL=tr_TR.UTF-8")
		out, err := c.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		_, got, _ := strings.Cut(string(out), "digests:\n")
		if got, _, _ = strings.Cut(got, "end\n"); got != want {
			t.Errorf("in %s they are\n%s\nhere\n%s", zone, got, want)
		}
	}
}
