// Package localize is stage 1: it searches the lungs for nodule candidates.
//
// The image is the CT at 1 mm in every direction, quantised to 1024 levels. It
// is cut into cubes wherever lung is; the network gives each voxel of a cube the
// probability that it belongs to a nodule; the outer eight voxels of a cube,
// which the network sees with one side missing, are thrown away, and the cores
// tile the lungs without gap or overlap. What rises above the model's threshold
// inside the lungs and hangs together is a candidate.
//
// Coordinates are voxels of the 1 mm image, x, y, z. Memory beyond the image is
// two bytes for each voxel of the lungs' box and one batch of cubes.
package localize

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
)

// Image is a CT at 1 mm, in z, y, x order (x fastest).
type Image struct {
	Q          []uint16 // grey levels 0..1023
	Lung       []uint8  // not 0 where nodules are searched; same layout
	NX, NY, NZ int
}

// Network gives probabilities for n cubes of the given dimensions (1, z, y, x).
// *onnx.Session is one.
type Network interface {
	Run(ctx context.Context, n int, dims []int64, cubes []float32, out ...[]float32) error
}

// Options of the search; the zero value of each field is the usual one but for
// Threshold, which comes with the model.
type Options struct {
	Threshold float64 // probability from which a voxel counts
	Edge      int     // edge of a cube, a multiple of 16; 0: 64
	Batch     int     // cubes given to the network at once; 0: 1
	Most      int     // candidates kept, best first; 0: 60
}

// Candidate is a place where a nodule may be.
type Candidate struct {
	Center   [3]float64 // x, y, z: centroid weighted by probability
	Min, Max [3]int     // first and last voxel of its extent
	Voxels   int        // cubic millimetres above the threshold
	Score    float64    // mean probability of its 27 strongest voxels
}

const (
	rim         = 8  // voxels of a cube's border that are not used
	reach       = 3  // mm over which separate parts count as one candidate
	topVoxels   = 27 // a 3 mm cube: the smallest nodule looked for
	fewest      = 4  // voxels; fewer are noise
	largest     = 45 // mm; what is larger is split at a higher threshold
	margin      = 3  // mm around the lung mask that still count as lung
	mostDefault = 60

	one   = math.MaxInt16 // probability 1 in a field
	taken = 1 << 15
)

// Found is the outcome of a search.
type Found struct {
	Candidates []Candidate // best first
	Dropped    int         // further ones beyond Options.Most
	Cubes      int         // given to the network
}

// Find searches the image. progress, when not nil, is called after each batch
// with the cubes done and their total. An error means that part of the lungs was
// not searched: then there are no candidates at all.
func Find(ctx context.Context, img Image, net Network, o Options, progress func(done, total int)) (*Found, error) {
	if n := img.NX * img.NY * img.NZ; n == 0 || len(img.Q) != n || len(img.Lung) != n {
		return nil, fmt.Errorf("search for candidates: an image of %dx%dx%d voxels with %d grey values and %d lung voxels", img.NX, img.NY, img.NZ, len(img.Q), len(img.Lung))
	}
	if o.Edge == 0 {
		o.Edge = 64
	}
	o.Batch = max(o.Batch, 1)
	if o.Most == 0 {
		o.Most = mostDefault
	}
	if !(o.Threshold > 0 && o.Threshold < 1) || o.Edge%16 != 0 || o.Edge <= 2*rim {
		return nil, fmt.Errorf("search for candidates: threshold %g with cubes of %d", o.Threshold, o.Edge)
	}
	lung, bounds, ok := widen(img)
	if !ok {
		return nil, errors.New("search for candidates: the image has no lung to search")
	}
	cubes := tile(bounds, lung, o.Edge)
	m, err := probabilities(ctx, img, net, o, lung, bounds, cubes, progress)
	if err != nil {
		return nil, err
	}
	all := m.candidates(o)
	kept := min(len(all), o.Most)
	return &Found{Candidates: all[:kept], Dropped: len(all) - kept, Cubes: len(cubes)}, nil
}

// field is the probability, in 1/32767, of the voxels of a box; the top bit marks
// voxels that already belong to a candidate.
type field struct {
	box
	p []uint16
}

