package refine

import (
	"math"

	"github.com/pulmonode/pulmonode/inference/result"
)

// draw takes the contour back to the CT's grid: probabilities are interpolated
// at the voxels' centres, then cut at the threshold. It reports whether anything
// is left.
func (r *refiner) draw(n *Nodule, l *look, p *part) bool {
	// One sample around the contour may interpolate to the threshold still.
	var lo, hi [3]float64
	for a := range 3 {
		lo[a], hi[a] = float64(p.lo[a]-1), float64(p.hi[a]+1)
	}
	lo, hi = r.voxel(l, lo), r.voxel(l, hi)
	size := [3]int{r.ct.NX, r.ct.NY, r.ct.NZ}
	var from, to [3]int
	for a := range 3 {
		from[a] = max(int(math.Ceil(lo[a])), 0)
		to[a] = min(int(math.Floor(hi[a]))+1, size[a])
		if from[a] >= to[a] {
			return false
		}
	}
	m := result.Mask{X0: from[0], Y0: from[1], Z0: from[2], NX: to[0] - from[0], NY: to[1] - from[1], NZ: to[2] - from[2]}
	prob := make([]float32, m.NX*m.NY*m.NZ)
	inside := make([]bool, len(prob))
	i := 0
	for z := range m.NZ {
		for y := range m.NY {
			for x := range m.NX {
				v := l.between(r.sample(l, [3]float64{float64(m.X0 + x), float64(m.Y0 + y), float64(m.Z0 + z)}))
				prob[i] = float32(v)
				inside[i] = v >= l.threshold
				i++
			}
		}
	}
	// The contour's own middle, not stage 1's centre, says which piece is meant:
	// the look has already chosen.
	at := r.voxel(l, p.center)
	at[0], at[1], at[2] = at[0]-float64(m.X0), at[1]-float64(m.Y0), at[2]-float64(m.Z0)
	voxels := nearest(inside, [3]int{m.NX, m.NY, m.NZ}, at, [3]float64{r.spacing[2], r.spacing[1], r.spacing[0]})
	if voxels == nil {
		return false
	}
	m.Bits = make([]bool, len(prob))
	for _, i := range voxels {
		m.Bits[i] = true
	}
	n.Mask, n.p = m, prob
	return true
}

// probabilities rounds p, laid out as the mask's voxels, so that the rounded
// threshold still tells the contour from the rim: up within, down around it.
// What reaches the threshold outside belongs to another structure or nodule.
func probabilities(m *result.Mask, p []float32, threshold float64) result.Probabilities {
	out := result.Probabilities{X0: m.X0, Y0: m.Y0, Z0: m.Z0, NX: m.NX, NY: m.NY, NZ: m.NZ, Values: make([]uint8, len(p))}
	for i, v := range p {
		v := float64(v) * result.MostProbable
		switch {
		case m.Bits[i]:
			out.Values[i] = uint8(math.Ceil(v))
		case v < threshold*result.MostProbable:
			out.Values[i] = uint8(v)
		}
	}
	return out
}

// between interpolates the look's probability at a sample position; beyond half
// a sample around the field it is 0.
func (l *look) between(s [3]float64) float64 {
	n := [3]int{side, side, l.k1 - l.k0 + 1}
	var i0, i1 [3]int
	var t [3]float64
	for a, v := range s {
		if v < -0.5 || v > float64(n[a])-0.5 {
			return 0
		}
		v = min(max(v, 0), float64(n[a]-1))
		i0[a] = int(v)
		i1[a] = min(i0[a]+1, n[a]-1)
		t[a] = v - float64(i0[a])
	}
	row := func(y, z int) float64 {
		at := (z*side + y) * side
		return mix(float64(l.p[at+i0[0]]), float64(l.p[at+i1[0]]), t[0])
	}
	return mix(
		mix(row(i0[1], i0[2]), row(i1[1], i0[2]), t[1]),
		mix(row(i0[1], i1[2]), row(i1[1], i1[2]), t[1]), t[2])
}

func mix(a, b, t float64) float64 { return a + (b-a)*t }

func count(m *result.Mask) int {
	n := 0
	for _, b := range m.Bits {
		if b {
			n++
		}
	}
	return n
}

// common counts the voxels that both masks hold and calls f with their indices
// in either.
func common(a, b *result.Mask, f func(ia, ib int)) int {
	n := 0
	x0, x1 := max(a.X0, b.X0), min(a.X0+a.NX, b.X0+b.NX)
	for z := max(a.Z0, b.Z0); z < min(a.Z0+a.NZ, b.Z0+b.NZ); z++ {
		for y := max(a.Y0, b.Y0); y < min(a.Y0+a.NY, b.Y0+b.NY); y++ {
			for x := x0; x < x1; x++ {
				ia := ((z-a.Z0)*a.NY+y-a.Y0)*a.NX + x - a.X0
				ib := ((z-b.Z0)*b.NY+y-b.Y0)*b.NX + x - b.X0
				if a.Bits[ia] && b.Bits[ib] {
					n++
					if f != nil {
						f(ia, ib)
					}
				}
			}
		}
	}
	return n
}

// largest keeps the largest connected piece of a mask.
func largest(m *result.Mask) {
	marked := make([]bool, len(m.Bits))
	var best []int32
	for seed, in := range m.Bits {
		if in && !marked[seed] {
			if v := flood(m.Bits, marked, [3]int{m.NX, m.NY, m.NZ}, int32(seed)); len(v) > len(best) {
				best = v
			}
		}
	}
	clear(m.Bits)
	for _, i := range best {
		m.Bits[i] = true
	}
}

// crop returns the mask in the smallest box.
func crop(m result.Mask) result.Mask {
	lo, hi := [3]int{m.NX, m.NY, m.NZ}, [3]int{-1, -1, -1}
	for i, b := range m.Bits {
		if b {
			for a, v := range [3]int{i % m.NX, i / m.NX % m.NY, i / (m.NX * m.NY)} {
				lo[a], hi[a] = min(lo[a], v), max(hi[a], v)
			}
		}
	}
	if hi[0] < 0 {
		return result.Mask{}
	}
	c := result.Mask{X0: m.X0 + lo[0], Y0: m.Y0 + lo[1], Z0: m.Z0 + lo[2], NX: hi[0] - lo[0] + 1, NY: hi[1] - lo[1] + 1, NZ: hi[2] - lo[2] + 1}
	c.Bits = make([]bool, 0, c.NX*c.NY*c.NZ)
	for z := range c.NZ {
		for y := range c.NY {
			at := ((z+lo[2])*m.NY+y+lo[1])*m.NX + lo[0]
			c.Bits = append(c.Bits, m.Bits[at:at+c.NX]...)
		}
	}
	return c
}
