package main

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/pulmonode/pulmonode/inference/refine"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/inference/volume"
)

// chest is a CT of nz slices of 40 x 30 voxels of 1 x 2 x 1.5 mm, turned so that
// columns run along -y and rows along x.
func chest(nz int) *volume.Volume {
	v := &volume.Volume{NX: 40, NY: 30, NZ: nz, HU: make([]int16, 40*30*nz)}
	v.Grid = &result.Grid{Rows: 30, Columns: 40, Orientation: [6]float64{0, -1, 0, 1, 0, 0}, PixelSpacing: [2]float64{2, 1}, SliceSpacing: 1.5}
	for i := range v.HU {
		v.HU[i] = -800
	}
	for z := range nz {
		v.Grid.Instances = append(v.Grid.Instances, result.Instance{Position: result.Point{10, 20, 100 + 1.5*float64(z)}})
	}
	return v
}

// box is a mask of 4 x 3 voxels on one slice.
func box(x, y, z int) result.Mask {
	m := result.Mask{X0: x, Y0: y, Z0: z, NX: 4, NY: 3, NZ: 1, Bits: make([]bool, 12)}
	for i := range m.Bits {
		m.Bits[i] = true
	}
	return m
}

func TestVoxelOfAPoint(t *testing.T) {
	g := chest(6).Grid
	for _, at := range [][3]float64{{0, 0, 0}, {12.5, 7.25, 3}, {39, 29, 5}} {
		if got := voxel(g, g.LPS(at[0], at[1], int(at[2]))); got != at {
			t.Errorf("%v comes back as %v", at, got)
		}
	}
	p := g.LPS(3, 4, 2)
	p[2] += 0.7 // less than half a slice
	if got := voxel(g, p); got != [3]float64{3, 4, 2} {
		t.Errorf("between slices: %v", got)
	}
}

// colours counts the pixels of a tile's lines.
func colours(p *image.RGBA, in image.Rectangle) (truth, drawn int) {
	for y := in.Min.Y; y < in.Max.Y; y++ {
		for x := in.Min.X; x < in.Max.X; x++ {
			switch p.RGBAAt(x, y) {
			case truthColour:
				truth++
			case drawnColour:
				drawn++
			}
		}
	}
	return truth, drawn
}

func TestATileShowsContoursWhereTheirVoxelsEnd(t *testing.T) {
	ct := chest(3)
	mask := box(18, 14, 1)
	in := func(x, y int) bool { return mask.At(x, y, 1) }
	// 24 mm: ten pixels a millimetre, voxels of 10 x 20 pixels, voxel (20, 15)'s
	// middle in the tile's.
	one := plane(ct, 1, [3]float64{20, 15, 1}, 24)
	one.drawn = in
	p := image.NewRGBA(image.Rect(100, 50, 100+tileSide, 50+tileSide))
	one.paint(p)
	at := func(x, y float64) color.RGBA { // in voxels, 0 at the edge of voxel 0
		return p.RGBAAt(100+tileSide/2+int((x-20.5)*10), 50+tileSide/2+int((y-15.5)*20))
	}
	for _, edge := range [][2]float64{{18, 15.5}, {22, 15.5}, {20.5, 14}, {20.5, 17}} {
		if at(edge[0], edge[1]) != drawnColour {
			t.Errorf("no line at %v", edge)
		}
	}
	for _, inside := range [][2]float64{{19, 15.5}, {20.5, 16}, {17, 15.5}, {20.5, 18}} {
		if got := at(inside[0], inside[1]); got == drawnColour || got.R != got.G {
			t.Errorf("%v at %v", got, inside)
		}
	}
	one.truth = in
	one.paint(p)
	if truth, drawn := colours(p, p.Rect); truth == 0 || drawn == 0 {
		t.Errorf("of two equal contours %d and %d pixels are seen", truth, drawn)
	}
	edge := plane(ct, 1, [3]float64{0, 0, 1}, 24)
	edge.paint(p)
	if got := p.RGBAAt(101, 51); got != (color.RGBA{0, 0, 0, 255}) {
		t.Errorf("beyond the image: %v", got)
	}
}

