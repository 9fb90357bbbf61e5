// Package refine is stage 2: it draws each candidate's contour, judges whether
// it is a nodule at all, and rates its characteristics.
//
// A candidate is seen in planes of 64 by 64 samples at the model's own spacing,
// centred on it, four planes (a slab) at a time. Slabs step by two planes, so
// that every plane that counts is seen twice, and probabilities are averaged per
// plane. A contour off the centre is looked at again from its own centre; one
// that fills the field is drawn at twice the in-plane spacing. The contour is
// taken back to the CT's own grid by interpolating probabilities, and only then
// cut at the threshold: the largest part near the candidate is the nodule.
//
// Characteristics and the judgement come from the first scale, at which the
// network has seen most nodules. Logits of the slabs are averaged with the area of
// the contour in each slab as weight: a slab that shows a sliver of the nodule
// says little of it, and the maximum would let one chance slab decide. They are
// calibrated after that, with the model's own coefficients, of which some may
// weigh the size and density of the contour as a whole.
//
// Candidates are looked at together, in an order and in batches that do not
// depend on the number of workers: the same input gives the same bits.
package refine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/pulmonode/pulmonode/inference/onnx"
	"github.com/pulmonode/pulmonode/inference/result"
)

// CT is the image on its own grid.
type CT struct {
	Grid       *result.Grid
	HU         []int16 // z, y, x order, x fastest
	NX, NY, NZ int

	// Planes samples planes k0 to k1 (both included) of side by side samples in the
	// network's units: plane k lies k*spacing[0] mm from the center along the
	// slices, samples lie spacing[1] (rows) and spacing[2] (columns) mm apart,
	// and the center (voxel x, y, z) lies in the middle of the 64 by 64. Called from
	// several goroutines.
	Planes func(center, spacing [3]float64, k0, k1 int) []float32
}

// Network evaluates n slabs; outputs are mask, characteristics and nodule.
// *onnx.Session is one.
type Network interface {
	Run(ctx context.Context, n int, dims []int64, slabs []float32, out ...[]float32) error
}

// Candidate is a place to look at, in voxels of the CT (x, y, z; fractions).
type Candidate struct {
	Center [3]float64
	Min    [3]float64 // extent
	Max    [3]float64
	Score  float64 // stage 1
}

// Options of the refinement.
type Options struct {
	Model   *onnx.Metadata // spacing, thresholds, calibration
	Batch   int            // slabs given to the network at once; 0: 4
	Workers int            // goroutines that cut planes; 0: one per core
	Flips   bool           // average four mirrored views of each slab in all but the first look
}

// Nodule is a candidate that is one, with its contour.
type Nodule struct {
	Mask            result.Mask
	Probabilities   result.Probabilities
	Score           float64                  // stage 1
	Probability     float64                  // that it is a nodule, calibrated
	Characteristics [4]result.Characteristic // in the order of result.Characteristics
	CutOff          bool                     // it goes on beyond what the second scale shows

	logits [4]float64 // of the characteristics, the mean of the slabs'
	p      []float32  // probability of the mask's voxels, same layout as its bits
}

const (
	side   = onnx.Side
	planes = onnx.Planes
	step   = 2 // planes from slab to slab

	marginMM  = 5.0  // planes looked at beyond the candidate's extent
	nearMM    = 4.0  // a contour this near to the centre is the candidate's
	farMM     = 12.0 // a contour farther away is another structure
	clearly   = 0.5  // of the nodule threshold, below which the first look decides
	largeMM   = 30.0 // in-plane extent from which the second scale is used
	edge      = 2    // samples; a contour this near to the rim may go on beyond
	maxPlanes = 128  // 128 mm at 1 mm: twice the largest candidate

	sameShare = 0.3 // of the smaller mask, from which two contours are one nodule
	leastMM3  = 8.0 // a sphere of 2.5 mm: smaller ones cannot be measured
)

