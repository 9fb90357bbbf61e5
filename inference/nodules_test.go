package inference

import (
	"fmt"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/pulmonode/pulmonode/inference/localize"
	"github.com/pulmonode/pulmonode/inference/onnx/onnxtest"
	"github.com/pulmonode/pulmonode/inference/refine"
	"github.com/pulmonode/pulmonode/inference/result"
)

func uids(kind string, index int) string { return fmt.Sprintf("2.25.%d.%d", len(kind), index) }

func at(x, volume float64) result.Nodule {
	return result.Nodule{CenterLPS: result.Point{x, 0, 0}, VolumeMM3: volume}
}

func TestNodulesKeepTheirIdentityOverGenerations(t *testing.T) {
	then := []result.Nodule{at(0, 500), at(30, 500), at(60, 500)}
	for i := range then {
		then[i].ID, then[i].TrackingUID = fmt.Sprintf("N%d", i+1), fmt.Sprintf("1.2.%d", i+1)
	}
	// A sphere of 500 mm³ has a radius of 4.9 mm.
	now := []result.Nodule{at(62, 400), at(100, 300), at(1, 500), at(3, 500), at(35.1, 500)}
	identify(now, Series{UID: uids, Predecessor: &result.Result{Nodules: then}})
	want := [][2]string{
		{"N3", "1.2.3"},
		{"N4", "2.25.8.4"}, // new
		{"N1", "1.2.1"},    // the nearer of two
		{"N5", "2.25.8.5"}, // its neighbour is new
		{"N6", "2.25.8.6"}, // too far from N2, whose number is not given again
	}
	for i, w := range want {
		if got := [2]string{now[i].ID, now[i].TrackingUID}; got != w {
			t.Errorf("nodule %d is %v, want %v", i, got, w)
		}
	}
	first := []result.Nodule{at(0, 5), at(9, 5)}
	identify(first, Series{UID: uids})
	if first[0].ID != "N1" || first[1].ID != "N2" || first[1].TrackingUID != "2.25.8.2" {
		t.Errorf("without a predecessor: %+v", first)
	}
}

func TestNoduleInTheWallHasASide(t *testing.T) {
	m := &result.Mask{X0: 20, Y0: 5, Z0: 5, NX: 2, NY: 1, NZ: 1, Bits: []bool{true, true}}
	side := func(x, y, z int) string {
		if x > 26 {
			return "left"
		}
		return ""
	}
	if got := laterality(m, side); got != "left" {
		t.Errorf("%q", got)
	}
	if got := laterality(m, func(int, int, int) string { return "" }); got != "" {
		t.Errorf("far from any lung: %q", got)
	}
}

