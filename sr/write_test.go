package sr

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	godicom "github.com/grailbio/go-dicom"
	"github.com/grailbio/go-dicom/dicomtag"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
)

// outline writes the content tree as PS3.16 writes templates: a line an item
// with its depth, relationship, value type and concept. Lines that repeat one
// after another at the same depth are written once.
func outline(d *dataset.Dataset, depth int) []string {
	var out []string
	for _, c := range children(d) {
		name := nameOf(c)
		line := strings.TrimRight(fmt.Sprintf("%s%s %s %s", strings.Repeat(">", depth),
			c.Text(dataset.RelationshipType), c.Text(dataset.ValueType), name.Value), " ")
		block := append([]string{line}, outline(c, depth+1)...)
		if n := len(out) - len(block); n >= 0 && slices.Equal(out[n:], block) {
			continue
		}
		out = append(out, block...)
	}
	return out
}

// context are rows 1 to 4 of TID 1500.
const context = `
HAS CONCEPT MOD CODE 121049
HAS OBS CONTEXT CODE 121005
HAS OBS CONTEXT UIDREF 121012
HAS OBS CONTEXT TEXT 121013
HAS OBS CONTEXT TEXT 121014
HAS OBS CONTEXT TEXT 121015
HAS OBS CONTEXT TEXT 121016
HAS CONCEPT MOD CODE 121058
`

// stack is TID 1600 of analysed images.
const stack = `CONTAINS CONTAINER 111028
>CONTAINS CONTAINER 126200
>>HAS ACQ CONTEXT CODE 121139
>>HAS ACQ CONTEXT UIDREF 112227
>>HAS ACQ CONTEXT NUM 110910
>>HAS ACQ CONTEXT NUM 110911
>>HAS ACQ CONTEXT NUM 111026
>>HAS ACQ CONTEXT NUM 111066
>>HAS ACQ CONTEXT NUM 112226
>>HAS ACQ CONTEXT NUM 112225
>>HAS ACQ CONTEXT NUM 110904
>>HAS ACQ CONTEXT NUM 110905
>>HAS ACQ CONTEXT NUM 110906
>>HAS ACQ CONTEXT NUM 110907
>>HAS ACQ CONTEXT NUM 110908
>>HAS ACQ CONTEXT NUM 110909
>>CONTAINS IMAGE
>>>HAS ACQ CONTEXT NUM 110901
>>>HAS ACQ CONTEXT NUM 110902
>>>HAS ACQ CONTEXT NUM 110903
`

// tid4019 is the algorithm identification at the depth of its parent's children.
func tid4019(depth string) string {
	relationship := "HAS CONCEPT MOD"
	if depth == ">" { // among the evaluations of the whole
		relationship = "CONTAINS"
	}
	return strings.ReplaceAll(`- TEXT 111001
- TEXT 111003
- TEXT 122405
- TEXT 111002
- CODE 111000
`, "-", depth+relationship)
}

// measured is a measurement group; center and site-modifiers vary.
func measured(center, region, side string) string {
	axis := `>>CONTAINS NUM %s
>>>INFERRED FROM SCOORD
>>>>SELECTED FROM IMAGE
`
	answer := `>>CONTAINS CODE %[1]s
>>>HAS PROPERTIES NUM 122157
>>>>HAS CONCEPT MOD CODE %[1]s
>>>>HAS CONCEPT MOD TEXT 121050
>>>>INFERRED FROM NUM 122411
`
	return `>CONTAINS CONTAINER 125007
>>HAS OBS CONTEXT TEXT 112039
>>HAS OBS CONTEXT UIDREF 112040
>>CONTAINS CODE 121071
` + center + region + `>>CONTAINS IMAGE 121200
>>HAS CONCEPT MOD CODE 363698007
` + side + tid4019(">>") + `>>CONTAINS NUM 118565006
` + fmt.Sprintf(axis, "103339001") + fmt.Sprintf(axis, "103340004") + `>>CONTAINS NUM L0JK
>>CONTAINS NUM 112031
>>>HAS CONCEPT MOD CODE 121401
>>CONTAINS NUM 111012
>>CONTAINS CODE RID36042
>>CONTAINS NUM 111047
>>>HAS CONCEPT MOD TEXT 121050
>>>INFERRED FROM NUM 122411
` + fmt.Sprintf(answer, "C25563") + fmt.Sprintf(answer, "C41144") + fmt.Sprintf(answer, "C3672") + `>>CONTAINS TEXT 121106
`
}