// Find looks at the candidates and returns those that are nodules, contours
// disjoint. progress, when not nil, is told the slabs done and their total so
// far. An error means that not every candidate was judged: there is no result.
func Find(ctx context.Context, ct *CT, net Network, candidates []Candidate, o Options, progress func(done, total int)) ([]Nodule, error) {
	if o.Model == nil {
		return nil, errors.New("refine candidates: no model description")
	}
	if o.Batch <= 0 {
		o.Batch = 4
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	r := &refiner{ct: ct, net: net, o: o, progress: progress}
	r.spacing = [3]float64{ct.Grid.SliceSpacing, ct.Grid.PixelSpacing[0], ct.Grid.PixelSpacing[1]}

	first, err := r.firstLooks(ctx, candidates)
	if err != nil {
		return nil, err
	}
	closer, of, err := r.closerLooks(ctx, first)
	if err != nil {
		return nil, err
	}
	wide, err := r.widerLooks(ctx, closer)
	if err != nil {
		return nil, err
	}
	var found []Nodule
	for i := range closer {
		drawn := &closer[i]
		n, ok := r.believed(drawn)
		if !ok {
			continue
		}
		n.Score = candidates[of[i]].Score
		if wide[i] != nil {
			drawn = wide[i]
			n.CutOff = drawn.atRim(drawn.part())
		}
		if r.draw(&n, drawn, drawn.part()) {
			found = append(found, n)
		}
	}
	found = r.distinct(found)
	for i := range found {
		r.rate(&found[i])
	}
	return found, nil
}

// firstLooks sees every candidate from the centre that stage 1 gave.
func (r *refiner) firstLooks(ctx context.Context, candidates []Candidate) ([]look, error) {
	looks := make([]look, len(candidates))
	for i, c := range candidates {
		if !finite(c.Center[:]) || !finite(c.Min[:]) || !finite(c.Max[:]) {
			return nil, fmt.Errorf("refine candidates: candidate %d has no position", i+1)
		}
		looks[i] = r.at(c.Center, r.o.Model.SpacingMM, c.Min[2], c.Max[2])
	}
	return looks, r.see(ctx, looks, false)
}

// closerLooks sees those that the first look did not turn down clearly again,
// from the contour's own centre and over its own extent. It returns them with
// the indices of their candidates.
func (r *refiner) closerLooks(ctx context.Context, first []look) (looks []look, of []int, err error) {
	for i := range first {
		l := &first[i]
		part := l.part()
		if part == nil || r.judge(l, part).Probability < clearly*r.o.Model.Thresholds["nodule"] {
			continue
		}
		center, lo, hi := r.extent(l, part)
		if l.fills(part) {
			center[0], center[1] = l.center[0], l.center[1] // its visible middle is not its middle
		}
		looks, of = append(looks, r.at(center, r.o.Model.SpacingMM, lo, hi)), append(of, i)
	}
	return looks, of, r.see(ctx, looks, r.o.Flips)
}

// widerLooks sees those nodules at twice the in-plane spacing whose contour fills
// the field. The others' places are nil.
func (r *refiner) widerLooks(ctx context.Context, closer []look) ([]*look, error) {
	var looks []look
	var of []int
	for i := range closer {
		l := &closer[i]
		if _, ok := r.believed(l); !ok || !l.fills(l.part()) {
			continue
		}
		center, lo, hi := r.extent(l, l.part())
		s := r.o.Model.SpacingMM
		s[1], s[2] = 2*s[1], 2*s[2]
		looks, of = append(looks, r.at(center, s, lo, hi)), append(of, i)
	}
	if err := r.see(ctx, looks, r.o.Flips); err != nil {
		return nil, err
	}
	wide := make([]*look, len(closer))
	for k, i := range of {
		if looks[k].part() != nil {
			wide[i] = &looks[k]
		}
	}
	return wide, nil
}

// believed judges a look and reports whether it shows a nodule.
func (r *refiner) believed(l *look) (Nodule, bool) {
	part := l.part()
	if part == nil {
		return Nodule{}, false
	}
	n := r.judge(l, part)
	return n, n.Probability >= r.o.Model.Thresholds["nodule"]
}

type refiner struct {
	ct       *CT
	net      Network
	o        Options
	spacing  [3]float64 // z, y, x of the CT, mm
	progress func(done, total int)
	done     int
	total    int
}

// look is a candidate seen from one centre at one spacing.
type look struct {
	threshold float64
	center    [3]float64 // x, y, z in voxels of the CT
	spacing   [3]float64 // z, y, x of the samples, mm
	k0, k1    int        // planes relative to the centre, both included
	lo, hi    [3]int     // samples x, y, plane that lie on the CT: lo to hi-1

	p      []float32    // probability per plane, row, column
	nodule []float32    // logit per slab; slab i starts at plane k0+2i
	traits [][4]float32 // logits per slab

	parted bool
	found  *part
}

// at plans a look that covers the slices lo to hi (voxels) and a margin, and two
// planes more on either side, so that the margin too is seen twice.
func (r *refiner) at(center, spacing [3]float64, lo, hi float64) look {
	perPlane := spacing[0] / r.spacing[0] // voxels from plane to plane
	margin := marginMM / spacing[0]
	k0 := int(math.Floor((lo-center[2])/perPlane-margin)) - step
	k1 := int(math.Ceil((hi-center[2])/perPlane+margin)) + step
	// Beyond the first and last slice there is nothing to draw on.
	k0 = max(k0, int(math.Floor((-0.5-center[2])/perPlane))-step)
	k1 = min(k1, int(math.Ceil((float64(r.ct.NZ)-0.5-center[2])/perPlane))+step)
	k0, k1 = max(k0, -maxPlanes/2), min(k1, maxPlanes/2)
	k1 = max(k1, k0+planes-1)
	if (k1-k0+1-planes)%step != 0 {
		k1++
	}
	l := look{threshold: r.o.Model.Thresholds["mask"], center: center, spacing: spacing, k0: k0, k1: k1}
	first := r.sample(&l, [3]float64{-0.5, -0.5, -0.5})
	last := r.sample(&l, [3]float64{float64(r.ct.NX) - 0.5, float64(r.ct.NY) - 0.5, float64(r.ct.NZ) - 0.5})
	size := [3]int{side, side, k1 - k0 + 1}
	for a := range 3 {
		l.lo[a] = max(int(math.Ceil(first[a])), 0)
		l.hi[a] = min(int(math.Floor(last[a]))+1, size[a])
	}
	return l
}

// see runs the network over all slabs of the looks, each also mirrored along
// columns, rows and both where flips is set. Planes are cut by several
// goroutines, a few looks ahead of the network.
func (r *refiner) see(ctx context.Context, looks []look, flips bool) error {
	if len(looks) == 0 {
		return nil
	}
	views := 1
	if flips {
		views = 4
	}
	type job struct {
		look     *look
		slab     int
		mirrored int // bit 0: columns, bit 1: rows
	}
	var jobs []job
	for i := range looks {
		l := &looks[i]
		n := (l.k1-l.k0+1-planes)/step + 1
		l.nodule, l.traits = make([]float32, n), make([][4]float32, n)
		l.p = make([]float32, (l.k1-l.k0+1)*side*side)
		for s := range n {
			for v := range views {
				jobs = append(jobs, job{l, s, v})
			}
		}
	}
	r.total += len(jobs)

	cut := make(map[*look]chan []float32, len(looks))
	for i := range looks {
		cut[&looks[i]] = make(chan []float32, 1)
	}
	ctx, cancel := context.WithCancel(ctx)
	ahead := make(chan struct{}, r.o.Workers+2)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range looks {
			l := &looks[i]
			select {
			case ahead <- struct{}{}:
			case <-ctx.Done():
				return
			}
			wg.Go(func() { cut[l] <- r.ct.Planes(l.center, l.spacing, l.k0, l.k1) })
		}
	})
	defer wg.Wait()
	defer cancel()

	const plane, slab = side * side, planes * side * side
	batch := min(r.o.Batch, len(jobs))
	in, mask := make([]float32, batch*slab), make([]float32, batch*slab)
	traits, nodule := make([]float32, batch*4), make([]float32, batch)
	var current *look
	var image []float32
	for at := 0; at < len(jobs); at += batch {
		now := jobs[at:min(at+batch, len(jobs))]
		for i, j := range now {
			if j.look != current {
				select {
				case image = <-cut[j.look]:
				case <-ctx.Done():
					return ctx.Err()
				}
				<-ahead
				current = j.look
				if want := len(current.p); len(image) != want {
					return fmt.Errorf("refine candidates: %d samples were cut for %d", len(image), want)
				}
			}
			mirror(in[i*slab:(i+1)*slab], image[j.slab*step*plane:], j.mirrored)
		}
		n := len(now)
		if err := r.net.Run(ctx, n, []int64{planes, side, side}, in[:n*slab], mask[:n*slab], traits[:n*4], nodule[:n]); err != nil {
			return fmt.Errorf("refine candidates, slab %d of %d: %w", r.done+1, r.total, err)
		}
		for i, j := range now {
			if err := j.look.take(j.slab, j.mirrored, mask[i*slab:(i+1)*slab], [4]float32(traits[i*4:]), nodule[i]); err != nil {
				return err
			}
		}
		r.done += n
		if r.progress != nil {
			r.progress(r.done, r.total)
		}
	}
	for i := range looks {
		looks[i].average(views)
	}
	return nil
}

