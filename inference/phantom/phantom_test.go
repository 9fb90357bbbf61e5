package phantom

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// small is a chest that is made in a second: coarse, but with its nodules.
var small = Options{Seed: 1, Slices: 40, SpacingZ: 3, Rows: 128, Columns: 128, Nodules: 3}

var made sync.Map // Options to func() *Volume

// chest makes a phantom, each only once for all tests: leave it as it is.
func chest(t testing.TB, o Options) *Volume {
	t.Helper()
	make, _ := made.LoadOrStore(o, sync.OnceValues(func() (*Volume, error) {
		v, _, err := Generate(context.Background(), o, nil)
		return v, err
	}))
	v, err := make.(func() (*Volume, error))()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func hashOf(t *testing.T, v *Volume) [32]byte {
	t.Helper()
	h := sha256.New()
	if err := binary.Write(h, binary.LittleEndian, v.HU); err != nil {
		t.Fatal(err)
	}
	return [32]byte(h.Sum(nil))
}

// filesOf writes the series and hashes each file.
func filesOf(t *testing.T, v *Volume) map[string][32]byte {
	t.Helper()
	dir := t.TempDir()
	if err := WriteSeries(t.Context(), dir, v, nil); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	hashes := map[string][32]byte{}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		hashes[f.Name()] = sha256.Sum256(b)
	}
	return hashes
}

func TestTheSameOptionsGiveTheSameBytes(t *testing.T) {
	first := chest(t, small)
	// The order in which slices are finished must not show.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	again, truth, err := Generate(t.Context(), small, nil)
	if err != nil {
		t.Fatal(err)
	}
	if hashOf(t, first) != hashOf(t, again) {
		t.Error("the volumes differ")
	}
	if !reflect.DeepEqual(first.Truth, truth) || !reflect.DeepEqual(truth, again.Truth) {
		t.Error("the truths differ")
	}
	runtime.GOMAXPROCS(4)
	a, b := filesOf(t, first), filesOf(t, again)
	if len(a) != small.Slices+1 || !reflect.DeepEqual(a, b) {
		t.Errorf("the files differ: %d and %d", len(a), len(b))
	}
}

func TestAnotherSeedGivesAnotherPatient(t *testing.T) {
	o := small
	o.Seed = 2
	a, b := chest(t, small), chest(t, o)
	if hashOf(t, a) == hashOf(t, b) {
		t.Error("the volumes are the same")
	}
	if a.StudyUID() == b.StudyUID() || a.SeriesUID() == b.SeriesUID() || a.SOPInstanceUID(0) == b.SOPInstanceUID(0) {
		t.Error("UIDs are shared")
	}
	if a.Truth.Nodules[0].CenterLPS == b.Truth.Nodules[0].CenterLPS {
		t.Error("the nodules lie in the same place")
	}
}