func TestTreeIsThatOfTheTemplates(t *testing.T) {
	const (
		inSpace  = ">>>HAS PROPERTIES SCOORD3D 111010\n"
		onImage  = ">>>HAS PROPERTIES SCOORD 111010\n>>>>SELECTED FROM IMAGE\n"
		segment  = ">>CONTAINS IMAGE 121191\n>>CONTAINS UIDREF 121232\n"
		images   = ">>CONTAINS IMAGE 260753009\n"
		side     = ">>>HAS CONCEPT MOD CODE 272741003\n"
		ended    = ">CONTAINS CODE 111064\n>CONTAINS CODE 111065\n>CONTAINS TEXT 121106\n"
		because  = ">CONTAINS TEXT reason\n"
		warned   = ">CONTAINS TEXT warning\n"
		notice   = ">CONTAINS TEXT notice\n"
		drawn    = ">CONTAINS IMAGE 121200\n"
		whole    = "CONTAINS CONTAINER C0034375\n"
		summed   = ">CONTAINS CODE 111017\n"
		one      = "CONTAINS CONTAINER 111028\n>CONTAINS CONTAINER 126200\n>>HAS ACQ CONTEXT CODE 121139\n>>HAS ACQ CONTEXT UIDREF 112227\n>>CONTAINS IMAGE\n"
		measures = "CONTAINS CONTAINER 126010\n"
	)
	groups := func(center, region string) string { // N1 and N2 have a side, N3 has none
		return measures + measured(center, region, side) + measured(center, region, "")
	}
	analysed := whole + tid4019(">") + summed + ended // the statement and what was searched are one line
	trees := map[string]string{
		"comprehensive3d nodules":                      context + stack + groups(inSpace, segment) + analysed + warned + drawn + notice,
		"comprehensive nodules":                        context + stack + groups(onImage, segment) + analysed + warned + drawn + notice,
		"enhanced nodules":                             context + stack + groups(onImage, segment) + analysed + warned + drawn + notice,
		"comprehensive3d nodules without segmentation": context + stack + groups(inSpace, images) + analysed + warned + drawn + notice,
		"comprehensive3d none":                         context + stack + analysed + notice,
		"comprehensive3d skipped":                      context + one + whole + ended + because + notice,
		"comprehensive3d failed":                       context + one + whole + ended + because + notice,
	}
	for name, want := range trees {
		c := everyReport()[name]
		d := parsed(t, written(t, c.r, c.o))
		got := strings.Join(outline(d, 0), "\n")
		if got != strings.TrimSpace(want) {
			t.Errorf("%s: the tree is\n%s\nwant\n%s", name, got, want)
		}
	}
}

// allowed are the relationships of PS3.3 table A.35.2-2 (Enhanced SR) that a
// report may have; those of the newer classes are a superset but for SCOORD3D.
var allowed = map[string]string{ // relationship and source: targets
	"CONTAINS CONTAINER":        "TEXT CODE NUM UIDREF SCOORD IMAGE CONTAINER",
	"HAS OBS CONTEXT CONTAINER": "TEXT CODE NUM UIDREF",
	"HAS ACQ CONTEXT CONTAINER": "TEXT CODE NUM UIDREF",
	"HAS ACQ CONTEXT IMAGE":     "TEXT CODE NUM UIDREF",
	"HAS CONCEPT MOD CONTAINER": "TEXT CODE",
	"HAS CONCEPT MOD CODE":      "TEXT CODE",
	"HAS CONCEPT MOD NUM":       "TEXT CODE",
	"HAS PROPERTIES CODE":       "TEXT CODE NUM UIDREF IMAGE SCOORD",
	"INFERRED FROM NUM":         "TEXT CODE NUM UIDREF IMAGE SCOORD",
	"SELECTED FROM SCOORD":      "IMAGE",
}