// mirror copies a slab, mirrored along columns (bit 0) and rows (bit 1).
func mirror(to, from []float32, how int) {
	if how == 0 {
		copy(to, from[:len(to)])
		return
	}
	for row := range len(to) / side {
		source := row
		if how&2 != 0 {
			source = row/side*side + side - 1 - row%side
		}
		line := from[source*side : (source+1)*side]
		out := to[row*side : (row+1)*side]
		if how&1 == 0 {
			copy(out, line)
			continue
		}
		for x, v := range line {
			out[side-1-x] = v
		}
	}
}

// take adds the network's answer for a slab to the sums of the look.
func (l *look) take(slab, mirrored int, mask []float32, traits [4]float32, nodule float32) error {
	bad := !finite32(nodule)
	for i, v := range traits {
		l.traits[slab][i] += v
		bad = bad || !finite32(v)
	}
	l.nodule[slab] += nodule
	back := make([]float32, len(mask))
	mirror(back, mask, mirrored)
	sum := l.p[slab*step*side*side:]
	for i, v := range back {
		if !(v >= 0 && v <= 1) { // also NaN
			bad = true
			break
		}
		sum[i] += v
	}
	if bad {
		return errors.New("the refine model gave values that are no probabilities or logits; the candidates could not be judged")
	}
	return nil
}

