package phantom

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

// DefaultNodules is how many nodules a demonstration shows.
const DefaultNodules = 5

// Kernels of reconstruction: how fine the edges and how strong the noise.
const (
	KernelSoft  = "soft"
	KernelSharp = "sharp"
)

// Options say what to make. The zero value is a body without nodules of 150
// slices of 2 mm, 512 x 512 pixels of 0.7 mm.
type Options struct {
	Seed         uint64
	Slices       int     // 0: as many as cover 300 mm
	SpacingZ     float64 // mm; 0: 300 mm over Slices, or 2
	Rows         int     // 0: 512
	Columns      int     // 0: 512
	PixelSpacing float64 // mm; 0: 358 mm over Columns
	Nodules      int     // 0: none, a background
	Kernel       string  // "": KernelSoft
	NoiseHU      float64 // standard deviation in the middle of the body; 0: 16 (soft) or 30 (sharp); below 0: none
	StudyUID     string  // "": derived from the options
	SeriesUID    string  // "": derived from the options
}

const coverage = 300.0

func (o Options) withDefaults() Options {
	switch {
	case o.Slices == 0 && o.SpacingZ == 0:
		o.Slices, o.SpacingZ = 150, coverage/150
	case o.Slices == 0:
		o.Slices = int(coverage/max(o.SpacingZ, 0.1) + 0.5)
	case o.SpacingZ == 0:
		o.SpacingZ = coverage / float64(max(o.Slices, 1))
	}
	if o.Rows == 0 {
		o.Rows = 512
	}
	if o.Columns == 0 {
		o.Columns = 512
	}
	if o.PixelSpacing == 0 {
		o.PixelSpacing = 0.7 * 512 / float64(max(o.Columns, 1))
	}
	if o.Kernel == "" {
		o.Kernel = KernelSoft
	}
	if o.NoiseHU == 0 {
		o.NoiseHU = 16
		if o.Kernel == KernelSharp {
			o.NoiseHU = 30
		}
	}
	o.NoiseHU = max(o.NoiseHU, 0)
	return o
}

func (o Options) check() error {
	var errs []error
	within := func(name string, v, low, high float64) {
		if !(v >= low && v <= high) {
			errs = append(errs, fmt.Errorf("%s is %g: choose %g to %g", name, v, low, high))
		}
	}
	within("slices", float64(o.Slices), 2, 1500)
	within("slice spacing in mm", o.SpacingZ, 0.3, 20)
	within("rows", float64(o.Rows), 16, 1024)
	within("columns", float64(o.Columns), 16, 1024)
	within("pixel spacing in mm", o.PixelSpacing, 0.3, 20)
	within("nodules", float64(o.Nodules), 0, 40)
	within("noise in HU", o.NoiseHU, 0, 300)
	if o.Kernel != KernelSoft && o.Kernel != KernelSharp {
		errs = append(errs, fmt.Errorf("kernel is %q: choose %q or %q", o.Kernel, KernelSoft, KernelSharp))
	}
	for _, uid := range []struct{ name, value string }{{"study", o.StudyUID}, {"series", o.SeriesUID}} {
		if uid.value != "" && !validUID(uid.value) {
			errs = append(errs, fmt.Errorf("%s UID is %q, which is no DICOM UID: leave it out to have one derived", uid.name, uid.value))
		}
	}
	return errors.Join(errs...)
}

// Volume is the CT on its grid. The rows run to the patient's left, the columns
// to the back, the slices to the head.
type Volume struct {
	HU                    []int16 // z, y, x
	Slices, Rows, Columns int
	SpacingZ              float64    // mm
	PixelSpacing          float64    // mm, both ways
	Origin                [3]float64 // LPS mm of the centre of the first voxel
	Options               Options    // with the defaults filled in
	Truth                 Truth
}

// Truth tells where the nodules are.
type Truth struct {
	Nodules []TrueNodule `json:"nodules"`
}

// TrueNodule is one nodule as it lies in the volume: centre and volume are of
// the voxels of [TrueNodule.Voxels].
type TrueNodule struct {
	ID          int                `json:"id"` // from 1
	CenterLPS   [3]float64         `json:"center_lps_mm"`
	DiameterMM  float64            `json:"diameter_mm"` // of the sphere of that volume
	VolumeMM3   float64            `json:"volume_mm3"`
	Labels      map[string]int     `json:"labels"`       // malignancy, margin, texture, calcification: 0 or 1
	MeanRatings map[string]float64 `json:"mean_ratings"` // of the readers of the source, 1..5, calcification 1..6
	Source      string             `json:"source"`       // key of the nodule in LIDC-IDRI
	Voxels      []int              `json:"-"`            // indices into Volume.HU, ascending
}

// Generate makes the volume; progress, if given, hears of each finished slice
// from several goroutines, one at a time. It fails on options out of range, when
// the nodules find no room or are smaller than a voxel, and when ctx ends.
func Generate(ctx context.Context, o Options, progress func(done, total int)) (*Volume, Truth, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, Truth{}, fmt.Errorf("making a phantom: %w", err)
	}
	v := &Volume{
		HU:     make([]int16, o.Slices*o.Rows*o.Columns),
		Slices: o.Slices, Rows: o.Rows, Columns: o.Columns,
		SpacingZ: o.SpacingZ, PixelSpacing: o.PixelSpacing, Options: o,
		Origin: [3]float64{
			-float64(o.Columns-1) / 2 * o.PixelSpacing,
			-float64(o.Rows-1) / 2 * o.PixelSpacing,
			-20 - float64(o.Slices-1)/2*o.SpacingZ,
		},
	}
	s := &scene{body: newAnatomy(o.Seed), volume: v}
	s.trees = s.body.grow(o.Seed)
	if err := ctx.Err(); err != nil {
		return nil, Truth{}, err
	}
	if err := s.placeNodules(); err != nil {
		return nil, Truth{}, fmt.Errorf("making a phantom: %w", err)
	}
	s.prepare()
	var done int
	var told sync.Mutex
	err := eachSlice(ctx, o.Slices, func() func(int) error {
		b := s.newBrush()
		return func(k int) error {
			b.slice(k)
			told.Lock()
			defer told.Unlock()
			done++
			if progress != nil {
				progress(done, o.Slices)
			}
			return nil
		}
	})
	if err != nil {
		return nil, Truth{}, err
	}
	return v, v.Truth, nil
}

// eachSlice calls what worker makes, one worker a processor, for 0..n-1.
func eachSlice(ctx context.Context, n int, worker func() func(int) error) error {
	var next atomic.Int64
	var wait sync.WaitGroup
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for range min(runtime.GOMAXPROCS(0), n) {
		wait.Go(func() {
			work := worker()
			for ctx.Err() == nil {
				k := int(next.Add(1) - 1)
				if k >= n {
					return
				}
				if err := work(k); err != nil {
					cancel(err)
				}
			}
		})
	}
	wait.Wait()
	return context.Cause(ctx)
}
