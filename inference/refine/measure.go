package refine

import (
	"cmp"
	"math"
	"slices"

	"github.com/pulmonode/pulmonode/inference/result"
)

// Measures are a nodule's figures on the CT's own grid.
type Measures struct {
	Center        result.Point // centroid of the voxels, LPS mm
	VolumeMM3     float64
	Key           int // slice with the largest area; of equals the middle one
	Long, Short   result.Axis
	LongMM        float64 // longest diameter in the key slice
	ShortMM       float64 // longest diameter perpendicular to it
	MaxDiam3DMM   float64
	MeanHU, SDHU  float64
	FirstZ, LastZ int       // slices that the contour touches
	AreaMM2       []float64 // per slice of the mask's box
	voxels        int
}

// Measure computes the figures of a mask. Diameters run from voxel edge to voxel
// edge, through the middles of the faces where the mask ends, so that one voxel
// is one voxel wide and not zero. hu returns the value of a voxel (x, y, z).
// The mask must not be empty.
func Measure(g *result.Grid, m *result.Mask, hu func(x, y, z int) int16) Measures {
	out := Measures{FirstZ: -1, AreaMM2: make([]float64, m.NZ)}
	pixel := g.PixelSpacing[0] * g.PixelSpacing[1]
	var sum, squares float64
	var center [3]float64
	for i, in := range m.Bits {
		if !in {
			continue
		}
		x, y, z := m.X0+i%m.NX, m.Y0+i/m.NX%m.NY, m.Z0+i/(m.NX*m.NY)
		out.voxels++
		if out.FirstZ < 0 {
			out.FirstZ = z
		}
		out.LastZ = z
		out.AreaMM2[z-m.Z0] += pixel
		v := float64(hu(x, y, z))
		sum += v
		squares += v * v
		for a, c := range g.LPS(float64(x), float64(y), z) {
			center[a] += c
		}
	}
	n := float64(out.voxels)
	if n == 0 {
		return out
	}
	for a := range 3 {
		out.Center[a] = center[a] / n
	}
	out.VolumeMM3 = n * VoxelVolume(g)
	out.MeanHU = sum / n
	out.SDHU = math.Sqrt(max(squares/n-out.MeanHU*out.MeanHU, 0))

	var best []int
	for k, a := range out.AreaMM2 {
		if len(best) > 0 && a == out.AreaMM2[best[0]] {
			best = append(best, k)
		} else if len(best) == 0 || a > out.AreaMM2[best[0]] {
			best = append(best[:0], k)
		}
	}
	out.Key = m.Z0 + best[(len(best)-1)/2]
	out.axes(g, m)
	out.MaxDiam3DMM = max(diameter3D(g, m), out.LongMM)
	return out
}

// VoxelVolume returns the volume of a voxel in mm³, the determinant of the
// affine: with a tilted gantry the slices' offset is not along their normal.
func VoxelVolume(g *result.Grid) float64 {
	row, col := g.Orientation[:3], g.Orientation[3:]
	normal := [3]float64{row[1]*col[2] - row[2]*col[1], row[2]*col[0] - row[0]*col[2], row[0]*col[1] - row[1]*col[0]}
	s := sliceStep(g)
	return math.Abs(normal[0]*s[0]+normal[1]*s[1]+normal[2]*s[2]) * g.PixelSpacing[0] * g.PixelSpacing[1]
}

// sliceStep returns the mean offset from slice to slice, LPS mm.
func sliceStep(g *result.Grid) [3]float64 {
	n := len(g.Instances) - 1
	var s [3]float64
	for a := range 3 {
		if n > 0 {
			s[a] = (g.Instances[n].Position[a] - g.Instances[0].Position[a]) / float64(n)
		}
	}
	return s
}

// point is a place in a slice, in voxels.
type point struct{ x, y float64 }

