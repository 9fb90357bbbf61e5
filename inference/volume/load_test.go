package volume

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// long is a series with more slices than processors.
func long() series {
	s := axial()
	s.slices, s.rows, s.columns = 64, 16, 16
	return s
}

func TestEveryVoxelIsWhereItBelongs(t *testing.T) {
	s := axial()
	files := s.files(t, nil)
	slices.Reverse(files)
	v := load(t, files)
	if v.NX != 4 || v.NY != 3 || v.NZ != 5 || len(v.HU) != 60 {
		t.Fatalf("%d x %d x %d, %d values", v.NX, v.NY, v.NZ, len(v.HU))
	}
	for i, got := range v.HU {
		if want := s.hu(i%4, i/4%3, i/12); int(got) != want {
			t.Errorf("voxel %d is %d HU, want %d", i, got, want)
		}
	}
}

func TestLoadIsTheSameForAnyNumberOfWorkers(t *testing.T) {
	g := stack(t, long().files(t, nil))
	var first []int16
	for _, workers := range []int{1, 2, 7, 1000, 0} {
		v, err := Load(t.Context(), g, workers, nil)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = v.HU
		}
		if !slices.Equal(v.HU, first) {
			t.Errorf("%d workers give another volume than one", workers)
		}
	}
}

func TestProgressCountsEverySliceInTurn(t *testing.T) {
	g := stack(t, long().files(t, nil))
	var heard []int
	if _, err := Load(t.Context(), g, 8, func(done, total int) {
		if total != 64 {
			t.Errorf("%d of %d", done, total)
		}
		heard = append(heard, done)
	}); err != nil {
		t.Fatal(err)
	}
	if len(heard) != 64 || !slices.IsSorted(heard) || heard[0] != 1 || heard[63] != 64 {
		t.Errorf("heard %v", heard)
	}
}

func TestCancelEndsLoading(t *testing.T) {
	g := stack(t, long().files(t, nil))
	for _, workers := range []int{1, 4} {
		ctx, cancel := context.WithCancel(t.Context())
		heard := 0
		v, err := Load(ctx, g, workers, func(int, int) {
			if heard++; heard == 3 {
				cancel()
			}
		})
		if v != nil || !errors.Is(err, context.Canceled) {
			t.Errorf("%d workers: %v", workers, err)
		}
		// Those that were under way when it was cancelled may end.
		if heard >= 3+workers {
			t.Errorf("%d workers: %d slices decoded, cancelled after 3", workers, heard)
		}
		cancel()
	}
}

// Which of several broken slices is named must not depend on which worker was
// faster: the same series gives the same sentence each time.
func TestTheFirstBrokenSliceIsNamed(t *testing.T) {
	g := stack(t, long().files(t, func(z int, h *dataset.Dataset) {
		if z == 20 || z == 21 || z == 40 {
			h.SetText(dataset.RescaleSlope, "DS", "")
		}
	}))
	for _, workers := range []int{1, 2, 8} {
		for range 100 {
			v, err := Load(t.Context(), g, workers, nil)
			if v != nil || err == nil || !strings.HasPrefix(err.Error(), "instance "+uidOf(20)+": ") ||
				!strings.Contains(err.Error(), "the pixels are not in Hounsfield units") {
				t.Fatalf("%d workers: %v", workers, err)
			}
		}
	}
}
