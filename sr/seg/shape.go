package seg

import (
	"fmt"
	"slices"

	"github.com/pulmonode/pulmonode/inference/result"
)

// shape is a segment: values in a box of the grid, 0 where it is not.
type shape struct {
	x0, y0, z0 int
	nx, ny, nz int
	values     []uint8 // x fastest
	note       string  // what a reader must know of it; may be empty
}

func (s shape) at(x, y, z int) uint8 {
	x, y, z = x-s.x0, y-s.y0, z-s.z0
	if x < 0 || y < 0 || z < 0 || x >= s.nx || y >= s.ny || z >= s.nz {
		return 0
	}
	return s.values[(z*s.ny+y)*s.nx+x]
}

// in reports whether any voxel of the slice is in the segment.
func (s *shape) in(z int) bool {
	if z < s.z0 || z >= s.z0+s.nz {
		return false
	}
	plane := s.values[(z-s.z0)*s.nx*s.ny:][:s.nx*s.ny]
	return slices.ContainsFunc(plane, func(v uint8) bool { return v != 0 })
}

// meet calls f with the indices in either of each voxel that both have, until it
// says false.
func meet(a, b *shape, f func(ia, ib int) bool) {
	for z := max(a.z0, b.z0); z < min(a.z0+a.nz, b.z0+b.nz); z++ {
		for y := max(a.y0, b.y0); y < min(a.y0+a.ny, b.y0+b.ny); y++ {
			for x := max(a.x0, b.x0); x < min(a.x0+a.nx, b.x0+b.nx); x++ {
				ia := ((z-a.z0)*a.ny+y-a.y0)*a.nx + x - a.x0
				ib := ((z-b.z0)*b.ny+y-b.y0)*b.nx + x - b.x0
				if a.values[ia] != 0 && b.values[ib] != 0 && !f(ia, ib) {
					return
				}
			}
		}
	}
}

// overlap reports whether two segments share a voxel.
func overlap(shapes []shape) bool {
	found := false
	for i := range shapes {
		for j := range shapes[:i] {
			meet(&shapes[i], &shapes[j], func(int, int) bool { found = true; return false })
			if found {
				return true
			}
		}
	}
	return false
}

// contours are the segments of the binary kind.
func contours(nodules []result.Nodule) ([]shape, error) {
	out := make([]shape, len(nodules))
	for i := range nodules {
		m := &nodules[i].Mask
		out[i] = shape{x0: m.X0, y0: m.Y0, z0: m.Z0, nx: m.NX, ny: m.NY, nz: m.NZ, values: make([]uint8, len(m.Bits))}
		for j, in := range m.Bits {
			if in {
				out[i].values[j] = 1
			}
		}
	}
	return out, nil
}

// notCalibrated stands with every segment of probabilities.
const notCalibrated = "Probability of each voxel by the refine model, not calibrated."

// likelihoods are the segments of the fractional kind.
func likelihoods(nodules []result.Nodule) ([]shape, error) {
	out := make([]shape, len(nodules))
	for i := range nodules {
		n := &nodules[i]
		p := &n.Probabilities
		if p.Values == nil {
			return nil, fmt.Errorf(`nodule %s: the probabilities of its voxels are not known: set [output] seg = "binary"`, n.ID)
		}
		out[i] = shapeOf(p)
		out[i].note = notCalibrated
		if least, ok := leastOf(n); ok {
			out[i].note += fmt.Sprintf(" What was measured is the voxels of %d and more of %d.", least, result.MostProbable)
		}
	}
	return out, nil
}

// leastOf is the value that the contour begins at: the least in it, if what is
// around it has less.
func leastOf(n *result.Nodule) (least uint8, ok bool) {
	p := &n.Probabilities
	var around uint8
	least = result.MostProbable
	for i, v := range p.Values {
		if n.Mask.At(p.X0+i%p.NX, p.Y0+i/p.NX%p.NY, p.Z0+i/(p.NX*p.NY)) {
			least = min(least, v)
		} else {
			around = max(around, v)
		}
	}
	return least, around < least
}

func shapeOf(p *result.Probabilities) shape {
	return shape{x0: p.X0, y0: p.Y0, z0: p.Z0, nx: p.NX, ny: p.NY, nz: p.NZ, values: p.Values}
}

// labels are the segments of a label map, in which a voxel has one segment. One
// that two nodules claim belongs to where it is likelier, or to the nodule that
// comes first in the result where that is not known or equal, and the other
// segment says so.
func labels(nodules []result.Nodule) ([]shape, error) {
	if len(nodules) > mostLabels {
		return nil, fmt.Errorf(`%d nodules are more than the %d that a label map numbers here: set [output] seg = "binary"`, len(nodules), mostLabels)
	}
	out, err := contours(nodules)
	if err != nil {
		return nil, err
	}
	whole, lost := make([]int, len(out)), make([]int, len(out))
	for i := range out {
		for _, v := range out[i].values {
			whole[i] += int(v)
		}
		for j := range i {
			meet(&out[j], &out[i], func(first, second int) bool {
				if likelier(&nodules[i], &nodules[j], &out[i], second) {
					out[j].values[first] = background
					lost[j]++
				} else {
					out[i].values[second] = background
					lost[i]++
				}
				return true
			})
		}
	}
	for i := range out {
		if lost[i] > 0 {
			out[i].note = fmt.Sprintf("%d of the %d voxels of this nodule are shown as those of another that shares them: a label map has one segment for a voxel. "+
				"It is the likelier one, or the first where that is not known.", lost[i], whole[i])
		}
	}
	return out, nil
}

// likelier reports whether the voxel at index i of a's shape is more probably a's
// than b's.
func likelier(a, b *result.Nodule, of *shape, i int) bool {
	x, y, z := of.x0+i%of.nx, of.y0+i/of.nx%of.ny, of.z0+i/(of.nx*of.ny)
	p, q := &a.Probabilities, &b.Probabilities
	if p.Values == nil || q.Values == nil {
		return false
	}
	return shapeOf(p).at(x, y, z) > shapeOf(q).at(x, y, z)
}