func TestRelationshipsAreAllowedInEachClass(t *testing.T) {
	for name, c := range everyReport() {
		d := parsed(t, written(t, c.r, c.o))
		k := kinds[c.o.Kind]
		if got := d.Text(dataset.SOPClassUID); got != k.class {
			t.Errorf("%s: SOP Class %s", name, got)
		}
		var walk func(*dataset.Dataset)
		walk = func(d *dataset.Dataset) {
			for _, c := range children(d) {
				row := c.Text(dataset.RelationshipType) + " " + d.Text(dataset.ValueType)
				target := c.Text(dataset.ValueType)
				threeD := target == "SCOORD3D" && k.scoord3d && row == "HAS PROPERTIES CODE"
				if !threeD && !slices.Contains(strings.Fields(allowed[row]), target) {
					t.Errorf("%s: %s %s", name, row, target)
				}
				walk(c)
			}
		}
		walk(d)
	}
}

// references are all instances that a tree refers to.
func references(d *dataset.Dataset) []string {
	var out []string
	for _, c := range children(d) {
		if ref := reference(c); ref != nil {
			out = append(out, ref.Text(dataset.ReferencedSOPInstanceUID))
		}
		out = append(out, references(c)...)
	}
	return out
}

func TestEvidenceListsExactlyWhatTheTreeRefersTo(t *testing.T) {
	for name, c := range everyReport() {
		d := parsed(t, written(t, c.r, c.o))
		listed := map[string]string{}
		for _, s := range d.Items(dataset.CurrentRequestedProcedureEvidenceSequence) {
			if s.Text(dataset.StudyInstanceUID) != studyUID {
				t.Errorf("%s: evidence of study %s", name, s.Text(dataset.StudyInstanceUID))
			}
			for _, series := range s.Items(dataset.ReferencedSeriesSequence) {
				for _, sop := range series.Items(dataset.ReferencedSOPSequence) {
					uid := sop.Text(dataset.ReferencedSOPInstanceUID)
					if _, twice := listed[uid]; twice {
						t.Errorf("%s: %s is listed twice", name, uid)
					}
					listed[uid] = series.Text(dataset.SeriesInstanceUID)
				}
			}
		}
		used := references(d)
		for _, uid := range used {
			if listed[uid] == "" {
				t.Errorf("%s: %s is referred to and not listed", name, uid)
			}
		}
		for uid := range listed {
			if !slices.Contains(used, uid) {
				t.Errorf("%s: %s is listed and not referred to", name, uid)
			}
		}
		if c.r.Outcome == result.OutcomeNodules && c.o.Segmentation != nil {
			if len(listed) != 45 || listed["2.25.14"] != "2.25.15" || listed["2.25.16"] != "2.25.17" || listed[instance(7)] != seriesUID {
				t.Errorf("%s: evidence is %v", name, listed)
			}
		}
	}
}

func TestDocumentSaysWhatItIs(t *testing.T) {
	for name, c := range everyReport() {
		d := parsed(t, written(t, c.r, c.o))
		completion := "COMPLETE"
		if c.r.Grid == nil || c.r.Partial {
			completion = "PARTIAL"
		}
		for _, w := range []struct {
			tag  dataset.Tag
			want string
		}{
			{dataset.Modality, "SR"},
			{dataset.CompletionFlag, completion},
			{dataset.VerificationFlag, "UNVERIFIED"},
			{dataset.ContentDate, "20260102"},
			{dataset.ContentTime, "110005"},
			{dataset.SeriesNumber, "9001"},
			{dataset.PatientName, "Müller^Jörg"},
		} {
			if got := d.Text(w.tag); got != w.want {
				t.Errorf("%s: %v is %q, want %q", name, w.tag, got, w.want)
			}
		}
		if d.Get(dataset.ReferencedPerformedProcedureStepSequence) == nil || d.Get(dataset.PerformedProcedureCodeSequence) == nil {
			t.Errorf("%s: a type 2 sequence is missing", name)
		}
		schemes := d.Items(dataset.CodingSchemeIdentificationSequence)
		if len(schemes) != 1 || schemes[0].Text(dataset.CodingSchemeDesignator) != Scheme {
			t.Errorf("%s: the private coding scheme is not identified", name)
		}
	}
}

