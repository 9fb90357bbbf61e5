package keyimage

import (
	"fmt"
	"image"
	"image/color"
	"math"

	"github.com/pulmonode/pulmonode/inference/result"
)

// The lung window: what HU are black and white (PS3.3 C.11.2.1.2).
const (
	windowCenter = -600
	windowWidth  = 1500
)

// window gives the grey of a value by the LINEAR function of PS3.3 C.11.2.1.2.1.
func window(hu float64) uint8 {
	y := ((hu-(windowCenter-0.5))/(windowWidth-1) + 0.5) * 255
	return uint8(min(max(math.Round(y), 0), 255))
}

// view shows a part of a slice in a box of the page. Places in the slice are
// counted by voxel edges: voxel i lies between i and i+1.
type view struct {
	grid   *result.Grid
	slice  int
	at     image.Rectangle // on the page
	u0, v0 float64         // column and row at the corner of the box
	sx, sy float64         // pixels for a column, for a row
}

// wholeView shows all of a slice, enlarged so that text beside it is legible:
// about 1000 pixels, squared where the voxels are not.
func wholeView(g *result.Grid, slice int) view {
	side := max(g.Rows, g.Columns)
	s := float64(max(1, (900+side-1)/side))
	v := view{grid: g, slice: slice, sx: s, sy: s}
	if ratio := g.PixelSpacing[0] / g.PixelSpacing[1]; ratio > 0 && math.Abs(ratio-1) > 0.01 {
		v.sy *= min(max(ratio, 0.25), 4)
	}
	v.at = image.Rect(0, 0, int(math.Round(float64(g.Columns)*v.sx)), int(math.Round(float64(g.Rows)*v.sy)))
	return v
}

// closeView fills a box of the page with the surroundings of a nodule: as much
// again as the nodule itself, and at least 24 mm.
func closeView(g *result.Grid, s shown, at image.Rectangle) view {
	dy, dx := spacing(g)
	x0, y0, x1, y1 := boundsOf(&s.nodule.Mask, s.slice)
	side := max(24, 2.2*max((x1-x0)*dx, (y1-y0)*dy)) // mm
	v := view{grid: g, slice: s.slice, at: at, sx: float64(at.Dx()) * dx / side, sy: float64(at.Dy()) * dy / side}
	v.u0 = (x0+x1)/2 - side/dx/2
	v.v0 = (y0+y1)/2 - side/dy/2
	return v
}

// spacing is the size of a pixel in mm, down and across, 1 where it is not known.
func spacing(g *result.Grid) (dy, dx float64) {
	dy, dx = g.PixelSpacing[0], g.PixelSpacing[1]
	if !(dy > 0) || !(dx > 0) {
		return 1, 1
	}
	return dy, dx
}

// boundsOf is the smallest box that holds a nodule in slice z, by voxel edges; of
// one that is not there, the box of its mask.
func boundsOf(m *result.Mask, z int) (x0, y0, x1, y1 float64) {
	x0, y0, x1, y1 = math.Inf(1), math.Inf(1), math.Inf(-1), math.Inf(-1)
	for y := m.Y0; y < m.Y0+m.NY; y++ {
		for x := m.X0; x < m.X0+m.NX; x++ {
			if m.At(x, y, z) {
				x0, y0 = min(x0, float64(x)), min(y0, float64(y))
				x1, y1 = max(x1, float64(x+1)), max(y1, float64(y+1))
			}
		}
	}
	if x1 < x0 {
		return float64(m.X0), float64(m.Y0), float64(m.X0 + m.NX), float64(m.Y0 + m.NY)
	}
	return x0, y0, x1, y1
}

// x and y are where a column's and a row's edge lie on the page.
func (v view) x(u float64) float64 { return float64(v.at.Min.X) + (u-v.u0)*v.sx }
func (v view) y(w float64) float64 { return float64(v.at.Min.Y) + (w-v.v0)*v.sy }

// place is where a point in space lies on the page.
func (v view) place(p result.Point) (x, y float64) {
	dy, dx := spacing(v.grid)
	o := v.grid.Instances[v.slice].Position
	var u, w float64
	for i := range p {
		u += (p[i] - o[i]) * v.grid.Orientation[i]
		w += (p[i] - o[i]) * v.grid.Orientation[3+i]
	}
	return v.x(u/dx + 0.5), v.y(w/dy + 0.5)
}

