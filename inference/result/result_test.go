package result

import (
	"math"
	"testing"
)

func TestSliceDistanceIsAlongTheNormal(t *testing.T) {
	const tilt = 20 * math.Pi / 180
	for _, c := range []struct {
		name        string
		orientation [6]float64
		step        Point
		want        float64
	}{
		{"axial", [6]float64{1, 0, 0, 0, 1, 0}, Point{0, 0, 1.25}, 1.25},
		{"feet first", [6]float64{1, 0, 0, 0, -1, 0}, Point{0, 0, -1.25}, 1.25},
		{"tilted gantry", [6]float64{1, 0, 0, 0, math.Cos(tilt), math.Sin(tilt)}, Point{0, 0, 2}, 2 * math.Cos(tilt)},
		{"no orientation", [6]float64{}, Point{0, 0, 2}, 0},
	} {
		g := &Grid{Orientation: c.orientation, SliceSpacing: math.Sqrt(c.step[0]*c.step[0] + c.step[1]*c.step[1] + c.step[2]*c.step[2])}
		for i := range 3 {
			g.Instances = append(g.Instances, Instance{Position: Point{float64(i) * c.step[0], float64(i) * c.step[1], -100 + float64(i)*c.step[2]}})
		}
		if got := g.SliceDistance(); math.Abs(got-c.want) > 1e-6 {
			t.Errorf("%s: %v mm, want %v", c.name, got, c.want)
		}
		if g.Instances = g.Instances[:1]; g.SliceDistance() != 0 {
			t.Errorf("%s: one slice has a distance", c.name)
		}
	}
}
