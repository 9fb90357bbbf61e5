package sr

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/sr/study"
)

func near(a *float64, b float64) bool {
	return a != nil && math.Abs(*a-b) <= 1e-12*max(1, math.Abs(b))
}

func TestReadGivesWhatWasWritten(t *testing.T) {
	for name, c := range everyReport() {
		rep, err := Read(written(t, c.r, c.o))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if rep.Partial != c.r.Partial {
			t.Errorf("%s: of a part: %v", name, rep.Partial)
		}
		if rep.Outcome != c.r.Outcome || rep.Reason != c.r.Reason || strings.Join(rep.Warnings, "|") != strings.Join(c.r.Warnings, "|") {
			t.Errorf("%s: read %q, %q, %q", name, rep.Outcome, rep.Reason, rep.Warnings)
		}
		if rep.SOPInstanceUID != "2.25.11" || rep.SeriesInstanceUID != "2.25.12" || rep.StudyInstanceUID != studyUID || rep.Predecessor != c.r.Predecessor {
			t.Errorf("%s: identity is %+v", name, rep)
		}
		ours, _ := json.Marshal(rep.Algorithm)
		theirs, _ := json.Marshal(c.r.Algorithm)
		if !bytes.Equal(ours, theirs) {
			t.Errorf("%s: algorithm is %s, want %s", name, ours, theirs)
		}
		want := 1
		if c.r.Grid != nil {
			want = len(c.r.Grid.Instances)
		}
		if len(rep.Images) != want || len(rep.Nodules) != len(c.r.Nodules) {
			t.Errorf("%s: %d images and %d nodules", name, len(rep.Images), len(rep.Nodules))
			continue
		}
		for i, n := range c.r.Nodules {
			compareNodule(t, name, c.o, i, n, rep.Nodules[i])
		}
		if _, err := json.Marshal(rep); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func compareNodule(t *testing.T, name string, o Options, i int, n result.Nodule, got Nodule) {
	t.Helper()
	if got.ID != n.ID || got.TrackingUID != n.TrackingUID || got.Laterality != n.Laterality || got.Finding != "Nodule" || got.KeySlice != n.KeySlice {
		t.Errorf("%s: nodule is %+v", name, got)
	}
	if o.Segmentation != nil && (got.SegmentationUID != "2.25.14" || got.Segment != i+1 || got.SourceSeriesUID != seriesUID) {
		t.Errorf("%s: %s is segment %d of %s", name, n.ID, got.Segment, got.SegmentationUID)
	}
	for _, m := range []struct {
		what string
		got  *float64
		want float64
	}{
		{"volume", got.VolumeMM3, n.VolumeMM3},
		{"long axis", got.LongAxisMM, n.LongAxisMM},
		{"short axis", got.ShortAxisMM, n.ShortAxisMM},
		{"diameter", got.MaxDiam3DMM, n.MaxDiam3DMM},
		{"mean", got.MeanHU, n.MeanHU},
		{"deviation", got.SDHU, n.SDHU},
		{"probability", got.NoduleProb, n.NoduleProb},
	} {
		if !near(m.got, m.want) {
			t.Errorf("%s: %s: %s is not %v", name, n.ID, m.what, m.want)
		}
	}
	for _, key := range result.Characteristics {
		c, want := got.Characteristics[key], n.Characteristics[key]
		limit := key == "malignancy" && c.Threshold == nil || near(c.Threshold, want.Threshold) // bands have no one threshold
		if c.Label != want.Label || !near(c.Probability, want.Probability) || !limit {
			t.Errorf("%s: %s: %s is %v, want %v", name, n.ID, key, c, want)
		}
	}
	if kinds[o.Kind].scoord3d {
		for a := range n.CenterLPS {
			if got.Center == nil || math.Abs(got.Center[a]-n.CenterLPS[a]) > 1e-4 {
				t.Errorf("%s: %s: centre is %v, want %v", name, n.ID, got.Center, n.CenterLPS)
			}
		}
	}
	if got.LongAxis == nil || got.ShortAxis == nil || math.Abs(got.LongAxis.To[0]-got.LongAxis.From[0]-16) > 1e-3 || len(got.Others) != 0 {
		t.Errorf("%s: %s: axes are %v and %v, others %v", name, n.ID, got.LongAxis, got.ShortAxis, got.Others)
	}
}

// TestOnlyACompletedAnalysisReadsAsNoNodule goes through what a reader may look
// at: the outcome, the table, the words of every item, the series description.
func TestOnlyACompletedAnalysisReadsAsNoNodule(t *testing.T) {
	negative := []string{"no nodule", "without findings", "Succeeded", "completed"}
	for name, c := range everyReport() {
		b := written(t, c.r, c.o)
		rep, err := Read(b)
		if err != nil {
			t.Fatal(err)
		}
		isNone, part := strings.HasSuffix(name, " none"), strings.HasSuffix(name, " none in a part")
		if (rep.Outcome == result.OutcomeNone) != (isNone || part) || strings.Contains(rep.Table(), "completed: no nodule found") != isNone ||
			strings.Contains(rep.Table(), "no nodule found") != (isNone || part) {
			t.Errorf("%s: outcome %q, table\n%s", name, rep.Outcome, rep.Table())
		}
		if c.r.Grid == nil {
			for _, word := range negative {
				if bytes.Contains(b, []byte(word)) {
					t.Errorf("%s: the report has the words %q", name, word)
				}
			}
			if !strings.HasPrefix(rep.Table(), "NOT ANALYSED") && !strings.HasPrefix(rep.Table(), "ANALYSIS FAILED") || !strings.Contains(rep.Table(), c.r.Reason) {
				t.Errorf("%s: the table is\n%s", name, rep.Table())
			}
		}
		if !strings.Contains(rep.Table(), "Not for clinical use.") || !bytes.Contains(b, []byte(notice)) {
			t.Errorf("%s: the notice is missing", name)
		}
	}
}

// rewritten is a report whose root was changed before it was written.
func rewritten(t *testing.T, r *result.Result, o Options, change func(root *item)) []byte {
	t.Helper()
	w := &writer{ct: header(), r: r, o: o}
	if err := w.checkResult(); err != nil {
		t.Fatal(err)
	}
	images := sourceImages(w.ct, r.Grid)
	root, err := w.root(images)
	if err != nil {
		t.Fatal(err)
	}
	change(root)
	elements, err := study.Elements(w.ct, study.Object{
		SOPClassUID: w.kind.class, SOPInstanceUID: "2.25.1", SeriesInstanceUID: "2.25.2", Modality: "SR", Time: r.Closed.Time})
	if err != nil {
		t.Fatal(err)
	}
	b, err := study.Write(append(append(elements, w.document(images)...), root.elements()...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestContradictionsAreNoOutcome(t *testing.T) {
	drop := func(name study.Code) func(*item) {
		return func(root *item) {
			for i, c := range root.children {
				if c.name == name {
					root.children = append(root.children[:i:i], root.children[i+1:]...)
					return
				}
			}
		}
	}
	for name, c := range map[string]struct {
		b    []byte
		want result.Outcome
	}{
		"a negative report without its codes": {rewritten(t, ended(result.OutcomeNone, ""), bare(), drop(qualitativeEvaluations)), ""},
		"nodules that are not there":          {rewritten(t, found(), options(), drop(imagingMeasurements)), ""},
		"nodules without codes":               {rewritten(t, found(), options(), drop(qualitativeEvaluations)), result.OutcomeNodules},
		"a negative report with a failed detection": {rewritten(t, ended(result.OutcomeNone, ""), bare(), func(root *item) {
			e := root.children[len(root.children)-1]
			for i, c := range e.children {
				if c.name == summaryOfDetections {
					e.children[i] = code(summaryOfDetections, failed)
					e.children[i].relationship = contains
				}
			}
		}), ""},
	} {
		rep, err := Read(c.b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if rep.Outcome != c.want {
			t.Errorf("%s: outcome is %q, want %q", name, rep.Outcome, c.want)
		}
		if c.want == "" && !strings.HasPrefix(rep.Table(), "This report does not say") {
			t.Errorf("%s: the table is\n%s", name, rep.Table())
		}
	}
}

func TestTableDoesNotMoveTheCursor(t *testing.T) {
	r := found()
	r.Nodules[0].ID = "N1\x1b[2J\tX"
	r.Warnings = []string{"first\nsecond\u009b31m"}
	rep, err := Read(written(t, r, options()))
	if err != nil {
		t.Fatal(err)
	}
	rep.Nodules[0].Characteristics["margin"] = Characteristic{Label: "a\x1b]0;b"}
	if got := rep.Table(); strings.ContainsAny(got, "\x1b\u009b\t") || !strings.Contains(got, "first second") {
		t.Errorf("the table is %q", got)
	}
}

func TestTable(t *testing.T) {
	rep, err := Read(written(t, found(), options()))
	if err != nil {
		t.Fatal(err)
	}
	want := `Analysis completed: 3 nodules found.
Warning: CUDA was not to be had; the CPU was used.

ID  SIDE   SIZE mm     VOLUME mm3  MALIGNANCY            MARGIN          TEXTURE          CALCIFICATION
N1  right  10.4 x 8.2  524         high (0.91)           unclear (0.29)  solid (0.81)     absent (0.97)
N2  left   10.4 x 8.2  524         indeterminate (0.50)  clear (0.75)    subsolid (0.10)  present (0.07)
N3  -      10.4 x 8.2  524         low (0.04)            clear (>0.99)   solid (0.60)     absent (0.99)
In brackets the probability of malignancy, a circumscribed margin, solid texture, absence of calcification.

By pulmonode 1.2.0.
Not for clinical use. Verified by nobody.
`
	if got := rep.Table(); got != want {
		t.Errorf("the table is\n%s\nwant\n%s", got, want)
	}
}

func TestReadsAReportOfHighdicom(t *testing.T) {
	p := python(t)
	path := filepath.Join(t.TempDir(), "foreign.dcm")
	if out, err := exec.Command(p, filepath.Join("..", "testdata", "oracle", "sr_foreign.py"), path).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rep, err := Read(b)
	if err != nil {
		t.Fatal(err)
	}
	if rep.Outcome != result.OutcomeNodules || rep.Algorithm.Name != "Other finder" || rep.Algorithm.Version != "7" || len(rep.Images) != 1 || len(rep.Nodules) != 1 {
		t.Fatalf("read %+v", rep)
	}
	n := rep.Nodules[0]
	if n.ID != "Lesion A" || n.TrackingUID != "2.25.207" || n.Laterality != "left" || n.SegmentationUID != "2.25.205" || n.Segment != 4 || n.SourceSeriesUID != "2.25.203" {
		t.Errorf("nodule is %+v", n)
	}
	m := n.Characteristics["malignancy"]
	if !near(n.VolumeMM3, 321.5) || !near(m.Probability, 0.42) || m.Label != "3 out of 5 (Indeterminate Likelihood)" {
		t.Errorf("volume %v, malignancy %v", n.VolumeMM3, m)
	}
	// A long axis in centimetres is kept, but not as millimetres.
	if n.LongAxisMM != nil || len(n.Others) != 2 || n.Others[0].Name != "Diameter" || n.Others[1].Unit != "cm" {
		t.Errorf("long axis %v, others %+v", n.LongAxisMM, n.Others)
	}
}

// Reports of our findings that highdicom wrote by TID 1500 are read as ours are.
// Its groups hold no number below an answer, so the probabilities of three of the
// characteristics are not in them.
func TestReadsOurFindingsFromHighdicom(t *testing.T) {
	p := python(t)
	dir := t.TempDir()
	r := found()
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	input, path := filepath.Join(dir, "result.json"), filepath.Join(dir, "foreign.dcm")
	if err := os.WriteFile(input, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(p, filepath.Join("..", "testdata", "oracle", "sr_foreign.py"), path, input).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if b, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	rep, err := Read(b)
	if err != nil {
		t.Fatal(err)
	}
	if rep.Outcome != result.OutcomeNodules || rep.Algorithm.Name != r.Algorithm.Name || rep.Algorithm.Version != r.Algorithm.Version || len(rep.Nodules) != len(r.Nodules) {
		t.Fatalf("read %+v", rep)
	}
	for i, n := range r.Nodules {
		got := rep.Nodules[i]
		if got.ID != n.ID || got.TrackingUID != n.TrackingUID || got.Laterality != n.Laterality || got.Site != "" || len(got.Others) != 0 {
			t.Errorf("%s: read %+v", n.ID, got)
		}
		if planar := i == 1; planar != (got.KeySlice == "2.25.201") || planar == (got.Segment == i+1) {
			t.Errorf("%s: segment %d, slice %q", n.ID, got.Segment, got.KeySlice)
		}
		for what, m := range map[string]struct {
			got  *float64
			want float64
		}{
			"volume": {got.VolumeMM3, n.VolumeMM3}, "long axis": {got.LongAxisMM, n.LongAxisMM}, "short axis": {got.ShortAxisMM, n.ShortAxisMM},
			"diameter": {got.MaxDiam3DMM, n.MaxDiam3DMM}, "mean": {got.MeanHU, n.MeanHU}, "deviation": {got.SDHU, n.SDHU}, "nodule": {got.NoduleProb, n.NoduleProb},
			"malignancy": {got.Characteristics["malignancy"].Probability, n.Characteristics["malignancy"].Probability},
		} {
			if m.got == nil || math.Abs(*m.got-m.want) > 1e-6*max(1, math.Abs(m.want)) {
				t.Errorf("%s: %s is not %v", n.ID, what, m.want)
			}
		}
		for _, key := range result.Characteristics {
			if got.Characteristics[key].Label != n.Characteristics[key].Label {
				t.Errorf("%s: %s is %q, want %q", n.ID, key, got.Characteristics[key].Label, n.Characteristics[key].Label)
			}
		}
	}
}

func TestReadRefusesWhatIsNoReport(t *testing.T) {
	whole := written(t, found(), options())
	other := bytes.Replace(whole, []byte("1.2.840.10008.5.1.4.1.1.88.34"), []byte("1.2.840.10008.5.1.4.1.1.88.59"), -1)
	untitled := bytes.Replace(bytes.Replace(whole, []byte("126000"), []byte("126999"), -1), []byte("1500"), []byte("1599"), -1)
	for name, c := range map[string]struct {
		b    []byte
		says string
	}{
		"nothing":        {nil, "not a DICOM file"},
		"text":           {[]byte(strings.Repeat("report ", 100)), "not a DICOM file"},
		"another class":  {other, "is not an Enhanced"},
		"another report": {untitled, "no measurement report"},
		"half":           {whole[:len(whole)/2], "reading a structured report"},
	} {
		rep, err := Read(c.b)
		if err == nil || rep != nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: read %v, %v", name, rep, err)
		}
	}
}

// small is a report of three slices and one nodule: the fuzzer is slow on long
// inputs.
func small() *result.Result {
	r := found()
	r.Grid.Instances, r.Nodules = r.Grid.Instances[:3], r.Nodules[2:]
	return r
}

func TestDamagedReportsDoNotBreakTheReader(t *testing.T) {
	whole := written(t, small(), options())
	random := rand.New(rand.NewPCG(1, 2))
	read := 0
	for range 2000 {
		b := slices.Clone(whole)
		for range 1 + random.IntN(8) {
			b[random.IntN(len(b))] = byte(random.IntN(256))
		}
		if random.IntN(3) == 0 {
			at := random.IntN(len(b))
			b = slices.Delete(b, at, min(len(b), at+random.IntN(64)))
		}
		rep, err := Read(b)
		if err != nil {
			continue
		}
		read++
		rep.Table()
		if _, err := json.Marshal(rep); err != nil {
			t.Error(err)
		}
		if rep.Outcome == result.OutcomeNone || rep.Outcome == result.OutcomeSkipped {
			t.Errorf("damage turned a finding into %q", rep.Outcome)
		}
	}
	if read < 100 {
		t.Errorf("only %d of 2000 damaged reports were read: the damage does not get far", read)
	}
}

func FuzzRead(f *testing.F) {
	for _, c := range []struct {
		r *result.Result
		o Options
	}{{small(), options()}, {ended(result.OutcomeNone, ""), bare()}, {ended(result.OutcomeFailed, "x"), bare()}} {
		f.Add(written(f, c.r, c.o))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rep, err := Read(b)
		if err != nil {
			return
		}
		if rep.Outcome == result.OutcomeNone && len(rep.Nodules) > 0 {
			t.Error("nodules in a negative report")
		}
		if _, err := json.Marshal(rep); err != nil {
			t.Error(err)
		}
		rep.Table()
	})
}

// A negative report of a part says so in its first sentence, its flag and its
// series; nobody reads it as one of the whole.
func TestPartIsNotTheWhole(t *testing.T) {
	half := ended(result.OutcomeNone, "")
	half.Partial, half.Warnings = true, []string{"the lungs are not wholly in view"}
	data, err := Write(header(), half, bare())
	if err != nil {
		t.Fatal(err)
	}
	r, err := Read(data)
	if err != nil {
		t.Fatal(err)
	}
	table := r.Table()
	if r.Completion != "PARTIAL" || !r.Partial || !strings.HasPrefix(table, "Analysis of a part, or of what may be one: no nodule found in it.") ||
		!strings.Contains(table, "not wholly in view") || !bytes.Contains(data, []byte("no nodule found in a part")) {
		t.Errorf("%+v\n%s", r, table)
	}
}

// Only a report that says that it is complete is read so: the Completion Flag is
// all that tells the codes of a part from those of the whole.
func TestWithoutACompletionFlagItMayBeAPart(t *testing.T) {
	complete := written(t, ended(result.OutcomeNone, ""), bare())
	for flag, partial := range map[string]bool{"COMPLETE": false, "PARTIAL ": true, "        ": true, "UNKNOWN ": true} {
		data := bytes.Replace(complete, []byte("COMPLETE"), []byte(flag), 1)
		r, err := Read(data)
		if err != nil {
			t.Fatal(err)
		}
		if r.Outcome != result.OutcomeNone || r.Partial != partial || strings.Contains(r.Table(), "completed: no nodule found") == partial {
			t.Errorf("%q: partial is %v:\n%s", flag, r.Partial, r.Table())
		}
	}
}