// paint draws the slice at the lung window, between its pixels' centres by
// linear interpolation; beyond its edges it stays black.
func (c *canvas) paint(v view, p *result.Pixels) {
	sample := func(at float64, n int) (int, float64) { // index of the lower neighbour, weight of the upper
		at = min(max(at-0.5, 0), float64(n-1))
		i := min(int(at), max(n-2, 0))
		return i, at - float64(i)
	}
	type place struct {
		i      int
		weight float64
		inside bool
	}
	columns := make([]place, v.at.Dx())
	for x := range columns {
		u := v.u0 + (float64(x)+0.5)/v.sx
		i, w := sample(u, p.Columns)
		columns[x] = place{i, w, u >= 0 && u < float64(p.Columns)}
	}
	right, down := min(1, p.Columns-1), min(1, p.Rows-1)*p.Columns
	for y := range v.at.Dy() {
		w := v.v0 + (float64(y)+0.5)/v.sy
		i, wy := sample(w, p.Rows)
		row := p.HU[i*p.Columns:]
		out := c.Pix[c.PixOffset(v.at.Min.X, v.at.Min.Y+y):]
		for x, k := range columns {
			g := uint8(0)
			if k.inside && w >= 0 && w < float64(p.Rows) {
				a := float64(row[k.i])*(1-k.weight) + float64(row[k.i+right])*k.weight
				b := float64(row[down+k.i])*(1-k.weight) + float64(row[down+k.i+right])*k.weight
				g = window(a*(1-wy) + b*wy)
			}
			out[4*x], out[4*x+1], out[4*x+2], out[4*x+3] = g, g, g, 255
		}
	}
}

// contour draws the outline of a nodule in the view's slice: lines of the width
// on the edges between its voxels and others. Nothing is smoothed, what is seen
// is what was segmented.
func (c *canvas) contour(v view, m *result.Mask, width int, by color.RGBA) {
	c = c.within(v.at)
	edge := func(x0, y0, x1, y1 int) {
		r := image.Rect(int(math.Round(v.x(float64(x0)))), int(math.Round(v.y(float64(y0)))),
			int(math.Round(v.x(float64(x1)))), int(math.Round(v.y(float64(y1)))))
		before := width / 2
		c.fill(image.Rect(r.Min.X-before, r.Min.Y-before, r.Max.X+width-before, r.Max.Y+width-before), by)
	}
	for y := m.Y0; y < m.Y0+m.NY; y++ {
		for x := m.X0; x < m.X0+m.NX; x++ {
			if !m.At(x, y, v.slice) {
				continue
			}
			if !m.At(x, y-1, v.slice) {
				edge(x, y, x+1, y)
			}
			if !m.At(x, y+1, v.slice) {
				edge(x, y+1, x+1, y+1)
			}
			if !m.At(x-1, y, v.slice) {
				edge(x, y, x, y+1)
			}
			if !m.At(x+1, y, v.slice) {
				edge(x+1, y, x+1, y+1)
			}
		}
	}
}

// cased are the passes of a line that shows on tissue, on air and across a
// contour of any colour: white within black.
var cased = []struct {
	wider float64
	by    color.RGBA
}{{3, black}, {0, white}}

// axis draws a diameter.
func (c *canvas) axis(v view, a result.Axis) {
	if a.From == a.To {
		return
	}
	x0, y0 := v.place(a.From)
	x1, y1 := v.place(a.To)
	c = c.within(v.at)
	for _, pass := range cased {
		c.line(x0, y0, x1, y1, 2+pass.wider, pass.by)
		for _, end := range [][2]float64{{x0, y0}, {x1, y1}} {
			c.disc(end[0], end[1], 3.5+pass.wider/2, pass.by)
		}
	}
}

// scaleBar draws a round length at the lower left of the view, as long as fits
// in less than half of it.
func (c *canvas) scaleBar(v view) {
	_, dx := spacing(v.grid)
	mm := 50.0
	for _, shorter := range []float64{20, 10, 5, 2, 1} {
		if mm/dx*v.sx > float64(v.at.Dx())*0.45 {
			mm = shorter
		}
	}
	length, label := mm/dx*v.sx, fmt.Sprintf("%.0f mm", mm)
	x, y := float64(v.at.Min.X)+20, float64(v.at.Max.Y)-22
	c = c.within(v.at)
	c.rounded(image.Rect(int(x)-8, int(y)-30, int(x+max(length, float64(c.pens.width(caption, label))))+8, int(y)+10), 5, shade)
	c.text(int(x), int(y)-10, caption, white, label)
	c.line(x, y, x+length, y, 3, white)
}

// sides are the letters of PS3.3 C.7.6.1.1.1 for the ways of the LPS axes.
var sides = [3][2]string{{"R", "L"}, {"A", "P"}, {"F", "H"}}

// toward is the letter of the side that a direction mostly goes to.
func toward(d [3]float64) string {
	most := 0
	for i := range d {
		if math.Abs(d[i]) > math.Abs(d[most]) {
			most = i
		}
	}
	if d[most] < 0 {
		return sides[most][0]
	}
	return sides[most][1]
}

// orient writes on the edges of the view which side of the patient they show.
func (c *canvas) orient(v view) {
	o := v.grid.Orientation
	along := [3]float64{o[0], o[1], o[2]}
	down := [3]float64{o[3], o[4], o[5]}
	minus := func(d [3]float64) [3]float64 { return [3]float64{-d[0], -d[1], -d[2]} }
	mid := v.at.Min.Add(v.at.Max).Div(2)
	in := v.at.Inset(8)
	c.tag(in.Min.X, mid.Y, strong, white, toward(minus(along)), in)
	c.tag(in.Max.X, mid.Y, strong, white, toward(along), in)
	c.tag(mid.X, in.Min.Y, strong, white, toward(minus(down)), in)
	c.tag(mid.X, in.Max.Y, strong, white, toward(down), in)
}
