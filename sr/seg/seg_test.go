package seg

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	godicom "github.com/grailbio/go-dicom"
	"github.com/grailbio/go-dicom/dicomtag"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
)

func read(t *testing.T, b []byte) (*dataset.Dataset, []byte) {
	t.Helper()
	f, err := dataset.Read(bytes.NewReader(b), int64(len(b)), dataset.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	pixels := make([]byte, f.Pixel.Length)
	if err := f.ReadPixels(pixels, 0); err != nil {
		t.Fatal(err)
	}
	return f.Header, pixels
}

// kindNames are the settings.
var kindNames = []string{"binary", "fractional", "labelmap"}

func optionsOf(kind string) Options {
	o := options()
	o.Kind = kind
	return o
}

// truth is the value that segment n must have at a voxel, from the result alone.
func truth(kind string, r *result.Result, n, x, y, z int) uint8 {
	switch kind {
	case "fractional":
		return probability(&r.Nodules[n], x, y, z)
	case "labelmap":
		if !r.Nodules[n].Mask.At(x, y, z) {
			return 0
		}
		for other := range r.Nodules {
			if other == n || !r.Nodules[other].Mask.At(x, y, z) {
				continue
			}
			ours, theirs := probability(&r.Nodules[n], x, y, z), probability(&r.Nodules[other], x, y, z)
			if theirs > ours || theirs == ours && other < n {
				return 0
			}
		}
		return uint8(n + 1)
	}
	if r.Nodules[n].Mask.At(x, y, z) {
		return 1
	}
	return 0
}

func probability(n *result.Nodule, x, y, z int) uint8 {
	p := &n.Probabilities
	x, y, z = x-p.X0, y-p.Y0, z-p.Z0
	if x < 0 || y < 0 || z < 0 || x >= p.NX || y >= p.NY || z >= p.NZ {
		return 0
	}
	return p.Values[(z*p.NY+y)*p.NX+x]
}

// compare says whether the voxels and places of a written segmentation are those
// of the result, from what a reader found.
func compare(t *testing.T, kind string, r *result.Result, h *dataset.Dataset, pixels []byte) {
	t.Helper()
	g := r.Grid
	size := g.Rows * g.Columns
	frames := h.Items(dataset.PerFrameFunctionalGroupsSequence)
	bits, want := 8, (len(frames)*size+1)/2*2
	if kind == "binary" {
		bits, want = 1, (len(frames)*size+15)/16*2
	}
	if len(pixels) != want {
		t.Fatalf("%d bytes of pixels for %d frames of %d, want %d", len(pixels), len(frames), size, want)
	}
	type place struct{ nodule, slice int }
	seen := map[place]bool{}
	for i, f := range frames {
		only := func(tag dataset.Tag) *dataset.Dataset {
			items := f.Items(tag)
			if len(items) != 1 {
				t.Fatalf("frame %d has %d items of %v", i+1, len(items), tag)
			}
			return items[0]
		}
		src := only(dataset.DerivationImageSequence).Items(dataset.SourceImageSequence)[0]
		number, _ := src.Int(dataset.ReferencedFrameNumber)
		z := slices.IndexFunc(g.Instances, func(in result.Instance) bool {
			return in.SOPInstanceUID == src.Text(dataset.ReferencedSOPInstanceUID) && in.Frame == number
		})
		n := 0 // of the only segment, from 1; 0: of all
		if kind != "labelmap" {
			n, _ = only(dataset.SegmentIdentificationSequence).Int(dataset.ReferencedSegmentNumber)
		} else if f.Get(dataset.SegmentIdentificationSequence) != nil {
			t.Errorf("frame %d of a label map names a segment", i+1)
		}
		if n < 0 || n > len(r.Nodules) || (n == 0) != (kind == "labelmap") || z < 0 || seen[place{n, z}] {
			t.Fatalf("frame %d is of segment %d in slice %d", i+1, n, z+1)
		}
		seen[place{n, z}] = true
		if got := only(dataset.PlanePositionSequence).Raw(dataset.ImagePositionPatient); got != g.Instances[z].PositionString {
			t.Errorf("frame %d lies at %q, the image at %q", i+1, got, g.Instances[z].PositionString)
		}
		for y := range g.Rows {
			for x := range g.Columns {
				at := i*size + y*g.Columns + x
				got := pixels[at*bits/8]
				if bits == 1 {
					got = got >> (at % 8) & 1
				}
				if want := valueOf(kind, r, n, x, y, z); got != want {
					t.Fatalf("frame %d, voxel %d, %d: %d, want %d", i+1, x, y, got, want)
				}
			}
		}
	}
	first, last := 1, len(r.Nodules)
	if kind == "labelmap" {
		first, last = 0, 0
	}
	for n := first; n <= last; n++ {
		for z := range g.Instances {
			full := false
			for i := range size {
				full = full || valueOf(kind, r, n, i%g.Columns, i/g.Columns, z) != 0
			}
			if full != seen[place{n, z}] {
				t.Errorf("segment %d has voxels in slice %d: %t; it has a frame: %t", n, z+1, full, seen[place{n, z}])
			}
		}
	}
}

// valueOf is the value of a voxel in a frame of segment n, counted from 1, or of
// all where it is 0.
func valueOf(kind string, r *result.Result, n, x, y, z int) uint8 {
	if n > 0 {
		return truth(kind, r, n-1, x, y, z)
	}
	for i := range r.Nodules {
		if v := truth(kind, r, i, x, y, z); v != 0 {
			return v
		}
	}
	return 0
}

func TestVoxelsComeBack(t *testing.T) {
	for _, c := range cases {
		for _, kind := range kindNames {
			t.Run(c.name+", "+kind, func(t *testing.T) {
				r := c.result()
				b, err := Write(header(), r, optionsOf(kind))
				if err != nil {
					t.Fatal(err)
				}
				h, pixels := read(t, b)
				compare(t, kind, r, h, pixels)
			})
		}
	}
}

// A second reader of other hands. It does not split frames of one bit, but gives
// the bytes.
func TestVoxelsComeBackThroughAnotherReader(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := c.result()
			b, err := Write(header(), r, options())
			if err != nil {
				t.Fatal(err)
			}
			ds, err := godicom.ReadDataSetInBytes(b, godicom.ReadOptions{DropPixelData: true})
			if err != nil {
				t.Fatal(err)
			}
			e, err := ds.FindElementByTag(dicomtag.PerFrameFunctionalGroupsSequence)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := len(e.Value), len(binaryFrames(t, r)); got != want {
				t.Errorf("%d frames, want %d", got, want)
			}
			for i, f := range binaryFrames(t, r) {
				item := e.Value[i].(*godicom.Element)
				if got, want := position(item), r.Grid.Instances[f.slice].PositionString; got != want {
					t.Errorf("frame %d lies at %q, want %q", i+1, got, want)
				}
			}
			if e, err = ds.FindElementByTag(dicomtag.PatientName); err != nil || e.MustGetString() != "Buc^Jérôme" {
				t.Errorf("the patient is %v, %v", e, err)
			}
		})
	}
}