// box is a part of the image: voxels lo to hi-1 of each axis (x, y, z).
type box struct{ lo, hi [3]int }

func (b box) size(axis int) int { return b.hi[axis] - b.lo[axis] }

func (b box) index(x, y, z int) int {
	return ((z-b.lo[2])*b.size(1)+y-b.lo[1])*b.size(0) + x - b.lo[0]
}

// probabilities runs the network over the cubes.
func probabilities(ctx context.Context, img Image, net Network, o Options, lung []uint8, bounds box, cubes [][3]int, progress func(done, total int)) (*field, error) {
	out := &field{box: bounds, p: make([]uint16, bounds.size(0)*bounds.size(1)*bounds.size(2))}

	grey := greys()
	cube := o.Edge * o.Edge * o.Edge
	n := min(o.Batch, len(cubes))
	in, prob := make([]float32, n*cube), make([]float32, n*cube)
	dims := []int64{1, int64(o.Edge), int64(o.Edge), int64(o.Edge)}
	for done := 0; done < len(cubes); {
		batch := cubes[done:min(done+n, len(cubes))]
		for i, origin := range batch {
			img.cut(origin, o.Edge, grey, in[i*cube:(i+1)*cube])
		}
		if err := net.Run(ctx, len(batch), dims, in[:len(batch)*cube], prob[:len(batch)*cube]); err != nil {
			return nil, fmt.Errorf("search cubes %d to %d of %d: %w", done+1, done+len(batch), len(cubes), err)
		}
		for i, origin := range batch {
			if err := out.keep(origin, o.Edge, prob[i*cube:(i+1)*cube], lung); err != nil {
				return nil, err
			}
		}
		done += len(batch)
		if progress != nil {
			progress(done, len(cubes))
		}
	}
	return out, nil
}

// Cube gives the probabilities of the one cube of 64 voxels whose first voxel is
// origin, z, y, x order. Beyond the image the cube continues its border.
func Cube(ctx context.Context, img Image, net Network, origin [3]int) ([]float32, error) {
	const edge = 64
	in, prob := make([]float32, edge*edge*edge), make([]float32, edge*edge*edge)
	img.cut(origin, edge, greys(), in)
	if err := net.Run(ctx, 1, []int64{1, edge, edge, edge}, in, prob); err != nil {
		return nil, fmt.Errorf("search one cube: %w", err)
	}
	return prob, nil
}

// greys are the network's inputs for the grey levels.
func greys() *[1024]float32 {
	var grey [1024]float32
	for q := range grey {
		grey[q] = float32(q) / 1023
	}
	return &grey
}

// widen returns the lung mask with its margin and the box that holds it.
func widen(img Image) (lung []uint8, bounds box, ok bool) {
	lo, hi := [3]int{img.NX, img.NY, img.NZ}, [3]int{}
	for z, i := 0, 0; z < img.NZ; z++ {
		for y := 0; y < img.NY; y++ {
			row := img.Lung[i : i+img.NX]
			i += img.NX
			first := slices.IndexFunc(row, func(v uint8) bool { return v != 0 })
			if first < 0 {
				continue
			}
			last := len(row) - 1
			for row[last] == 0 {
				last--
			}
			lo[0], hi[0] = min(lo[0], first), max(hi[0], last+1)
			lo[1], hi[1] = min(lo[1], y), max(hi[1], y+1)
			lo[2], hi[2] = min(lo[2], z), max(hi[2], z+1)
		}
	}
	if hi[0] == 0 {
		return nil, bounds, false
	}
	n := [3]int{img.NX, img.NY, img.NZ}
	for a := range 3 {
		bounds.lo[a], bounds.hi[a] = max(lo[a]-margin, 0), min(hi[a]+margin, n[a])
	}
	sx, sy, sz := bounds.size(0), bounds.size(1), bounds.size(2)
	lung = make([]uint8, sx*sy*sz)
	for z := range sz {
		for y := range sy {
			from := ((z+bounds.lo[2])*img.NY+y+bounds.lo[1])*img.NX + bounds.lo[0]
			for x, v := range img.Lung[from : from+sx] {
				if v != 0 {
					lung[(z*sy+y)*sx+x] = 1
				}
			}
		}
	}
	line := make([]uint8, max(sx, sy, sz))
	for z := range sz {
		for y := range sy {
			dilate(lung[(z*sy+y)*sx:], sx, 1, line)
		}
	}
	for z := range sz {
		for x := range sx {
			dilate(lung[z*sy*sx+x:], sy, sx, line)
		}
	}
	for y := range sy {
		for x := range sx {
			dilate(lung[y*sx+x:], sz, sx*sy, line)
		}
	}
	return lung, bounds, true
}

