package refine

import "math"

// part is the connected piece of a look's contour that is the candidate's.
type part struct {
	lo, hi [3]int // first and last sample: x, y, plane (counted from k0)
	center [3]float64
	area   []int // samples per plane
}

// part returns the contour of the candidate in this look, nil when there is none.
func (l *look) part() *part {
	if !l.parted {
		l.parted = true
		l.found = l.pick()
	}
	return l.found
}

func (l *look) pick() *part {
	n := l.k1 - l.k0 + 1
	inside := make([]bool, len(l.p))
	// Beyond the CT its border is repeated: nothing there belongs to a nodule.
	for z := l.lo[2]; z < l.hi[2]; z++ {
		for y := l.lo[1]; y < l.hi[1]; y++ {
			at := (z*side + y) * side
			for x := l.lo[0]; x < l.hi[0]; x++ {
				inside[at+x] = float64(l.p[at+x]) >= l.threshold
			}
		}
	}
	mid := [3]float64{(side - 1) / 2.0, (side - 1) / 2.0, float64(-l.k0)}
	voxels := nearest(inside, [3]int{side, side, n}, mid, [3]float64{l.spacing[2], l.spacing[1], l.spacing[0]})
	if voxels == nil {
		return nil
	}
	p := &part{lo: [3]int{side, side, n}, hi: [3]int{-1, -1, -1}, area: make([]int, n)}
	for _, i := range voxels {
		at := [3]int{int(i) % side, int(i) / side % side, int(i) / (side * side)}
		for a, v := range at {
			p.lo[a], p.hi[a] = min(p.lo[a], v), max(p.hi[a], v)
			p.center[a] += float64(v)
		}
		p.area[at[2]]++
	}
	for a := range 3 {
		p.center[a] /= float64(len(voxels))
	}
	return p
}

// nearest returns the voxels of the connected piece that belongs to a place: the
// largest that comes within nearMM of it, else the nearest within farMM. size,
// at and spacing are x, y, z.
func nearest(inside []bool, size [3]int, at, spacing [3]float64) []int32 {
	label := make([]bool, len(inside))
	var best []int32
	bestDistance := math.Inf(1)
	for seed, in := range inside {
		if !in || label[seed] {
			continue
		}
		voxels := flood(inside, label, size, int32(seed))
		distance := math.Inf(1)
		for _, i := range voxels {
			var d2 float64
			for a, v := range [3]int{int(i) % size[0], int(i) / size[0] % size[1], int(i) / (size[0] * size[1])} {
				d := (float64(v) - at[a]) * spacing[a]
				d2 += d * d
			}
			distance = min(distance, math.Sqrt(d2))
		}
		if distance > farMM {
			continue
		}
		better := distance < bestDistance
		if distance <= nearMM && bestDistance <= nearMM {
			better = len(voxels) > len(best)
		}
		if better {
			best, bestDistance = voxels, distance
		}
	}
	return best
}

// flood returns the voxels that hang together with the seed by faces, edges or
// corners, and marks them.
func flood(inside, marked []bool, size [3]int, seed int32) []int32 {
	marked[seed] = true
	voxels := []int32{seed}
	for head := 0; head < len(voxels); head++ {
		i := int(voxels[head])
		x, y, z := i%size[0], i/size[0]%size[1], i/(size[0]*size[1])
		for nz := max(z-1, 0); nz <= min(z+1, size[2]-1); nz++ {
			for ny := max(y-1, 0); ny <= min(y+1, size[1]-1); ny++ {
				for nx := max(x-1, 0); nx <= min(x+1, size[0]-1); nx++ {
					n := (nz*size[1]+ny)*size[0] + nx
					if inside[n] && !marked[n] {
						marked[n] = true
						voxels = append(voxels, int32(n))
					}
				}
			}
		}
	}
	return voxels
}

// fills reports whether the contour needs the second scale.
func (l *look) fills(p *part) bool {
	return l.atRim(p) ||
		float64(p.hi[0]-p.lo[0]+1)*l.spacing[2] > largeMM ||
		float64(p.hi[1]-p.lo[1]+1)*l.spacing[1] > largeMM
}

// atRim reports whether the contour comes so near to the rim of the field that
// it may go on beyond.
func (l *look) atRim(p *part) bool {
	return p.lo[0] < edge || p.hi[0] >= side-edge || p.lo[1] < edge || p.hi[1] >= side-edge
}

// extent returns the contour's middle and its first and last slice in voxels of
// the CT. A contour that is cut off is looked for further on.
func (r *refiner) extent(l *look, p *part) (center [3]float64, lo, hi float64) {
	center = r.voxel(l, p.center)
	lo = r.voxel(l, [3]float64{0, 0, float64(p.lo[2])})[2]
	hi = r.voxel(l, [3]float64{0, 0, float64(p.hi[2])})[2]
	more := 20 / r.spacing[0]
	if p.lo[2] < step {
		lo -= more
	}
	if p.hi[2] > l.k1-l.k0-step {
		hi += more
	}
	return center, lo, hi
}

// voxel maps a sample (x, y, plane from k0) to voxels of the CT.
func (r *refiner) voxel(l *look, s [3]float64) [3]float64 {
	return [3]float64{
		l.center[0] + (s[0]-(side-1)/2.0)*l.spacing[2]/r.spacing[2],
		l.center[1] + (s[1]-(side-1)/2.0)*l.spacing[1]/r.spacing[1],
		l.center[2] + (s[2]+float64(l.k0))*l.spacing[0]/r.spacing[0],
	}
}

// sample is the inverse of voxel.
func (r *refiner) sample(l *look, v [3]float64) [3]float64 {
	return [3]float64{
		(v[0]-l.center[0])*r.spacing[2]/l.spacing[2] + (side-1)/2.0,
		(v[1]-l.center[1])*r.spacing[1]/l.spacing[1] + (side-1)/2.0,
		(v[2]-l.center[2])*r.spacing[0]/l.spacing[0] - float64(l.k0),
	}
}
