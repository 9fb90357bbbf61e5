package seg

import (
	"errors"
	"fmt"
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
	case !decimals(g.PixelSpacingString, 2):
		return errors.New("the images' Pixel Spacing is not two numbers")
	}
	if err := checkPositions(g); err != nil {
		return err
	}
	tracked := map[string]string{}
	for i := range r.Nodules {
		n := &r.Nodules[i]
		if err := checkMask(g, &n.Mask); err != nil {
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

func checkPositions(g *result.Grid) error {
	slices := map[result.Point]int{}
	for i, in := range g.Instances {
		switch {
		case !decimals(in.PositionString, 3):
			return fmt.Errorf("slice %d: Image Position (Patient) is not three numbers", i+1)
		case dataset.ValidUID(in.SOPClassUID) != nil || dataset.ValidUID(in.SOPInstanceUID) != nil:
			return fmt.Errorf("slice %d: its image is not known by SOP Class and Instance UID", i+1)
		}
		p := parsed(in.PositionString)
		if j, ok := slices[p]; ok {
			return fmt.Errorf("slices %d and %d have the same position: which of them a segment belongs to is not known", j+1, i+1)
		}
		slices[p] = i
	}
	return nil
}

func parsed(position string) (p result.Point) {
	for i, v := range values(position) {
		p[i], _ = strconv.ParseFloat(strings.TrimSpace(v), 64)
	}
	return p
}

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
		x, y, z := m.X0+i%m.NX, m.Y0+i/m.NX%m.NY, m.Z0+i/(m.NX*m.NY)
		if x < 0 || y < 0 || z < 0 || x >= g.Columns || y >= g.Rows || z >= len(g.Instances) {
			return fmt.Errorf("its contour leaves the images at column %d, row %d, slice %d", x+1, y+1, z+1)
		}
	}
	if empty {
		return errors.New("its contour is empty")
	}
	return nil
}
