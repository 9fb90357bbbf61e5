package keyimage

import (
	"image"
	"image/color"
	"image/draw"
	"math"
)

// What pages are painted with. The ground is near black, as in a reading room;
// amber is kept for the notice that nothing here is verified.
var (
	ground = color.RGBA{11, 15, 20, 255}
	panel  = color.RGBA{20, 26, 34, 255}
	rule   = color.RGBA{48, 58, 70, 255}
	black  = color.RGBA{0, 0, 0, 255}
	white  = color.RGBA{240, 244, 248, 255}
	grey   = color.RGBA{150, 162, 176, 255}
	amber  = color.RGBA{255, 190, 70, 255}
	blue   = color.RGBA{96, 165, 250, 255}
	green  = color.RGBA{74, 200, 130, 255}
	red    = color.RGBA{248, 105, 105, 255}
	shade  = color.RGBA{0, 0, 0, 170} // premultiplied: under text on an image
)

// canvas is a page that is being drawn.
type canvas struct {
	*image.RGBA
	pens pens
}

func newCanvas(p pens, width, height int) *canvas {
	c := &canvas{image.NewRGBA(image.Rect(0, 0, width, height)), p}
	c.fill(c.Rect, ground)
	return c
}

func (c *canvas) fill(r image.Rectangle, by color.RGBA) {
	draw.Draw(c.RGBA, r, image.NewUniform(by), image.Point{}, draw.Over)
}

// within limits what is drawn to a part of the page.
func (c *canvas) within(r image.Rectangle) *canvas {
	return &canvas{c.SubImage(r).(*image.RGBA), c.pens}
}

// shape paints where distance, in pixels from the shape's edge (inside it is
// negative), says so, with smooth edges.
func (c *canvas) shape(r image.Rectangle, by color.RGBA, distance func(x, y float64) float64) {
	r = r.Intersect(c.Rect)
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			cover := min(max(0.5-distance(float64(x)+0.5, float64(y)+0.5), 0), 1)
			if cover == 0 {
				continue
			}
			p := c.Pix[c.PixOffset(x, y):]
			keep := 1 - cover*float64(by.A)/255
			for i, v := range [3]uint8{by.R, by.G, by.B} {
				p[i] = uint8(cover*float64(v) + keep*float64(p[i]) + 0.5)
			}
		}
	}
}

// line draws from (x0, y0) to (x1, y1).
func (c *canvas) line(x0, y0, x1, y1, width float64, by color.RGBA) {
	dx, dy := x1-x0, y1-y0
	length := max(dx*dx+dy*dy, 1e-9)
	reach := width/2 + 1
	r := image.Rect(int(math.Floor(min(x0, x1)-reach)), int(math.Floor(min(y0, y1)-reach)),
		int(math.Ceil(max(x0, x1)+reach)), int(math.Ceil(max(y0, y1)+reach)))
	c.shape(r, by, func(x, y float64) float64 {
		t := min(max(((x-x0)*dx+(y-y0)*dy)/length, 0), 1)
		return math.Hypot(x-x0-t*dx, y-y0-t*dy) - width/2
	})
}

// disc draws a filled circle.
func (c *canvas) disc(x, y, radius float64, by color.RGBA) { c.line(x, y, x, y, 2*radius, by) }

// rounded draws a filled box with round corners.
func (c *canvas) rounded(r image.Rectangle, radius float64, by color.RGBA) {
	c.shape(r, by, boxDistance(r, radius))
}

// frame draws the outline of a box with round corners, inside it.
func (c *canvas) frame(r image.Rectangle, radius, width float64, by color.RGBA) {
	d := boxDistance(r, radius)
	c.shape(r, by, func(x, y float64) float64 { return math.Abs(d(x, y)+width/2) - width/2 })
}

func boxDistance(r image.Rectangle, radius float64) func(x, y float64) float64 {
	cx, cy := float64(r.Min.X+r.Max.X)/2, float64(r.Min.Y+r.Max.Y)/2
	hx, hy := float64(r.Dx())/2-radius, float64(r.Dy())/2-radius
	return func(x, y float64) float64 {
		qx, qy := math.Abs(x-cx)-hx, math.Abs(y-cy)-hy
		return math.Hypot(max(qx, 0), max(qy, 0)) + min(max(qx, qy), 0) - radius
	}
}
