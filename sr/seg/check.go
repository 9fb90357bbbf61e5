package seg

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
)

// most is the largest Rows, Columns and Segment Number (VR US).
const most = 1<<16 - 1

// check says in a sentence why a result cannot be laid over its images.
func check(ct *dataset.Dataset, r *result.Result) error {
	frame := ct.Text(dataset.FrameOfReferenceUID)
	g := r.Grid
	switch {
	case len(r.Nodules) == 0:
		return errors.New("there is no nodule: a segmentation without segments cannot be written")
	case len(r.Nodules) > most:
		return fmt.Errorf("%d nodules are more than a segmentation can number", len(r.Nodules))
	case dataset.ValidUID(frame) != nil:
		return errors.New("the images have no usable Frame of Reference UID: viewers could not place the segmentation on them")
	case r.Series.FrameOfReferenceUID != "" && r.Series.FrameOfReferenceUID != frame:
		return errors.New("the header is of another Frame of Reference than the analysed images")
	case dataset.ValidUID(r.Series.SeriesInstanceUID) != nil:
		return errors.New("the result does not say which series was analysed")
	case g == nil || len(g.Instances) == 0:
		return errors.New("the result has no grid of the analysed images")
	case g.Rows < 1 || g.Rows > most || g.Columns < 1 || g.Columns > most:
		return fmt.Errorf("the grid has %d rows and %d columns; each must be 1 to %d", g.Rows, g.Columns, most)
	case !decimals(g.OrientationString, 6):
		return errors.New("the images' Image Orientation (Patient) is not six numbers")
	case !decimals(g.PixelSpacingString, 2) || slices.Min(numbers(g.PixelSpacingString)) <= 0:
		return errors.New("the images' Pixel Spacing is not two numbers above 0")
	}
	if err := checkPositions(g); err != nil {
		return err
	}
	tracked := map[string]string{}
	for i := range r.Nodules {
		n := &r.Nodules[i]
		if n.ID == "" {
			return errors.New("a nodule has no identifier")
		}
		if err := checkMask(g, &n.Mask); err != nil {
			return fmt.Errorf("nodule %s: %w", n.ID, err)
		}
		if err := checkProbabilities(g, n); err != nil {
			return fmt.Errorf("nodule %s: %w", n.ID, err)
		}
		if err := dataset.ValidUID(n.TrackingUID); err != nil {
			return fmt.Errorf("nodule %s: its tracking UID: %w", n.ID, err)
		}
		if other, ok := tracked[n.TrackingUID]; ok {
			return fmt.Errorf("nodules %s and %s have the same tracking UID", other, n.ID)
		}
		tracked[n.TrackingUID] = n.ID
	}
	return nil
}

// checkPositions wants slices in order along their normal, no two at one place,
// each with its own image.
func checkPositions(g *result.Grid) error {
	type image struct {
		instance string
		frame    int
	}
	axis, length := normal(g)
	if !(math.Abs(length-1) < 0.05) { // cosines of few digits
		return errors.New("the images' Image Orientation (Patient) is not two directions at a right angle")
	}
	places, images := map[result.Point]int{}, map[image]int{}
	for i, in := range g.Instances {
		switch {
		case !decimals(in.PositionString, 3):
			return fmt.Errorf("slice %d: Image Position (Patient) is not three numbers", i+1)
		case dataset.ValidUID(in.SOPClassUID) != nil || dataset.ValidUID(in.SOPInstanceUID) != nil:
			return fmt.Errorf("slice %d: its image is not known by SOP Class and Instance UID", i+1)
		}
		p := point(in.PositionString)
		if j, ok := places[p]; ok {
			return fmt.Errorf("slices %d and %d have the same position: which of them a segment belongs to is not known", j+1, i+1)
		}
		of := image{in.SOPInstanceUID, in.Frame}
		if j, ok := images[of]; ok {
			return fmt.Errorf("slices %d and %d are one image: which of them a segment belongs to is not known", j+1, i+1)
		}
		if i > 0 && !(along(axis, in.PositionString) > along(axis, g.Instances[i-1].PositionString)) {
			return fmt.Errorf("slice %d does not lie above slice %d along the normal of the images: the grid is not in order", i+1, i)
		}
		places[p], images[of] = i, i
	}
	return nil
}

