package refine

import (
	"fmt"
	"math"
	"testing"

	"github.com/pulmonode/pulmonode/inference/result"
)

// grid makes a CT grid of n slices; shear moves each slice along y, as a tilted
// gantry does.
func grid(columns, rows, n int, dx, dy, dz, shear float64) *result.Grid {
	g := &result.Grid{Rows: rows, Columns: columns, Orientation: [6]float64{1, 0, 0, 0, 1, 0},
		PixelSpacing: [2]float64{dy, dx}, SliceSpacing: math.Hypot(dz, shear)}
	for k := range n {
		g.Instances = append(g.Instances, result.Instance{
			SOPInstanceUID: fmt.Sprintf("1.2.3.%d", k+1),
			Position:       result.Point{-100, -80 + shear*float64(k), -200 + dz*float64(k)},
		})
	}
	return g
}

// drawn returns the mask of the voxels whose centre satisfies in (LPS mm).
func drawn(g *result.Grid, in func(p result.Point) bool) *result.Mask {
	m := &result.Mask{NX: g.Columns, NY: g.Rows, NZ: len(g.Instances)}
	m.Bits = make([]bool, m.NX*m.NY*m.NZ)
	for i := range m.Bits {
		x, y, z := i%m.NX, i/m.NX%m.NY, i/(m.NX*m.NY)
		m.Bits[i] = in(g.LPS(float64(x), float64(y), z))
	}
	c := crop(*m)
	return &c
}

// ellipsoid with half axes a, b, c along x, y, z, turned in the plane.
func ellipsoid(at result.Point, a, b, c, degrees float64) func(result.Point) bool {
	sin, cos := math.Sincos(degrees * math.Pi / 180)
	return func(p result.Point) bool {
		x, y, z := p[0]-at[0], p[1]-at[1], p[2]-at[2]
		u, v := (x*cos+y*sin)/a, (y*cos-x*sin)/b
		return u*u+v*v+z*z/(c*c) <= 1
	}
}

func density(x, y, z int) int16 { return 40 }

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s is %.3f, want %.3f +- %.3f", what, got, want, tolerance)
	}
}

func TestEllipsoidsAreMeasuredAsGeometrySays(t *testing.T) {
	at := result.Point{-70.2, -50.1, -180.3}
	for _, c := range []struct {
		name                       string
		dx, dy, dz, shear          float64
		a, b, c, degrees, maxDiam3 float64
	}{
		{"sphere, fine", 0.5, 0.5, 0.5, 0, 8, 8, 8, 0, 16},
		{"sphere, thick slices", 0.7, 0.7, 2.5, 0, 10, 10, 10, 0, 20},
		{"small sphere", 0.6, 0.6, 1, 0, 2.5, 2.5, 2.5, 0, 5},
		{"ellipsoid on the axes", 0.6, 0.6, 1, 0, 12, 6, 8, 0, 24},
		{"ellipsoid at 30 degrees", 0.6, 0.6, 1, 0, 12, 6, 8, 30, 24},
		{"ellipsoid at 77 degrees, unequal pixels", 0.6, 0.8, 1, 0, 12, 7, 8, 77, 24},
		{"tall ellipsoid", 0.6, 0.6, 1, 0, 5, 5, 12, 0, 24},
		{"tilted gantry", 0.6, 0.6, 1, 0.3, 10, 10, 10, 0, 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := grid(120, 120, 60, c.dx, c.dy, c.dz, c.shear)
			p := at
			if c.dz > 1 {
				p[2] = -120
			}
			m := drawn(g, ellipsoid(p, c.a, c.b, c.c, c.degrees))
			got := Measure(g, m, density)
			volume := 4 * math.Pi / 3 * c.a * c.b * c.c
			near(t, "volume", got.VolumeMM3, volume, 0.04*volume+1.5)
			pixel := max(c.dx, c.dy)
			near(t, "long axis", got.LongMM, 2*max(c.a, c.b), 1.2*pixel)
			near(t, "short axis", got.ShortMM, 2*min(c.a, c.b), 1.2*pixel)
			near(t, "3D diameter", got.MaxDiam3DMM, c.maxDiam3, max(1.5*pixel, c.dz))
			for a := range 3 {
				near(t, fmt.Sprintf("centre[%d]", a), got.Center[a], p[a], 0.25)
			}
			near(t, "key slice", g.LPS(0, 0, got.Key)[2], p[2], c.dz)

			length := func(a result.Axis) float64 {
				return math.Sqrt((a.To[0]-a.From[0])*(a.To[0]-a.From[0]) + (a.To[1]-a.From[1])*(a.To[1]-a.From[1]) + (a.To[2]-a.From[2])*(a.To[2]-a.From[2]))
			}
			near(t, "drawn long axis", length(got.Long), got.LongMM, 1e-6)
			near(t, "drawn short axis", length(got.Short), got.ShortMM, 1e-6)
			var dot float64
			for a := range 3 {
				dot += (got.Long.To[a] - got.Long.From[a]) * (got.Short.To[a] - got.Short.From[a])
			}
			near(t, "product of the axes' directions", dot, 0, 1e-6)
			plane := g.LPS(0, 0, got.Key)[2]
			for _, p := range []result.Point{got.Long.From, got.Long.To, got.Short.From, got.Short.To} {
				near(t, "axis end's z", p[2], plane, 1e-9)
			}
			if c.a != c.b {
				angle := math.Atan2(got.Long.To[1]-got.Long.From[1], got.Long.To[0]-got.Long.From[0]) * 180 / math.Pi
				near(t, "direction", math.Mod(angle-c.degrees+270, 180)-90, 0, 5)
			}
		})
	}
}

