package main

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math"
	"os"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

// tile is a part of an axial slice with what was outlined on it.
type tile struct {
	slice  func(x, y int) (hu int16, ok bool) // false outside the image
	at     [2]float64                         // the middle, in voxels
	pixel  [2]float64                         // mm between columns, between rows
	field  float64                            // mm
	truth  func(x, y int) bool                // nil: none
	drawn  func(x, y int) bool                // by these models; nil: nothing
	legend []string                           // lines below
}

// Colours of Okabe and Ito, which people of every kind of colour vision tell
// apart; the truth's line is wider, so that it shows where ours lies on it.
var (
	truthColour = color.RGBA{230, 159, 0, 255}
	drawnColour = color.RGBA{86, 180, 233, 255}
	paper       = color.RGBA{255, 255, 255, 255}
	ink         = color.RGBA{20, 20, 20, 255}
)

const (
	tileSide   = 240
	tileLines  = 3
	lineHeight = 18
	gap        = 10
	perRow     = 4
	textSize   = 13
)

// sheet draws tiles in rows below a heading of several lines.
func sheet(heading []string, tiles []tile) (*image.RGBA, error) {
	parsed, err := opentype.Parse(goregular.TTF)
	if err != nil {
		return nil, fmt.Errorf("the font: %w", err)
	}
	face, err := opentype.NewFace(parsed, &opentype.FaceOptions{Size: textSize, DPI: 72, Hinting: font.HintingNone})
	if err != nil {
		return nil, fmt.Errorf("the font: %w", err)
	}
	const stepX, stepY = tileSide + gap, tileSide + tileLines*lineHeight + gap
	top := gap + (len(heading)+1)*lineHeight
	rows := (len(tiles) + perRow - 1) / perRow
	page := image.NewRGBA(image.Rect(0, 0, gap+perRow*stepX, top+gap+rows*stepY))
	draw.Draw(page, page.Rect, image.NewUniform(paper), image.Point{}, draw.Src)
	write := func(x, y int, s string) int {
		d := font.Drawer{Dst: page, Src: image.NewUniform(ink), Face: face, Dot: fixed.P(x, y)}
		d.DrawString(s)
		return d.Dot.X.Ceil()
	}
	for i, line := range heading {
		write(gap, gap+(i+1)*lineHeight-5, line)
	}
	x, y := gap, top-5
	for _, key := range []struct {
		by   color.RGBA
		name string
	}{{truthColour, "readers"}, {drawnColour, "these models"}} {
		fill(page, x, y-7, x+24, y-3, key.by)
		x = write(x+30, y, key.name) + 2*gap
	}
	write(x, y, "bar: 10 mm")
	for i, t := range tiles {
		x, y := gap+i%perRow*stepX, top+gap+i/perRow*stepY
		t.paint(page.SubImage(image.Rect(x, y, x+tileSide, y+tileSide)).(*image.RGBA))
		for k, line := range t.legend[:min(len(t.legend), tileLines)] {
			write(x, y+tileSide+(k+1)*lineHeight-4, line)
		}
	}
	return page, nil
}

// paint fills the picture with the tile.
func (t *tile) paint(p *image.RGBA) {
	scale := tileSide / t.field                                    // pixels a mm
	perX, perY := scale*t.pixel[0], scale*t.pixel[1]               // pixels a voxel
	fromX := t.at[0] + 0.5 - float64(tileSide)/2/perX              // left edge, in voxels; voxel 0 is from 0 to 1
	fromY := t.at[1] + 0.5 - float64(tileSide)/2/perY              // upper edge
	toX, toY := fromX+tileSide/perX, fromY+tileSide/perY           //
	pageX := func(v float64) float64 { return (v - fromX) * perX } // of the tile
	pageY := func(v float64) float64 { return (v - fromY) * perY }
	for y := range tileSide {
		for x := range tileSide {
			grey := t.grey(fromX+(float64(x)+0.5)/perX, fromY+(float64(y)+0.5)/perY)
			p.SetRGBA(p.Rect.Min.X+x, p.Rect.Min.Y+y, color.RGBA{grey, grey, grey, 255})
		}
	}
	for _, contour := range []struct {
		in    func(x, y int) bool
		width float64
		by    color.RGBA
	}{{t.truth, 4, truthColour}, {t.drawn, 2, drawnColour}} {
		if contour.in == nil {
			continue
		}
		edge := func(x0, y0, x1, y1 float64) { // in voxels
			h := contour.width / 2
			fill(p, p.Rect.Min.X+int(math.Round(pageX(x0)-h)), p.Rect.Min.Y+int(math.Round(pageY(y0)-h)),
				p.Rect.Min.X+int(math.Round(pageX(x1)+h)), p.Rect.Min.Y+int(math.Round(pageY(y1)+h)), contour.by)
		}
		for y := int(math.Floor(fromY)); float64(y) <= toY; y++ {
			for x := int(math.Floor(fromX)); float64(x) <= toX; x++ {
				u, v, in := float64(x), float64(y), contour.in(x, y)
				if in != contour.in(x-1, y) {
					edge(u, v, u, v+1)
				}
				if in != contour.in(x, y-1) {
					edge(u, v, u+1, v)
				}
			}
		}
	}
	bar := int(10 * scale)
	x, y := p.Rect.Min.X+8, p.Rect.Max.Y-10
	fill(p, x-1, y-1, x+bar+1, y+4, color.RGBA{0, 0, 0, 255})
	fill(p, x, y, x+bar, y+3, paper)
}

// grey interpolates between the middles of voxels; outside the image it is black.
func (t *tile) grey(u, v float64) uint8 {
	if _, ok := t.slice(int(math.Floor(u)), int(math.Floor(v))); !ok {
		return 0
	}
	u, v = u-0.5, v-0.5
	x, y := int(math.Floor(u)), int(math.Floor(v))
	sum, weight := 0.0, 0.0
	for _, c := range [4][2]int{{0, 0}, {1, 0}, {0, 1}, {1, 1}} {
		hu, ok := t.slice(x+c[0], y+c[1])
		if !ok {
			continue
		}
		w := (1 - math.Abs(u-float64(x+c[0]))) * (1 - math.Abs(v-float64(y+c[1])))
		sum, weight = sum+w*float64(hu), weight+w
	}
	if weight == 0 {
		return 0
	}
	// The lung window of the key images: 1500 HU wide about -600.
	return uint8(math.Round(255 * min(max((sum/weight+1350)/1500, 0), 1)))
}

func fill(p *image.RGBA, x0, y0, x1, y1 int, by color.RGBA) {
	draw.Draw(p, image.Rect(x0, y0, x1, y1), image.NewUniform(by), image.Point{}, draw.Src)
}

func save(path string, p image.Image) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := png.Encode(f, p); err != nil {
		f.Close()
		return fmt.Errorf("write %s: %w", path, err)
	}
	return f.Close()
}