func TestProcedureIsThatOfTheImages(t *testing.T) {
	ct := header()
	procedure := &dataset.Dataset{}
	procedure.SetText(dataset.CodeValue, "SH", "24627-2")
	procedure.SetText(dataset.CodingSchemeDesignator, "SH", "LN")
	procedure.SetText(dataset.CodeMeaning, "LO", "CT Chest")
	ct.SetItems(dataset.ProcedureCodeSequence, procedure)
	b, err := Write(ct, found(), options())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range children(parsed(t, b)) {
		if named(c, procedureReported) {
			got = append(got, valueOf(c).Value)
		}
	}
	if !slices.Equal(got, []string{"24627-2"}) {
		t.Errorf("procedure reported is %v", got)
	}
}

func TestSameResultSameBytes(t *testing.T) {
	for name, c := range everyReport() {
		if !bytes.Equal(written(t, c.r, c.o), written(t, c.r, c.o)) {
			t.Errorf("%s: two writes differ", name)
		}
	}
	a, b := found(), found()
	a.TimingsS, b.TimingsS = map[string]float64{"load": 1}, map[string]float64{"load": 2}
	if !bytes.Equal(written(t, a, options()), written(t, b, options())) {
		t.Error("the time that an analysis took changes its report")
	}
}

func TestAxisLiesOnThePixelsItWasMeasuredOn(t *testing.T) {
	g := tilted(5)
	for _, p := range [][2]float64{{0, 0}, {399, 511}, {12.5, 80.25}} {
		column, row := pixel(g, 3, g.LPS(p[0], p[1], 3))
		if math.Abs(column-p[0]-0.5) > 1e-9 || math.Abs(row-p[1]-0.5) > 1e-9 {
			t.Errorf("voxel %v is drawn at %v, %v", p, column, row)
		}
	}
}

func TestFramesOfAnEnhancedObjectAreOneImage(t *testing.T) {
	r := found()
	for z := range r.Grid.Instances {
		s := &r.Grid.Instances[z]
		s.SOPClassUID, s.SOPInstanceUID, s.Frame = "1.2.840.10008.5.1.4.1.1.2.1", instance(0), z+1
	}
	for i := range r.Nodules {
		r.Nodules[i].KeySlice, r.Nodules[i].Slices = instance(0), []string{instance(0)}
	}
	rep, err := Read(written(t, r, options()))
	if err != nil {
		t.Fatal(err)
	}
	if len(rep.Images) != 1 {
		t.Errorf("%d images in the library", len(rep.Images))
	}
	for i, frame := range []int{21, 32, 3} {
		if rep.Nodules[i].KeyFrame != frame {
			t.Errorf("%s is drawn on frame %d, want %d", rep.Nodules[i].ID, rep.Nodules[i].KeyFrame, frame)
		}
	}
}

func TestWhatWasNotMeasuredIsNotZero(t *testing.T) {
	for name, bad := range map[string]float64{"NaN": math.NaN(), "infinite": math.Inf(1), "zero": 0, "negative": -1} {
		r := found()
		n := &r.Nodules[0]
		n.LongAxisMM, n.ShortAxisMM, n.MaxDiam3DMM = bad, bad, bad
		if bad != 0 && bad != -1 { // these are attenuations
			n.MeanHU, n.SDHU = bad, bad
		}
		b := written(t, r, options())
		rep, err := Read(b)
		if err != nil {
			t.Fatal(err)
		}
		for what, v := range map[string]*float64{"long axis": rep.Nodules[0].LongAxisMM, "short axis": rep.Nodules[0].ShortAxisMM, "diameter": rep.Nodules[0].MaxDiam3DMM} {
			if v != nil {
				t.Errorf("%s: the %s is %v", name, what, *v)
			}
		}
		if (rep.Nodules[0].MeanHU == nil) != (bad != 0 && bad != -1) {
			t.Errorf("%s: the mean is %v", name, rep.Nodules[0].MeanHU)
		}
		if !bytes.Contains(b, []byte("Measurement not attempted")) || !strings.Contains(rep.Table(), "? x ?") {
			t.Errorf("%s: the report does not say that nothing was measured", name)
		}
	}
}

func TestNegativeReportSaysWhatWasSearched(t *testing.T) {
	r := ended(result.OutcomeNone, "")
	r.Algorithm.SmallestMM = 3
	rep, err := Read(written(t, r, bare()))
	if err != nil {
		t.Fatal(err)
	}
	want := "Searched were 40 slices, 1.25 mm apart, of 400 x 512 pixels of 0.65 x 0.70 mm, by pulmonode 1.2.0, which was evaluated for nodules of 3 mm and more."
	if len(rep.Comments) != 2 || rep.Comments[1] != want {
		t.Errorf("comments are %q", rep.Comments)
	}
}

