package series

import (
	"math"
	"slices"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// frame is one image plane: an instance, or a frame of an enhanced one.
// Coordinates are LPS mm. What the header does not say properly is left out.
type frame struct {
	position    [3]float64 // Image Position (Patient)
	orientation [6]float64 // row, then column cosines
	spacing     [2]float64 // mm between rows, mm between columns
	placed      bool       // position is known
	oriented    bool       // orientation is known
	spaced      bool       // spacing is known
	imageType   []string
}

// Functional groups of enhanced images (PS3.3 C.7.6.16).
const (
	sharedFunctionalGroups   dataset.Tag = 0x52009229
	perFrameFunctionalGroups dataset.Tag = 0x52009230
)

// maxFrames bounds the frames of one enhanced instance that are looked at.
const maxFrames = 20000

// framesOf lists the image planes of a header: one of a CT Image, those of the
// functional groups of an enhanced one (PS3.3 C.7.6.16).
func framesOf(h *dataset.Dataset) []frame {
	if h == nil {
		return []frame{{}}
	}
	perFrame := h.Items(perFrameFunctionalGroups)
	if len(perFrame) == 0 {
		return []frame{frame{imageType: h.Texts(dataset.ImageType)}.with(h, h, h)}
	}
	var shared *dataset.Dataset
	if items := h.Items(sharedFunctionalGroups); len(items) > 0 {
		shared = items[0]
	}
	// A macro stands in the shared groups or in every frame's.
	group := func(own *dataset.Dataset, sequence dataset.Tag) *dataset.Dataset {
		for _, g := range []*dataset.Dataset{own, shared} {
			if g == nil {
				continue
			}
			if items := g.Items(sequence); len(items) > 0 {
				return items[0]
			}
		}
		return nil
	}
	if len(perFrame) > maxFrames {
		perFrame = perFrame[:maxFrames]
	}
	list := make([]frame, 0, len(perFrame))
	for _, own := range perFrame {
		f := frame{imageType: h.Texts(dataset.ImageType)}
		if g := group(own, dataset.CTImageFrameTypeSequence); g != nil {
			f.imageType = g.Texts(dataset.FrameType)
		}
		list = append(list, f.with(
			group(own, dataset.PlanePositionSequence),
			group(own, dataset.PlaneOrientationSequence),
			group(own, dataset.PixelMeasuresSequence)))
	}
	return list
}

// with fills in the plane from the data sets that hold its three macros.
func (f frame) with(position, orientation, measures *dataset.Dataset) frame {
	f.placed = numbers(position, dataset.ImagePositionPatient, f.position[:])
	f.oriented = numbers(orientation, dataset.ImageOrientationPatient, f.orientation[:]) && orthonormal(f.orientation)
	f.spaced = numbers(measures, dataset.PixelSpacing, f.spacing[:]) && f.spacing[0] > 0 && f.spacing[1] > 0
	return f
}

// numbers reads exactly len(into) finite numbers of a size that a body has.
func numbers(d *dataset.Dataset, t dataset.Tag, into []float64) bool {
	if d == nil {
		return false
	}
	v, err := d.Floats(t)
	if err != nil || len(v) != len(into) {
		return false
	}
	for _, x := range v {
		if math.IsNaN(x) || math.Abs(x) > 1e6 {
			return false
		}
	}
	copy(into, v)
	return true
}

// orthonormal allows for cosines that were written with few digits.
func orthonormal(o [6]float64) bool {
	row, column, cross := 0.0, 0.0, 0.0
	for i := range 3 {
		row += o[i] * o[i]
		column += o[3+i] * o[3+i]
		cross += o[i] * o[3+i]
	}
	const tolerance = 0.02
	return math.Abs(row-1) < tolerance && math.Abs(column-1) < tolerance && math.Abs(cross) < tolerance
}

// normal is the unit vector across the image plane.
func normal(o [6]float64) [3]float64 {
	n := [3]float64{o[1]*o[5] - o[2]*o[4], o[2]*o[3] - o[0]*o[5], o[0]*o[4] - o[1]*o[3]}
	length := math.Sqrt(n[0]*n[0] + n[1]*n[1] + n[2]*n[2])
	for i := range n {
		n[i] /= length
	}
	return n
}

// sameOrientation allows for half a degree.
func sameOrientation(a, b [6]float64) bool {
	for i := range a {
		if math.Abs(a[i]-b[i]) > 0.01 {
			return false
		}
	}
	return true
}

// stack collects the positions of planes along their common normal; nothing
// else of them is kept.
type stack struct {
	instances   int
	orientation [6]float64
	normal      [3]float64
	oriented    bool
	positions   []float64 // mm along the normal, as they came
	odd         bool      // a plane has no place, or another orientation, or there are too many
}

// maxPositions bounds the memory of a series that never ends: 160 kB. Such a
// series closes by time.
const maxPositions = 20000

// add takes one instance's header.
func (s *stack) add(h *dataset.Dataset) {
	s.instances++
	for _, f := range framesOf(h) {
		if !f.placed || !f.oriented || len(s.positions) >= maxPositions {
			s.odd = true
			return
		}
		if !s.oriented {
			s.orientation, s.normal, s.oriented = f.orientation, normal(f.orientation), true
		} else if !sameOrientation(s.orientation, f.orientation) {
			s.odd = true
			return
		}
		s.positions = append(s.positions, along(s.normal, f.position))
	}
}

func along(n, p [3]float64) float64 { return n[0]*p[0] + n[1]*p[1] + n[2]*p[2] }

// closed reports whether the planes form one stack without a gap. It sorts the
// positions.
func (s *stack) closed() bool {
	if s.odd || len(s.positions) < 2 {
		return false
	}
	slices.Sort(s.positions)
	_, _, even := spacing(s.positions)
	return even
}

// duplicateWithin is the distance in mm under which two planes count as one
// position.
const duplicateWithin = 0.01

// spacing returns the median distance of neighbours in sorted positions, the
// index of the plane before the first gap or duplicate (-1: none), and whether
// all distances agree. Positions are often written with one decimal, so a
// spacing of 0.625 mm shows as 0.6 and 0.7.
func spacing(sorted []float64) (median float64, odd int, even bool) {
	if len(sorted) < 2 {
		return 0, -1, false
	}
	gaps := make([]float64, len(sorted)-1)
	for i := range gaps {
		gaps[i] = sorted[i+1] - sorted[i]
	}
	ordered := slices.Clone(gaps)
	slices.Sort(ordered)
	median = ordered[len(ordered)/2]
	for i, g := range gaps {
		if g < duplicateWithin || math.Abs(g-median) > 0.1*median+0.06 {
			return median, i, false
		}
	}
	return median, -1, true
}