// dilate widens the ones of a line of n voxels by the margin, both ways.
func dilate(v []uint8, n, stride int, line []uint8) {
	for i, left := 0, 0; i < n; i++ {
		if v[i*stride] != 0 {
			left = margin + 1
		}
		line[i] = 0
		if left > 0 {
			line[i] = 1
			left--
		}
	}
	for i, left := n-1, 0; i >= 0; i-- {
		if v[i*stride] != 0 {
			left = margin + 1
		}
		if left > 0 {
			line[i] = 1
			left--
		}
	}
	for i := range n {
		v[i*stride] = line[i]
	}
}

// tile returns the origins of the cubes whose core holds lung. The cores lie
// side by side, centred on the box.
func tile(b box, lung []uint8, edge int) [][3]int {
	core := edge - 2*rim
	var count, start [3]int
	for a := range 3 {
		count[a] = (b.size(a) + core - 1) / core
		start[a] = b.lo[a] - (count[a]*core-b.size(a))/2
	}
	var origins [][3]int
	for k := range count[2] {
		for j := range count[1] {
			for i := range count[0] {
				c := [3]int{start[0] + i*core, start[1] + j*core, start[2] + k*core}
				if b.holds(lung, c, core) {
					origins = append(origins, [3]int{c[0] - rim, c[1] - rim, c[2] - rim})
				}
			}
		}
	}
	return origins
}

// holds reports whether lung lies in the cube of that edge.
func (b box) holds(lung []uint8, at [3]int, edge int) bool {
	var lo, hi [3]int
	for a := range 3 {
		lo[a], hi[a] = max(at[a], b.lo[a]), min(at[a]+edge, b.hi[a])
	}
	for z := lo[2]; z < hi[2]; z++ {
		for y := lo[1]; y < hi[1]; y++ {
			i := b.index(lo[0], y, z)
			if slices.Contains(lung[i:i+hi[0]-lo[0]], 1) {
				return true
			}
		}
	}
	return false
}

// cut copies a cube into the network's input. Beyond the image its outermost
// voxels are repeated.
func (img Image) cut(origin [3]int, edge int, grey *[1024]float32, to []float32) {
	xs := make([]int, edge)
	for i := range xs {
		xs[i] = min(max(origin[0]+i, 0), img.NX-1)
	}
	for k := range edge {
		z := min(max(origin[2]+k, 0), img.NZ-1)
		for j := range edge {
			y := min(max(origin[1]+j, 0), img.NY-1)
			row := img.Q[(z*img.NY+y)*img.NX:][:img.NX]
			for i, x := range xs {
				to[i] = grey[row[x]&1023]
			}
			to = to[edge:]
		}
	}
}

// keep takes the core of a cube into the field, where lung is.
func (m *field) keep(origin [3]int, edge int, prob []float32, lung []uint8) error {
	for k := rim; k < edge-rim; k++ {
		z := origin[2] + k
		if z < m.lo[2] || z >= m.hi[2] {
			continue
		}
		for j := rim; j < edge-rim; j++ {
			y := origin[1] + j
			if y < m.lo[1] || y >= m.hi[1] {
				continue
			}
			first, last := max(origin[0]+rim, m.lo[0]), min(origin[0]+edge-rim, m.hi[0])
			if first >= last {
				continue
			}
			from := prob[(k*edge+j)*edge+first-origin[0]:]
			at := m.index(first, y, z)
			for i := range last - first {
				v := from[i]
				if !(v >= 0 && v <= 1) { // also NaN
					return fmt.Errorf("the localize model gave %g where a probability was expected; the search is not complete", v)
				}
				if lung[at+i] != 0 {
					m.p[at+i] = uint16(v*one + 0.5)
				}
			}
		}
	}
	return nil
}