func TestRefusals(t *testing.T) {
	nodule := func(change func(*result.Nodule)) func(*result.Result, *Options) {
		return func(r *result.Result, _ *Options) { change(&r.Nodules[1]) }
	}
	characteristic := func(key string, c result.Characteristic) func(*result.Result, *Options) {
		return nodule(func(n *result.Nodule) { n.Characteristics[key] = c })
	}
	for name, c := range map[string]struct {
		change func(*result.Result, *Options)
		says   string
	}{
		"kind":                     {func(_ *result.Result, o *Options) { o.Kind = "basic" }, `"basic" is no kind of report`},
		"outcome":                  {func(r *result.Result, _ *Options) { r.Outcome = "" }, "not an outcome"},
		"nodules of none":          {func(r *result.Result, _ *Options) { r.Outcome = result.OutcomeNone }, "there are 3 nodules"},
		"none of nodules":          {func(r *result.Result, _ *Options) { r.Nodules = nil }, "there are 0 nodules"},
		"nodules of failed":        {func(r *result.Result, _ *Options) { r.Outcome, r.Reason = result.OutcomeFailed, "x" }, "there are 3 nodules"},
		"failed without reason":    {func(r *result.Result, _ *Options) { r.Outcome, r.Nodules = result.OutcomeFailed, nil }, "no reason"},
		"another study":            {func(r *result.Result, _ *Options) { r.Series.StudyInstanceUID = "1.2" }, "another study"},
		"another series":           {func(r *result.Result, _ *Options) { r.Series.SeriesInstanceUID = "1.2" }, "another series"},
		"no closing time":          {func(r *result.Result, _ *Options) { r.Closed = result.Closed{} }, "closed"},
		"no grid":                  {func(r *result.Result, _ *Options) { r.Grid = nil }, "not named"},
		"no frame of reference":    {func(r *result.Result, _ *Options) { r.Series.FrameOfReferenceUID = "" }, "Frame of Reference"},
		"no spacing":               {func(r *result.Result, _ *Options) { r.Grid.PixelSpacing[0] = 0 }, "geometry"},
		"no algorithm":             {func(r *result.Result, _ *Options) { r.Algorithm.Version = "" }, "no version"},
		"own UID":                  {func(_ *result.Result, o *Options) { o.SOPInstanceUID = "" }, "SOP Instance UID"},
		"UID of the segmentation":  {func(_ *result.Result, o *Options) { o.Segmentation.SeriesInstanceUID = "x" }, "segmentation"},
		"UID of the installation":  {func(_ *result.Result, o *Options) { o.DeviceUID = "device 1" }, "installation"},
		"predecessor not given":    {func(r *result.Result, _ *Options) { r.Predecessor = "1.2" }, "earlier report"},
		"another predecessor":      {func(r *result.Result, o *Options) { r.Predecessor, o.Predecessor = "1.2", &Object{} }, "another report"},
		"no identifier":            {nodule(func(n *result.Nodule) { n.ID = "" }), "no identifier"},
		"no tracking UID":          {nodule(func(n *result.Nodule) { n.TrackingUID = "" }), "tracking UID"},
		"tracking UID twice":       {nodule(func(n *result.Nodule) { n.TrackingUID = "2.25.11" }), "same tracking UID"},
		"centre NaN":               {nodule(func(n *result.Nodule) { n.CenterLPS[1] = math.NaN() }), "centre"},
		"axis infinite":            {nodule(func(n *result.Nodule) { n.LongAxis.To[0] = math.Inf(1) }), "where an axis lies"},
		"volume NaN":               {nodule(func(n *result.Nodule) { n.VolumeMM3 = math.NaN() }), "no measurement"},
		"volume 0":                 {nodule(func(n *result.Nodule) { n.VolumeMM3 = 0 }), "no measurement"},
		"laterality":               {nodule(func(n *result.Nodule) { n.Laterality = "both" }), "neither left nor right"},
		"probability NaN":          {nodule(func(n *result.Nodule) { n.NoduleProb = math.NaN() }), "no probability"},
		"key slice of others":      {nodule(func(n *result.Nodule) { n.KeySlice = "1.2" }), "key slice"},
		"axis off the slice":       {nodule(func(n *result.Nodule) { n.LongAxis.From[2] += 9 }), "off its key slice"},
		"axis outside":             {nodule(func(n *result.Nodule) { n.LongAxis.To[0] += 900 }), "outside the image"},
		"no malignancy":            {nodule(func(n *result.Nodule) { delete(n.Characteristics, "malignancy") }), "no malignancy"},
		"a word of nobody":         {characteristic("margin", result.Characteristic{Probability: 0.5, Label: "fuzzy"}), `"fuzzy"`},
		"probability of 2":         {characteristic("texture", result.Characteristic{Probability: 2, Label: "solid"}), "no probability"},
		"threshold that is no one": {characteristic("texture", result.Characteristic{Threshold: math.Inf(1), Label: "solid"}), "no probability"},
	} {
		r, o := found(), options()
		c.change(r, &o)
		ct := header()
		if r.Series.FrameOfReferenceUID == "" {
			ct.SetText(dataset.FrameOfReferenceUID, "UI")
		}
		b, err := Write(ct, r, o)
		if err == nil || b != nil {
			t.Errorf("%s: a report is written", name)
		} else if !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %q does not say %q", name, err, c.says)
		}
	}
	if _, err := Write(nil, found(), options()); err == nil {
		t.Error("a report of no image is written")
	}
}

