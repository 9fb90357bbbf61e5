package volume

import (
	"fmt"
	"math"
	"slices"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/pixel"
	"github.com/pulmonode/pulmonode/inference/result"
)

// GeometryError says why slices are no volume. Such a series is not analysed by
// rule; trying again changes nothing.
type GeometryError struct {
	Code     string // one of the Code constants
	Sentence string // in terms of the series, with what to ask for
}

// Codes of a GeometryError.
const (
	CodeFew         = "few"         // fewer than two slices
	CodeUnplaced    = "unplaced"    // position, orientation or pixel spacing missing
	CodeFrame       = "frame"       // more than one Frame of Reference
	CodeSize        = "size"        // rows, columns or pixel spacing differ
	CodeOrientation = "orientation" // more than one orientation
	CodeDuplicate   = "duplicate"   // two slices at one position
	CodeGap         = "gap"         // slices missing
	CodeUneven      = "uneven"      // spacing varies
	CodeShifted     = "shifted"     // slices do not lie on one line
	CodeLarge       = "large"       // more voxels than are taken, or larger than a body
)

func (e *GeometryError) Error() string { return e.Sentence }

func refuse(code, format string, args ...any) error {
	return &GeometryError{Code: code, Sentence: fmt.Sprintf(format, args...)}
}

const (
	// maxVoxels bounds a volume, as it comes and at 1 mm, to 2 GiB: 4096 slices of
	// 512 x 512. maxSideMM is longer than any table moves.
	maxVoxels = 1 << 30
	maxSlices = 20000
	maxSideMM = 3000

	sameCosine    = 0.01 // half a degree
	sameSpacing   = 1e-3 // of pixel spacing, relative
	duplicateMM   = 0.01
	unevenShare   = 0.1  // of the spacing
	unevenMM      = 0.06 // positions are often written with one decimal
	gapFrom       = 1.5  // spacings
	orthogonalTol = 0.02
)

// Geometry is a stack of slices.
type Geometry struct {
	Grid   *result.Grid
	Slices []Slice // ascending along the normal, as Grid.Instances

	// FrameOfReferenceUID, SeriesInstanceUID and StudyInstanceUID are those of
	// the first slice; empty where they are missing.
	FrameOfReferenceUID, SeriesInstanceUID, StudyInstanceUID string

	files []*dataset.File
}

// Slice is one image plane: an instance, or a frame of an enhanced one.
type Slice struct {
	Path                        string
	Frame                       int // counted from 0
	Header                      *dataset.Dataset
	SOPClassUID, SOPInstanceUID string
	Position                    [3]float64 // LPS mm, centre of the first voxel

	file  *dataset.File
	along float64 // position along the normal, mm

	positionText string
	orientation  [6]float64
	spacing      [2]float64
	texts        [3]string // orientation, pixel spacing, slice thickness as received
	format       pixel.Format
}