func point(position string) (p result.Point) { return result.Point(numbers(position)) }

// numbers are the values of a decimal string that decimals has found good.
func numbers(s string) []float64 {
	var out []float64
	for _, v := range values(s) {
		x, _ := strconv.ParseFloat(strings.TrimSpace(v), 64)
		out = append(out, x)
	}
	return out
}

// normal is the direction in which slices follow each other (PS3.3 C.7.6.2.1.1),
// and the length that it had before it was made 1.
func normal(g *result.Grid) (axis result.Point, length float64) {
	o := numbers(g.OrientationString)
	axis = result.Point{o[1]*o[5] - o[2]*o[4], o[2]*o[3] - o[0]*o[5], o[0]*o[4] - o[1]*o[3]}
	length = math.Sqrt(dot(axis, axis))
	for i := range axis {
		axis[i] /= length
	}
	return axis, length
}

func along(axis result.Point, position string) float64 { return dot(axis, point(position)) }

func dot(a, b result.Point) float64 { return a[0]*b[0] + a[1]*b[1] + a[2]*b[2] }

// decimals says that s is n values of a decimal string.
func decimals(s string, n int) bool {
	parts := values(s)
	for _, p := range parts {
		if _, err := strconv.ParseFloat(strings.TrimSpace(p), 64); err != nil || strings.Trim(p, "0123456789+-.eE ") != "" {
			return false
		}
	}
	return len(parts) == n
}

func checkMask(g *result.Grid, m *result.Mask) error {
	if m.NX < 0 || m.NY < 0 || m.NZ < 0 || len(m.Bits) != m.NX*m.NY*m.NZ {
		return errors.New("its contour does not fill its box")
	}
	empty := true
	for i, in := range m.Bits {
		if !in {
			continue
		}
		empty = false
		if err := inside(g, m.X0+i%m.NX, m.Y0+i/m.NX%m.NY, m.Z0+i/(m.NX*m.NY)); err != nil {
			return fmt.Errorf("its contour %w", err)
		}
	}
	if empty {
		return errors.New("its contour is empty")
	}
	return nil
}

// checkProbabilities wants those that are known to be those of the contour.
func checkProbabilities(g *result.Grid, n *result.Nodule) error {
	p := &n.Probabilities
	if p.Values == nil {
		return nil
	}
	if p.NX < 0 || p.NY < 0 || p.NZ < 0 || len(p.Values) != p.NX*p.NY*p.NZ {
		return errors.New("the probabilities of its voxels do not fill their box")
	}
	for i, v := range p.Values {
		if v == 0 {
			continue
		}
		if err := inside(g, p.X0+i%p.NX, p.Y0+i/p.NX%p.NY, p.Z0+i/(p.NX*p.NY)); err != nil {
			return fmt.Errorf("one of its probabilities %w", err)
		}
	}
	m, s := &n.Mask, shapeOf(p)
	for i, in := range m.Bits {
		if x, y, z := m.X0+i%m.NX, m.Y0+i/m.NX%m.NY, m.Z0+i/(m.NX*m.NY); in && s.at(x, y, z) == 0 {
			return fmt.Errorf("its voxel at column %d, row %d, slice %d has no probability", x+1, y+1, z+1)
		}
	}
	return nil
}

func inside(g *result.Grid, x, y, z int) error {
	if x < 0 || y < 0 || z < 0 || x >= g.Columns || y >= g.Rows || z >= len(g.Instances) {
		return fmt.Errorf("leaves the images at column %d, row %d, slice %d", x+1, y+1, z+1)
	}
	return nil
}
