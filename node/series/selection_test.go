package series

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/node/store"
)

func TestSelect(t *testing.T) {
	with := func(change func(*chest)) chest { c := axial; change(&c); return c }
	only := func(c chest, n int) []*dataset.Dataset { return c.headers(n) }
	and := func(c chest, n int, more ...*dataset.Dataset) []*dataset.Dataset {
		return append(c.headers(n), more...)
	}
	moved := func(at int, by float64) func(int) string {
		return func(i int) string {
			z := float64(i)
			if i >= at {
				z += by
			}
			return fmt.Sprintf(`-180\-180\%.3f`, z)
		}
	}
	tests := []struct {
		name    string
		headers []*dataset.Dataset
		set     Selection
		want    string // the whole sentence; empty: analysed
	}{
		{"a thin chest", only(axial, 240), Selection{}, ""},
		{"at the limits", only(with(func(c *chest) { c.position = every(3) }), 40), Selection{}, ""},
		{"in any order", func() []*dataset.Dataset {
			var list []*dataset.Dataset
			for _, i := range scattered(100) {
				list = append(list, axial.header(i))
			}
			return list
		}(), Selection{}, ""},
		{"one enhanced image", []*dataset.Dataset{axial.enhanced(100)}, Selection{}, ""},
		{"feet first, upside down", only(with(func(c *chest) { c.orientation = `-1\0\0\0\1\0` }), 100), Selection{}, ""},
		{"gantry tilt within the limit", only(with(func(c *chest) { c.orientation = `1\0\0\0\0.9877\-0.1564` }), 100), Selection{}, ""},
		{"no Image Type", only(with(func(c *chest) { c.imageType = "" }), 100), Selection{}, ""},
		{"derived, allowed", only(with(func(c *chest) { c.imageType = `DERIVED\PRIMARY\AXIAL` }), 100), Selection{Derived: true}, ""},
		{"2 mm where 2 mm are allowed", only(with(func(c *chest) { c.position = every(2) }), 100), Selection{MaxSpacingMM: 2}, ""},

		{"nothing", nil, Selection{}, "the series has no image"},
		{"too thick", only(with(func(c *chest) { c.position = every(5) }), 60), Selection{},
			"slices are 5.0 mm apart; at most 3.0 mm are analysed: ask for the thin reconstruction"},
		{"too thick and too few: the thickness is what to ask for", only(with(func(c *chest) { c.position = every(10) }), 30), Selection{},
			"slices are 10.0 mm apart; at most 3.0 mm are analysed: ask for the thin reconstruction"},
		{"just too thick", only(with(func(c *chest) { c.position = every(3.05) }), 60), Selection{},
			"slices are 3.05 mm apart; at most 3.0 mm are analysed: ask for the thin reconstruction"},
		{"a scout", only(with(func(c *chest) { c.imageType = `ORIGINAL\PRIMARY\LOCALIZER`; c.orientation = `1\0\0\0\0\-1` }), 2), Selection{},
			"the series is a localizer (scout): send the axial reconstruction"},
		{"a scout among the slices", and(axial, 100, with(func(c *chest) { c.imageType = `ORIGINAL\PRIMARY\LOCALIZER` }).header(500)), Selection{},
			"1 of 101 images are localizers (scouts): send the axial stack as a series of its own"},
		{"a slice is missing", only(with(func(c *chest) { c.position = moved(50, 1) }), 100), Selection{},
			"slices are missing: 2.0 mm lie between the slices at 49.0 mm and 51.0 mm, 1.0 mm elsewhere: send the series again, completely"},
		{"uneven", only(with(func(c *chest) { c.position = moved(50, 0.3) }), 100), Selection{},
			"the slices are unevenly spaced (1.3 mm after the slice at 49.0 mm, 1.0 mm elsewhere): ask for a reconstruction with one spacing"},
		{"two orientations", and(axial, 100, with(func(c *chest) { c.orientation = `1\0\0\0\0\-1` }).header(500)), Selection{},
			"the slices have two orientations or more (1 of 101 differ from the first): ask for the axial stack as a series of its own"},
		{"every position twice", append(axial.headers(60), axial.headers(60)...), Selection{},
			"positions are taken twice, 60 in all, first at -300.0 mm: ask for each reconstruction or phase as a series of its own"},
		{"one position twice", and(axial, 100, axial.header(50)), Selection{},
			"positions are taken twice, 1 in all, first at -237.5 mm: ask for each reconstruction or phase as a series of its own"},
		{"coronal", only(with(func(c *chest) {
			c.orientation = `1\0\0\0\0\-1`
			c.position = func(i int) string { return fmt.Sprintf(`0\%d\0`, i) }
		}), 100), Selection{},
			"the slices are coronal, 90 degrees from axial; at most 10 are analysed: ask for the axial reconstruction"},
		{"sagittal", only(with(func(c *chest) {
			c.orientation = `0\1\0\0\0\-1`
			c.position = func(i int) string { return fmt.Sprintf(`%d\0\0`, i) }
		}), 100), Selection{},
			"the slices are sagittal, 90 degrees from axial; at most 10 are analysed: ask for the axial reconstruction"},
		{"tilted too far", only(with(func(c *chest) { c.orientation = `1\0\0\0\0.9397\-0.3420` }), 100), Selection{},
			"the slices are tilted, 20 degrees from axial; at most 10 are analysed: ask for the axial reconstruction"},
		{"an MR series", only(with(func(c *chest) { c.modality = "MR"; c.sopClass = "1.2.840.10008.5.1.4.1.1.4" }), 100), Selection{},
			"the series holds objects that are not CT images (MR): only CT is analysed"},
		{"a CT's dose report", and(axial, 100, with(func(c *chest) { c.sopClass = dataset.SecondaryCapture }).header(500)), Selection{},
			"the series holds objects that are not CT images (SOP class 1.2.840.10008.5.1.4.1.1.7): only CT is analysed"},
		{"a modality that is a lie in the log", only(with(func(c *chest) { c.modality = "X\nERROR" }), 1), Selection{},
			"the series holds objects that are not CT images (X?ERROR): only CT is analysed"},
		{"too few", only(axial, 39), Selection{}, "the series has 39 slices; at least 40 are analysed: ask for the whole chest"},
		{"one", only(axial, 1), Selection{}, "the series has one slice; at least 40 are analysed: ask for the whole chest"},
		{"too many", only(axial, 101), Selection{MaxSlices: 100}, "the series has 101 slices; at most 100 are analysed: ask for a reconstruction with fewer"},
		{"no pixel spacing", only(with(func(c *chest) { c.spacing = "" }), 100), Selection{},
			"100 of 100 images have no Pixel Spacing, so nothing in them can be measured: ask for the series as the scanner made it"},
		{"pixels of no size", and(axial, 99, with(func(c *chest) { c.spacing = `0\0` }).header(99)), Selection{},
			"1 of 100 images have no Pixel Spacing, so nothing in them can be measured: ask for the series as the scanner made it"},
		{"no position", and(axial, 99, with(func(c *chest) { c.position = nil }).header(99)), Selection{},
			"1 of 100 images do not say where they lie (Image Position and Orientation (Patient)): ask for the series as the scanner made it"},
		{"no Frame of Reference", and(axial, 99, with(func(c *chest) { c.frame = "" }).header(99)), Selection{},
			"1 of 100 images have no Frame of Reference UID, so no result could be laid over them: ask for the series as the scanner made it"},
		{"two Frames of Reference", and(axial, 99, with(func(c *chest) { c.frame = "1.2.3.98" }).header(99)), Selection{},
			"the slices lie in 2 Frames of Reference, so their places cannot be compared: ask for each scan as a series of its own"},
		{"derived", only(with(func(c *chest) { c.imageType = `DERIVED\PRIMARY\AXIAL` }), 100), Selection{},
			`the images are derived (Image Type DERIVED\PRIMARY\AXIAL): ask for the ORIGINAL axial reconstruction, or allow axial ones with [select] derived = true`},
		{"a MIP, even where derived ones are allowed", only(with(func(c *chest) { c.imageType = `DERIVED\SECONDARY\MIP` }), 100), Selection{Derived: true},
			`the images are derived (Image Type DERIVED\SECONDARY\MIP): ask for the ORIGINAL axial reconstruction`},
		{"two sizes", and(axial, 99, with(func(c *chest) { c.rows = 256 }).header(99)), Selection{},
			"the series mixes images of 512 x 512 and of 256 x 256 pixels: ask for each reconstruction as a series of its own"},
		{"two fields of view", and(axial, 99, with(func(c *chest) { c.spacing = `0.5\0.5` }).header(99)), Selection{},
			"the series mixes pixels of 0.700 mm and of 0.500 mm: ask for each reconstruction as a series of its own"},
		{"files that cannot be read", and(axial, 99, nil, nil), Selection{}, "2 of 101 files cannot be read as DICOM: send the series again"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := Select(test.headers, test.set)
			if v.Reason != test.want || v.OK != (test.want == "") {
				t.Errorf("analysed %v: %q\nwant %q", v.OK, v.Reason, test.want)
			}
		})
	}
}

