package seg

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	godicom "github.com/grailbio/go-dicom"
	"github.com/grailbio/go-dicom/dicomtag"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/sr/study"
)

// box is a nodule as corner and size of a box that it fills, but for its corners
// where it has more than two voxels a side.
type box struct{ x, y, z, nx, ny, nz int }

func (b box) mask() result.Mask {
	m := result.Mask{X0: b.x, Y0: b.y, Z0: b.z, NX: b.nx, NY: b.ny, NZ: b.nz, Bits: make([]bool, b.nx*b.ny*b.nz)}
	for i := range m.Bits {
		x, y := i%b.nx, i/b.nx%b.ny
		corner := (x == 0 || x == b.nx-1) && (y == 0 || y == b.ny-1)
		m.Bits[i] = !corner || b.nx < 3 || b.ny < 3
	}
	return m
}

// series makes a result on a grid of the size, with slices 1.25 mm apart.
func series(rows, columns, depth int, boxes ...box) *result.Result {
	g := &result.Grid{
		Rows: rows, Columns: columns,
		Orientation: [6]float64{1, 0, 0, 0, 1, 0}, OrientationString: `1.000000\0\0\0\1.0\0 `,
		PixelSpacing: [2]float64{0.7, 0.7}, PixelSpacingString: `0.700\0.700`, SliceSpacing: 1.2500000000000142, SliceThickness: "2.5 ",
	}
	for z := range depth {
		p := result.Point{-180, -175.5, -300 + 1.25*float64(z)}
		g.Instances = append(g.Instances, result.Instance{
			SOPClassUID: dataset.CTImage, SOPInstanceUID: fmt.Sprintf("1.2.3.4.%d", z+1),
			Position: p, PositionString: fmt.Sprintf(`-180.000\-175.5\%.4f`, p[2]),
		})
	}
	r := &result.Result{
		Schema: result.Schema, Generation: 1, Outcome: result.OutcomeNodules, Grid: g,
		Series: result.Series{StudyInstanceUID: "1.2.3", SeriesInstanceUID: "1.2.3.4", FrameOfReferenceUID: "1.2.3.9", Instances: depth},
		Closed: result.Closed{Reason: "geometry", Time: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)},
		Algorithm: result.Algorithm{Name: "pulmonode", Version: "1.2.0", Provider: "cpu", Models: []result.Model{
			{Role: "localize", Version: "3", SHA256: strings.Repeat("ab", 32)}, {Role: "refine", Version: "4", SHA256: strings.Repeat("cd", 32)}}},
	}
	for i, b := range boxes {
		r.Nodules = append(r.Nodules, result.Nodule{
			ID: fmt.Sprintf("N%d", i+1), TrackingUID: fmt.Sprintf("2.25.77%d", i+1), Mask: b.mask(),
			Laterality: []string{"left", "right", ""}[i%3],
		})
	}
	return r
}

// enhanced makes one multi-frame object of the slices.
func enhanced(r *result.Result) *result.Result {
	for z := range r.Grid.Instances {
		in := &r.Grid.Instances[z]
		in.SOPClassUID, in.SOPInstanceUID, in.Frame = dataset.EnhancedCT, "1.2.3.4.1", z+1
	}
	return r
}

func header() *dataset.Dataset {
	d := &dataset.Dataset{}
	d.SetText(dataset.SpecificCharacterSet, "CS", "ISO_IR 100")
	d.SetText(dataset.PatientName, "PN", "Buc^J\xe9r\xf4me")
	d.SetText(dataset.PatientID, "LO", "P-1")
	d.SetText(dataset.PatientSex, "CS", "M")
	d.SetText(dataset.PatientBirthDate, "DA", "19600102")
	d.SetText(dataset.StudyDate, "DA", "20260304")
	d.SetText(dataset.StudyTime, "TM", "040506")
	d.SetText(dataset.StudyID, "SH", "1")
	d.SetText(dataset.StudyInstanceUID, "UI", "1.2.3")
	d.SetText(dataset.SeriesInstanceUID, "UI", "1.2.3.4")
	d.SetText(dataset.FrameOfReferenceUID, "UI", "1.2.3.9")
	d.SetText(dataset.Manufacturer, "LO", "Maker of scanners")
	return d
}

func options() Options {
	return Options{SOPInstanceUID: "2.25.10", SeriesInstanceUID: "2.25.11", SeriesNumber: 8001, DimensionOrganizationUID: "2.25.12", DeviceUID: "2.25.13"}
}

