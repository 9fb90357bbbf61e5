package localize

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

// network plays stage 1 in plain Go: what is brighter than half counts.
type network func(x float32) float32

func (f network) Run(_ context.Context, n int, dims []int64, in []float32, out ...[]float32) error {
	for i := range in[:n*int(dims[1]*dims[2]*dims[3])] {
		out[0][i] = f(in[i])
	}
	return nil
}

var same = network(func(x float32) float32 { return x })

type ball struct {
	at     [3]float64
	radius float64
	level  uint16
}

// phantom is an image of air with lungs everywhere but in the outer five voxels.
func phantom(nx, ny, nz int, balls ...ball) Image {
	img := Image{Q: make([]uint16, nx*ny*nz), Lung: make([]uint8, nx*ny*nz), NX: nx, NY: ny, NZ: nz}
	for z, i := 0, 0; z < nz; z++ {
		for y := range ny {
			for x := range nx {
				if min(x, y, z, nx-1-x, ny-1-y, nz-1-z) >= 5 {
					img.Lung[i] = 1
				}
				for _, b := range balls {
					dx, dy, dz := float64(x)-b.at[0], float64(y)-b.at[1], float64(z)-b.at[2]
					if dx*dx+dy*dy+dz*dz <= b.radius*b.radius {
						img.Q[i] = b.level
					}
				}
				i++
			}
		}
	}
	return img
}

