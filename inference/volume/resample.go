package volume

import (
	"math"

	"github.com/pulmonode/pulmonode/inference/result"
)

// The window of the networks (Ni et al. 2022: -1000 to 500 HU in 10 bits).
const (
	windowLow  = -1000
	windowHigh = 500
	MaxLevel   = 1023
	SlabSide   = 64
)

// Levels is a CT at 1 mm in every direction on its own axes, quantised to 10 bits.
// Voxel (0, 0, 0) lies where the CT's does.
type Levels struct {
	Q          []uint16 // 0..1023, z, y, x order, x fastest
	NX, NY, NZ int
	Grid       *result.Grid // the CT's
}

// ToVoxel takes a place in the 1 mm volume (x, y, z; fractions) to the CT's voxels.
func (l *Levels) ToVoxel(p [3]float64) [3]float64 {
	d := spacingXYZ(l.Grid)
	return [3]float64{p[0] / d[0], p[1] / d[1], p[2] / d[2]}
}

// FromVoxel takes a place in the CT's voxels (x, y, z; fractions) to the 1 mm volume.
func (l *Levels) FromVoxel(p [3]float64) [3]float64 {
	d := spacingXYZ(l.Grid)
	return [3]float64{p[0] * d[0], p[1] * d[1], p[2] * d[2]}
}

// spacingXYZ is the distance of voxels along x, y, z in mm.
func spacingXYZ(g *result.Grid) [3]float64 {
	return [3]float64{g.PixelSpacing[1], g.PixelSpacing[0], g.SliceSpacing}
}

// sample is a place between two voxels of an axis: a + (b - a) * t.
type sample struct {
	a, b int32
	t    float32
}

// at clamps position p, in voxels, to an axis of n.
func at(p float64, n int) sample {
	p = min(max(p, 0), float64(n-1))
	a := int32(p)
	return sample{a, min(a+1, int32(n-1)), float32(p - float64(a))}
}

// isotropic are the places of an axis at 1 mm.
func isotropic(n int, d float64) []sample {
	out := make([]sample, int(math.Floor(float64(float64(n-1)*d)+1e-6))+1)
	step := 1 / d
	for i := range out {
		out[i] = at(float64(float64(i)*step), n)
	}
	return out
}

// mix interpolates, each operation rounded to float32: the conversions keep
// compilers from fusing them, which other processors would do otherwise.
func mix(a, b, t float32) float32 { return a + float32(float32(b-a)*t) }

// level quantises HU, after interpolation.
func level(v float32) uint16 {
	v = min(max(v, windowLow), windowHigh)
	return uint16(float32(float32(v+1000)*float32(0.682)) + 0.5)
}

// Resample1mm gives the CT at 1 mm. Coordinates are of the image's own axes; with
// a tilted gantry these are not at right angles.
func (v *Volume) Resample1mm(workers int) *Levels {
	d := spacingXYZ(v.Grid)
	xs, ys, zs := isotropic(v.NX, d[0]), isotropic(v.NY, d[1]), isotropic(v.NZ, d[2])
	l := &Levels{NX: len(xs), NY: len(ys), NZ: len(zs), Grid: v.Grid}
	l.Q = make([]uint16, l.NX*l.NY*l.NZ)
	parallel(l.NZ, workers, func(k int) {
		v.plane(zs[k], ys, xs, make([]float32, 3*v.NX), func(j int, row []float32) {
			out := l.Q[(k*l.NY+j)*l.NX:][:l.NX]
			for i, x := range xs[:len(out)] {
				out[i] = level(mix(row[x.a], row[x.b], x.t))
			}
		})
	})
	return l
}

// plane interpolates along z and y and hands each row, still on the CT's columns,
// to take. Rows along z are made once and kept while the next output row needs
// them; rows has three times NX floats for that. Only columns that xs needs are
// made.
func (v *Volume) plane(z sample, ys, xs []sample, rows []float32, take func(j int, row []float32)) {
	low, high := int32(v.NX), int32(0)
	for _, x := range xs {
		low, high = min(low, x.a), max(high, x.b)
	}
	lower := [2][]float32{rows[:v.NX], rows[v.NX : 2*v.NX]}
	have := [2]int32{-1, -1}
	row := rows[2*v.NX : 3*v.NX]
	below, above := v.HU[int(z.a)*v.NX*v.NY:], v.HU[int(z.b)*v.NX*v.NY:]
	along := func(y int32) []float32 {
		slot := y & 1
		out := lower[slot]
		if have[slot] == y {
			return out
		}
		have[slot] = y
		a := below[int(y)*v.NX:][low : high+1]
		b := above[int(y)*v.NX:][low : high+1][:len(a)]
		o := out[low : high+1][:len(a)]
		for i := range a {
			o[i] = mix(float32(a[i]), float32(b[i]), z.t)
		}
		return out
	}
	for j, y := range ys {
		a, b := along(y.a)[low:high+1], along(y.b)[low:high+1]
		b = b[:len(a)]
		r := row[low : high+1][:len(a)]
		for i := range a {
			r[i] = mix(a[i], b[i], y.t)
		}
		take(j, row)
	}
}

// Slabs samples planes k0 to k1, both included, of 64 x 64 in the networks' units
// (level/1023) about a centre in the CT's voxels (x, y, z; fractions). spacing is
// in mm, z, y, x: plane k lies k*spacing[0] from the centre along the slices, the
// centre lies in the middle of the 64 x 64. What lies outside repeats the border.
// It may be called from several goroutines.
func (v *Volume) Slabs(center, spacing [3]float64, k0, k1 int) []float32 {
	d := spacingXYZ(v.Grid)
	axis := func(c, s, d float64, n int) []sample {
		out := make([]sample, SlabSide)
		for i := range out {
			out[i] = at(c+float64(float64(i)-(SlabSide-1)/2.)*s/d, n)
		}
		return out
	}
	ys, xs := axis(center[1], spacing[1], d[1], v.NY), axis(center[0], spacing[2], d[0], v.NX)
	planes := max(0, k1-k0+1)
	out := make([]float32, planes*SlabSide*SlabSide)
	rows := make([]float32, 3*v.NX)
	for k := range planes {
		z := at(center[2]+float64(k0+k)*spacing[0]/d[2], v.NZ)
		v.plane(z, ys, xs, rows, func(j int, row []float32) {
			line := out[(k*SlabSide+j)*SlabSide:][:SlabSide]
			for i, x := range xs[:len(line)] {
				line[i] = float32(level(mix(row[x.a], row[x.b], x.t))) / MaxLevel
			}
		})
	}
	return out
}