// cases are results that a reader must get back voxel by voxel.
var cases = []struct {
	name   string
	result func() *result.Result
	volume bool // its frames make a volume without holes
}{
	{"two nodules", func() *result.Result { return series(64, 64, 12, box{10, 12, 3, 7, 6, 4}, box{40, 30, 4, 5, 5, 3}) }, true},
	{"rows times columns not divisible by 8", func() *result.Result { return series(37, 51, 9, box{0, 0, 0, 5, 4, 3}, box{46, 33, 2, 5, 4, 3}) }, true},
	{"an odd number of bytes", func() *result.Result { return series(3, 8, 3, box{1, 1, 1, 2, 2, 1}) }, true},
	{"fewer bits than a byte in a frame", func() *result.Result { return series(2, 3, 5, box{0, 0, 0, 3, 2, 5}) }, true},
	{"a nodule in one slice", func() *result.Result { return series(33, 33, 7, box{16, 16, 3, 3, 3, 1}) }, true},
	{"nodules far from each other", func() *result.Result { return series(40, 40, 30, box{5, 5, 2, 4, 4, 2}, box{20, 20, 25, 4, 4, 3}) }, false},
	{"more nodules than colours", func() *result.Result {
		var boxes []box
		for i := range 9 {
			boxes = append(boxes, box{4 * i, 4 * i, i, 3, 3, 2})
		}
		return series(40, 40, 12, boxes...)
	}, true},
	{"nodules that share voxels", func() *result.Result { return series(40, 40, 10, box{5, 5, 2, 8, 8, 4}, box{9, 9, 3, 8, 8, 4}) }, true},
	{"a box with empty rims", func() *result.Result {
		r := series(40, 40, 10, box{5, 5, 2, 8, 8, 5})
		m := &r.Nodules[0].Mask
		for _, z := range []int{0, 4} {
			clear(m.Bits[z*64 : (z+1)*64])
		}
		return r
	}, true},
	{"oblique slices that run to the feet", func() *result.Result {
		r := series(37, 51, 9, box{3, 3, 2, 5, 4, 3}, box{20, 20, 3, 6, 6, 3})
		r.Grid.Orientation, r.Grid.OrientationString = [6]float64{1, 0, 0, 0, -0.8, 0.6}, `1\0\0\0\-0.8\0.6`
		for z := range r.Grid.Instances {
			in := &r.Grid.Instances[z]
			in.Position = result.Point{-180, -175.5 - 0.75*float64(z), -300 - float64(z)}
			in.PositionString = fmt.Sprintf(`-180\%.3f\%.3f`, in.Position[1], in.Position[2])
		}
		return r
	}, true},
	{"one enhanced object", func() *result.Result {
		return enhanced(series(37, 51, 9, box{3, 3, 2, 5, 4, 3}, box{20, 20, 3, 6, 6, 3}))
	}, true},
}

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

// compare says whether the voxels and places of a written segmentation are those
// of the result, from what a reader found.
func compare(t *testing.T, r *result.Result, h *dataset.Dataset, pixels []byte) {
	t.Helper()
	g := r.Grid
	size := g.Rows * g.Columns
	frames := h.Items(dataset.PerFrameFunctionalGroupsSequence)
	if want := (len(frames)*size + 15) / 16 * 2; len(pixels) != want {
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
		n, _ := only(dataset.SegmentIdentificationSequence).Int(dataset.ReferencedSegmentNumber)
		src := only(dataset.DerivationImageSequence).Items(dataset.SourceImageSequence)[0]
		number, _ := src.Int(dataset.ReferencedFrameNumber)
		z := slices.IndexFunc(g.Instances, func(in result.Instance) bool {
			return in.SOPInstanceUID == src.Text(dataset.ReferencedSOPInstanceUID) && in.Frame == number
		})
		if n < 1 || n > len(r.Nodules) || z < 0 {
			t.Fatalf("frame %d is of segment %d in slice %d", i+1, n, z+1)
		}
		seen[place{n - 1, z}] = true
		if got := only(dataset.PlanePositionSequence).Raw(dataset.ImagePositionPatient); got != g.Instances[z].PositionString {
			t.Errorf("frame %d lies at %q, the image at %q", i+1, got, g.Instances[z].PositionString)
		}
		for y := range g.Rows {
			for x := range g.Columns {
				at := i*size + y*g.Columns + x
				if got, want := pixels[at/8]>>(at%8)&1 == 1, r.Nodules[n-1].Mask.At(x, y, z); got != want {
					t.Fatalf("frame %d, voxel %d, %d: %t, want %t", i+1, x, y, got, want)
				}
			}
		}
	}
	for n := range r.Nodules {
		for z := range g.Instances {
			full := false
			for i := range size {
				full = full || r.Nodules[n].Mask.At(i%g.Columns, i/g.Columns, z)
			}
			if full != seen[place{n, z}] {
				t.Errorf("nodule %d has voxels in slice %d: %t; it has a frame: %t", n+1, z+1, full, seen[place{n, z}])
			}
		}
	}
}

