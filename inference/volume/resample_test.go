package volume

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pulmonode/pulmonode/inference/result"
)

// of makes a volume of HU without files. spacing is in mm, z, y, x.
func of(nz, ny, nx int, spacing [3]float64, hu []int16) *Volume {
	return &Volume{
		HU: hu, NX: nx, NY: ny, NZ: nz,
		Grid: &result.Grid{
			Rows: ny, Columns: nx, Instances: make([]result.Instance, nz),
			Orientation:  [6]float64{1, 0, 0, 0, 1, 0},
			PixelSpacing: [2]float64{spacing[1], spacing[2]}, SliceSpacing: spacing[0],
		},
	}
}

// vector is a test vector that the training code wrote. Order is z, y, x.
type vector struct {
	Shape       [3]int     `json:"shape"`
	Spacing     [3]float64 `json:"spacing_mm"`
	HU          []int16    `json:"hu"`
	Centre      [3]float64 `json:"centre"`
	Planes      []int      `json:"planes"`
	SlabSpacing [3]float64 `json:"slab_spacing_mm"`
	LevelsShape [3]int     `json:"levels_shape"`
	Levels      []uint16   `json:"levels"`
}

func readVector(t *testing.T, name string) vector {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "training", "testdata", "preprocess", name))
	if err != nil {
		t.Fatal(err)
	}
	var v vector
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	if n := v.LevelsShape; n[0]*n[1]*n[2] != len(v.Levels) || len(v.Levels) == 0 {
		t.Fatalf("%s: %v levels in a shape of %v", name, len(v.Levels), n)
	}
	return v
}

// What a network sees here is what it saw in training, to the last bit.
func TestStage1IsBitEqualToTraining(t *testing.T) {
	v := readVector(t, "stage1.json")
	for _, workers := range []int{1, 3} {
		got := of(v.Shape[0], v.Shape[1], v.Shape[2], v.Spacing, v.HU).Resample1mm(workers)
		if v.LevelsShape != [3]int{got.NZ, got.NY, got.NX} {
			t.Fatalf("%d x %d x %d, training has %v", got.NZ, got.NY, got.NX, v.LevelsShape)
		}
		if !slices.Equal(got.Q, v.Levels) {
			t.Errorf("%d workers: levels differ from training's", workers)
		}
	}
}

func TestStage2IsBitEqualToTraining(t *testing.T) {
	v := readVector(t, "stage2.json")
	ct := of(v.Shape[0], v.Shape[1], v.Shape[2], v.Spacing, v.HU)
	center := [3]float64{v.Centre[2], v.Centre[1], v.Centre[0]}
	got := ct.Slabs(center, v.SlabSpacing, v.Planes[0], v.Planes[len(v.Planes)-1])
	if len(got) != len(v.Levels) {
		t.Fatalf("%d values, training has %d", len(got), len(v.Levels))
	}
	for i, q := range v.Levels {
		if want := float32(q) / 1023; math.Float32bits(got[i]) != math.Float32bits(want) {
			t.Fatalf("value %d is %v, training has %v", i, got[i], want)
		}
	}
}

func TestLevelsOfHU(t *testing.T) {
	for _, c := range []struct {
		hu   float32
		want uint16
	}{
		{-32768, 0}, {-1000, 0}, {-999.5, 0}, {-999, 1}, {-250, 512}, {0, 682}, {499, 1022}, {500, 1023}, {32767, 1023},
	} {
		if got := level(c.hu); got != c.want {
			t.Errorf("%g HU is level %d, want %d", c.hu, got, c.want)
		}
	}
}

// The 1 mm volume begins where the CT begins and ends within 1 mm of its end.
func TestExtentAt1mm(t *testing.T) {
	for _, c := range []struct {
		n    int
		d    float64
		want int
	}{
		{1, 2.5, 1}, {2, 0.4, 1}, {2, 1, 2}, {5, 2.5, 11}, {512, 0.703125, 360}, {101, 0.7, 71}, {300, 1, 300}, {2, 3000, 3001},
	} {
		at := isotropic(c.n, c.d)
		if len(at) != c.want {
			t.Errorf("%d voxels of %g mm: %d planes, want %d", c.n, c.d, len(at), c.want)
			continue
		}
		for i, s := range at {
			if s.a < 0 || int(s.b) >= c.n || s.b < s.a || s.t < 0 || s.t > 1 {
				t.Fatalf("%d voxels of %g mm: plane %d is sampled at %+v", c.n, c.d, i, s)
			}
			if mm := (float64(s.a) + float64(s.t)) * c.d; math.Abs(mm-float64(i)) > 1e-4*max(1, c.d) {
				t.Errorf("%d voxels of %g mm: plane %d lies at %g mm", c.n, c.d, i, mm)
			}
		}
	}
}

