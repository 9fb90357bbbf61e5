package keyimage

import (
	"fmt"
	"image"
	"image/color"
	"strings"
	"sync"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

// pen is a weight and size of the Go fonts, which are part of the program: text
// looks the same on every machine.
type pen struct {
	bold bool
	size float64 // pixels
}

var (
	huge    = pen{true, 46}
	title   = pen{true, 34}
	value   = pen{true, 25}
	strong  = pen{true, 20}
	body    = pen{false, 20}
	caption = pen{false, 17}
)

type pens map[pen]font.Face

var parsed = sync.OnceValues(func() (map[bool]*opentype.Font, error) {
	regular, err := opentype.Parse(goregular.TTF)
	if err != nil {
		return nil, err
	}
	bold, err := opentype.Parse(gobold.TTF)
	return map[bool]*opentype.Font{false: regular, true: bold}, err
})

// newPens makes the faces for one drawing: a face is not for two goroutines.
func newPens() (pens, error) {
	fonts, err := parsed()
	if err != nil {
		return nil, fmt.Errorf("the fonts: %w", err)
	}
	out := pens{}
	for _, p := range []pen{huge, title, value, strong, body, caption} {
		face, err := opentype.NewFace(fonts[p.bold], &opentype.FaceOptions{Size: p.size, DPI: 72, Hinting: font.HintingNone})
		if err != nil {
			return nil, fmt.Errorf("the fonts: %w", err)
		}
		out[p] = face
	}
	return out, nil
}

// width is how many pixels a text takes.
func (p pens) width(with pen, s string) int { return font.MeasureString(p[with], s).Ceil() }

// text writes s with its baseline at y, beginning at x.
func (c *canvas) text(x, y int, with pen, by color.RGBA, s string) {
	d := font.Drawer{Dst: c.RGBA, Src: image.NewUniform(by), Face: c.pens[with], Dot: fixed.P(x, y)}
	d.DrawString(s)
}

// textRight writes s so that it ends at x.
func (c *canvas) textRight(x, y int, with pen, by color.RGBA, s string) {
	c.text(x-c.pens.width(with, s), y, with, by, s)
}

// tag writes s on a dark box whose middle is (x, y), moved so that it lies
// within the bounds.
func (c *canvas) tag(x, y int, with pen, by color.RGBA, s string, bounds image.Rectangle) {
	w, h := c.pens.width(with, s)+14, int(with.size*1.5)
	x = min(max(x-w/2, bounds.Min.X), bounds.Max.X-w)
	y = min(max(y-h/2, bounds.Min.Y), bounds.Max.Y-h)
	c.rounded(image.Rect(x, y, x+w, y+h), 5, shade)
	c.text(x+7, y+int(with.size*1.09), with, by, s)
}

// fit shortens s to the width, with an ellipsis.
func (p pens) fit(with pen, s string, width int) string {
	if p.width(with, s) <= width {
		return s
	}
	r := []rune(s)
	for len(r) > 0 && p.width(with, string(r)+"…") > width {
		r = r[:len(r)-1]
	}
	return strings.TrimRight(string(r), " ") + "…"
}

// wrap breaks s into lines of the width, between words.
func (p pens) wrap(with pen, s string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		word = p.fit(with, word, width)
		if line != "" && p.width(with, line+" "+word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimLeft(line+" "+word, " ")
	}
	if line == "" {
		return lines
	}
	return append(lines, line)
}