func TestVoxelsComeBack(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := c.result()
			b, err := Write(header(), r, options())
			if err != nil {
				t.Fatal(err)
			}
			h, pixels := read(t, b)
			compare(t, r, h, pixels)
		})
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
			if got, want := len(e.Value), len(framesOf(r)); got != want {
				t.Errorf("%d frames, want %d", got, want)
			}
			for i, f := range framesOf(r) {
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
		dataset.NumberOfFrames: "6", dataset.DimensionOrganizationType: "3D", dataset.SegmentsOverlap: "NO",
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

func TestTheSameResultGivesTheSameBytes(t *testing.T) {
	var before []byte
	for range 3 {
		b, err := Write(header(), series(37, 51, 9, box{0, 0, 0, 5, 4, 3}, box{46, 33, 2, 5, 4, 3}), options())
		if err != nil {
			t.Fatal(err)
		}
		if before != nil && !bytes.Equal(b, before) {
			t.Fatal("the bytes differ")
		}
		before = b
	}
}

func TestWhatCannotBePlacedIsRefusedInASentence(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(ct *dataset.Dataset, r *result.Result)
		want  string
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
		{"no study", func(ct *dataset.Dataset, _ *result.Result) { ct.SetText(dataset.StudyInstanceUID, "UI", "") }, "Study Instance UID"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ct, r := header(), series(40, 40, 10, box{5, 5, 2, 4, 4, 3}, box{20, 20, 2, 4, 4, 3})
			c.spoil(ct, r)
			b, err := Write(ct, r, options())
			if err == nil || b != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %d bytes and %v, want an error with %q", len(b), err, c.want)
			}
		})
	}
}

// TestHighdicomReadsTheSame asks the reference implementation in Python.
func TestHighdicomReadsTheSame(t *testing.T) {
	python := os.Getenv("PULMONODE_PYTHON")
	if _, err := os.Stat(python); err != nil {
		t.Skip("PULMONODE_PYTHON does not name an interpreter with highdicom")
	}
	dir := t.TempDir()
	for _, c := range cases {
		r := c.result()
		b, err := Write(header(), r, options())
		if err != nil {
			t.Fatal(err)
		}
		truth, err := json.Marshal(describe(r, c.volume))
		if err != nil {
			t.Fatal(err)
		}
		for name, b := range map[string][]byte{c.name + ".dcm": b, c.name + ".json": truth} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	if out, err := exec.Command(python, "../../testdata/oracle/seg.py", dir).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// describe tells the oracle what was put in.
func describe(r *result.Result, volume bool) map[string]any {
	var nodules, grid []map[string]any
	for i := range r.Nodules {
		n := &r.Nodules[i]
		var voxels [][3]int
		var lps []result.Point
		for j, in := range n.Mask.Bits {
			if in {
				x, y, z := n.Mask.X0+j%n.Mask.NX, n.Mask.Y0+j/n.Mask.NX%n.Mask.NY, n.Mask.Z0+j/(n.Mask.NX*n.Mask.NY)
				voxels = append(voxels, [3]int{x, y, z})
				lps = append(lps, r.Grid.LPS(float64(x), float64(y), z))
			}
		}
		by := study.ColorOf(n).RGB
		nodules = append(nodules, map[string]any{"rgb": [3]int{int(by.R), int(by.G), int(by.B)}, "id": n.ID, "tracking_uid": n.TrackingUID, "voxels": voxels, "lps": lps})
	}
	for _, in := range r.Grid.Instances {
		grid = append(grid, map[string]any{"sop_instance_uid": in.SOPInstanceUID, "frame": in.Frame, "position": in.PositionString})
	}
	return map[string]any{
		"rows": r.Grid.Rows, "columns": r.Grid.Columns, "nodules": nodules, "slices": grid, "volume": volume,
		"multiframe": r.Grid.Instances[0].Frame > 0, "frame_of_reference_uid": r.Series.FrameOfReferenceUID, "algorithm": r.Algorithm.Name,
	}
}

// TestTheValidatorFindsNoError runs dciodvfy of dicom3tools.
func TestTheValidatorFindsNoError(t *testing.T) {
	validator, err := exec.LookPath("dciodvfy")
	if err != nil {
		t.Skip("dciodvfy (dicom3tools) is not installed")
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b, err := Write(header(), c.result(), options())
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "seg.dcm")
			if err := os.WriteFile(file, b, 0o666); err != nil {
				t.Fatal(err)
			}
			out, _ := exec.Command(validator, "-new", file).CombinedOutput()
			for line := range strings.SplitSeq(string(out), "\n") {
				if strings.HasPrefix(line, "Error") {
					t.Error(line)
				}
			}
			if !strings.Contains(string(out), "Segmentation") {
				t.Errorf("the validator does not know the object:\n%s", out)
			}
		})
	}
}

// BenchmarkWrite is a chest of 300 slices with 8 nodules.
func BenchmarkWrite(b *testing.B) {
	var boxes []box
	for i := range 8 {
		boxes = append(boxes, box{100 + 30*i, 200, 30 + 30*i, 20, 20, 12})
	}
	ct, r, o := header(), series(512, 512, 300, boxes...), options()
	for b.Loop() {
		if _, err := Write(ct, r, o); err != nil {
			b.Fatal(err)
		}
	}
}