// boxes makes an image of two lungs of air with soft-tissue balls at LPS
// positions; the CT's voxels are 0.8 x 0.8 x 1.6 mm.
func boxes(balls ...[4]float64) *image {
	const nx, ny, nz = 130, 100, 60
	spacing := [3]float64{0.8, 0.8, 1.6}
	g := &result.Grid{Rows: ny, Columns: nx, Orientation: [6]float64{1, 0, 0, 0, 1, 0}, PixelSpacing: [2]float64{0.8, 0.8}, SliceSpacing: 1.6}
	for k := range nz {
		g.Instances = append(g.Instances, result.Instance{SOPInstanceUID: fmt.Sprintf("1.2.3.%d", k+1), Position: result.Point{0, 0, 1.6 * float64(k)}})
	}
	density := func(x, y, z float64) float64 { // smooth over a millimetre; -250 HU on the border
		v := -850.0
		for _, b := range balls {
			d := math.Sqrt(square(x-b[0])+square(y-b[1])+square(z-b[2])) - b[3]
			v = max(v, -850+1200*min(max(0.5-d, 0), 1))
		}
		return v
	}
	img := &image{ct: refine.CT{Grid: g, NX: nx, NY: ny, NZ: nz, HU: make([]int16, nx*ny*nz)}}
	for i := range img.ct.HU {
		img.ct.HU[i] = int16(density(float64(i%nx)*0.8, float64(i/nx%ny)*0.8, float64(i/(nx*ny))*1.6))
	}
	grey := func(hu float64) float32 { return float32(math.Round((hu+1000)/1500*1023) / 1023) }
	img.ct.Planes = func(c, s [3]float64, k0, k1 int) []float32 {
		var out []float32
		for k := k0; k <= k1; k++ {
			for j := range 64 {
				for i := range 64 {
					out = append(out, grey(density(c[0]*0.8+(float64(i)-31.5)*s[2], c[1]*0.8+(float64(j)-31.5)*s[1], c[2]*1.6+float64(k)*s[0])))
				}
			}
		}
		return out
	}
	mx, my, mz := 104, 80, 95
	img.coarse = localize.Image{NX: mx, NY: my, NZ: mz, Q: make([]uint16, mx*my*mz), Lung: make([]uint8, mx*my*mz)}
	for i := range img.coarse.Q {
		x, y, z := i%mx, i/mx%my, i/(mx*my)
		img.coarse.Q[i] = uint16(grey(density(float64(x), float64(y), float64(z)))*1023 + 0.5)
		if x > 4 && x < mx-5 && x != mx/2 {
			img.coarse.Lung[i] = 1
		}
	}
	img.voxel = func(v [3]float64) [3]float64 {
		return [3]float64{v[0] / spacing[0], v[1] / spacing[1], v[2] / spacing[2]}
	}
	img.side = func(x, y, z int) string {
		if float64(x)*0.8 < float64(mx)/2 {
			return "right"
		}
		return "left"
	}
	return img
}

