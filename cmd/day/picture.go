package main

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"
)

// The picture: panels one below the other over the same hours, the faults as
// bands with numbers, their names below.
const (
	pictureWidth, panelHeight  = 1300, 170
	marginLeft, marginRight    = 70, 20
	marginTop, between, legend = 40, 34, 16
)

var (
	ink    = color.RGBA{30, 30, 30, 255}
	pale   = color.RGBA{225, 225, 225, 255}
	band   = color.RGBA{255, 225, 205, 255}
	blue   = color.RGBA{31, 97, 171, 255}
	orange = color.RGBA{214, 104, 15, 255}
	green  = color.RGBA{40, 130, 60, 255}
)

// line is a curve, or dots.
type line struct {
	name string
	c    color.RGBA
	dots bool
	x, y []float64
}

type panel struct {
	title string
	lines []line
}

// draw writes the picture of the day.
func (d *day) draw(path string, r *report) error {
	var hours, memory, descriptors, receiving, waiting, delivering []float64
	for _, s := range r.Samples {
		hours = append(hours, s.Hour)
		memory, descriptors = append(memory, s.MemoryMiB), append(descriptors, s.Descriptors)
		receiving, waiting, delivering = append(receiving, float64(s.Receiving)), append(waiting, float64(s.Waiting)), append(delivering, float64(s.Delivering))
	}
	var at, first, all []float64
	for _, one := range r.Delays {
		at, first, all = append(at, one.Hour), append(first, one.First), append(all, one.All)
	}
	end := 24.
	for _, h := range hours {
		end = max(end, h)
	}
	p := picture{end: end, events: r.Events}
	return p.write(path, fmt.Sprintf("A day of %d series in %s. Hours of the day; what is right of 24 is the work that was left.", r.Series, r.Length), []panel{
		{"series in the node", []line{{"coming in", green, false, hours, receiving}, {"waiting for analysis", blue, false, hours, waiting}, {"waiting for delivery", orange, false, hours, delivering}}},
		{"seconds from the last instance", []line{{"to all destinations", orange, true, at, all}, {"to the first", blue, true, at, first}}},
		{"memory, MiB", []line{{"resident", blue, false, hours, memory}}},
		{"descriptors", []line{{"open", blue, false, hours, descriptors}}},
	})
}

type picture struct {
	*image.RGBA
	end    float64 // hours
	events []event
}

func (p *picture) write(path, title string, panels []panel) error {
	below := marginTop + len(panels)*(panelHeight+between)
	rows := (len(p.events) + 2) / 3
	p.RGBA = image.NewRGBA(image.Rect(0, 0, pictureWidth, below+rows*legend+10))
	p.fill(p.Bounds(), color.RGBA{255, 255, 255, 255})
	p.text(marginLeft, 20, ink, title)
	for i, one := range panels {
		p.panel(marginTop+i*(panelHeight+between), one)
	}
	for i, e := range p.events {
		said := fmt.Sprintf("%d  %s", i+1, e.Name)
		if e.Note != "" {
			said += " (not made)"
		}
		p.text(marginLeft+i%3*400, below+i/3*legend+8, ink, said)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(png.Encode(f, p), f.Close())
}

func (p *picture) x(hour float64) int {
	return marginLeft + int(hour/p.end*float64(pictureWidth-marginLeft-marginRight))
}

func (p *picture) panel(top int, one panel) {
	bottom := top + panelHeight
	for i, e := range p.events {
		p.fill(image.Rect(p.x(e.Hour), top, max(p.x(e.Until), p.x(e.Hour)+2), bottom), band)
		p.text(p.x(e.Hour), top+10+i%2*11, orange, fmt.Sprint(i+1))
	}
	most := 1.
	for _, l := range one.lines {
		for _, v := range l.y {
			most = max(most, v)
		}
	}
	step := nice(most / 4)
	most = math.Ceil(most/step) * step
	y := func(v float64) int { return bottom - int(v/most*panelHeight) }
	for v := 0.; v <= most+step/2; v += step {
		p.fill(image.Rect(marginLeft, y(v), pictureWidth-marginRight, y(v)+1), pale)
		label := fmt.Sprintf("%g", v)
		p.text(marginLeft-8-7*len(label), y(v)+4, ink, label)
	}
	for h := 0.; h <= p.end; h += 2 {
		p.fill(image.Rect(p.x(h), bottom, p.x(h)+1, bottom+4), ink)
		p.text(p.x(h)-6, bottom+16, ink, fmt.Sprintf("%02.0f", h))
	}
	p.text(marginLeft, top-6, ink, one.title)
	right := pictureWidth - marginRight
	for _, l := range one.lines {
		right -= 7*len(l.name) + 28
		p.fill(image.Rect(right, top-12, right+10, top-4), l.c)
		p.text(right+14, top-4, ink, l.name)
		for i := range l.x {
			at := image.Pt(p.x(l.x[i]), y(l.y[i]))
			if l.dots {
				p.fill(image.Rect(at.X-2, at.Y-2, at.X+2, at.Y+2), l.c)
			} else if i > 0 {
				p.stroke(image.Pt(p.x(l.x[i-1]), y(l.y[i-1])), at, l.c)
			}
		}
	}
}

// nice is the next number of 1, 2 or 5 and zeros.
func nice(v float64) float64 {
	for unit := math.Pow(10, math.Floor(math.Log10(v))); ; unit *= 10 {
		for _, n := range []float64{1, 2, 5} {
			if n*unit >= v {
				return n * unit
			}
		}
	}
}

func (p *picture) fill(r image.Rectangle, c color.RGBA) {
	r = r.Intersect(p.Bounds())
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			p.SetRGBA(x, y, c)
		}
	}
}

func (p *picture) stroke(from, to image.Point, c color.RGBA) {
	n := max(abs(to.X-from.X), abs(to.Y-from.Y), 1)
	for i := 0; i <= n; i++ {
		x, y := from.X+(to.X-from.X)*i/n, from.Y+(to.Y-from.Y)*i/n
		p.fill(image.Rect(x, y, x+2, y+2), c)
	}
}

func abs(v int) int { return max(v, -v) }

func (p *picture) text(x, y int, c color.RGBA, s string) {
	d := font.Drawer{Dst: p, Src: image.NewUniform(c), Face: basicfont.Face7x13, Dot: fixed.P(x, y)}
	d.DrawString(s)
}
