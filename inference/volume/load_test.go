package volume

import (
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
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

// counting counts the bytes that are read of a file.
type counting struct {
	io.ReaderAt
	n atomic.Int64
}

func (c *counting) ReadAt(p []byte, offset int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, offset)
	c.n.Add(int64(n))
	return n, err
}

// Whatever the order of the slices and the number of workers: by itself, each frame
// would inflate those in front of it again, which takes minutes of 500.
func TestFramesOfADeflatedFileAreInflatedOnce(t *testing.T) {
	s := axial()
	s.slices, s.rows, s.columns = 64, 64, 64
	rng := rand.New(rand.NewPCG(1, 2))
	noise := rng.Perm(4096)
	s.hu = func(x, y, z int) int { return noise[(x+64*y+z*997)%4096] }
	frames := rng.Perm(s.slices)
	plain := s.enhanced(t, frames...)
	want := load(t, []*dataset.File{plain})

	r, err := plain.DataSet()
	if err != nil {
		t.Fatal(err)
	}
	b := bytes.NewBuffer(dataset.FileMeta(dataset.MetaInfo{
		SOPClassUID: dataset.CTImage, SOPInstanceUID: uidOf(0), TransferSyntax: dataset.DeflatedLE,
	}))
	w, _ := flate.NewWriter(b, flate.BestSpeed)
	if _, err := io.Copy(w, r); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, workers := range []int{1, 8} {
		in := &counting{ReaderAt: bytes.NewReader(b.Bytes())}
		f, err := dataset.Read(in, int64(b.Len()), dataset.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		g := stack(t, []*dataset.File{f})
		in.n.Store(0)
		v, err := Load(t.Context(), g, workers, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(v.HU, want.HU) {
			t.Errorf("%d workers: other voxels than of the file that is not deflated", workers)
		}
		if n := in.n.Load(); n > int64(b.Len()) {
			t.Errorf("%d workers: %d bytes were read of a file of %d", workers, n, b.Len())
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
