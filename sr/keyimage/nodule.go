package keyimage

import (
	"fmt"
	"image"
	"math"

	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/sr/study"
)

// The panel beside the slice.
const (
	panelWidth  = 460
	panelMargin = 28
	pageHeight  = 1024 // at least
)

// nodulePage shows one nodule: its key slice, and beside it the nodule from
// close by with what was measured.
func nodulePage(p pens, r *result.Result, s shown) *image.RGBA {
	v := wholeView(r.Grid, s.slice)
	height := max(v.at.Dy(), pageHeight)
	v.at = v.at.Add(image.Pt(0, (height-v.at.Dy())/2))
	c := newCanvas(p, v.at.Dx()+panelWidth, height)
	c.slicePart(v, r, s)
	c.panelPart(image.Rect(v.at.Dx(), 0, v.at.Dx()+panelWidth, height), r, s)
	return c.RGBA
}

// slicePart draws the slice with every nodule that it cuts.
func (c *canvas) slicePart(v view, r *result.Result, s shown) {
	c.paint(v, s.pixels)
	bounds := v.at.Inset(8)
	for k := range r.Nodules {
		i := (s.index + 1 + k) % len(r.Nodules) // its own last, over its neighbours
		n := &r.Nodules[i]
		if i != s.index && areaOf(&n.Mask, s.slice) == 0 {
			continue
		}
		by := study.ColorOf(n).RGB
		c.contour(v, &n.Mask, 2, by)
		x0, y0, x1, y1 := boundsOf(&n.Mask, s.slice)
		reach := 10.0
		if i == s.index {
			reach = c.brackets(v, x0, y0, x1, y1)
		}
		x, y := (v.x(x0)+v.x(x1))/2, v.y(y0)-reach-20
		if y < float64(bounds.Min.Y)+15 {
			y = v.y(y1) + reach + 20
		}
		c.tag(int(x), int(y), strong, by, n.ID, bounds)
	}
	c.orient(v)
	c.scaleBar(v)
	c.tag(bounds.Max.X, bounds.Max.Y, caption, amber, study.NotVerified, bounds)
}

// brackets draws the corners of a square around a nodule, so that a small one is
// found at a glance, and says how far beyond the nodule they reach.
func (c *canvas) brackets(v view, x0, y0, x1, y1 float64) float64 {
	cx, cy := (v.x(x0)+v.x(x1))/2, (v.y(y0)+v.y(y1))/2
	half := max((v.x(x1)-v.x(x0))/2, (v.y(y1)-v.y(y0))/2) + 16
	half = max(half, 30)
	arm := half / 2.5
	in := c.within(v.at)
	for _, pass := range cased {
		for _, sx := range []float64{-1, 1} {
			for _, sy := range []float64{-1, 1} {
				x, y := cx+sx*half, cy+sy*half
				in.line(x, y, x-sx*arm, y, 1.6+pass.wider, pass.by)
				in.line(x, y, x, y-sy*arm, 1.6+pass.wider, pass.by)
			}
		}
	}
	return half - (v.y(y1)-v.y(y0))/2
}

func (c *canvas) panelPart(at image.Rectangle, r *result.Result, s shown) {
	n := s.nodule
	by := study.ColorOf(n).RGB
	c.fill(at, panel)
	left, right := at.Min.X+panelMargin, at.Max.X-panelMargin
	y := 62
	c.disc(float64(left)+11, float64(y)-12, 11, by)
	c.text(left+34, y, title, white, "Nodule "+n.ID)
	c.textRight(right, y, body, grey, fmt.Sprintf("%d of %d", s.index+1, len(r.Nodules)))
	y += 36
	c.text(left, y, body, grey, fmt.Sprintf("%s, slice %d of %d", side(n), s.slice+1, len(r.Grid.Instances)))

	y += 20
	inset := image.Rect(left, y, right, y+right-left)
	near := closeView(r.Grid, s, inset)
	c.paint(near, s.pixels)
	for i := range r.Nodules {
		if i != s.index {
			c.contour(near, &r.Nodules[i].Mask, 2, study.ColorOf(&r.Nodules[i]).RGB)
		}
	}
	c.contour(near, &n.Mask, 3, by)
	c.axis(near, n.LongAxis)
	c.axis(near, n.ShortAxis)
	c.scaleBar(near)
	c.frame(inset.Inset(-2), 3, 2, rule)

	y = inset.Max.Y + 34
	half := (right - left) / 2
	facts := []struct{ name, value string }{
		{"Long × short axis", size(n)},
		{"Volume", volume(n)},
		{"Largest 3D diameter", diameter(n)},
		{"Mean ± SD", density(n, true)},
	}
	for i, f := range facts {
		x := left + i%2*(half+20)
		top := y + i/2*66
		c.text(x, top, caption, grey, f.name)
		c.text(x, top+29, value, white, f.value)
	}
	y += 2*66 + 10
	for _, k := range characteristics {
		ch, ok := n.Characteristics[k.key]
		c.text(left, y, body, white, k.words)
		said := "not judged"
		if ok {
			said = fmt.Sprintf("%s (%s)", percent(ch.Probability), ch.Label)
		}
		c.textRight(right, y, strong, white, said)
		c.bar(image.Rect(left, y+9, right, y+17), k.key, ch, ok)
		y += 48
	}
	c.notice(image.Rect(left, at.Max.Y-94, right, at.Max.Y-24), algorithm(r.Algorithm))
}

// bar draws a probability with the marks where its label changes.
func (c *canvas) bar(at image.Rectangle, key string, ch result.Characteristic, known bool) {
	c.rounded(at, float64(at.Dy())/2, rule)
	if !known || math.IsNaN(ch.Probability) {
		return
	}
	p := min(max(ch.Probability, 0), 1)
	full := at
	full.Max.X = at.Min.X + max(at.Dy(), int(math.Round(p*float64(at.Dx()))))
	c.rounded(full, float64(at.Dy())/2, barColor(key, ch.Label))
	for _, m := range marks(key, ch) {
		if m > 0 && m < 1 {
			x := at.Min.X + int(math.Round(m*float64(at.Dx())))
			c.fill(image.Rect(x-1, at.Min.Y-3, x+1, at.Max.Y+3), white)
		}
	}
}

// notice says that nobody verified what is shown, and what made it.
func (c *canvas) notice(at image.Rectangle, made string) {
	c.frame(at, 8, 2, amber)
	c.text(at.Min.X+16, at.Min.Y+29, caption, amber, study.NotVerified)
	c.text(at.Min.X+16, at.Min.Y+54, caption, grey, c.pens.fit(caption, made, at.Dx()-32))
}

// Close draws a nodule from close by as a square of the side, in pixels, with
// nothing written on it.
func Close(r *result.Result, index, side int) (*image.RGBA, error) {
	s, err := show(r, index)
	if err != nil {
		return nil, fmt.Errorf("drawing nodule %s: %w", r.Nodules[index].ID, err)
	}
	c := newCanvas(nil, side, side)
	v := closeView(r.Grid, s, c.Rect)
	c.paint(v, s.pixels)
	c.contour(v, &s.nodule.Mask, 2, study.ColorOf(s.nodule).RGB)
	return c.RGBA, nil
}