func TestWhatIsLeftOutIsFilledIn(t *testing.T) {
	for _, c := range []struct {
		name    string
		o, want Options
	}{
		{"nothing said", Options{}, Options{Slices: 150, SpacingZ: 2, Rows: 512, Columns: 512, PixelSpacing: 0.7, Kernel: KernelSoft, NoiseHU: 16}},
		{"only the spacing", Options{SpacingZ: 1.25}, Options{Slices: 240, SpacingZ: 1.25, Rows: 512, Columns: 512, PixelSpacing: 0.7, Kernel: KernelSoft, NoiseHU: 16}},
		{"only the number of slices", Options{Slices: 100}, Options{Slices: 100, SpacingZ: 3, Rows: 512, Columns: 512, PixelSpacing: 0.7, Kernel: KernelSoft, NoiseHU: 16}},
		{"fewer columns cover as much", Options{Columns: 128}, Options{Slices: 150, SpacingZ: 2, Rows: 512, Columns: 128, PixelSpacing: 2.8, Kernel: KernelSoft, NoiseHU: 16}},
		{"a sharp kernel is noisier", Options{Kernel: KernelSharp}, Options{Slices: 150, SpacingZ: 2, Rows: 512, Columns: 512, PixelSpacing: 0.7, Kernel: KernelSharp, NoiseHU: 30}},
		{"no noise", Options{NoiseHU: -1}, Options{Slices: 150, SpacingZ: 2, Rows: 512, Columns: 512, PixelSpacing: 0.7, Kernel: KernelSoft}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.o.withDefaults(); got != c.want {
				t.Errorf("got %+v\nwant %+v", got, c.want)
			}
			if err := c.o.withDefaults().check(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOptionsOutOfRangeAreRefusedByName(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		o    Options
		says []string
	}{
		{Options{Slices: 1}, []string{"slices is 1: choose 2 to 1500"}},
		{Options{Slices: -3}, []string{"slices is -3"}},
		{Options{Slices: 1501, SpacingZ: 1}, []string{"slices is 1501"}},
		{Options{Slices: 10, SpacingZ: 0.1}, []string{"slice spacing in mm is 0.1"}},
		{Options{Slices: 10, SpacingZ: 21}, []string{"slice spacing in mm is 21"}},
		{Options{SpacingZ: -1}, []string{"slice spacing in mm is -1"}},
		{Options{SpacingZ: nan}, []string{"slice spacing in mm is NaN"}},
		{Options{SpacingZ: math.Inf(1)}, []string{"slice spacing in mm is +Inf"}},
		{Options{Rows: 8}, []string{"rows is 8: choose 16 to 1024"}},
		{Options{Rows: 2048}, []string{"rows is 2048"}},
		{Options{Columns: -1}, []string{"columns is -1"}},
		{Options{Columns: 1 << 40, PixelSpacing: 1}, []string{"columns is"}},
		{Options{PixelSpacing: 0.1}, []string{"pixel spacing in mm is 0.1"}},
		{Options{PixelSpacing: nan}, []string{"pixel spacing in mm is NaN"}},
		{Options{Nodules: -1}, []string{"nodules is -1: choose 0 to 40"}},
		{Options{Nodules: 41}, []string{"nodules is 41"}},
		{Options{NoiseHU: 301}, []string{"noise in HU is 301"}},
		{Options{NoiseHU: nan}, []string{"noise in HU is NaN"}},
		{Options{Kernel: "B70"}, []string{`kernel is "B70": choose "soft" or "sharp"`}},
		{Options{StudyUID: "1.02"}, []string{`study UID is "1.02"`}},
		{Options{SeriesUID: strings.Repeat("1", 65)}, []string{"series UID is"}},
		{Options{Slices: 1, Rows: 1, Columns: 1, Nodules: 99, Kernel: "x"}, []string{"slices is", "rows is", "columns is", "pixel spacing", "nodules is", "kernel is"}},
	} {
		t.Run(c.says[0], func(t *testing.T) {
			v, _, err := Generate(t.Context(), c.o, nil)
			if err == nil || v != nil {
				t.Fatalf("%+v was taken", c.o)
			}
			for _, s := range c.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("it does not say %q: %v", s, err)
				}
			}
		})
	}
}

func TestTheTruthIsThatOfTheVoxels(t *testing.T) {
	v := chest(t, small)
	if len(v.Truth.Nodules) != small.Nodules {
		t.Fatalf("%d nodules", len(v.Truth.Nodules))
	}
	for i, n := range v.Truth.Nodules {
		if n.ID != i+1 {
			t.Errorf("nodule %d has the ID %d", i+1, n.ID)
		}
		var sum [3]float64
		for j, at := range n.Voxels {
			if at < 0 || at >= len(v.HU) || j > 0 && at <= n.Voxels[j-1] {
				t.Fatalf("nodule %d: voxel %d is out of place", n.ID, at)
			}
			x, y, z := at%v.Columns, at/v.Columns%v.Rows, at/v.Columns/v.Rows
			for k, mm := range v.place(x, y, z) {
				sum[k] += mm
			}
		}
		count := float64(len(n.Voxels))
		near := func(name string, got, want float64) {
			if math.Abs(got-want) > 1e-9*math.Max(1, math.Abs(want)) {
				t.Errorf("nodule %d: %s %g, the voxels say %g", n.ID, name, got, want)
			}
		}
		for k := range 3 {
			near("centre", n.CenterLPS[k], sum[k]/count)
		}
		near("volume", n.VolumeMM3, count*v.SpacingZ*v.PixelSpacing*v.PixelSpacing)
		near("diameter", math.Pi/6*math.Pow(n.DiameterMM, 3), n.VolumeMM3)
		if n.DiameterMM < 3 || n.DiameterMM > 35 {
			t.Errorf("nodule %d has %g mm", n.ID, n.DiameterMM)
		}
	}
}

// place is where a voxel's centre lies, LPS mm, from the grid alone.
func (v *Volume) place(x, y, z int) [3]float64 {
	return [3]float64{v.Origin[0] + float64(x)*v.PixelSpacing, v.Origin[1] + float64(y)*v.PixelSpacing, v.Origin[2] + float64(z)*v.SpacingZ}
}

func TestProgressCountsEachSliceOnce(t *testing.T) {
	o := Options{Slices: 8, SpacingZ: 2, Rows: 24, Columns: 24}
	var made, written []int
	v, _, err := Generate(t.Context(), o, func(done, total int) {
		if total != o.Slices {
			t.Errorf("%d slices", total)
		}
		made = append(made, done)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteSeries(t.Context(), t.TempDir(), v, func(done, _ int) { written = append(written, done) }); err != nil {
		t.Fatal(err)
	}
	want := []int{1, 2, 3, 4, 5, 6, 7, 8}
	if !reflect.DeepEqual(made, want) || !reflect.DeepEqual(written, want) {
		t.Errorf("made %v, written %v", made, written)
	}
}

func TestItEndsWhenTheContextEnds(t *testing.T) {
	o := Options{Slices: 1000, SpacingZ: 0.3, Rows: 24, Columns: 24}
	for _, when := range []string{"before", "at the first slice"} {
		t.Run(when, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if when == "before" {
				cancel()
			}
			slices := 0
			v, _, err := Generate(ctx, o, func(int, int) { cancel(); slices++ })
			if !errors.Is(err, context.Canceled) || v != nil {
				t.Errorf("got %v, %v", v, err)
			}
			if slices > o.Slices/2 {
				t.Errorf("%d slices were made", slices)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	dir := t.TempDir()
	if err := WriteSeries(ctx, dir, chest(t, small), func(int, int) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("writing: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "truth.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a series cut short has its truth: %v", err)
	}
}