func TestVerdictHasTheFigures(t *testing.T) {
	v := Select(axial.headers(100), Selection{})
	if v.Slices != 100 || v.SpacingMM != 1.25 {
		t.Errorf("%+v", v)
	}
}

// What a sender writes into a header does not make a sentence of the log long,
// nor the memory.
func TestSelectorIsBounded(t *testing.T) {
	s := NewSelector(Selection{})
	for i := range 1000 {
		c := axial
		c.frame = fmt.Sprintf("1.2.%d", i)
		c.imageType = `DERIVED\` + repeat("x", 5000) + fmt.Sprint(i)
		s.Add(c.header(i))
	}
	if len(s.refs) > 16 || len(s.derived) > 4 {
		t.Errorf("%d frames of reference, %d image types are kept", len(s.refs), len(s.derived))
	}
	if v := s.Verdict(); v.OK || len(v.Reason) > 600 {
		t.Errorf("%v: a sentence of %d bytes", v.OK, len(v.Reason))
	}
}

func TestThinnest(t *testing.T) {
	k := func(study, series string) store.Key { return store.Key{Study: study, Series: series} }
	fit := func(mm float64, n int) Verdict { return Verdict{OK: true, SpacingMM: mm, Slices: n} }
	candidates := []Candidate{
		{k("1.1", "1.1.3"), fit(1, 300)},
		{k("1.1", "1.1.1"), fit(2, 150)},
		{k("1.1", "1.1.2"), fit(1.001, 310)}, // as thin, and longer
		{k("1.1", "1.1.4"), Verdict{SpacingMM: 0.5, Slices: 900, Reason: "coronal"}},
		{k("1.2", "1.2.1"), fit(3, 100)},
		{k("1.3", "1.3.2"), fit(1, 100)},
		{k("1.3", "1.3.1"), fit(1, 100)},
	}
	for range 2 { // whatever the order
		skipped := Thinnest(candidates)
		if len(skipped) != 3 || skipped[k("1.1", "1.1.3")] == "" || skipped[k("1.3", "1.3.2")] == "" {
			t.Errorf("skipped %v", skipped)
		}
		const want = `another series of the study is analysed in its place (1.1.2: 310 slices 1.0 mm apart; here 150, 2.0 mm) because [select] one_per_study is "thinnest"`
		if got := skipped[k("1.1", "1.1.1")]; got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		for i, j := 0, len(candidates)-1; i < j; i, j = i+1, j-1 {
			candidates[i], candidates[j] = candidates[j], candidates[i]
		}
	}
	if !strings.Contains(Select(nil, Selection{}).Reason, "no image") {
		t.Error("an empty series is fit")
	}
}
