package inference

import (
	"context"
	"fmt"
	"maps"
	"math"

	"github.com/pulmonode/pulmonode/inference/localize"
	"github.com/pulmonode/pulmonode/inference/refine"
	"github.com/pulmonode/pulmonode/inference/volume"
)

// Outline draws and rates the one nodule that is known to be at a place. The
// nodule is nil when no contour was drawn, or it is not believed (see
// Options.KeepAll). Evaluations of stage 2 alone use it.
func (p *Pipeline) Outline(ctx context.Context, ct *volume.Volume, at refine.Candidate) (*refine.Nodule, error) {
	img := refine.CT{Grid: ct.Grid, HU: ct.HU, NX: ct.NX, NY: ct.NY, NZ: ct.NZ, Planes: ct.Slabs}
	found, err := refine.Find(ctx, &img, p.refine, []refine.Candidate{at}, p.refineOptions(), nil)
	if err != nil {
		return nil, fmt.Errorf("outline: %w", err)
	}
	if len(found) == 0 {
		return nil, nil
	}
	return &found[0], nil
}

// refineOptions are those of stage 2.
func (p *Pipeline) refineOptions() refine.Options {
	model := *p.refine.Metadata
	if p.o.KeepAll {
		model.Thresholds = maps.Clone(model.Thresholds)
		model.Thresholds["nodule"] = 0
	}
	return refine.Options{Model: &model, Batch: batches[p.refine.Provider].slabs, Workers: p.o.Threads, Flips: true}
}

// Thresholds are those of stage 2, on calibrated probabilities: "nodule" and the
// four characteristics.
func (p *Pipeline) Thresholds() map[string]float64 { return maps.Clone(p.refine.Metadata.Thresholds) }

// Cube runs stage 1 on the one cube of 64 voxels at 1 mm about a voxel of the CT
// (x, y, z) and returns its probability for every voxel of the CT, 0 outside the
// cube. What the cube holds beyond the image continues the image's border.
// Evaluations of stage 1 alone use it.
func (p *Pipeline) Cube(ctx context.Context, ct *volume.Volume, center [3]float64) ([]float32, error) {
	levels := ct.Resample1mm(p.o.Threads)
	c := levels.FromVoxel(center)
	const edge = 64
	var origin [3]int
	for a := range origin {
		origin[a] = int(math.Round(c[a])) - edge/2
	}
	img := localize.Image{Q: levels.Q, NX: levels.NX, NY: levels.NY, NZ: levels.NZ}
	prob, err := localize.Cube(ctx, img, p.localize, origin)
	if err != nil {
		return nil, err
	}
	out := make([]float32, ct.NX*ct.NY*ct.NZ)
	for i := range out {
		at := levels.FromVoxel([3]float64{float64(i % ct.NX), float64(i / ct.NX % ct.NY), float64(i / (ct.NX * ct.NY))})
		for a := range at {
			at[a] -= float64(origin[a])
		}
		out[i] = trilinear(prob, edge, at)
	}
	return out, nil
}

// trilinear interpolates a cube at a place in its voxels; 0 outside.
func trilinear(cube []float32, edge int, at [3]float64) float32 {
	var lo, hi [3]int
	var t [3]float64
	for a, v := range at {
		if v < 0 || v > float64(edge-1) {
			return 0
		}
		lo[a] = int(v)
		hi[a] = min(lo[a]+1, edge-1)
		t[a] = v - float64(lo[a])
	}
	sum := 0.0
	for corner := range 8 {
		index, weight := [3]int{}, 1.0
		for a := range 3 {
			if corner>>a&1 == 1 {
				index[a], weight = hi[a], weight*t[a]
			} else {
				index[a], weight = lo[a], weight*(1-t[a])
			}
		}
		sum += weight * float64(cube[(index[2]*edge+index[1])*edge+index[0]])
	}
	return float32(sum)
}