func testPipeline(t *testing.T, threads int) *Pipeline {
	t.Helper()
	dir := t.TempDir()
	write(t, dir+"/localize.onnx", onnxtest.Localizer(nil))
	write(t, dir+"/refine.onnx", onnxtest.Refiner(nil))
	p, err := Open(Options{RuntimeLibrary: onnxtest.Library(t), Provider: "cpu", Threads: threads,
		Localize: dir + "/localize.onnx", Refine: dir + "/refine.onnx"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func TestBallsBecomeFindings(t *testing.T) {
	p := testPipeline(t, 2)
	// x, y, z, radius in mm
	img := boxes([4]float64{25, 40, 40, 6}, [4]float64{80, 30, 60, 4})
	r := &result.Result{}
	stages := map[string]int{}
	watch := &stopwatch{timings: map[string]float64{}, progress: func(stage string, done, total int) {
		if done < stages[stage] || done > total {
			t.Errorf("%s: %d of %d after %d", stage, done, total, stages[stage])
		}
		stages[stage] = done
	}}
	var places []result.Point
	nodules, err := p.find(t.Context(), img, func(center result.Point) { places = append(places, center) }, r, watch)
	if err != nil {
		t.Fatal(err)
	}
	if len(places) != 2 {
		t.Errorf("told of places %v", places)
	}
	got := describe(img, nodules, Series{UID: uids})
	if len(got) != 2 || len(r.Warnings) != 0 {
		t.Fatalf("%d findings, warnings %v", len(got), r.Warnings)
	}
	big, small := got[0], got[1] // the brighter slab has the higher malignancy
	for _, c := range []struct {
		n    result.Nodule
		x    [4]float64
		side string
		id   string
	}{{big, [4]float64{25, 40, 40, 6}, "right", "N1"}, {small, [4]float64{80, 30, 60, 4}, "left", "N2"}} {
		for a := range 3 {
			if math.Abs(c.n.CenterLPS[a]-c.x[a]) > 0.3 {
				t.Errorf("%s at %v, want %v", c.id, c.n.CenterLPS, c.x)
			}
		}
		if !slices.ContainsFunc(places, func(p result.Point) bool { return math.Hypot(math.Hypot(p[0]-c.x[0], p[1]-c.x[1]), p[2]-c.x[2]) < 1 }) {
			t.Errorf("%s at %v was found at none of the places told of, %v", c.id, c.x, places)
		}
		volume := 4 * math.Pi / 3 * c.x[3] * c.x[3] * c.x[3]
		if math.Abs(c.n.VolumeMM3-volume) > 0.15*volume {
			t.Errorf("%s: %.0f mm³, want %.0f", c.id, c.n.VolumeMM3, volume)
		}
		if math.Abs(c.n.LongAxisMM-2*c.x[3]) > 1.6 || c.n.ShortAxisMM > c.n.LongAxisMM || c.n.MaxDiam3DMM < c.n.LongAxisMM {
			t.Errorf("%s: %.1f x %.1f mm, 3D %.1f", c.id, c.n.LongAxisMM, c.n.ShortAxisMM, c.n.MaxDiam3DMM)
		}
		if c.n.ID != c.id || c.n.Laterality != c.side || c.n.TrackingUID == "" {
			t.Errorf("%+v", c.n)
		}
		if len(c.n.Slices) < int(2*c.x[3]/1.6)-1 || len(c.n.Slices) > int(2*c.x[3]/1.6)+1 {
			t.Errorf("%s touches %d slices", c.id, len(c.n.Slices))
		}
		if c.n.Score < 0.9 || c.n.NoduleProb < 0.5 || len(c.n.Characteristics) != 4 {
			t.Errorf("%+v", c.n)
		}
	}
	if stages[StageLocalize] == 0 || stages[StageRefine] == 0 {
		t.Errorf("progress %v", stages)
	}
	pics := pictures(&img.ct, got)
	if len(pics) != 2 || pics[25] == nil || len(pics[25].HU) != 130*100 {
		t.Errorf("pictures of %d slices", len(pics))
	}
	// The frames of an enhanced image share one UID: the picture is of the frame
	// that shows most of the nodule.
	for k := range img.ct.Grid.Instances {
		img.ct.Grid.Instances[k].SOPInstanceUID = "1.2.3"
	}
	for i := range got {
		got[i].KeySlice = "1.2.3"
	}
	if frames := pictures(&img.ct, got); len(frames) != 2 || frames[25] == nil {
		t.Errorf("pictures of %d frames", len(frames))
	}
	if none := pictures(&img.ct, nil); none[30] == nil {
		t.Error("no picture of the middle slice")
	}
}

// What may be a part of a series is never a clean result.
func TestPartsAreSaidToBeParts(t *testing.T) {
	for reason, want := range map[string]int{result.ClosedGeometry: 0, "offline": 0, result.ClosedIdle: 1, result.ClosedMaxAge: 1} {
		if got := incomplete(result.Closed{Reason: reason}, false); len(got) != want {
			t.Errorf("closed by %q: %q", reason, got)
		}
		if got := incomplete(result.Closed{Reason: reason}, true); len(got) != want+1 {
			t.Errorf("closed by %q with lungs cut off: %q", reason, got)
		}
	}
}

func TestModelsThatAreWrongAreNamed(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/other.onnx", onnxtest.Refiner(nil))
	for _, path := range []string{dir + "/other.onnx", dir + "/none.onnx"} {
		if _, err := Open(Options{RuntimeLibrary: onnxtest.Library(t), Provider: "cpu", Localize: path}); err == nil {
			t.Errorf("%s was opened as a localize model", path)
		}
	}
}

// What one stage was not evaluated for, the report does not say was searched.
func TestTheSmallestNoduleIsThatOfBothStages(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		localize, refine string
		want             float64
	}{{"3", "4.5", 4.5}, {"4", "", 4}, {"", "", 0}} {
		write(t, dir+"/localize.onnx", onnxtest.Localizer(map[string]string{"smallest_mm": c.localize}))
		write(t, dir+"/refine.onnx", onnxtest.Refiner(map[string]string{"smallest_mm": c.refine}))
		p, err := Open(Options{RuntimeLibrary: onnxtest.Library(t), Provider: "cpu", Threads: 1,
			Localize: dir + "/localize.onnx", Refine: dir + "/refine.onnx"})
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Algorithm().SmallestMM; got != c.want {
			t.Errorf("stages of %q and %q mm: %g, want %g", c.localize, c.refine, got, c.want)
		}
		p.Close()
	}
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
