package main

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/inference/volume"
)

const (
	failuresPicture = "failures.png"
	missedPicture   = "missed.png"
	dozen           = 12
)

// drawFailures writes the nodules whose contours agree least with the readers'.
func drawFailures(dir string, scores []score) error {
	worst := slices.Clone(scores)
	slices.SortStableFunc(worst, func(a, b score) int {
		return cmp.Or(cmp.Compare(a.refined.dice, b.refined.dice), cmp.Compare(a.key, b.key))
	})
	worst = worst[:min(len(worst), dozen)]
	var tiles []tile
	for i := range worst {
		tiles = append(tiles, worst[i].tile())
	}
	heading := []string{fmt.Sprintf("The %d of %d nodules with the lowest Dice, each on the slice with most of the readers' consensus.", len(tiles), len(scores))}
	return page(dir, failuresPicture, heading, tiles)
}

// page writes a sheet of tiles.
func page(dir, name string, heading []string, tiles []tile) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	picture, err := sheet(heading, tiles)
	if err != nil {
		return fmt.Errorf("draw %s: %w", name, err)
	}
	return save(filepath.Join(dir, name), picture)
}

// field is how much of a slice a tile shows of a nodule, mm.
func field(diameterMM float64) float64 { return min(max(2.5*diameterMM, 25), 70) }

// tile shows the nodule on the slice with most of its consensus.
func (s *score) tile() tile {
	nx, ny := s.ct.NX, s.ct.NY
	area := make([]int, s.ct.NZ)
	for i := range s.outlines {
		if s.consensus(i) {
			area[i/(nx*ny)]++
		}
	}
	z := slices.Index(area, slices.Max(area))
	at, _ := s.candidate()
	inside := func(x, y int) bool { return x >= 0 && y >= 0 && x < nx && y < ny }
	t := plane(s.ct, z, at.Center, field(s.diameterMM))
	t.truth = func(x, y int) bool { return inside(x, y) && s.consensus((z*ny+y)*nx+x) }
	says := "nothing drawn"
	if s.mask != nil {
		t.drawn = func(x, y int) bool { return s.mask.At(x, y, z) }
		says = fmt.Sprintf("Dice %.2f", s.refined.dice)
	}
	t.legend = []string{s.key, fmt.Sprintf("%.1f mm, %s", s.diameterMM, categories["texture"][bit(s.label[2])]), says}
	return t
}

// plane is a tile of slice z of a CT about a voxel. It keeps a copy of the slice:
// the CT itself may be forgotten.
func plane(ct *volume.Volume, z int, at [3]float64, field float64) tile {
	nx, ny := ct.NX, ct.NY
	hu := slices.Clone(ct.HU[z*nx*ny : (z+1)*nx*ny])
	return tile{
		at: [2]float64{at[0], at[1]}, field: field,
		slice: func(x, y int) (int16, bool) {
			if x < 0 || y < 0 || x >= nx || y >= ny {
				return 0, false
			}
			return hu[y*nx+x], true
		},
		pixel: [2]float64{ct.Grid.PixelSpacing[1], ct.Grid.PixelSpacing[0]},
	}
}

// wrongs are what scans show wrongly at the shipped threshold: nodules that were
// not found, and findings that are no nodules.
type wrongs struct{ missed, alarms []ranked }

// ranked is a tile and what it is sorted by, largest first.
type ranked struct {
	tile
	rank float64
}

// add draws what is wrong in a scan.
func (w *wrongs) add(s *scan, ct *volume.Volume, threshold float64) {
	for i, by := range s.lost(threshold) {
		if by == nobody {
			continue
		}
		p := s.places[i]
		at := voxel(ct.Grid, p.Center)
		z := int(at[2])
		t := plane(ct, z, at, field(p.Diameter))
		t.truth = ball(ct.Grid, p, z)
		says := by.String()
		if f := s.best(i); f != nil { // drawn, but not believed
			t.drawn = func(x, y int) bool { return f.mask.At(x, y, z) }
			says = fmt.Sprintf("%s, probability %.2f", says, f.believed)
		}
		t.legend = []string{s.name, fmt.Sprintf("%.1f mm, %s", p.Diameter, categories["texture"][bit(p.solid())]), says}
		w.missed = append(w.missed, ranked{t, p.Diameter})
	}
	for i := range s.found {
		f := &s.found[i]
		if f.place >= 0 || f.believed < threshold {
			continue
		}
		at := voxel(ct.Grid, f.center)
		z := int(at[2])
		t := plane(ct, z, at, field(f.longMM))
		t.drawn = func(x, y int) bool { return f.mask.At(x, y, z) }
		t.legend = []string{s.name, fmt.Sprintf("no outlined nodule, %.1f mm", f.longMM), fmt.Sprintf("probability %.2f", f.believed)}
		w.alarms = append(w.alarms, ranked{t, f.believed})
	}
}

// draw writes the picture.
func (w *wrongs) draw(dir string, scans int, threshold float64) error {
	var tiles []tile
	top := func(list []ranked) int {
		slices.SortStableFunc(list, func(a, b ranked) int { return cmp.Compare(b.rank, a.rank) })
		n := min(len(list), dozen)
		for _, r := range list[:n] {
			tiles = append(tiles, r.tile)
		}
		return n
	}
	m, a := top(w.missed), top(w.alarms)
	return page(dir, missedPicture, []string{
		fmt.Sprintf("%d scans at the threshold of %.2f. The %d largest of %d missed nodules, as balls of their volume,", scans, threshold, m, len(w.missed)),
		fmt.Sprintf("and the %d most believed of %d findings that are no outlined nodules.", a, len(w.alarms)),
	}, tiles)
}

// ball is where a place's ball meets slice z.
func ball(g *result.Grid, p place, z int) func(x, y int) bool {
	return func(x, y int) bool {
		at := g.LPS(float64(x), float64(y), z)
		return math.Sqrt(square(at[0]-p.Center[0])+square(at[1]-p.Center[1])+square(at[2]-p.Center[2])) <= p.Diameter/2
	}
}

// voxel is where a point lies in the grid: x, y, and the slice that is nearest
// along the normal.
func voxel(g *result.Grid, p result.Point) [3]float64 {
	normal, near := g.Normal(), math.Inf(1)
	var out [3]float64
	for z := range g.Instances {
		var x, y, off float64
		for a, from := range g.Instances[z].Position {
			d := p[a] - from
			x, y, off = x+d*g.Orientation[a], y+d*g.Orientation[3+a], off+d*normal[a]
		}
		if math.Abs(off) < near {
			near, out = math.Abs(off), [3]float64{x / g.PixelSpacing[1], y / g.PixelSpacing[0], float64(z)}
		}
	}
	return out
}