func binaryFrames(t *testing.T, r *result.Result) []frame {
	t.Helper()
	shapes, err := contours(r.Nodules)
	if err != nil {
		t.Fatal(err)
	}
	return framesOf(&binary, len(r.Grid.Instances), shapes)
}

func position(e *godicom.Element) string {
	if e.Tag == dicomtag.ImagePositionPatient {
		return strings.Join(e.MustGetStrings(), `\`)
	}
	for _, v := range e.Value {
		if inner, ok := v.(*godicom.Element); ok {
			if s := position(inner); s != "" {
				return s
			}
		}
	}
	return ""
}

func TestTheAttributesThatDecide(t *testing.T) {
	ct := header()
	ct.SetText(dataset.LossyImageCompression, "CS", "01")
	ct.SetText(dataset.LossyImageCompressionRatio, "DS", "8.5")
	ct.SetText(dataset.LossyImageCompressionMethod, "CS", "ISO_15444_1")
	ct.SetText(dataset.PositionReferenceIndicator, "LO", "SN")
	r := series(40, 40, 30, box{5, 5, 2, 4, 4, 2}, box{20, 20, 25, 4, 4, 3}, box{30, 5, 2, 2, 2, 1})
	b, err := Write(ct, r, options())
	if err != nil {
		t.Fatal(err)
	}
	h, _ := read(t, b)
	for tag, want := range map[dataset.Tag]string{
		dataset.SOPClassUID: dataset.SegmentationStorage, dataset.SOPInstanceUID: "2.25.10", dataset.SeriesInstanceUID: "2.25.11",
		dataset.StudyInstanceUID: "1.2.3", dataset.Modality: "SEG", dataset.SeriesNumber: "8001", dataset.FrameOfReferenceUID: "1.2.3.9",
		dataset.PositionReferenceIndicator: "SN", dataset.ImageType: `DERIVED\PRIMARY`, dataset.SegmentationType: "BINARY",
		dataset.NumberOfFrames: "6", dataset.DimensionOrganizationType: "", dataset.SegmentsOverlap: "NO",
		dataset.LossyImageCompression: "01", dataset.LossyImageCompressionRatio: "8.5", dataset.LossyImageCompressionMethod: "ISO_15444_1",
		dataset.ContentDate: "20260304", dataset.ContentTime: "050607",
	} {
		if got := h.Raw(tag); got != want {
			t.Errorf("%v reads %q, want %q", tag, got, want)
		}
	}
	if all := h.Items(dataset.ReferencedSeriesSequence)[0].Items(dataset.ReferencedInstanceSequence); len(all) != 30 {
		t.Errorf("%d images are referenced, 30 were used", len(all))
	}
	group := h.Items(dataset.SharedFunctionalGroupsSequence)[0]
	measures := group.Items(dataset.PixelMeasuresSequence)[0]
	for _, c := range []struct{ got, want string }{
		{group.Items(dataset.PlaneOrientationSequence)[0].Raw(dataset.ImageOrientationPatient), `1.000000\0\0\0\1.0\0`},
		{measures.Raw(dataset.PixelSpacing), `0.700\0.700`},
		{measures.Raw(dataset.SpacingBetweenSlices), "1.25"},
		{measures.Raw(dataset.SliceThickness), "2.5"},
	} {
		if c.got != c.want {
			t.Errorf("a shared group reads %q, want %q", c.got, c.want)
		}
	}
	var indices []string
	for _, f := range h.Items(dataset.PerFrameFunctionalGroupsSequence) {
		v := f.Items(dataset.FrameContentSequence)[0].Get(dataset.DimensionIndexValues).Value
		indices = append(indices, fmt.Sprintf("%d/%d", v[0], v[4]))
	}
	if got, want := strings.Join(indices, " "), "1/1 1/2 2/3 2/4 2/5 3/1"; got != want {
		t.Errorf("the frames are indexed %s, want %s", got, want)
	}
	for i, s := range h.Items(dataset.SegmentSequence) {
		n, _ := s.Int(dataset.SegmentNumber)
		region := s.Items(dataset.AnatomicRegionSequence)[0]
		side := ""
		if m := region.Items(dataset.AnatomicRegionModifierSequence); len(m) > 0 {
			side = strings.ToLower(m[0].Text(dataset.CodeMeaning))
		}
		if n != i+1 || s.Text(dataset.TrackingID) != r.Nodules[i].ID || s.Text(dataset.TrackingUID) != r.Nodules[i].TrackingUID || side != r.Nodules[i].Laterality {
			t.Errorf("segment %d is number %d, %s, on the %q", i+1, n, s.Text(dataset.TrackingID), side)
		}
	}
}

// What tells a reader the kind, and what else depends on it.
func TestEachKindSaysWhatItIs(t *testing.T) {
	apart := func() *result.Result { return series(40, 40, 30, box{5, 5, 2, 4, 4, 2}, box{20, 20, 25, 4, 4, 3}) }
	one := func() *result.Result { return series(40, 40, 30, box{5, 5, 2, 4, 4, 2}) }
	two := func() *result.Result { return series(40, 40, 30, box{5, 5, 2, 4, 4, 2}, box{20, 20, 2, 4, 4, 3}) }
	shared := func() *result.Result { return series(40, 40, 30, box{5, 5, 2, 4, 4, 2}, box{7, 7, 2, 4, 4, 2}) }
	for _, c := range []struct {
		kind   string
		result func() *result.Result
		want   map[dataset.Tag]string
	}{
		{"", one, map[dataset.Tag]string{dataset.SOPClassUID: dataset.SegmentationStorage, dataset.SegmentationType: "BINARY",
			dataset.BitsAllocated: "1", dataset.BitsStored: "1", dataset.HighBit: "0", dataset.MaximumFractionalValue: "", dataset.PixelPaddingValue: "",
			dataset.NumberOfFrames: "2", dataset.DimensionOrganizationType: "3D", dataset.SegmentsOverlap: "NO"}},
		{"binary", two, map[dataset.Tag]string{dataset.NumberOfFrames: "5", dataset.DimensionOrganizationType: "", dataset.SegmentsOverlap: "NO"}},
		{"binary", shared, map[dataset.Tag]string{dataset.SegmentsOverlap: "YES"}},
		{"fractional", one, map[dataset.Tag]string{dataset.SOPClassUID: dataset.SegmentationStorage, dataset.SegmentationType: "FRACTIONAL",
			dataset.BitsAllocated: "8", dataset.BitsStored: "8", dataset.HighBit: "7", dataset.SegmentationFractionalType: "PROBABILITY",
			dataset.MaximumFractionalValue: "255", dataset.PixelPaddingValue: "", dataset.NumberOfFrames: "4", dataset.DimensionOrganizationType: "3D"}},
		{"fractional", shared, map[dataset.Tag]string{dataset.SegmentsOverlap: "YES"}},
		{"labelmap", two, map[dataset.Tag]string{dataset.SOPClassUID: dataset.LabelMapSegmentation, dataset.SegmentationType: "LABELMAP",
			dataset.BitsAllocated: "8", dataset.BitsStored: "8", dataset.HighBit: "7", dataset.MaximumFractionalValue: "", dataset.SegmentationFractionalType: "",
			dataset.PixelPaddingValue: "0", dataset.NumberOfFrames: "3", dataset.DimensionOrganizationType: "3D", dataset.SegmentsOverlap: "NO"}},
		{"labelmap", apart, map[dataset.Tag]string{dataset.NumberOfFrames: "5", dataset.DimensionOrganizationType: ""}},
		{"labelmap", shared, map[dataset.Tag]string{dataset.SegmentsOverlap: "NO"}},
	} {
		b, err := Write(header(), c.result(), optionsOf(c.kind))
		if err != nil {
			t.Fatal(err)
		}
		h, _ := read(t, b)
		if got := h.Text(dataset.SOPClassUID); got != SOPClass(c.kind) {
			t.Errorf("%s: the class is %s, SOPClass says %s", c.kind, got, SOPClass(c.kind))
		}
		for tag, want := range c.want {
			got := h.Text(tag)
			if n, ok := h.Int(tag); ok {
				got = fmt.Sprint(n)
			}
			if got != want {
				t.Errorf("%s: %v reads %q, want %q", c.kind, tag, got, want)
			}
		}
		indices := []string{}
		for _, d := range h.Items(dataset.DimensionIndexSequence) {
			indices = append(indices, d.Text(dataset.DimensionDescriptionLabel))
		}
		want := "Segment Number, Image Position"
		if c.kind == "labelmap" {
			want = "Image Position"
		}
		if got := strings.Join(indices, ", "); got != want {
			t.Errorf("%s: frames are indexed by %s, want %s", c.kind, got, want)
		}
	}
}

// A label map shows a voxel that two nodules share as one's, and says so of the
// other.
func TestALabelMapSaysWhatItDoesNotShow(t *testing.T) {
	r := series(40, 40, 10, box{5, 5, 2, 8, 8, 4}, box{9, 9, 3, 8, 8, 4}, box{30, 30, 3, 4, 4, 2})
	for i := range r.Nodules {
		r.Nodules[i].Probabilities = result.Probabilities{} // the first has what they share
	}
	b, err := Write(header(), r, optionsOf("labelmap"))
	if err != nil {
		t.Fatal(err)
	}
	h, _ := read(t, b)
	var notes []string
	for _, s := range h.Items(dataset.SegmentSequence) {
		notes = append(notes, s.Text(dataset.SegmentDescription))
	}
	// Boxes of 8 x 8 without corners: 4 x 4 voxels less a corner of each, in 3 slices.
	if len(notes) != 4 || notes[0] != "" || notes[1] != "" || notes[3] != "" || !strings.HasPrefix(notes[2], "42 of the 240 voxels") {
		t.Errorf("the segments say %q", notes)
	}
	if !r.Nodules[1].Mask.At(10, 10, 3) {
		t.Error("the result itself was changed")
	}
}

func TestANoduleKeepsItsColourWhereverItStands(t *testing.T) {
	colours := func(r *result.Result) map[string]string {
		b, err := Write(header(), r, options())
		if err != nil {
			t.Fatal(err)
		}
		h, _ := read(t, b)
		out := map[string]string{}
		for _, s := range h.Items(dataset.SegmentSequence) {
			out[s.Text(dataset.TrackingID)] = fmt.Sprint(s.Get(dataset.RecommendedDisplayCIELabValue).Value)
		}
		return out
	}
	before := colours(series(64, 64, 16, many(5)...))
	later := series(64, 64, 16, many(5)...) // N2 is gone, N9 is new and the worst
	later.Nodules[1].ID = "N9"
	later.Nodules[0], later.Nodules[1], later.Nodules[4] = later.Nodules[1], later.Nodules[4], later.Nodules[0]
	after := colours(later)
	for _, id := range []string{"N1", "N3", "N4", "N5"} {
		if before[id] == "" || before[id] != after[id] {
			t.Errorf("%s was %s and is %s", id, before[id], after[id])
		}
	}
}

// Who has the probabilities must be able to make of them what was measured.
func TestProbabilitiesSayWhereTheContourBegins(t *testing.T) {
	said := func(r *result.Result) (notes []string) {
		b, err := Write(header(), r, optionsOf("fractional"))
		if err != nil {
			t.Fatal(err)
		}
		h, _ := read(t, b)
		for _, s := range h.Items(dataset.SegmentSequence) {
			notes = append(notes, s.Text(dataset.SegmentDescription))
		}
		return notes
	}
	r := series(64, 64, 8, box{10, 10, 2, 5, 4, 3}, box{30, 30, 2, 5, 4, 3})
	p := &r.Nodules[1].Probabilities
	for i, v := range p.Values {
		p.Values[i] = v / 4 * 3 // another threshold
	}
	for i, note := range said(r) {
		var least, of int
		if _, err := fmt.Sscanf(note, notCalibrated+" What was measured is the voxels of %d and more of %d.", &least, &of); err != nil || of != result.MostProbable {
			t.Fatalf("nodule %d: %q: %v", i+1, note, err)
		}
		for z := range 8 {
			for y := range 64 {
				for x := range 64 {
					if n := &r.Nodules[i]; n.Mask.At(x, y, z) != (int(probability(n, x, y, z)) >= least) {
						t.Fatalf("nodule %d: column %d, row %d, slice %d is on the other side of %d", i+1, x, y, z, least)
					}
				}
			}
		}
	}
	// Where a value around the contour is as high as one in it there is no such number.
	p.Values[0] = 255
	if notes := said(r); notes[1] != notCalibrated {
		t.Errorf("the segment says %q", notes[1])
	}
}

func TestWhatCannotBePlacedIsRefusedInASentence(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(ct *dataset.Dataset, r *result.Result)
		want  string // of the binary kind, but where the name begins with another
	}{
		{"no frame of reference", func(ct *dataset.Dataset, _ *result.Result) { ct.SetText(dataset.FrameOfReferenceUID, "UI", "") }, "Frame of Reference"},
		{"another frame of reference", func(_ *dataset.Dataset, r *result.Result) { r.Series.FrameOfReferenceUID = "1.2" }, "Frame of Reference"},
		{"no grid", func(_ *dataset.Dataset, r *result.Result) { r.Grid = nil }, "no grid"},
		{"no nodule", func(_ *dataset.Dataset, r *result.Result) { r.Nodules = nil }, "no nodule"},
		{"an empty contour", func(_ *dataset.Dataset, r *result.Result) { clear(r.Nodules[1].Mask.Bits) }, "nodule N2: its contour is empty"},
		{"a contour beyond the last slice", func(_ *dataset.Dataset, r *result.Result) { r.Nodules[0].Mask.Z0 = 8 }, "leaves the images"},
		{"a contour left of the first column", func(_ *dataset.Dataset, r *result.Result) { r.Nodules[0].Mask.X0 = -1 }, "leaves the images"},
		{"a contour that does not fill its box", func(_ *dataset.Dataset, r *result.Result) { r.Nodules[0].Mask.NZ = 9 }, "does not fill"},
		{"two slices at one place", func(_ *dataset.Dataset, r *result.Result) {
			r.Grid.Instances[4].PositionString = `-180.0\-175.50\-296.25`
		}, "slices 4 and 5 have the same position"},
		{"a position in words", func(_ *dataset.Dataset, r *result.Result) { r.Grid.Instances[4].PositionString = `a\b\c` }, "slice 5"},
		{"no spacing", func(_ *dataset.Dataset, r *result.Result) { r.Grid.PixelSpacingString = "" }, "Pixel Spacing"},
		{"no orientation", func(_ *dataset.Dataset, r *result.Result) { r.Grid.OrientationString = `1\0\0` }, "Image Orientation"},
		{"a tracking UID twice", func(_ *dataset.Dataset, r *result.Result) { r.Nodules[1].TrackingUID = r.Nodules[0].TrackingUID }, "same tracking UID"},
		{"no tracking UID", func(_ *dataset.Dataset, r *result.Result) { r.Nodules[1].TrackingUID = "" }, "tracking UID"},
		{"a position that is no number", func(_ *dataset.Dataset, r *result.Result) { r.Grid.Instances[4].PositionString = `0\0\NaN` }, "slice 5"},
		{"a position beyond all numbers", func(_ *dataset.Dataset, r *result.Result) { r.Grid.Instances[4].PositionString = `0\0\1e999` }, "slice 5"},
		{"a spacing that is no number", func(_ *dataset.Dataset, r *result.Result) { r.Grid.PixelSpacingString = `NaN\0.7` }, "Pixel Spacing"},
		{"a spacing of nothing", func(_ *dataset.Dataset, r *result.Result) { r.Grid.PixelSpacingString = `0\0.7` }, "Pixel Spacing"},
		{"an orientation that is no number", func(_ *dataset.Dataset, r *result.Result) { r.Grid.OrientationString = `1\0\0\0\NaN\0` }, "Image Orientation"},
		{"an orientation of one direction", func(_ *dataset.Dataset, r *result.Result) { r.Grid.OrientationString = `1\0\0\1\0\0` }, "Image Orientation"},
		{"slices out of order", func(_ *dataset.Dataset, r *result.Result) {
			g := r.Grid
			g.Instances[3], g.Instances[4] = g.Instances[4], g.Instances[3]
		}, "slice 5 does not lie above slice 4"},
		{"slices beside each other", func(_ *dataset.Dataset, r *result.Result) { r.Grid.Instances[4].PositionString = `-100\-175.5\-296.25` }, "slice 5 does not lie above slice 4"},
		{"one image for two slices", func(_ *dataset.Dataset, r *result.Result) { r.Grid.Instances[4].SOPInstanceUID = "1.2.3.4.4" }, "slices 4 and 5 are one image"},
		{"no image", func(_ *dataset.Dataset, r *result.Result) { r.Grid.Instances[4].SOPInstanceUID = "" }, "slice 5: its image"},
		{"no rows", func(_ *dataset.Dataset, r *result.Result) { r.Grid.Rows = 0 }, "0 rows"},
		{"no name", func(_ *dataset.Dataset, r *result.Result) { r.Nodules[1].ID = "" }, "no identifier"},
		{"probabilities that do not fill their box", func(_ *dataset.Dataset, r *result.Result) { r.Nodules[1].Probabilities.NX++ }, "nodule N2: the probabilities"},
		{"a probability beyond the last slice", func(_ *dataset.Dataset, r *result.Result) { r.Nodules[1].Probabilities.Z0 = 8 }, "leaves the images"},
		{"a voxel without probability", func(_ *dataset.Dataset, r *result.Result) { clear(r.Nodules[1].Probabilities.Values) }, "has no probability"},
		{"fractional: no probabilities", func(_ *dataset.Dataset, r *result.Result) { r.Nodules[1].Probabilities = result.Probabilities{} }, "nodule N2: the probabilities of its voxels are not known"},
		{"fractional: more than memory should hold", func(_ *dataset.Dataset, r *result.Result) { r.Grid.Rows, r.Grid.Columns = 40000, 40000 }, "more than is written"},
		{"labelmap: more nodules than it numbers", func(_ *dataset.Dataset, r *result.Result) {
			for i := range 255 {
				n := r.Nodules[0]
				n.TrackingUID = fmt.Sprintf("2.25.88%d", i)
				r.Nodules = append(r.Nodules, n)
			}
		}, "257 nodules are more than the 255"},
		{"octal: a kind that does not exist", func(*dataset.Dataset, *result.Result) {}, `"octal" is no kind`},
		{"no study", func(ct *dataset.Dataset, _ *result.Result) { ct.SetText(dataset.StudyInstanceUID, "UI", "") }, "Study Instance UID"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ct, r := header(), series(40, 40, 10, box{5, 5, 2, 4, 4, 3}, box{20, 20, 2, 4, 4, 3})
			c.spoil(ct, r)
			o := options()
			if kind, _, ok := strings.Cut(c.name, ":"); ok {
				o.Kind = kind
			}
			b, err := Write(ct, r, o)
			if err == nil || b != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %d bytes and %v, want an error with %q", len(b), err, c.want)
			}
		})
	}
}
