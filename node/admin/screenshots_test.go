package admin

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/color/palette"
	"image/draw"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/pulmonode/pulmonode/inference/phantom"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/sr/keyimage"
)

// TestScreenshots makes the pictures of the README: the page with a phantom's
// series. It runs where PULMONODE_SCREENSHOTS says where they go.
func TestScreenshots(t *testing.T) {
	folder := os.Getenv("PULMONODE_SCREENSHOTS")
	if folder == "" {
		t.Skip("it makes pictures where PULMONODE_SCREENSHOTS says")
	}
	b := browser(t)
	w := newWard(t)
	w.pictures, w.images = phantomPictures(t), 132
	w.fill()
	for _, shot := range []struct {
		name, address string
		look          string
		width, height int64
	}{
		{"page.png", w.url, "light", 1280, 800},
		{"page-series.png", w.page(done), "dark", 1280, 1000},
	} {
		tb := open(t, b, w.url, shot.address, nil, scheme(shot.look), chromedp.EmulateViewport(shot.width, shot.height))
		tb.becomes("[...document.images].every(i => i.complete)")
		picture, err := chromedp.Run(tb.ctx, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		picture = small(t, picture)
		if len(picture) > 300<<10 {
			t.Errorf("%s has %d bytes", shot.name, len(picture))
		}
		if err := os.WriteFile(filepath.Join(folder, shot.name), picture, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// small writes a picture with the 255 colours that it has most of; the others
// become the nearest of those.
func small(t *testing.T, b []byte) []byte {
	t.Helper()
	m, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[color.RGBA]int{}
	for y := range m.Bounds().Dy() {
		for x := range m.Bounds().Dx() {
			seen[color.RGBAModel.Convert(m.At(x, y)).(color.RGBA)]++
		}
	}
	var colours []color.RGBA
	for c := range seen {
		colours = append(colours, c)
	}
	slices.SortFunc(colours, func(a, b color.RGBA) int {
		if n := seen[b] - seen[a]; n != 0 {
			return n
		}
		return int(a.R)<<16 + int(a.G)<<8 + int(a.B) - int(b.R)<<16 - int(b.G)<<8 - int(b.B)
	})
	var p color.Palette
	for _, c := range colours[:min(len(colours), 160)] {
		p = append(p, c)
	}
	for _, c := range palette.WebSafe {
		if len(p) < 256 && !slices.Contains(p, c) {
			p = append(p, c)
		}
	}
	out := image.NewPaletted(m.Bounds(), p)
	draw.Draw(out, out.Bounds(), m, image.Point{}, draw.Src)
	var small bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&small, out); err != nil {
		t.Fatal(err)
	}
	return small.Bytes()
}

// phantomPictures are key images of a phantom with the ward's nodules; the
// outlines are where its true nodules lie.
func phantomPictures(t *testing.T) [][]byte {
	t.Helper()
	v, truth, err := phantom.Generate(context.Background(), phantom.Options{Seed: 11, Slices: 100, Rows: 384, Columns: 384, Nodules: len(nodules1)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &result.Result{
		Schema: 1, Generation: 1, Outcome: result.OutcomeNodules, Series: result.Series{Instances: v.Slices},
		Algorithm: result.Algorithm{Name: "pulmonode", Version: "0.1.0", Provider: "cpu", Models: models1}, Slices: map[int]*result.Pixels{},
		Grid: &result.Grid{Rows: v.Rows, Columns: v.Columns, Orientation: [6]float64{1, 0, 0, 0, 1, 0}, PixelSpacing: [2]float64{v.PixelSpacing, v.PixelSpacing}, SliceSpacing: v.SpacingZ},
	}
	for z := range v.Slices {
		position := result.Point{v.Origin[0], v.Origin[1], v.Origin[2] + float64(z)*v.SpacingZ}
		r.Grid.Instances = append(r.Grid.Instances, result.Instance{SOPInstanceUID: v.SOPInstanceUID(z), Position: position})
		r.Slices[z] = &result.Pixels{Rows: v.Rows, Columns: v.Columns, HU: v.HU[z*v.Rows*v.Columns : (z+1)*v.Rows*v.Columns]}
	}
	slices.SortFunc(truth.Nodules, func(a, b phantom.TrueNodule) int { return int(b.VolumeMM3 - a.VolumeMM3) })
	for i, n := range truth.Nodules {
		shown := nodules1[i]
		shown.Mask = maskOf(v, n.Voxels)
		m := &shown.Mask
		shown.KeySlice = v.SOPInstanceUID(m.Z0 + m.NZ/2)
		shown.CenterLPS = n.CenterLPS
		half := math.Cbrt(n.VolumeMM3*6/math.Pi) / 2
		z := r.Grid.Instances[m.Z0+m.NZ/2].Position[2]
		shown.LongAxis = result.Axis{From: result.Point{n.CenterLPS[0] - half, n.CenterLPS[1], z}, To: result.Point{n.CenterLPS[0] + half, n.CenterLPS[1], z}}
		shown.ShortAxis = result.Axis{From: result.Point{n.CenterLPS[0], n.CenterLPS[1] - half, z}, To: result.Point{n.CenterLPS[0], n.CenterLPS[1] + half, z}}
		shown.Slices = nil
		for z := range m.NZ {
			shown.Slices = append(shown.Slices, v.SOPInstanceUID(m.Z0+z))
		}
		r.Nodules = append(r.Nodules, shown)
	}
	pages, err := keyimage.Pages(r)
	if err != nil {
		t.Fatal(err)
	}
	var list [][]byte
	for _, p := range pages {
		drawn, err := p.Draw()
		if err != nil {
			t.Fatal(err)
		}
		b, err := keyimage.PNG(drawn)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, b)
	}
	return list
}

// maskOf is the box around voxels of a volume, with those set.
func maskOf(v *phantom.Volume, voxels []int) result.Mask {
	m := result.Mask{X0: v.Columns, Y0: v.Rows, Z0: v.Slices}
	end := [3]int{}
	at := func(i int) (x, y, z int) { return i % v.Columns, i / v.Columns % v.Rows, i / (v.Columns * v.Rows) }
	for _, i := range voxels {
		x, y, z := at(i)
		m.X0, m.Y0, m.Z0 = min(m.X0, x), min(m.Y0, y), min(m.Z0, z)
		end = [3]int{max(end[0], x+1), max(end[1], y+1), max(end[2], z+1)}
	}
	m.NX, m.NY, m.NZ = end[0]-m.X0, end[1]-m.Y0, end[2]-m.Z0
	m.Bits = make([]bool, m.NX*m.NY*m.NZ)
	for _, i := range voxels {
		x, y, z := at(i)
		m.Bits[((z-m.Z0)*m.NY+y-m.Y0)*m.NX+x-m.X0] = true
	}
	return m
}
