package inference

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pulmonode/pulmonode/inference/refine"
	"github.com/pulmonode/pulmonode/inference/result"
)

// Series is what Analyze works on.
type Series struct {
	Paths      []string // the instances' files, Part 10
	Generation int      // 1 for the first; 0 counts as 1
	Closed     result.Closed

	// UID makes the deterministic UID of an object of this generation. Tracking
	// UIDs are made with the kind "tracking" and the nodule's number.
	UID func(kind string, index int) string

	// Predecessor is the result of the generation before, nil when there is none:
	// nodules that overlap keep their ID and tracking UID.
	Predecessor *result.Result

	// Candidate, when not nil, is told each place that stage 1 hands to stage 2.
	// For evaluations.
	Candidate func(center result.Point)
}

// Stages of an analysis, in order, as progress and timings name them.
const (
	StageLoad     = "load"     // slices decoded
	StageResample = "resample" // 1 mm
	StageLungs    = "lungs"    // the region searched
	StageLocalize = "localize" // cubes searched
	StageRefine   = "refine"   // slabs looked at
	StageMeasure  = "measure"  // nodules measured
)

// Analyze searches one series for nodules. progress, when not nil, is told each
// stage's work done and its total.
//
// A series that by rule cannot be analysed (its slices do not form a volume, no
// lungs are in view) gives a result with the outcome "skipped" and the reason.
// An error means that the analysis could not be carried out; it may be tried
// again. Every other result comes from a complete search.
func (p *Pipeline) Analyze(ctx context.Context, s Series, progress func(stage string, done, total int)) (*result.Result, error) {
	if s.UID == nil {
		return nil, errors.New("analyse series: no source of UIDs was given")
	}
	if progress == nil {
		progress = func(string, int, int) {}
	}
	r := &result.Result{
		Schema: result.Schema, Generation: max(s.Generation, 1), Closed: s.Closed,
		Warnings: slices.Clone(p.warnings), Algorithm: p.Algorithm(),
		TimingsS: map[string]float64{}, Nodules: []result.Nodule{},
	}
	r.Series.Instances = len(s.Paths)
	watch := stopwatch{timings: r.TimingsS, began: time.Now(), progress: progress}

	img, err := p.prepare(ctx, s.Paths, &r.Series, &watch)
	var skip *skipError
	if errors.As(err, &skip) {
		r.Outcome, r.Reason = result.OutcomeSkipped, skip.reason
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("analyse series: %w", err)
	}
	why := incomplete(s.Closed, img.cut)
	r.Partial, r.Warnings = len(why) > 0, append(why, r.Warnings...)
	nodules, err := p.find(ctx, img, s.Candidate, r, &watch)
	if err != nil {
		return nil, fmt.Errorf("analyse series: %w", err)
	}
	r.Nodules = describe(img, nodules, s)
	watch.done(StageMeasure)
	r.Outcome = result.OutcomeNone
	if len(r.Nodules) > 0 {
		r.Outcome = result.OutcomeNodules
	}
	r.Grid, r.Slices = img.ct.Grid, pictures(&img.ct, r.Nodules)
	return r, nil
}

// incomplete says why what was searched may not be all there is: nobody is to
// read "none" of a part as "none" of the chest.
func incomplete(c result.Closed, cut bool) (warnings []string) {
	switch c.Reason {
	case result.ClosedIdle:
		warnings = append(warnings, "slices may be missing: the transfer did not end in order, and the series was closed because nothing more came")
	case result.ClosedMaxAge:
		warnings = append(warnings, "slices may be missing: the series was closed while it was still coming in")
	}
	if cut {
		warnings = append(warnings, "the lungs are not wholly in view: they go on beyond the outermost slice, and what lies there was not searched")
	}
	return warnings
}

// find runs the two networks.
func (p *Pipeline) find(ctx context.Context, img *image, tell func(result.Point), r *result.Result, watch *stopwatch) ([]refine.Nodule, error) {
	candidates, search, err := p.search(ctx, img, watch.of(StageLocalize))
	if err != nil {
		return nil, err
	}
	watch.done(StageLocalize)
	if tell != nil {
		for _, c := range candidates {
			tell(between(img.ct.Grid, c.Center))
		}
	}
	if search.Dropped > 0 {
		r.Warnings = append(r.Warnings, fmt.Sprintf("%d places looked like nodules; the %d most likely were judged, the others were not", len(candidates)+search.Dropped, len(candidates)))
	}
	nodules, err := refine.Find(ctx, &img.ct, p.refine, candidates, p.refineOptions(), watch.of(StageRefine))
	if err != nil {
		return nil, err
	}
	watch.done(StageRefine)
	for _, n := range nodules {
		if n.CutOff {
			r.Warnings = append(r.Warnings, "a finding is larger than the field that contours are drawn in: its contour and its measures are those of a part")
			break
		}
	}
	return nodules, nil
}

// between is the position of a voxel of the grid (x, y, z), which may lie between
// two slices.
func between(g *result.Grid, voxel [3]float64) result.Point {
	last := len(g.Instances) - 1
	z := min(max(voxel[2], 0), float64(last))
	low := int(z)
	a, b := g.LPS(voxel[0], voxel[1], low), g.LPS(voxel[0], voxel[1], min(low+1, last))
	for i := range a {
		a[i] += (b[i] - a[i]) * (z - float64(low))
	}
	return a
}

// pictures returns the slices that pictures are drawn from: each nodule's key
// slice, or the middle slice when there are none.
func pictures(ct *refine.CT, nodules []result.Nodule) map[int]*result.Pixels {
	out := map[int]*result.Pixels{}
	take := func(z int) {
		n := ct.NX * ct.NY
		out[z] = &result.Pixels{Rows: ct.NY, Columns: ct.NX, HU: slices.Clone(ct.HU[z*n : (z+1)*n])}
	}
	for i := range nodules {
		take(keySlice(ct, &nodules[i]))
	}
	if len(out) == 0 {
		take(ct.NZ / 2)
	}
	return out
}

// keySlice is the slice of the grid that a nodule's key slice is: of the frames
// of an enhanced image, which share one UID, the one that shows most of it.
func keySlice(ct *refine.CT, n *result.Nodule) int {
	key, most := 0, -1
	for z := range n.Mask.NZ {
		if ct.Grid.Instances[n.Mask.Z0+z].SOPInstanceUID != n.KeySlice {
			continue
		}
		area := 0
		for _, in := range n.Mask.Bits[z*n.Mask.NX*n.Mask.NY : (z+1)*n.Mask.NX*n.Mask.NY] {
			if in {
				area++
			}
		}
		if area > most {
			key, most = n.Mask.Z0+z, area
		}
	}
	return key
}

// skipError says by which rule a series is not analysed.
type skipError struct{ reason string }

func (e *skipError) Error() string { return e.reason }

// stopwatch takes the time of each stage and passes progress on.
type stopwatch struct {
	timings  map[string]float64
	began    time.Time
	progress func(stage string, done, total int)
}

func (w *stopwatch) of(stage string) func(done, total int) {
	return func(done, total int) { w.progress(stage, done, total) }
}

func (w *stopwatch) done(stage string) {
	now := time.Now()
	w.timings[stage] += now.Sub(w.began).Seconds()
	w.began = now
}
