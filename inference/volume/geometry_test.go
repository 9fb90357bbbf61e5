package volume

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// order is the numbers of the slices as they lie in a volume.
func order(g *Geometry) []int {
	var list []int
	for _, s := range g.Slices {
		n, err := strconv.Atoi(strings.TrimPrefix(s.SOPInstanceUID, "1.2.3."))
		if err != nil {
			return nil
		}
		list = append(list, n-1)
	}
	return list
}

func TestSlicesAscendAlongTheNormal(t *testing.T) {
	up, down := []int{0, 1, 2, 3, 4}, []int{4, 3, 2, 1, 0}
	for _, c := range []struct {
		name   string
		series func(s *series)
		header func(z int, h *dataset.Dataset)
		files  []int // the order in which they come
		want   []int
	}{
		{"files from the feet to the head", nil, nil, up, up},
		{"files from the head to the feet", nil, nil, down, up},
		{"files in any order", nil, nil, []int{2, 4, 0, 3, 1}, up},
		{"a scan from the head to the feet", func(s *series) { s.step[2] = -2.5 }, nil, up, down},
		{"Instance Number counts from the head", nil, func(z int, h *dataset.Dataset) {
			h.SetText(dataset.InstanceNumber, "IS", strconv.Itoa(5-z))
		}, up, up},
		{"Instance Number is the same everywhere", nil, func(_ int, h *dataset.Dataset) {
			h.SetText(dataset.InstanceNumber, "IS", "1")
		}, down, up},
		{"Slice Location counts from the head", nil, func(z int, h *dataset.Dataset) {
			h.SetText(dataset.SliceLocation, "DS", strconv.Itoa(-10*z))
		}, up, up},
		{"rows run upward: the normal points to the feet", func(s *series) { s.orientation = [6]float64{1, 0, 0, 0, -1, 0} }, nil, up, down},
		{"sagittal: the normal points to the right", func(s *series) {
			s.orientation, s.step = [6]float64{0, 1, 0, 0, 0, -1}, [3]float64{2, 0, 0}
		}, nil, up, down},
		{"coronal: the normal points to the back", func(s *series) {
			s.orientation, s.step = [6]float64{1, 0, 0, 0, 0, -1}, [3]float64{0, 2, 0}
		}, nil, down, up},
	} {
		s := axial()
		if c.series != nil {
			c.series(&s)
		}
		made := s.files(t, c.header)
		var files []*dataset.File
		for _, z := range c.files {
			files = append(files, made[z])
		}
		g := stack(t, files)
		if got := order(g); !slices.Equal(got, c.want) {
			t.Errorf("%s: slices lie as %v, want %v", c.name, got, c.want)
			continue
		}
		v, err := Load(t.Context(), g, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, z := range c.want {
			if g.Grid.Instances[i].SOPInstanceUID != uidOf(z) || g.Grid.Instances[i].Position != g.Slices[i].Position {
				t.Errorf("%s: instance %d of the grid is not slice %d", c.name, i, z)
			}
			if first := v.HU[i*v.NX*v.NY]; int(first) != 100*z {
				t.Errorf("%s: slice %d of the volume has the pixels of slice %d, want %d", c.name, i, first/100, z)
			}
		}
	}
}

// tilted is the orientation of a gantry leaning by 15 degrees while the table
// moves along z: columns lean, slices do not follow their normal.
var tilted = [6]float64{1, 0, 0, 0, 0.965926, -0.258819}

// oblique is turned about two axes, with cosines as they are written.
var oblique = [6]float64{0.939693, 0.296198, 0.17101, -0.34202, 0.813798, 0.469846}

func TestVoxelsLieWhereTheHeadersSay(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(s *series)
	}{
		{"axial", func(*series) {}},
		{"pixels that are not square", func(s *series) { s.spacing = [2]float64{0.9, 0.4} }},
		{"slices nearer than Slice Thickness", func(s *series) { s.step[2] = 0.7 }},
		{"slices farther apart than Slice Thickness", func(s *series) { s.step[2] = 10 }},
		{"oblique", func(s *series) {
			n := normal(oblique)
			s.orientation, s.step = oblique, [3]float64{1.5 * n[0], 1.5 * n[1], 1.5 * n[2]}
		}},
		{"gantry tilt", func(s *series) { s.orientation = tilted }},
		{"gantry tilt and pixels that are not square", func(s *series) { s.orientation, s.spacing = tilted, [2]float64{0.9, 0.4} }},
		{"two slices", func(s *series) { s.slices = 2 }},
	} {
		s := axial()
		c.change(&s)
		g := stack(t, s.files(t, nil))
		if spacing := math.Sqrt(dot(s.step, s.step)); math.Abs(g.Grid.SliceSpacing-spacing) > 1e-6 {
			t.Errorf("%s: slices are %g mm apart, want %g", c.name, g.Grid.SliceSpacing, spacing)
		}
		if g.Grid.PixelSpacing != s.spacing || g.Grid.Rows != s.rows || g.Grid.Columns != s.columns {
			t.Errorf("%s: grid of %d x %d, %v", c.name, g.Grid.Rows, g.Grid.Columns, g.Grid.PixelSpacing)
		}
		for z := range s.slices {
			for y := range s.rows {
				for x := range s.columns {
					// PS3.3 equation C.7.6.2.1-1.
					want := s.position(z)
					for a := range want {
						want[a] += float64(x)*s.spacing[1]*s.orientation[a] + float64(y)*s.spacing[0]*s.orientation[3+a]
					}
					if got := g.Grid.LPS(float64(x), float64(y), z); !close3(got, want) {
						t.Fatalf("%s: voxel %d, %d, %d lies at %v, want %v", c.name, x, y, z, got, want)
					}
				}
			}
		}
	}
}

