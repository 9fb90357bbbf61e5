package localize

import (
	"cmp"
	"math"
	"slices"
)

// candidates collects what hangs together above the threshold, best first. The
// field is used up.
func (m *field) candidates(o Options) []Candidate {
	level := uint16(math.Ceil(o.Threshold * one))
	near := offsets(reach)
	var found []Candidate
	for i, p := range m.p {
		if p >= level && p&taken == 0 {
			found = m.split(found, m.component(int32(i), level, near), level)
		}
	}
	slices.SortStableFunc(found, func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(b.Voxels, a.Voxels))
	})
	return found
}

// offsets returns the steps to all voxels within the distance.
func offsets(distance float64) [][3]int {
	r := int(distance)
	var steps [][3]int
	for z := -r; z <= r; z++ {
		for y := -r; y <= r; y++ {
			for x := -r; x <= r; x++ {
				if d := x*x + y*y + z*z; d > 0 && float64(d) <= distance*distance+1e-9 {
					steps = append(steps, [3]int{x, y, z})
				}
			}
		}
	}
	return steps
}

var touching = offsets(math.Sqrt(3))

// component marks and returns the voxels that hang together with the seed.
func (m *field) component(seed int32, level uint16, steps [][3]int) []int32 {
	sx, sy, sz := m.size(0), m.size(1), m.size(2)
	m.p[seed] |= taken
	voxels := []int32{seed}
	for head := 0; head < len(voxels); head++ {
		i := int(voxels[head])
		x, y, z := i%sx, i/sx%sy, i/(sx*sy)
		for _, d := range steps {
			nx, ny, nz := x+d[0], y+d[1], z+d[2]
			if uint(nx) >= uint(sx) || uint(ny) >= uint(sy) || uint(nz) >= uint(sz) {
				continue
			}
			n := (nz*sy+ny)*sx + nx
			if m.p[n]&taken == 0 && m.p[n] >= level {
				m.p[n] |= taken
				voxels = append(voxels, int32(n))
			}
		}
	}
	return voxels
}

// split appends a component as a candidate. One that is larger than a nodule can
// be, such as a nodule that a vessel ties to the next, is taken apart at a
// threshold halfway to 1 as long as something of it remains.
func (m *field) split(found []Candidate, voxels []int32, level uint16) []Candidate {
	if len(voxels) < fewest {
		return found
	}
	c := m.describe(voxels)
	extent := 0
	for a := range 3 {
		extent = max(extent, c.Max[a]-c.Min[a]+1)
	}
	higher := level + (one-level)/2
	if extent <= largest || higher <= level {
		return append(found, c)
	}
	any := false
	for _, i := range voxels {
		if m.p[i]&^taken >= higher {
			m.p[i] &^= taken
			any = true
		}
	}
	if !any {
		return append(found, c)
	}
	for _, i := range voxels {
		if m.p[i]&taken == 0 && m.p[i] >= higher {
			found = m.split(found, m.component(i, higher, touching), higher)
		}
	}
	return found
}

// describe measures the voxels of one candidate.
func (m *field) describe(voxels []int32) Candidate {
	sx, sy := m.size(0), m.size(1)
	c := Candidate{Voxels: len(voxels), Min: m.hi, Max: m.lo}
	var weight float64
	var top [topVoxels]uint16 // ascending
	for _, i := range voxels {
		p := m.p[i] &^ taken
		at := [3]int{int(i)%sx + m.lo[0], int(i)/sx%sy + m.lo[1], int(i)/(sx*sy) + m.lo[2]}
		weight += float64(p)
		for a, v := range at {
			c.Min[a], c.Max[a] = min(c.Min[a], v), max(c.Max[a], v)
			c.Center[a] += float64(p) * float64(v)
		}
		if p > top[0] {
			k := 1
			for k < topVoxels && top[k] < p {
				top[k-1] = top[k]
				k++
			}
			top[k-1] = p
		}
	}
	for a := range 3 {
		c.Center[a] /= weight
	}
	var sum float64
	for _, p := range top {
		sum += float64(p)
	}
	c.Score = sum / float64(min(len(voxels), topVoxels)) / one
	return c
}