func TestTheWorstNodulesAreDrawnFirst(t *testing.T) {
	var scores []score
	for i := range 14 {
		ct := chest(4)
		n := &nodule{key: string(rune('a' + i)), ct: ct, outlines: make([]uint8, len(ct.HU)), readers: 3, diameterMM: 8}
		big, small := box(20, 12, 2), box(20, 12, 1)
		small.Bits[0] = false
		for v := range n.outlines {
			x, y, z := v%40, v/40%30, v/1200
			if big.At(x, y, z) || small.At(x, y, z) {
				n.outlines[v] = 3
			}
		}
		s := score{nodule: n, refined: overlap{dice: float64(13-i) / 13}}
		if i != 13 {
			drawn := box(21, 12, 2)
			s.drawn, s.mask, s.measured = true, &drawn, refine.Measures{}
		}
		scores = append(scores, s)
	}
	if got := scores[12].tile().legend; got[0] != "m" || got[1] != "8.0 mm, not or partly solid" || got[2] != "Dice 0.08" {
		t.Errorf("%q", got)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, failuresPicture)
	var files [2][]byte
	for i := range files {
		if err := drawFailures(dir, scores); err != nil {
			t.Fatal(err)
		}
		var err error
		if files[i], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("drawn twice, the pictures differ")
	}
	decoded, err := png.Decode(bytes.NewReader(files[0]))
	if err != nil {
		t.Fatal(err)
	}
	page := decoded.(*image.RGBA)
	top := page.Rect.Dy() - 3*(tileSide+tileLines*lineHeight+gap)
	place := func(i int) image.Rectangle {
		x, y := gap+i%perRow*(tileSide+gap), top+i/perRow*(tileSide+tileLines*lineHeight+gap)
		return image.Rect(x, y, x+tileSide, y+tileSide)
	}
	if truth, drawn := colours(page, place(0)); truth == 0 || drawn != 0 {
		t.Errorf("the worst, of which nothing was drawn, comes first: %d and %d pixels", truth, drawn)
	}
	for i := 1; i < dozen; i++ {
		if truth, drawn := colours(page, place(i)); truth == 0 || drawn == 0 {
			t.Errorf("tile %d: %d and %d pixels", i, truth, drawn)
		}
	}
}

func TestWhatIsWrongInAScan(t *testing.T) {
	ct := chest(6)
	spot := func(x, y float64, z int) result.Point { return ct.Grid.LPS(x, y, z) }
	s := &scan{
		name:       "s",
		places:     []place{{Center: spot(10, 10, 2), Diameter: 8}, {Center: spot(30, 20, 4), Diameter: 6}, {Center: spot(20, 15, 1), Diameter: 6}},
		candidates: []int{1, 2},
		found: []found{
			{believed: 0.9, place: 2, center: spot(20, 15, 1), mask: box(18, 14, 1)},
			{believed: 0.2, place: 1, center: spot(30, 20, 4), mask: box(28, 19, 4)},
			{believed: 0.8, place: -1, center: spot(5, 5, 3), longMM: 4, mask: box(4, 4, 3)},
			{believed: 0.1, place: -1, center: spot(5, 25, 3), longMM: 4, mask: box(4, 24, 3)},
		},
	}
	w := &wrongs{}
	w.add(s, ct, 0.5)
	if len(w.missed) != 2 || len(w.alarms) != 1 {
		t.Fatalf("%d missed, %d alarms", len(w.missed), len(w.alarms))
	}
	for i, want := range []string{"no candidate of stage 1", "turned down by stage 2, probability 0.20"} {
		if got := w.missed[i].legend[2]; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if m := w.missed[0]; !m.truth(10, 10) || !m.truth(13, 10) || m.truth(15, 10) || m.truth(10, 13) || m.drawn != nil {
		t.Error("the ball of 8 mm has 4 voxels of 1 mm to a side and 2 of 2 mm")
	}
	if a := w.alarms[0]; a.truth != nil || !a.drawn(4, 4) || a.at != [2]float64{5, 5} || a.legend[2] != "probability 0.80" {
		t.Errorf("%+v", a.legend)
	}
	for i := range ct.HU {
		ct.HU[i] = 0
	}
	if hu, ok := w.missed[0].slice(1, 1); hu != -800 || !ok {
		t.Error("a tile holds on to the CT")
	}
	dir := t.TempDir()
	if err := w.draw(dir, 1, 0.5); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(dir, missedPicture))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if page, err := png.DecodeConfig(f); err != nil || page.Height < tileSide || page.Height > 2*tileSide {
		t.Errorf("%+v, %v: three tiles take one row", page, err)
	}
}
