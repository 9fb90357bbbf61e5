package volume

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/pixel"
	"github.com/pulmonode/pulmonode/inference/result"
)

// Volume is a CT in HU on its own grid.
type Volume struct {
	Grid       *result.Grid
	HU         []int16 // z, y, x order, x fastest
	NX, NY, NZ int
}

// Load decodes the slices, each once. workers is the number of goroutines, one per
// core where it is 0; progress, when not nil, is told of slices done. The error is
// that of the first slice that cannot be decoded, or the context's.
func Load(ctx context.Context, g *Geometry, workers int, progress func(done, total int)) (*Volume, error) {
	v := &Volume{Grid: g.Grid, NX: g.Grid.Columns, NY: g.Grid.Rows, NZ: len(g.Slices)}
	plane := v.NX * v.NY
	v.HU = make([]int16, plane*v.NZ) // Stack has checked that the files have as much
	errs := make([]error, v.NZ)
	// Slices behind one that failed are left out; those before it are decoded all
	// the same, so that the error does not depend on who was faster.
	var failed atomic.Int64
	failed.Store(int64(v.NZ))
	var mu sync.Mutex
	done := 0
	slice := func(z int) {
		if int64(z) > failed.Load() || ctx.Err() != nil {
			return
		}
		s := &g.Slices[z]
		if errs[z] = pixel.Decode(s.file, s.Frame, v.HU[z*plane:(z+1)*plane]); errs[z] != nil {
			for was := failed.Load(); int64(z) < was && !failed.CompareAndSwap(was, int64(z)); was = failed.Load() {
			}
			return
		}
		if progress != nil {
			mu.Lock()
			done++
			progress(done, v.NZ)
			mu.Unlock()
		}
	}
	work := inTurn(g.Slices)
	parallel(len(work), workers, func(i int) {
		for _, z := range work[i] {
			slice(z)
		}
	})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for z, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("instance %.64s: %w", g.Slices[z].SOPInstanceUID, err)
		}
	}
	return v, nil
}

// inTurn groups slices that are to be decoded one after the other: the frames of a
// deflated file, in their order in it, as each is inflated from where the last ended.
func inTurn(list []Slice) [][]int {
	var work [][]int
	of := map[*dataset.File]int{}
	for z := range list {
		f := list[z].file
		if f.TransferSyntax != dataset.DeflatedLE {
			work = append(work, []int{z})
			continue
		}
		i, ok := of[f]
		if !ok {
			i = len(work)
			of[f], work = i, append(work, nil)
		}
		work[i] = append(work[i], z)
	}
	for _, zs := range work {
		slices.SortFunc(zs, func(a, b int) int { return list[a].Frame - list[b].Frame })
	}
	return work
}

// parallel calls f for 0..n-1 from several goroutines, in ascending order.
func parallel(n, workers int, f func(i int)) {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	if workers = min(workers, n); workers <= 1 {
		for i := range n {
			f(i)
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}