func TestWhatScannersWriteIsTaken(t *testing.T) {
	for _, c := range []struct {
		name   string
		series func(s *series)
		header func(z int, h *dataset.Dataset)
	}{
		{"positions rounded to 0.1 mm at a spacing of 0.625", nil, func(z int, h *dataset.Dataset) {
			h.SetText(dataset.ImagePositionPatient, "DS", `-10\-20\`+strconv.FormatFloat(0.625*float64(z), 'f', 1, 64))
		}},
		{"a cosine that differs in the third decimal", nil, func(z int, h *dataset.Dataset) {
			if z == 2 {
				h.SetText(dataset.ImageOrientationPatient, "DS", `1\0\0\0\0.999998\0.002`)
			}
		}},
		{"the same Pixel Spacing written otherwise", nil, func(z int, h *dataset.Dataset) {
			if z == 2 {
				h.SetText(dataset.PixelSpacing, "DS", `5e-1\0.5000001`)
			}
		}},
		{"no Slice Thickness, Frame of Reference or Instance Number", nil, func(z int, h *dataset.Dataset) {
			h.SetText(dataset.SliceThickness, "DS", "")
			h.SetText(dataset.FrameOfReferenceUID, "UI", "")
			h.SetText(dataset.InstanceNumber, "IS", "")
		}},
		{"the centre moves with a tilted gantry", func(s *series) { s.orientation, s.step = tilted, [3]float64{0, 0.647, 2.415} }, nil},
	} {
		s := axial()
		if c.series != nil {
			c.series(&s)
		}
		if _, err := Stack(s.files(t, c.header)); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestTextsStayAsTheyCame(t *testing.T) {
	g := stack(t, axial().files(t, func(z int, h *dataset.Dataset) {
		h.SetText(dataset.ImageOrientationPatient, "DS", `1.00\0\0\0\1.0\-0`)
		h.SetText(dataset.PixelSpacing, "DS", `0.50\5e-1`)
		h.SetText(dataset.SliceThickness, "DS", "5.000")
		h.SetText(dataset.ImagePositionPatient, "DS", `-10.0\-2.0e1\`+strconv.Itoa(z)+".00")
	}))
	grid := g.Grid
	if grid.OrientationString != `1.00\0\0\0\1.0\-0` || grid.PixelSpacingString != `0.50\5e-1` || grid.SliceThickness != "5.000" ||
		grid.Instances[1].PositionString != `-10.0\-2.0e1\1.00` {
		t.Errorf("%q, %q, %q, %q", grid.OrientationString, grid.PixelSpacingString, grid.SliceThickness, grid.Instances[1].PositionString)
	}
	if g.StudyInstanceUID != "1.2.4" || g.SeriesInstanceUID != "1.2.5" || g.FrameOfReferenceUID != "1.2.6" {
		t.Errorf("study %q, series %q, frame %q", g.StudyInstanceUID, g.SeriesInstanceUID, g.FrameOfReferenceUID)
	}
	if i := grid.Instances[0]; i.SOPClassUID != dataset.CTImage || i.Frame != 0 {
		t.Errorf("%+v", i)
	}
}

// enhanced is the series as one multi-frame image whose frames come in any order:
// what differs stands in the frames' groups, what does not in the shared ones.
func (s series) enhanced(t *testing.T, frames ...int) *dataset.File {
	t.Helper()
	h := s.header(0)
	h.SetText(dataset.NumberOfFrames, "IS", strconv.Itoa(len(frames)))
	macro := func(to *dataset.Dataset, sequence, tag dataset.Tag, from *dataset.Dataset) {
		item := &dataset.Dataset{}
		item.SetText(tag, "DS", from.Raw(tag))
		to.SetItems(sequence, item)
	}
	shared := &dataset.Dataset{}
	macro(shared, dataset.PlaneOrientationSequence, dataset.ImageOrientationPatient, h)
	macro(shared, dataset.PixelMeasuresSequence, dataset.PixelSpacing, h)
	h.SetItems(dataset.SharedFunctionalGroupsSequence, shared)
	var own []*dataset.Dataset
	var pixels []byte
	for _, z := range frames {
		frame := &dataset.Dataset{}
		macro(frame, dataset.PlanePositionSequence, dataset.ImagePositionPatient, s.header(z))
		own = append(own, frame)
		pixels = append(pixels, s.pixels(z)...)
	}
	h.SetItems(dataset.PerFrameFunctionalGroupsSequence, own...)
	for _, tag := range []dataset.Tag{dataset.ImagePositionPatient, dataset.ImageOrientationPatient, dataset.PixelSpacing} {
		h.SetText(tag, "DS", "")
	}
	return read(t, part10(t, h, pixels))
}

func TestFramesOfAnEnhancedImageAreSlices(t *testing.T) {
	s := axial()
	v := load(t, []*dataset.File{s.enhanced(t, 3, 1, 0, 2, 4)})
	for z, frame := range []int{3, 2, 4, 1, 5} {
		i := v.Grid.Instances[z]
		if i.Frame != frame || i.SOPInstanceUID != uidOf(0) || !close3(i.Position, s.position(z)) {
			t.Errorf("slice %d: frame %d at %v, want frame %d at %v", z, i.Frame, i.Position, frame, s.position(z))
		}
		if got := v.HU[z*v.NX*v.NY]; int(got) != 100*z {
			t.Errorf("slice %d begins with %d HU, want %d", z, got, 100*z)
		}
	}
	if v.Grid.SliceSpacing != 2.5 {
		t.Errorf("slices are %g mm apart, want 2.5", v.Grid.SliceSpacing)
	}
}

// along sets the positions of the slices along z, in mm.
func along(z ...float64) func(int, *dataset.Dataset) {
	return func(i int, h *dataset.Dataset) {
		h.SetText(dataset.ImagePositionPatient, "DS", decimals(-10, -20, z[i]))
	}
}

// one edits the header of slice 2.
func one(change func(h *dataset.Dataset)) func(int, *dataset.Dataset) {
	return func(z int, h *dataset.Dataset) {
		if z == 2 {
			change(h)
		}
	}
}

func text(tag dataset.Tag, vr, value string) func(*dataset.Dataset) {
	return func(h *dataset.Dataset) { h.SetText(tag, vr, value) }
}

func TestWhatIsNoVolume(t *testing.T) {
	size := func(slices, rows, columns int) func(*series) {
		return func(s *series) { s.slices, s.rows, s.columns = slices, rows, columns }
	}
	for _, c := range []struct {
		name   string
		series func(s *series)
		header func(z int, h *dataset.Dataset)
		code   string
		want   string
	}{
		{"nothing", size(0, 3, 4), nil, CodeFew,
			"the series has no slices; a volume needs more: send the whole series"},
		{"a single slice", size(1, 3, 4), nil, CodeFew,
			"the series has one slice; a volume needs more: send the whole series"},

		{"no position", nil, one(text(dataset.ImagePositionPatient, "DS", "")), CodeUnplaced,
			"Image Position (Patient) is missing or not 3 numbers: ask for the original axial slices"},
		{"a position of two numbers", nil, one(text(dataset.ImagePositionPatient, "DS", `1\2`)), CodeUnplaced,
			"Image Position (Patient) is missing or not 3 numbers: ask for the original axial slices"},
		{"a position that is no number", nil, one(text(dataset.ImagePositionPatient, "DS", `1\2\nan`)), CodeUnplaced,
			"Image Position (Patient) is missing or not 3 numbers: ask for the original axial slices"},
		{"a position beyond the room", nil, one(text(dataset.ImagePositionPatient, "DS", `1\2\1e9`)), CodeUnplaced,
			"Image Position (Patient) is not of a size that a body has"},
		{"no orientation", nil, one(text(dataset.ImageOrientationPatient, "DS", "")), CodeUnplaced,
			"Image Orientation (Patient) is missing or not 6 numbers: ask for the original axial slices"},
		{"an orientation of zeros", nil, one(text(dataset.ImageOrientationPatient, "DS", `0\0\0\0\0\0`)), CodeUnplaced,
			"Image Orientation (Patient) is not two directions at a right angle"},
		{"rows along columns", nil, one(text(dataset.ImageOrientationPatient, "DS", `1\0\0\1\0\0`)), CodeUnplaced,
			"Image Orientation (Patient) is not two directions at a right angle"},
		{"no pixel spacing, as a screenshot", nil, one(text(dataset.PixelSpacing, "DS", "")), CodeUnplaced,
			"Pixel Spacing is missing or not 2 numbers: ask for the original axial slices"},
		{"pixels without size", nil, one(text(dataset.PixelSpacing, "DS", `0\0.5`)), CodeUnplaced,
			"Pixel Spacing is 0 by 0.5 mm: ask for the original axial slices"},
		{"pixels of a negative size", nil, one(text(dataset.PixelSpacing, "DS", `0.5\-0.5`)), CodeUnplaced,
			"Pixel Spacing is 0.5 by -0.5 mm: ask for the original axial slices"},

		{"two frames of reference", nil, one(text(dataset.FrameOfReferenceUID, "UI", "1.2.7")), CodeFrame,
			"slices have more than one Frame of Reference: their positions cannot be compared"},
		{"a frame of reference for some only", nil, one(text(dataset.FrameOfReferenceUID, "UI", "")), CodeFrame,
			"slices have more than one Frame of Reference: their positions cannot be compared"},

		{"a localizer among them", nil, one(func(h *dataset.Dataset) { h.SetUint16(dataset.Rows, 2) }), CodeSize,
			"slices are 4 x 3 and 4 x 2 voxels: ask for one reconstruction a series"},
		{"two fields of view", nil, one(text(dataset.PixelSpacing, "DS", `0.7\0.7`)), CodeSize,
			"slices have voxels of 0.5 and 0.7 mm: ask for one reconstruction a series"},

		{"a coronal slice among axial ones", nil, one(text(dataset.ImageOrientationPatient, "DS", `1\0\0\0\0\-1`)), CodeOrientation,
			"slices have more than one orientation: ask for the axial slices as a series of their own"},

		{"a slice twice", nil, along(0, 2.5, 2.5, 5, 7.5), CodeDuplicate,
			"two slices lie at 2.50 mm: ask for each reconstruction or phase as a series of its own"},
		{"one slice four times", nil, along(0, 2.5, 2.5, 2.5, 2.5), CodeDuplicate,
			"two slices lie at 2.50 mm: ask for each reconstruction or phase as a series of its own"},
		{"all slices at one place", nil, along(1, 1, 1, 1, 1), CodeDuplicate,
			"two slices lie at 1.00 mm: ask for each reconstruction or phase as a series of its own"},

		{"one slice missing", nil, along(0, 2.5, 7.5, 10, 12.5), CodeGap,
			"slices are missing between 2.50 mm and 7.50 mm, the others are 2.50 mm apart: send the series again, completely"},
		{"many slices missing", nil, along(0, 2.5, 5, 7.5, 50), CodeGap,
			"slices are missing between 7.50 mm and 50.00 mm, the others are 2.50 mm apart: send the series again, completely"},

		{"a slice out of its place", nil, along(0, 2.5, 5.5, 7.5, 10), CodeUneven,
			"slices are 3.00 mm apart at 2.50 mm and 2.50 mm elsewhere: ask for a reconstruction with one spacing"},
		{"thin slices, then thicker ones", nil, along(0, 2, 4, 6.6, 9.2), CodeUneven,
			"slices are 2.00 mm apart at 0.00 mm and 2.60 mm elsewhere: ask for a reconstruction with one spacing"},

		{"a slice with another centre", nil, one(text(dataset.ImagePositionPatient, "DS", `-4\-20\-25`)), CodeShifted,
			"the slices do not lie on one line: one is 6.0 mm beside it: ask for a reconstruction with one centre"},

		{"two small slices 2 km apart", size(2, 3, 4), along(-1e6, 1e6), CodeLarge,
			"the slices cover 2 x 1 x 2000000 mm, more than a body: ask for the original axial slices"},
		{"pixels as wide as a body", size(5, 100, 100), func(_ int, h *dataset.Dataset) {
			h.SetText(dataset.PixelSpacing, "DS", `99\99`)
		}, CodeLarge, "the slices cover 9801 x 9801 x 10 mm, more than a body: ask for the original axial slices"},
		{"sides of a body, but all three of them", size(30, 30, 30), func(z int, h *dataset.Dataset) {
			h.SetText(dataset.PixelSpacing, "DS", `90\90`)
			h.SetText(dataset.ImagePositionPatient, "DS", decimals(0, 0, 90*float64(z)))
		}, CodeLarge, "the slices cover 2610 x 2610 x 2610 mm, more than a body: ask for the original axial slices"},
	} {
		s := axial()
		if c.series != nil {
			c.series(&s)
		}
		_, err := Stack(s.files(t, c.header))
		var refused *GeometryError
		if !errors.As(err, &refused) {
			t.Errorf("%s: %v, want a GeometryError", c.name, err)
			continue
		}
		if refused.Code != c.code || refused.Error() != c.want {
			t.Errorf("%s: %s: %q\nwant %s: %q", c.name, refused.Code, refused.Error(), c.code, c.want)
		}
	}
}

// A file of many slices says so in its header; nothing of their size may be made
// before the slices are counted.
func TestMoreSlicesThanAreTaken(t *testing.T) {
	s := axial()
	s.rows, s.columns = 1, 1
	h := s.header(0)
	h.SetText(dataset.NumberOfFrames, "IS", "10001")
	f := read(t, part10(t, h, make([]byte, 2*10002)))
	_, err := Stack([]*dataset.File{f, f})
	var refused *GeometryError
	if !errors.As(err, &refused) || refused.Code != CodeLarge || refused.Sentence != "the series has more than 20000 slices" {
		t.Errorf("%v", err)
	}
}

// A file whose pixels cannot be described is no question of geometry: the error
// names the instance and trying again with a whole file may help.
func TestAFileThatCannotBeReadIsNamed(t *testing.T) {
	_, err := Stack(axial().files(t, one(func(h *dataset.Dataset) { h.SetUint16(dataset.Rows, 4000) })))
	var refused *GeometryError
	if errors.As(err, &refused) || !errors.Is(err, dataset.ErrTruncated) || !strings.HasPrefix(err.Error(), "instance 1.2.3.3: ") {
		t.Errorf("%v", err)
	}
}