func TestOneVoxelIsOneVoxelWide(t *testing.T) {
	g := grid(5, 5, 5, 0.7, 0.6, 2, 0)
	m := &result.Mask{X0: 2, Y0: 2, Z0: 2, NX: 1, NY: 1, NZ: 1, Bits: []bool{true}}
	got := Measure(g, m, density)
	near(t, "volume", got.VolumeMM3, 0.84, 1e-9)
	near(t, "long axis", got.LongMM, 0.7, 1e-9)
	near(t, "short axis", got.ShortMM, 0.6, 1e-9)
	near(t, "3D diameter", got.MaxDiam3DMM, 2, 1e-9)
}

func TestARowOfVoxels(t *testing.T) {
	g := grid(10, 5, 3, 1, 1, 1, 0)
	m := &result.Mask{X0: 1, Y0: 2, Z0: 1, NX: 7, NY: 1, NZ: 1, Bits: []bool{true, true, true, true, true, true, true}}
	got := Measure(g, m, density)
	near(t, "long axis", got.LongMM, 7, 1e-9)
	near(t, "short axis", got.ShortMM, 1, 1e-9)
}

func TestHUStatisticsAndKeySlice(t *testing.T) {
	g := grid(10, 10, 5, 1, 1, 1, 0)
	m := &result.Mask{NX: 2, NY: 2, NZ: 3, X0: 3, Y0: 3, Z0: 1, Bits: []bool{
		true, false, false, false, // slice 1: one voxel
		true, true, true, true, //    slice 2
		true, true, true, true, //    slice 3
	}}
	got := Measure(g, m, func(x, y, z int) int16 { return int16(-100 * z) })
	near(t, "mean", got.MeanHU, (-100*1.-200*4-300*4)/9, 1e-9)
	mean := got.MeanHU
	near(t, "SD", got.SDHU, math.Sqrt(((100+mean)*(100+mean)+4*(200+mean)*(200+mean)+4*(300+mean)*(300+mean))/9), 1e-9)
	if got.Key != 2 || got.FirstZ != 1 || got.LastZ != 3 {
		t.Errorf("key %d, slices %d to %d", got.Key, got.FirstZ, got.LastZ)
	}
}

func TestShortAxisEndsOnTheOutlineOfABentNodule(t *testing.T) {
	// An L: the hull's width across the long axis would cross the air between its
	// arms; the outline's does too, but its ends touch the nodule.
	g := grid(40, 40, 3, 1, 1, 1, 0)
	m := drawn(g, func(p result.Point) bool {
		x, y := p[0]+100, p[1]+80
		return p[2] == -199 && (x >= 5 && x <= 30 && y >= 5 && y <= 8 || x >= 5 && x <= 8 && y >= 5 && y <= 25)
	})
	got := Measure(g, m, density)
	touches := func(p result.Point) bool {
		x, y := p[0]+100, p[1]+80
		for _, d := range [][2]float64{{.3, .3}, {.3, -.3}, {-.3, .3}, {-.3, -.3}} {
			if m.At(int(math.Round(x+d[0])), int(math.Round(y+d[1])), 1) {
				return true
			}
		}
		return false
	}
	for _, p := range []result.Point{got.Long.From, got.Long.To, got.Short.From, got.Short.To} {
		if !touches(p) {
			t.Errorf("%v does not touch the nodule", p)
		}
	}
	near(t, "long axis", got.LongMM, math.Hypot(25, 20), 1.5)
}