// axes finds the long and the short axis in the key slice.
func (out *Measures) axes(g *result.Grid, m *result.Mask) {
	dx, dy := g.PixelSpacing[1], g.PixelSpacing[0]
	segments := outline(m, out.Key)
	points := make([]point, 0, 2*len(segments))
	for _, s := range segments {
		points = append(points, point{s[0].x * dx, s[0].y * dy}, point{s[1].x * dx, s[1].y * dy})
	}
	corners := hull(points)
	var from, to point
	longest := -1.0
	for i, a := range corners {
		for _, b := range corners[i+1:] {
			if d := (b.x-a.x)*(b.x-a.x) + (b.y-a.y)*(b.y-a.y); d > longest+1e-9 {
				longest, from, to = d, a, b
			}
		}
	}
	out.LongMM = math.Sqrt(longest)
	lps := func(p point) result.Point { return g.LPS(p.x/dx, p.y/dy, out.Key) }
	out.Long = result.Axis{From: lps(from), To: lps(to)}

	// Along the axis (u) the outline's width across it (v) is linear between the
	// outline's corners, so the widest place is at one of them.
	ux, uy := (to.x-from.x)/out.LongMM, (to.y-from.y)/out.LongMM
	turned := make([][2]point, len(segments))
	for i := range segments {
		for e := range 2 {
			p := points[2*i+e]
			turned[i][e] = point{(p.x-from.x)*ux + (p.y-from.y)*uy, (p.y-from.y)*ux - (p.x-from.x)*uy}
		}
	}
	var at, low, high float64
	widest := -1.0
	for _, t := range turned {
		u := t[0].x
		lo, hi := math.Inf(1), math.Inf(-1)
		for _, s := range turned {
			a, b := s[0], s[1]
			if a.x > b.x {
				a, b = b, a
			}
			if u < a.x-1e-9 || u > b.x+1e-9 {
				continue
			}
			if b.x-a.x < 1e-9 {
				lo, hi = min(lo, a.y, b.y), max(hi, a.y, b.y)
				continue
			}
			v := mix(a.y, b.y, (u-a.x)/(b.x-a.x))
			lo, hi = min(lo, v), max(hi, v)
		}
		if hi-lo > widest+1e-9 {
			widest, at, low, high = hi-lo, u, lo, hi
		}
	}
	out.ShortMM = min(widest, out.LongMM)
	back := func(u, v float64) result.Point {
		return lps(point{from.x + u*ux - v*uy, from.y + u*uy + v*ux})
	}
	out.Short = result.Axis{From: back(at, low), To: back(at, high)}
}

// outline returns the border of the mask in slice z as segments between the
// middles of the pixel edges where it ends (marching squares), in voxels.
func outline(m *result.Mask, z int) [][2]point {
	var out [][2]point
	for y := m.Y0 - 1; y < m.Y0+m.NY; y++ {
		for x := m.X0 - 1; x < m.X0+m.NX; x++ {
			a, b, c, d := m.At(x, y, z), m.At(x+1, y, z), m.At(x+1, y+1, z), m.At(x, y+1, z)
			fx, fy := float64(x), float64(y)
			var cross []point
			for _, e := range [4]struct {
				on bool
				p  point
			}{
				{a != b, point{fx + 0.5, fy}}, {b != c, point{fx + 1, fy + 0.5}},
				{c != d, point{fx + 0.5, fy + 1}}, {d != a, point{fx, fy + 0.5}},
			} {
				if e.on {
					cross = append(cross, e.p)
				}
			}
			for i := 0; i+1 < len(cross); i += 2 {
				out = append(out, [2]point{cross[i], cross[i+1]})
			}
		}
	}
	return out
}

// hull returns the corners of the convex hull (monotone chain).
func hull(points []point) []point {
	p := slices.Clone(points)
	slices.SortFunc(p, func(a, b point) int { return cmp.Or(cmp.Compare(a.x, b.x), cmp.Compare(a.y, b.y)) })
	p = slices.Compact(p)
	if len(p) < 3 {
		return p
	}
	var out []point
	for pass := range 2 {
		start := len(out)
		for _, q := range p {
			for len(out) >= start+2 {
				a, b := out[len(out)-2], out[len(out)-1]
				if (b.x-a.x)*(q.y-a.y)-(b.y-a.y)*(q.x-a.x) > 1e-12 {
					break
				}
				out = out[:len(out)-1]
			}
			out = append(out, q)
		}
		out = out[:len(out)-1]
		if pass == 0 {
			slices.Reverse(p)
		}
	}
	return out
}

// diameter3D returns the largest distance between two faces of the mask. Only
// corners of the slices' convex hulls can be its ends.
func diameter3D(g *result.Grid, m *result.Mask) float64 {
	half := sliceStep(g)
	var ends []result.Point
	add := func(points []point, z int, shift float64) {
		for _, p := range hull(points) {
			at := g.LPS(p.x, p.y, z)
			for a := range 3 {
				at[a] += shift * half[a]
			}
			ends = append(ends, at)
		}
	}
	for z := m.Z0; z < m.Z0+m.NZ; z++ {
		var sides, above, below []point
		for _, s := range outline(m, z) {
			sides = append(sides, s[0], s[1])
		}
		for y := m.Y0; y < m.Y0+m.NY; y++ {
			for x := m.X0; x < m.X0+m.NX; x++ {
				if !m.At(x, y, z) {
					continue
				}
				if !m.At(x, y, z+1) {
					above = append(above, point{float64(x), float64(y)})
				}
				if !m.At(x, y, z-1) {
					below = append(below, point{float64(x), float64(y)})
				}
			}
		}
		add(sides, z, 0)
		add(above, z, 0.5)
		add(below, z, -0.5)
	}
	longest := 0.0
	for i, a := range ends {
		for _, b := range ends[i+1:] {
			d := (a[0]-b[0])*(a[0]-b[0]) + (a[1]-b[1])*(a[1]-b[1]) + (a[2]-b[2])*(a[2]-b[2])
			longest = max(longest, d)
		}
	}
	return math.Sqrt(longest)
}