func find(t *testing.T, img Image, o Options) []Candidate {
	t.Helper()
	o.Threshold = 0.3
	c, err := Find(t.Context(), img, same, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c.Candidates
}

func TestBallsAreFoundWhereTheyAre(t *testing.T) {
	balls := []ball{
		{[3]float64{40, 50, 60}, 6, 1000},
		{[3]float64{100.5, 30, 22}, 3, 800}, // across the seam of two cubes
		{[3]float64{8, 100, 64}, 4, 600},    // at the border of the image
	}
	img := phantom(140, 120, 100, balls...)
	for _, o := range []Options{{}, {Batch: 3}, {Edge: 96, Batch: 2}, {Edge: 32}} {
		c := find(t, img, o)
		if len(c) != len(balls) {
			t.Fatalf("%+v: %d candidates: %+v", o, len(c), c)
		}
		for i, b := range balls {
			for a := range 3 {
				if math.Abs(c[i].Center[a]-b.at[a]) > 0.51 {
					t.Errorf("%+v: candidate %d at %v, want %v", o, i, c[i].Center, b.at)
				}
			}
			if want := float64(b.level) / 1023; math.Abs(c[i].Score-want) > 1e-3 {
				t.Errorf("%+v: score %g, want %g", o, c[i].Score, want)
			}
		}
		if c[0].Min != [3]int{34, 44, 54} || c[0].Max != [3]int{46, 56, 66} {
			t.Errorf("extent %v to %v", c[0].Min, c[0].Max)
		}
	}
}

func TestEveryLungVoxelIsInExactlyOneCore(t *testing.T) {
	for _, size := range [][3]int{{70, 64, 200}, {49, 48, 47}, {30, 12, 101}} {
		img := phantom(size[0], size[1], size[2])
		lung, b, ok := widen(img)
		if !ok {
			t.Fatal("no lung")
		}
		seen := make([]int, len(lung))
		for _, o := range tile(b, lung, 64) {
			for z := max(o[2]+rim, b.lo[2]); z < min(o[2]+64-rim, b.hi[2]); z++ {
				for y := max(o[1]+rim, b.lo[1]); y < min(o[1]+64-rim, b.hi[1]); y++ {
					for x := max(o[0]+rim, b.lo[0]); x < min(o[0]+64-rim, b.hi[0]); x++ {
						seen[b.index(x, y, z)]++
					}
				}
			}
		}
		for i, n := range seen {
			if n > 1 || lung[i] != 0 && n != 1 {
				t.Fatalf("%v: voxel %d lies in %d cores, lung %d", size, i, n, lung[i])
			}
		}
	}
}

func TestCubesWithoutLungAreNotRun(t *testing.T) {
	img := phantom(200, 64, 64)
	for i := range img.Lung {
		if x := i % 200; x > 20 {
			img.Lung[i] = 0
		}
	}
	total := 0
	if _, err := Find(t.Context(), img, same, Options{Threshold: 0.5}, func(_, n int) { total = n }); err != nil {
		t.Fatal(err)
	}
	if total != 4 { // 19 x 60 x 60 mm with margin: 1 x 2 x 2 cores of 48
		t.Errorf("%d cubes", total)
	}
}

func TestWhatLiesOutsideTheLungsIsNoCandidate(t *testing.T) {
	img := phantom(100, 100, 100, ball{[3]float64{50, 50, 50}, 5, 900}, ball{[3]float64{80, 50, 50}, 5, 1000})
	for i := range img.Lung {
		if i%100 > 70 {
			img.Lung[i] = 0
		}
	}
	if c := find(t, img, Options{}); len(c) != 1 || math.Abs(c[0].Center[0]-50) > 0.1 {
		t.Errorf("candidates %+v", c)
	}
}

func TestPartsWithinThreeMillimetresAreOne(t *testing.T) {
	at := func(x float64) ball { return ball{[3]float64{x, 40, 40}, 4, 1000} }
	if c := find(t, phantom(100, 80, 80, at(40), at(51)), Options{}); len(c) != 1 {
		t.Errorf("2 mm of air between: %d candidates", len(c))
	}
	if c := find(t, phantom(100, 80, 80, at(40), at(53)), Options{}); len(c) != 2 {
		t.Errorf("4 mm of air between: %d candidates", len(c))
	}
}

func TestNodulesTiedByAVesselComeApart(t *testing.T) {
	img := phantom(140, 80, 80, ball{[3]float64{30, 40, 40}, 5, 1000}, ball{[3]float64{110, 40, 40}, 5, 950})
	for x := 30; x < 110; x++ {
		for y := 39; y <= 41; y++ {
			i := (40*80+y)*140 + x
			img.Q[i] = max(img.Q[i], 500)
		}
	}
	c := find(t, img, Options{})
	if len(c) != 2 || math.Abs(c[0].Center[0]-30) > 1 || math.Abs(c[1].Center[0]-110) > 1 {
		t.Errorf("candidates %+v", c)
	}
}

func TestAtMostSixtyBestFirst(t *testing.T) {
	var balls []ball
	for i := range 70 {
		balls = append(balls, ball{[3]float64{float64(10 + i%10*12), float64(10 + i/10*12), 20}, 2, uint16(500 + i*7)})
	}
	found, err := Find(t.Context(), phantom(140, 100, 40, balls...), same, Options{Threshold: 0.3}, nil)
	if err != nil || found.Dropped != 10 {
		t.Fatalf("%+v, %v", found, err)
	}
	c := found.Candidates
	if len(c) != 60 || !slices.IsSortedFunc(c, func(a, b Candidate) int { return int(math.Copysign(1, b.Score-a.Score)) }) {
		t.Errorf("%d candidates", len(c))
	}
	if c[0].Score < 0.95 {
		t.Errorf("best %g", c[0].Score)
	}
}

func TestSpecksAreNotCandidates(t *testing.T) {
	img := phantom(60, 60, 60)
	img.Q[(30*60+30)*60+30] = 1023
	if c := find(t, img, Options{}); len(c) != 0 {
		t.Errorf("candidates %+v", c)
	}
}

type failing struct{ after int }

func (f *failing) Run(_ context.Context, n int, dims []int64, in []float32, out ...[]float32) error {
	if f.after--; f.after < 0 {
		return errors.New("the device went away")
	}
	return nil
}

func TestACubeThatFailsFailsTheSearch(t *testing.T) {
	img := phantom(140, 120, 100)
	if _, err := Find(t.Context(), img, &failing{after: 2}, Options{Threshold: 0.3}, nil); err == nil || !strings.Contains(err.Error(), "search cubes 3 to 3 of") {
		t.Errorf("got %v", err)
	}
	nan := network(func(float32) float32 { return float32(math.NaN()) })
	if _, err := Find(t.Context(), img, nan, Options{Threshold: 0.3}, nil); err == nil || !strings.Contains(err.Error(), "not complete") {
		t.Errorf("NaN: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	stops := stopping{}
	if _, err := Find(ctx, img, stops, Options{Threshold: 0.3}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

type stopping struct{}

func (stopping) Run(ctx context.Context, _ int, _ []int64, _ []float32, _ ...[]float32) error {
	return ctx.Err()
}

func TestOddImages(t *testing.T) {
	if _, err := Find(t.Context(), Image{}, same, Options{Threshold: 0.3}, nil); err == nil {
		t.Error("an empty image was searched")
	}
	img := phantom(20, 20, 20)
	clear(img.Lung)
	if c, err := Find(t.Context(), img, same, Options{Threshold: 0.3}, nil); err == nil {
		t.Errorf("an image without lung was searched: %+v", c)
	}
	bright := phantom(100, 100, 100, ball{[3]float64{50, 50, 50}, 200, 600})
	if c := find(t, bright, Options{}); len(c) != 1 {
		t.Errorf("all bright: %d candidates", len(c))
	}
}