func TestAnotherReaderParsesEveryReport(t *testing.T) {
	for name, c := range everyReport() {
		ds, err := godicom.ReadDataSetInBytes(written(t, c.r, c.o), godicom.ReadOptions{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		content, err := ds.FindElementByTag(dicomtag.ContentSequence)
		if err != nil || len(content.Value) < 9 {
			t.Errorf("%s: the content has %v items: %v", name, content, err)
		}
	}
}

// The longest name that [output] series_description_sr may give a series leaves
// room for how the analysis ended and for the generation.
func TestHowItEndedIsReadInTheListOfSeries(t *testing.T) {
	for outcome, ends := range map[result.Outcome]string{
		result.OutcomeNone: "no nodule found in a part", result.OutcomeNodules: "nodules found in a part",
		result.OutcomeSkipped: "NOT ANALYSED", result.OutcomeFailed: "ANALYSIS FAILED",
	} {
		r := ended(outcome, "the reason")
		if outcome == result.OutcomeNodules {
			r = found()
		}
		r.Generation, r.Partial = 999, outcome == result.OutcomeNone || outcome == result.OutcomeNodules
		o := bare()
		o.SeriesName = strings.Repeat("W", 21)
		got := parsed(t, written(t, r, o)).Text(dataset.SeriesDescription)
		if want := o.SeriesName + ": " + ends + ", generation 999"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestACompletionFlagDescriptionThatIsCutSaysSo(t *testing.T) {
	for reason, want := range map[string]string{
		"Slices are 5.0 mm apart.": "Slices are 5.0 mm apart.",
		"slices are 7.5 mm apart; at most 3.0 mm are analysed: ask for the thin reconstruction": "slices are 7.5 mm apart; at most 3.0 mm are analysed: ask...",
		strings.Repeat("W", 64): strings.Repeat("W", 64),
		strings.Repeat("W", 65): strings.Repeat("W", 61) + "...",
	} {
		data := written(t, ended(result.OutcomeSkipped, reason), bare())
		if got := parsed(t, data).Text(dataset.CompletionFlagDescription); got != want {
			t.Errorf("%q is cut to %q, want %q", reason, got, want)
		}
		if r, err := Read(data); err != nil || r.Reason != reason {
			t.Errorf("the reason is %v: %v", r, err)
		}
	}
}

// BenchmarkWrite is the report of 300 slices with 8 nodules.
func BenchmarkWrite(b *testing.B) {
	r := found()
	r.Grid = tilted(300)
	for i := len(r.Nodules); i < 8; i++ {
		n := r.Nodules[i%3]
		n.ID, n.TrackingUID = fmt.Sprintf("N%d", i+1), fmt.Sprintf("2.25.77%d", i)
		r.Nodules = append(r.Nodules, n)
	}
	ct := header()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Write(ct, r, options()); err != nil {
			b.Fatal(err)
		}
	}
}