// Stack sorts the slices of a series into a volume. The error is a *GeometryError
// where they are none; any other error is of a file that cannot be read.
func Stack(files []*dataset.File) (*Geometry, error) {
	var list []Slice
	for _, f := range files {
		format, err := pixel.Describe(f)
		if err != nil {
			return nil, fmt.Errorf("instance %.64s: %w", f.Header.Text(dataset.SOPInstanceUID), err)
		}
		if len(list)+format.Frames > maxSlices {
			return nil, refuse(CodeLarge, "the series has more than %d slices", maxSlices)
		}
		for frame := range format.Frames {
			s, err := plane(f, frame, format)
			if err != nil {
				return nil, err
			}
			list = append(list, s)
		}
	}
	if len(list) < 2 {
		count := [...]string{"no slices", "one slice"}[len(list)]
		return nil, refuse(CodeFew, "the series has %s; a volume needs more: send the whole series", count)
	}
	if err := alike(list); err != nil {
		return nil, err
	}
	n := normal(list[0].orientation)
	for i := range list {
		list[i].along = dot(n, list[i].Position)
	}
	slices.SortStableFunc(list, func(a, b Slice) int {
		switch {
		case a.along < b.along:
			return -1
		case a.along > b.along:
			return 1
		}
		return 0
	})
	if err := even(list); err != nil {
		return nil, err
	}
	first, last := &list[0], &list[len(list)-1]
	grid := &result.Grid{
		Rows: first.format.Rows, Columns: first.format.Columns,
		Orientation: first.orientation, PixelSpacing: first.spacing,
		OrientationString: first.texts[0], PixelSpacingString: first.texts[1], SliceThickness: first.texts[2],
		Instances: make([]result.Instance, len(list)),
	}
	var step [3]float64
	for a := range step {
		step[a] = (last.Position[a] - first.Position[a]) / float64(len(list)-1)
	}
	grid.SliceSpacing = math.Sqrt(dot(step, step))
	for i := range list {
		s := &list[i]
		grid.Instances[i] = result.Instance{
			SOPClassUID: s.SOPClassUID, SOPInstanceUID: s.SOPInstanceUID,
			Position: s.Position, PositionString: s.positionText,
		}
		if s.format.Frames > 1 || s.Header.Get(dataset.PerFrameFunctionalGroupsSequence) != nil {
			grid.Instances[i].Frame = s.Frame + 1
		}
		if off := offLine(first.Position, step, s.Position); off > max(0.15, 0.5*min(first.spacing[0], first.spacing[1])) {
			return nil, refuse(CodeShifted, "the slices do not lie on one line: one is %.1f mm beside it: ask for a reconstruction with one centre", off)
		}
	}
	if int64(grid.Rows)*int64(grid.Columns)*int64(len(list)) > maxVoxels {
		return nil, refuse(CodeLarge, "%d slices of %d x %d are more voxels than are analysed", len(list), grid.Rows, grid.Columns)
	}
	// A few small slices that say they lie far apart become as many planes of 1 mm.
	size, voxels := [3]float64{}, 1.
	for a, n := range [3]int{grid.Columns, grid.Rows, len(list)} {
		size[a] = float64(n-1) * spacingXYZ(grid)[a]
		voxels *= size[a] + 1
	}
	if max(size[0], size[1], size[2]) > maxSideMM || voxels > maxVoxels {
		return nil, refuse(CodeLarge, "the slices cover %.0f x %.0f x %.0f mm, more than a body: ask for the original axial slices", size[0], size[1], size[2])
	}
	return &Geometry{
		Grid: grid, Slices: list, files: files,
		FrameOfReferenceUID: first.Header.Text(dataset.FrameOfReferenceUID),
		SeriesInstanceUID:   first.Header.Text(dataset.SeriesInstanceUID),
		StudyInstanceUID:    first.Header.Text(dataset.StudyInstanceUID),
	}, nil
}

// plane reads where a frame lies: from the header, or from its functional groups
// (PS3.3 C.7.6.16.2).
func plane(f *dataset.File, frame int, format pixel.Format) (Slice, error) {
	h := f.Header
	s := Slice{
		Path: f.Path, Frame: frame, Header: h, file: f, format: format,
		SOPClassUID: h.Text(dataset.SOPClassUID), SOPInstanceUID: h.Text(dataset.SOPInstanceUID),
	}
	in := func(sequence dataset.Tag) *dataset.Dataset {
		if g := h.FunctionalGroup(frame, sequence); g != nil {
			return g
		}
		return h
	}
	position, orientation, measures := in(dataset.PlanePositionSequence), in(dataset.PlaneOrientationSequence), in(dataset.PixelMeasuresSequence)
	for _, v := range []struct {
		name string
		d    *dataset.Dataset
		tag  dataset.Tag
		to   []float64
	}{
		{"Image Position (Patient)", position, dataset.ImagePositionPatient, s.Position[:]},
		{"Image Orientation (Patient)", orientation, dataset.ImageOrientationPatient, s.orientation[:]},
		{"Pixel Spacing", measures, dataset.PixelSpacing, s.spacing[:]},
	} {
		n, err := v.d.Floats(v.tag)
		if err != nil || len(n) != len(v.to) {
			return s, refuse(CodeUnplaced, "%s is missing or not %d numbers: ask for the original axial slices", v.name, len(v.to))
		}
		for _, x := range n {
			if math.Abs(x) > 1e6 {
				return s, refuse(CodeUnplaced, "%s is not of a size that a body has", v.name)
			}
		}
		copy(v.to, n)
	}
	if min(s.spacing[0], s.spacing[1]) < 0.01 || max(s.spacing[0], s.spacing[1]) > 100 {
		return s, refuse(CodeUnplaced, "Pixel Spacing is %g by %g mm: ask for the original axial slices", s.spacing[0], s.spacing[1])
	}
	o := s.orientation
	row, column := [3]float64(o[:3]), [3]float64(o[3:])
	if math.Abs(dot(row, row)-1) > orthogonalTol || math.Abs(dot(column, column)-1) > orthogonalTol || math.Abs(dot(row, column)) > orthogonalTol {
		return s, refuse(CodeUnplaced, "Image Orientation (Patient) is not two directions at a right angle")
	}
	s.positionText = position.Raw(dataset.ImagePositionPatient)
	s.texts = [3]string{orientation.Raw(dataset.ImageOrientationPatient), measures.Raw(dataset.PixelSpacing), measures.Raw(dataset.SliceThickness)}
	return s, nil
}

