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

// Page is a picture that can be drawn. Drawing takes a few megabytes, so pages
// are drawn one at a time.
type Page struct {
	Name   string          // of its files: "key-1", ..., "key-summary"
	Title  string          // a line for lists: "Nodule N1"
	Source result.Instance // the slice that is shown; zero for the summary

	draw func(pens) *image.RGBA
}

// Picture is a page that was drawn.
type Picture struct {
	Page
	RGBA *image.RGBA
}

// Pages lists the pages of a result, one of each nodule, in the order of the
// result, and the summary behind them, and makes sure that all can be drawn. A
// result that is not of an analysis has none.
func Pages(r *result.Result) ([]Page, error) {
	if r.Outcome != result.OutcomeNodules && r.Outcome != result.OutcomeNone {
		return nil, nil
	}
	if r.Grid == nil || len(r.Grid.Instances) == 0 {
		return nil, errors.New("drawing key images: the result has no grid of the analysed images")
	}
	found := make([]shown, len(r.Nodules))
	var out []Page
	for i := range r.Nodules {
		var err error
		if found[i], err = show(r, i); err != nil {
			return nil, fmt.Errorf("drawing key images: nodule %s: %w", r.Nodules[i].ID, err)
		}
		out = append(out, Page{
			Name:   fmt.Sprintf("key-%d", i+1),
			Title:  "Nodule " + r.Nodules[i].ID,
			Source: r.Grid.Instances[found[i].slice],
			draw:   func(p pens) *image.RGBA { return nodulePage(p, r, found[i]) },
		})
	}
	sheets := (len(found) + rowsOfPage - 1) / rowsOfPage
	for i := range max(1, sheets) {
		p := Page{Name: "key-summary", Title: "Summary of nodules"}
		if i > 0 {
			p.Name = fmt.Sprintf("key-summary-%d", i+1)
		}
		if sheets > 1 {
			p.Title = fmt.Sprintf("Summary of nodules, page %d of %d", i+1, sheets)
		}
		p.draw = func(with pens) *image.RGBA {
			return summaryPage(with, r, sheet{found, i * rowsOfPage, min((i+1)*rowsOfPage, len(found))})
		}
		out = append(out, p)
	}
	return out, nil
}

// Draw draws the page.
func (p Page) Draw() (Picture, error) {
	with, err := newPens()
	if err != nil {
		return Picture{}, fmt.Errorf("drawing key images: %w", err)
	}
	return Picture{p, p.draw(with)}, nil
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