// average turns the sums into means.
func (l *look) average(views int) {
	n := l.k1 - l.k0 + 1
	slabs := len(l.nodule)
	for k := range n {
		// Slabs that hold plane k start at planes k-3 to k, every second.
		lo, hi := max(0, (k-planes+step)/step), min(slabs-1, k/step)
		inv := 1 / float32((hi-lo+1)*views)
		for i := range l.p[k*side*side : (k+1)*side*side] {
			l.p[k*side*side+i] *= inv
		}
	}
	for s := range slabs {
		l.nodule[s] /= float32(views)
		for i := range l.traits[s] {
			l.traits[s][i] /= float32(views)
		}
	}
}

// judge weighs the slabs' logits by the area of the contour in each.
func (r *refiner) judge(l *look, p *part) Nodule {
	var weight, nodule float64
	var traits [4]float64
	for s := range l.nodule {
		w := 0.0
		for k := s * step; k < s*step+planes; k++ {
			w += float64(p.area[k])
		}
		weight += w
		nodule += w * float64(l.nodule[s])
		for i, v := range l.traits[s] {
			traits[i] += w * float64(v)
		}
	}
	m := r.o.Model
	n := Nodule{Probability: m.Calibration["nodule"].Probability(nodule / weight)}
	for i := range traits {
		n.logits[i] = traits[i] / weight
	}
	return n
}