// alike checks what must not differ from slice to slice.
func alike(list []Slice) error {
	first := &list[0]
	reference := first.Header.Text(dataset.FrameOfReferenceUID)
	for i := range list[1:] {
		s := &list[i+1]
		if s.format.Rows != first.format.Rows || s.format.Columns != first.format.Columns {
			return refuse(CodeSize, "slices are %d x %d and %d x %d voxels: ask for one reconstruction a series",
				first.format.Columns, first.format.Rows, s.format.Columns, s.format.Rows)
		}
		for a := range s.spacing {
			if math.Abs(s.spacing[a]-first.spacing[a]) > sameSpacing*first.spacing[a] {
				return refuse(CodeSize, "slices have voxels of %g and %g mm: ask for one reconstruction a series", first.spacing[a], s.spacing[a])
			}
		}
		for a := range s.orientation {
			if math.Abs(s.orientation[a]-first.orientation[a]) > sameCosine {
				return refuse(CodeOrientation, "slices have more than one orientation: ask for the axial slices as a series of their own")
			}
		}
		if s.Header.Text(dataset.FrameOfReferenceUID) != reference {
			return refuse(CodeFrame, "slices have more than one Frame of Reference: their positions cannot be compared")
		}
	}
	return nil
}

// even checks the distances of slices that are sorted.
func even(list []Slice) error {
	gaps := make([]float64, len(list)-1)
	for i := range gaps {
		gaps[i] = list[i+1].along - list[i].along
	}
	// Duplicates first: where most slices lie twice, the usual distance is none.
	for i, g := range gaps {
		if g < duplicateMM {
			return refuse(CodeDuplicate, "two slices lie at %.2f mm: ask for each reconstruction or phase as a series of its own", list[i].along)
		}
	}
	sorted := slices.Clone(gaps)
	slices.Sort(sorted)
	median := sorted[len(sorted)/2]
	for i, g := range gaps {
		at, next := list[i].along, list[i+1].along
		switch {
		case g >= gapFrom*median:
			return refuse(CodeGap, "slices are missing between %.2f mm and %.2f mm, the others are %.2f mm apart: send the series again, completely", at, next, median)
		case math.Abs(g-median) > unevenShare*median+unevenMM:
			return refuse(CodeUneven, "slices are %.2f mm apart at %.2f mm and %.2f mm elsewhere: ask for a reconstruction with one spacing", g, at, median)
		}
	}
	return nil
}

// offLine is how far p lies beside the line that the slices lie on.
func offLine(origin, step, p [3]float64) float64 {
	length := dot(step, step)
	var d [3]float64
	for a := range d {
		d[a] = p[a] - origin[a]
	}
	t := dot(d, step) / length
	for a := range d {
		d[a] -= t * step[a]
	}
	return math.Sqrt(dot(d, d))
}

func dot(a, b [3]float64) float64 { return a[0]*b[0] + a[1]*b[1] + a[2]*b[2] }

// normal is the unit vector across the image plane, row x column.
func normal(o [6]float64) [3]float64 {
	n := [3]float64{o[1]*o[5] - o[2]*o[4], o[2]*o[3] - o[0]*o[5], o[0]*o[4] - o[1]*o[3]}
	length := math.Sqrt(dot(n, n))
	for a := range n {
		n[a] /= length
	}
	return n
}