// A CT that has 1 mm already passes through untouched but for the window.
func TestResamplingAt1mmChangesNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	hu := make([]int16, 4*5*6)
	for i := range hu {
		hu[i] = int16(rng.IntN(2000) - 1200)
	}
	got := of(4, 5, 6, [3]float64{1, 1, 1}, hu).Resample1mm(0)
	if got.NZ != 4 || got.NY != 5 || got.NX != 6 {
		t.Fatalf("%d x %d x %d", got.NZ, got.NY, got.NX)
	}
	for i, q := range got.Q {
		if want := level(float32(hu[i])); q != want {
			t.Errorf("voxel %d of %d HU is level %d, want %d", i, hu[i], q, want)
		}
	}
}

// A slope in space stays the same slope, whatever the voxels: what is sampled at
// x, y, z mm is what the CT shows there.
func TestResamplingKeepsPlaces(t *testing.T) {
	const nz, ny, nx = 12, 40, 30
	spacing := [3]float64{2.5, 0.7, 0.8} // z, y, x
	hu := make([]int16, nz*ny*nx)
	for i := range hu {
		x, y, z := i%nx, i/nx%ny, i/(nx*ny)
		hu[i] = int16(math.Round(-900 + 20*float64(x)*spacing[2] + 12*float64(y)*spacing[1] + 16*float64(z)*spacing[0]))
	}
	l := of(nz, ny, nx, spacing, hu).Resample1mm(0)
	for i, q := range l.Q {
		x, y, z := i%l.NX, i/l.NX%l.NY, i/(l.NX*l.NY)
		want := (100 + 20*float64(x) + 12*float64(y) + 16*float64(z)) * 0.682
		// Half a HU of the rounded input and half a level of the output.
		if math.Abs(float64(q)-want) > 0.5*0.682+0.5+1e-3 {
			t.Fatalf("level at %d, %d, %d mm is %d, want %.1f", x, y, z, q, want)
		}
	}
}

func TestToVoxelAndFromVoxelAreInverse(t *testing.T) {
	l := &Levels{Grid: &result.Grid{PixelSpacing: [2]float64{0.9, 0.4}, SliceSpacing: 2.5}}
	for _, c := range []struct{ mm, voxel [3]float64 }{
		{[3]float64{}, [3]float64{}},
		{[3]float64{0.4, 0.9, 2.5}, [3]float64{1, 1, 1}},
		{[3]float64{4, 4.5, -5}, [3]float64{10, 5, -2}},
		{[3]float64{0.2, 0.3, 1}, [3]float64{0.5, 1. / 3, 0.4}},
	} {
		if got := l.ToVoxel(c.mm); !close3(got, c.voxel) {
			t.Errorf("%v of the 1 mm volume is voxel %v, want %v", c.mm, got, c.voxel)
		}
		if got := l.FromVoxel(c.voxel); !close3(got, c.mm) {
			t.Errorf("voxel %v is %v of the 1 mm volume, want %v", c.voxel, got, c.mm)
		}
		if got := l.FromVoxel(l.ToVoxel(c.mm)); !close3(got, c.mm) {
			t.Errorf("%v there and back is %v", c.mm, got)
		}
	}
}

// Each column of the slab lies at the side it should: a mark on one voxel of the
// CT is brightest where the slab's geometry says.
func TestSlabsLieAboutTheirCentre(t *testing.T) {
	const n = 80
	spacing := [3]float64{1, 0.5, 0.5}
	hu := make([]int16, 9*n*n)
	for i := range hu {
		hu[i] = -1000
	}
	x, y, z := 44, 36, 5
	hu[(z*n+y)*n+x] = 500
	ct := of(9, n, n, spacing, hu)
	// Centre (40.5, 40.5, 4): sample i of a row lies at 40.5 + i - 31.5.
	s := ct.Slabs([3]float64{40.5, 40.5, 4}, spacing, -1, 2)
	if len(s) != 4*SlabSide*SlabSide {
		t.Fatalf("%d values", len(s))
	}
	for i, v := range s {
		k, j, c := i/(SlabSide*SlabSide)-1, i/SlabSide%SlabSide, i%SlabSide
		if here := k == z-4 && j == y-9 && c == x-9; here != (v == 1) || !here && v != 0 {
			t.Errorf("plane %d, row %d, column %d is %g", k, j, c, v)
		}
	}
}

func TestSlabsRepeatTheBorder(t *testing.T) {
	ct := of(2, 3, 3, [3]float64{1, 1, 1}, []int16{500, 0, 0, 0, 0, 0, 0, 0, 0, -1000, 0, 0, 0, 0, 0, 0, 0, 0})
	s := ct.Slabs([3]float64{-500, -500, -500}, [3]float64{1, 1, 1}, 0, 3)
	for i, v := range s {
		if v != 1 {
			t.Fatalf("value %d beyond the first voxel is %g, want that voxel's 1", i, v)
		}
	}
	if s := ct.Slabs([3]float64{1, 1, 1}, [3]float64{1, 1, 1}, 3, 2); len(s) != 0 {
		t.Errorf("no planes are %d values", len(s))
	}
}