// rate gives a drawn nodule its characteristics: what the slabs said of it,
// calibrated with the size and density of the contour as a whole.
func (r *refiner) rate(n *Nodule) {
	ct := r.ct
	m := Measure(ct.Grid, &n.Mask, func(x, y, z int) int16 { return ct.HU[(z*ct.NY+y)*ct.NX+x] })
	diameter := math.Cbrt(6 * m.VolumeMM3 / math.Pi)
	for i, name := range result.Characteristics {
		calibrated := r.o.Model.Calibration[name].Of(diameter, m.MeanHU)
		n.Characteristics[i] = Label(name, calibrated.Probability(n.logits[i]), r.o.Model.Thresholds[name])
	}
}

// Label names a calibrated probability. The bands of malignancy are those of
// Ni et al. 2022: below 0.35 low, above 0.65 high.
func Label(name string, probability, threshold float64) result.Characteristic {
	c := result.Characteristic{Probability: probability, Threshold: threshold}
	either := func(yes, no string) {
		c.Label = no
		if probability >= threshold {
			c.Label = yes
		}
	}
	switch name {
	case "malignancy":
		c.Label = "indeterminate"
		if probability < result.MalignancyLow {
			c.Label = "low"
		} else if probability > result.MalignancyHigh {
			c.Label = "high"
		}
	case "margin":
		either("clear", "unclear")
	case "texture":
		either("solid", "subsolid")
	case "calcification":
		either("absent", "present")
	}
	return c
}

// distinct drops contours of a nodule that another candidate drew better, and
// gives voxels that two nodules claim to the one with the higher probability.
func (r *refiner) distinct(found []Nodule) []Nodule {
	slices.SortStableFunc(found, func(a, b Nodule) int {
		return cmp.Or(cmp.Compare(b.Probability, a.Probability), cmp.Compare(b.Score, a.Score))
	})
	var kept []Nodule
next:
	for _, n := range found {
		for i := range kept {
			both := common(&kept[i].Mask, &n.Mask, nil)
			if both > 0 && float64(both) >= sameShare*float64(min(count(&kept[i].Mask), count(&n.Mask))) {
				kept[i].Score = max(kept[i].Score, n.Score)
				continue next
			}
		}
		kept = append(kept, n)
	}
	for i := range kept {
		for j := i + 1; j < len(kept); j++ {
			a, b := &kept[i], &kept[j]
			common(&a.Mask, &b.Mask, func(ia, ib int) {
				if a.p[ia] >= b.p[ib] {
					b.Mask.Bits[ib] = false
				} else {
					a.Mask.Bits[ia] = false
				}
			})
		}
	}
	voxel := VoxelVolume(r.ct.Grid)
	whole := kept[:0]
	for _, n := range kept {
		largest(&n.Mask)
		if v := float64(count(&n.Mask)) * voxel; v >= leastMM3 {
			n.Probabilities = probabilities(&n.Mask, n.p, r.o.Model.Thresholds["mask"])
			n.Mask = crop(n.Mask)
			n.p = nil
			whole = append(whole, n)
		}
	}
	return whole
}

func finite(v []float64) bool {
	for _, x := range v {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return false
		}
	}
	return true
}

func finite32(v float32) bool { return finite([]float64{float64(v)}) }
