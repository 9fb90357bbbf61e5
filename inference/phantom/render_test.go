package phantom

import (
	"math"
	"slices"
	"testing"
)

// section is one pair of slices through the middle of the chest, as fine as a
// scanner's and without noise.
var section = Options{Seed: 3, Slices: 2, SpacingZ: 1, NoiseHU: -1}

// where picks the values of the first slice at which the anatomy says yes.
func where(v *Volume, p *plane, pick func(p *plane, at vec, wall float64, angle int) bool) []int16 {
	var hu []int16
	for y := range v.Rows {
		for x := range v.Columns {
			c := v.place(x, y, 0)
			at := vec{c[0], c[1], c[2]}
			if wall, angle := p.wallAt(at.x, at.y); pick(p, at, wall, angle) {
				hu = append(hu, v.HU[y*v.Columns+x])
			}
		}
	}
	slices.Sort(hu)
	return hu
}

func TestHounsfieldUnitsAreThoseOfAChest(t *testing.T) {
	v := chest(t, section)
	p := newAnatomy(section.Seed).plane(v.Origin[2], true)
	for _, c := range []struct {
		name      string
		pick      func(p *plane, at vec, wall float64, angle int) bool
		quantile  float64
		low, high int16
	}{
		{"air beside the body", func(p *plane, at vec, wall float64, angle int) bool {
			return wall > p.skin[angle]+5 && at.y < p.centreY
		}, 0.5, -1000, -1000},
		{"lung, median", func(p *plane, at vec, wall float64, _ int) bool { return p.lungDepth(at, wall) > 5 }, 0.5, -930, -820},
		{"lung, vessels in it", func(p *plane, at vec, wall float64, _ int) bool { return p.lungDepth(at, wall) > 5 }, 0.995, -300, 300},
		{"fat under the skin", func(p *plane, _ vec, wall float64, angle int) bool {
			return wall > p.skin[angle]-5 && wall < p.skin[angle]-4
		}, 0.5, -125, -80},
		{"muscle of the chest wall", func(p *plane, _ vec, wall float64, angle int) bool {
			return wall > 2.5 && wall < 9 && math.Abs(p.rib[angle]) > 10
		}, 0.5, 30, 70},
		{"bone, marrow of a vertebra", func(p *plane, at vec, _ float64, _ int) bool {
			return math.Abs(at.x) < 8 && math.Abs(at.y-p.spineY) < 6
		}, 0.5, 80, 350},
		{"bone, cortex of the ribs", func(p *plane, _ vec, wall float64, angle int) bool {
			return p.ribKind[angle] == 1 && math.Abs(p.rib[angle]) < 4 && wall > 1.5 && wall < 10.5
		}, 0.9, 400, 1200},
		{"trachea and main bronchi", func(p *plane, at vec, _ float64, _ int) bool {
			return slices.ContainsFunc(p.a.airway, func(b tube) bool { return b.distance(at) < -3 })
		}, 0.5, -1000, -950},
	} {
		t.Run(c.name, func(t *testing.T) {
			hu := where(v, p, c.pick)
			if len(hu) < 20 {
				t.Fatalf("only %d voxels", len(hu))
			}
			if got := hu[int(c.quantile*float64(len(hu)-1))]; got < c.low || got > c.high {
				t.Errorf("%d HU, not %d to %d", got, c.low, c.high)
			}
		})
	}
	for _, hu := range v.HU {
		if hu < -1024 || hu > 3071 {
			t.Fatalf("%d HU does not fit twelve bits", hu)
		}
	}
}

func TestNoiseIsAsStrongAsAsked(t *testing.T) {
	quiet := chest(t, section)
	for _, c := range []struct {
		name string
		o    Options
		want float64
	}{
		{"by default", Options{}, 16},
		{"sharp, by default", Options{Kernel: KernelSharp}, 30},
		{"as the option says", Options{NoiseHU: 50}, 50},
	} {
		t.Run(c.name, func(t *testing.T) {
			clean := quiet
			o := section
			o.NoiseHU, o.Kernel = c.o.NoiseHU, c.o.Kernel
			if o.Kernel == KernelSharp { // its edges are others
				q := section
				q.Kernel = o.Kernel
				clean = chest(t, q)
			}
			v := chest(t, o)
			var n, sum, squares float64
			neighbours := 0.0
			for y := range v.Rows {
				for x := range v.Columns {
					at := v.place(x, y, 0)
					if math.Hypot(at[0], at[1]) > 25 {
						continue
					}
					i := y*v.Columns + x
					d := float64(v.HU[i] - clean.HU[i])
					n, sum, squares = n+1, sum+d, squares+d*d
					neighbours += d * float64(v.HU[i+1]-clean.HU[i+1])
				}
			}
			deviation := math.Sqrt(squares/n - sum/n*sum/n)
			if math.Abs(deviation/c.want-1) > 0.08 {
				t.Errorf("%.1f HU in the middle of the body, not %g", deviation, c.want)
			}
			if math.Abs(sum/n) > c.want/10 {
				t.Errorf("it shifts the values by %.1f HU", sum/n)
			}
			if r := neighbours / squares; r < 0.05 || r > 0.9 {
				t.Errorf("neighbours correlate by %.2f: no kernel does that", r)
			}
		})
	}
}
