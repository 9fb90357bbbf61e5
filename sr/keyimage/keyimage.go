// Package keyimage draws the nodules of a result for people: a picture of each
// on its key slice, and one page that sums up the series. They are written as
// PNG and as DICOM Secondary Capture.
//
// A picture travels farther than its report, so each says by itself that an
// algorithm made it and that nobody verified it, and none shows who the patient
// is. A page without findings says what was searched, so that it can't be taken
// for more. The same result gives the same bytes.
package keyimage

import (
	"errors"
	"fmt"
	"image"

	"github.com/pulmonode/pulmonode/inference/result"
)

// Picture is one page.
type Picture struct {
	Name   string // of its files: "key-1", ..., "key-summary"
	Title  string // a line for lists: "Nodule N1"
	RGBA   *image.RGBA
	Source result.Instance // the slice that is shown; zero for the summary
}

// Draw makes a picture of each nodule, in the order of the result, and the
// summary behind them. A result that is not of an analysis has no pictures.
func Draw(r *result.Result) ([]Picture, error) {
	if r.Outcome != result.OutcomeNodules && r.Outcome != result.OutcomeNone {
		return nil, nil
	}
	if r.Grid == nil || len(r.Grid.Instances) == 0 {
		return nil, errors.New("drawing key images: the result has no grid of the analysed images")
	}
	write, err := newPens()
	if err != nil {
		return nil, fmt.Errorf("drawing key images: %w", err)
	}
	var out []Picture
	shown := make([]shown, len(r.Nodules))
	for i := range r.Nodules {
		if shown[i], err = show(r, i); err != nil {
			return nil, fmt.Errorf("drawing key images: nodule %s: %w", r.Nodules[i].ID, err)
		}
	}
	for i := range shown {
		out = append(out, Picture{
			Name:   fmt.Sprintf("key-%d", i+1),
			Title:  "Nodule " + r.Nodules[i].ID,
			RGBA:   nodulePage(write, r, shown[i]),
			Source: r.Grid.Instances[shown[i].slice],
		})
	}
	return append(out, Picture{Name: "key-summary", Title: "Summary of nodules", RGBA: summaryPage(write, r, shown)}), nil
}

// shown is a nodule with the slice that shows it.
type shown struct {
	index  int // in the result
	nodule *result.Nodule
	slice  int // in the grid
	pixels *result.Pixels
}

// show finds a nodule's key slice: in an enhanced object, whose frames share one
// UID, it is the one with most of the nodule.
func show(r *result.Result, i int) (shown, error) {
	n := &r.Nodules[i]
	s, most := shown{index: i, nodule: n, slice: -1}, -1
	if m := &n.Mask; m.NX < 0 || m.NY < 0 || m.NZ < 0 || len(m.Bits) != m.NX*m.NY*m.NZ {
		return s, errors.New("its contour does not fill its box")
	}
	for z, in := range r.Grid.Instances {
		if in.SOPInstanceUID != n.KeySlice {
			continue
		}
		if area := areaOf(&n.Mask, z); area > most {
			s.slice, most = z, area
		}
	}
	if s.slice < 0 {
		return s, errors.New("its key slice is not one of the analysed images")
	}
	s.pixels = r.Slices[s.slice]
	if p := s.pixels; p == nil || p.Rows != r.Grid.Rows || p.Columns != r.Grid.Columns || len(p.HU) != p.Rows*p.Columns {
		return s, fmt.Errorf("the pixels of its key slice (slice %d) are missing", s.slice+1)
	}
	return s, nil
}

// areaOf counts the voxels of a nodule in slice z of the grid.
func areaOf(m *result.Mask, z int) int {
	n := 0
	if z >= m.Z0 && z < m.Z0+m.NZ {
		for _, in := range m.Bits[(z-m.Z0)*m.NX*m.NY:][:m.NX*m.NY] {
			if in {
				n++
			}
		}
	}
	return n
}
