package inference

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/localize"
	"github.com/pulmonode/pulmonode/inference/refine"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/inference/volume"
)

// prepare stacks and decodes the slices, resamples them to 1 mm and finds the
// lungs. What is no volume of a chest is a *skipError.
func (p *Pipeline) prepare(ctx context.Context, paths []string, s *result.Series, watch *stopwatch) (*image, error) {
	files := make([]*dataset.File, len(paths))
	for i, path := range paths {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f, err := dataset.Open(path, dataset.Limits{})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		files[i] = f
	}
	stack, err := volume.Stack(files)
	var geometry *volume.GeometryError
	if errors.As(err, &geometry) {
		return nil, &skipError{geometry.Sentence}
	}
	if err != nil {
		return nil, err
	}
	s.StudyInstanceUID, s.SeriesInstanceUID, s.FrameOfReferenceUID = stack.StudyInstanceUID, stack.SeriesInstanceUID, stack.FrameOfReferenceUID
	ct, err := volume.Load(ctx, stack, p.o.Threads, watch.of(StageLoad))
	if err != nil {
		return nil, err
	}
	watch.done(StageLoad)
	levels := ct.Resample1mm(p.o.Threads)
	watch.done(StageResample)
	lungs, err := volume.Lungs(levels)
	if errors.Is(err, volume.ErrNoLungs) {
		return nil, &skipError{err.Error()}
	}
	if err != nil {
		return nil, err
	}
	watch.done(StageLungs)
	return &image{
		ct:     refine.CT{Grid: ct.Grid, HU: ct.HU, NX: ct.NX, NY: ct.NY, NZ: ct.NZ, Planes: ct.Slabs},
		coarse: localize.Image{Q: levels.Q, Lung: lungs.Label, NX: levels.NX, NY: levels.NY, NZ: levels.NZ},
		voxel:  levels.ToVoxel,
		cut:    lungs.CutFirst || lungs.CutLast,
		side: func(x, y, z int) string {
			at := levels.FromVoxel([3]float64{float64(x), float64(y), float64(z)})
			return lungs.Side(int(math.Round(at[0])), int(math.Round(at[1])), int(math.Round(at[2])))
		},
	}, nil
}
