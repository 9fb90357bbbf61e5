package refine

import (
	"context"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/inference/onnx"
	"github.com/pulmonode/pulmonode/inference/result"
)

// brightness plays stage 2 in plain Go: the mask's probability rises around
// -250 HU, the logits are the share of bright samples in the slab.
type brightness struct {
	slabs int
	fail  func(slab int) error
	mask  func(x float32) float32
}

func (b *brightness) Run(ctx context.Context, n int, dims []int64, in []float32, out ...[]float32) error {
	one := int(dims[0] * dims[1] * dims[2])
	for s := range n {
		if b.fail != nil {
			if err := b.fail(b.slabs); err != nil {
				return err
			}
		}
		b.slabs++
		bright := 0
		for i := s * one; i < (s+1)*one; i++ {
			out[0][i] = float32(1 / (1 + math.Exp(-12*(float64(in[i])-0.5))))
			if b.mask != nil {
				out[0][i] = b.mask(in[i])
			}
			if in[i] > 0.5 {
				bright++
			}
		}
		share := float32(bright) / float32(one)
		copy(out[1][s*4:], []float32{share * 100, -share * 100, 2, -2})
		out[2][s] = 10*share + 1
		if bright == 0 {
			out[2][s] = -5
		}
	}
	return ctx.Err()
}

func metadata() *onnx.Metadata {
	same := onnx.Platt{A: 1}
	return &onnx.Metadata{
		SpacingMM:   [3]float64{1, 0.6, 0.6},
		Thresholds:  map[string]float64{"mask": 0.5, "nodule": 0.5, "malignancy": 0.5, "margin": 0.5, "texture": 0.5, "calcification": 0.5},
		Calibration: map[string]onnx.Platt{"nodule": same, "malignancy": same, "margin": same, "texture": same, "calcification": same},
	}
}

// scan makes a CT of air with soft tissue where in says so (LPS mm), smoothed
// over a voxel's width so that half-way lies on the border.
func scan(g *result.Grid, inside func(result.Point) bool) *CT {
	ct := &CT{Grid: g, NX: g.Columns, NY: g.Rows, NZ: len(g.Instances)}
	ct.HU = make([]int16, ct.NX*ct.NY*ct.NZ)
	for i := range ct.HU {
		x, y, z := i%ct.NX, i/ct.NX%ct.NY, i/(ct.NX*ct.NY)
		hit := 0
		for s := range 8 {
			if inside(g.LPS(float64(x)+float64(s&1)*0.5-0.25, float64(y)+float64(s>>1&1)*0.5-0.25, z)) {
				hit++
			}
		}
		ct.HU[i] = int16(-850 + hit*1200/8)
	}
	at := func(x, y, z int) float64 {
		x, y, z = min(max(x, 0), ct.NX-1), min(max(y, 0), ct.NY-1), min(max(z, 0), ct.NZ-1)
		return float64(ct.HU[(z*ct.NY+y)*ct.NX+x])
	}
	ct.Planes = func(c, s [3]float64, k0, k1 int) []float32 {
		var out []float32
		for k := k0; k <= k1; k++ {
			pz := min(max(c[2]+float64(k)*s[0]/g.SliceSpacing, 0), float64(ct.NZ-1))
			for j := range side {
				py := min(max(c[1]+(float64(j)-31.5)*s[1]/g.PixelSpacing[0], 0), float64(ct.NY-1))
				for i := range side {
					px := min(max(c[0]+(float64(i)-31.5)*s[2]/g.PixelSpacing[1], 0), float64(ct.NX-1))
					x, y, z := int(px), int(py), int(pz)
					tx, ty, tz := px-float64(x), py-float64(y), pz-float64(z)
					v := mix(mix(mix(at(x, y, z), at(x+1, y, z), tx), mix(at(x, y+1, z), at(x+1, y+1, z), tx), ty),
						mix(mix(at(x, y, z+1), at(x+1, y, z+1), tx), mix(at(x, y+1, z+1), at(x+1, y+1, z+1), tx), ty), tz)
					out = append(out, float32((min(max(v, -1000), 500)+1000)/1500))
				}
			}
		}
		return out
	}
	return ct
}

// around is a candidate at an LPS position with the extent of a sphere.
func around(g *result.Grid, p result.Point, radius float64) Candidate {
	var c Candidate
	spacing := [3]float64{g.PixelSpacing[1], g.PixelSpacing[0], g.SliceSpacing}
	for a := range 3 {
		c.Center[a] = (p[a] - g.Instances[0].Position[a]) / spacing[a]
		c.Min[a], c.Max[a] = c.Center[a]-radius/spacing[a], c.Center[a]+radius/spacing[a]
	}
	c.Score = 0.9
	return c
}

func dice(a, b *result.Mask) float64 {
	return 2 * float64(common(a, b, nil)) / float64(count(a)+count(b))
}

func find(t *testing.T, ct *CT, o Options, c ...Candidate) []Nodule {
	t.Helper()
	o.Model = metadata()
	n, err := Find(t.Context(), ct, &brightness{}, c, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestContoursComeBackToTheCTGrid(t *testing.T) {
	for _, c := range []struct {
		name            string
		dx, dz, a, b, c float64
		off             float64 // mm that stage 1's centre is off
		least           float64
	}{
		{"8 mm, thin slices", 0.7, 1, 4, 4, 4, 0, 0.93},
		{"8 mm, 2.5 mm slices", 0.7, 2.5, 4, 4, 4, 0, 0.9},
		{"14 mm, finer than the network", 0.45, 0.5, 7, 6, 7, 0, 0.96},
		{"14 mm, centre 6 mm off", 0.7, 1.25, 7, 7, 7, 6, 0.95},
		{"34 mm: second scale", 0.7, 1.25, 17, 15, 14, 2, 0.97},
		{"50 mm: larger than the field", 0.7, 1.25, 25, 24, 20, 3, 0.97},
		{"4 mm", 0.6, 1, 2, 2, 2, 1, 0.8},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := int(70 / c.dz)
			g := grid(160, 160, n, c.dx, c.dx, c.dz, 0)
			p := result.Point{-100 + 80*c.dx, -80 + 80*c.dx, -200 + 35.3}
			in := ellipsoid(p, c.a, c.b, c.c, 20)
			truth := drawn(g, in)
			from := p
			from[0] += c.off
			got := find(t, scan(g, in), Options{}, around(g, from, c.c*0.7))
			if len(got) != 1 {
				t.Fatalf("%d nodules", len(got))
			}
			if d := dice(truth, &got[0].Mask); d < c.least {
				t.Errorf("Dice %.3f, want %.2f", d, c.least)
			}
		})
	}
}

func TestTheSameBitsWithAnyWorkersAndBatches(t *testing.T) {
	g := grid(160, 160, 60, 0.7, 0.7, 1.25, 0)
	a, b := result.Point{-60, -40, -170}, result.Point{-20, -20, -150}
	ina, inb := ellipsoid(a, 5, 4, 6, 0), ellipsoid(b, 18, 15, 12, 0)
	ct := scan(g, func(p result.Point) bool { return ina(p) || inb(p) })
	c := []Candidate{around(g, a, 4), around(g, b, 10)}
	first := find(t, ct, Options{Workers: 1, Batch: 1}, c...)
	if len(first) != 2 {
		t.Fatalf("%d nodules", len(first))
	}
	for _, o := range []Options{{Workers: 2, Batch: 4}, {Workers: 7, Batch: 64}} {
		if other := find(t, ct, o, c...); !reflect.DeepEqual(first, other) {
			t.Errorf("%+v differs", o)
		}
	}
	// The phantom's network is blind to mirroring: flips change the last bits only.
	flipped := find(t, ct, Options{Flips: true}, c...)
	for i := range first {
		if d := dice(&first[i].Mask, &flipped[i].Mask); d < 0.99 {
			t.Errorf("with flips Dice %.3f to without", d)
		}
	}
}

func TestTwoCandidatesOnOneNoduleAreOne(t *testing.T) {
	g := grid(120, 120, 50, 0.7, 0.7, 1.25, 0)
	p := result.Point{-60, -40, -170}
	ct := scan(g, ellipsoid(p, 7, 7, 7, 0))
	q := p
	q[0] += 3
	weak, strong := around(g, q, 4), around(g, p, 5)
	weak.Score = 0.4
	got := find(t, ct, Options{}, weak, strong)
	if len(got) != 1 || got[0].Score != 0.9 {
		t.Errorf("%d nodules: %+v", len(got), got)
	}
}

func TestContoursAreDisjoint(t *testing.T) {
	grid := grid(60, 60, 20, 1, 1, 1, 0)
	box := func(x0 int, p float32) Nodule {
		n := Nodule{Mask: result.Mask{X0: x0, Y0: 10, Z0: 5, NX: 10, NY: 10, NZ: 5, Bits: make([]bool, 500)}, p: make([]float32, 500), Probability: float64(p)}
		for i := range n.Mask.Bits {
			n.Mask.Bits[i], n.p[i] = true, p
		}
		return n
	}
	r := &refiner{ct: &CT{Grid: grid}, o: Options{Model: metadata()}}
	got := r.distinct([]Nodule{box(10, 0.7), box(18, 0.9)})
	if len(got) != 2 {
		t.Fatalf("%d nodules", len(got))
	}
	if n := common(&got[0].Mask, &got[1].Mask, nil); n != 0 {
		t.Errorf("%d voxels in both", n)
	}
	if got[0].Mask.X0 != 18 || count(&got[0].Mask) != 500 || count(&got[1].Mask) != 400 || got[1].Mask.NX != 8 {
		t.Errorf("the more probable one keeps what both claim: %+v", got)
	}
}

func TestProbabilitiesTellTheContourFromItsRim(t *testing.T) {
	g := grid(160, 160, 60, 0.7, 0.7, 1.25, 0)
	a, b := result.Point{-60, -40, -170}, result.Point{-49, -40, -170} // beside it
	ina, inb := ellipsoid(a, 5, 5, 5, 0), ellipsoid(b, 4, 4, 4, 0)
	ct := scan(g, func(p result.Point) bool { return ina(p) || inb(p) })
	got := find(t, ct, Options{}, around(g, a, 4), around(g, b, 3))
	if len(got) != 2 {
		t.Fatalf("%d nodules", len(got))
	}
	for k, n := range got {
		p, within, rim := n.Probabilities, 0, 0
		if len(p.Values) != p.NX*p.NY*p.NZ {
			t.Fatalf("%d values in a box of %d x %d x %d", len(p.Values), p.NX, p.NY, p.NZ)
		}
		for i, v := range p.Values {
			x, y, z := p.X0+i%p.NX, p.Y0+i/p.NX%p.NY, p.Z0+i/(p.NX*p.NY)
			in := v >= result.MostProbable/2+1 // the threshold is 0.5
			if in != n.Mask.At(x, y, z) {
				t.Fatalf("nodule %d, voxel %d %d %d: %d, in the contour: %t", k+1, x, y, z, v, !in)
			}
			if in {
				within++
			} else if v > 0 {
				rim++
			}
		}
		if within != count(&n.Mask) || rim == 0 {
			t.Errorf("nodule %d: %d of %d voxels reach the threshold, %d lie around them", k+1, within, count(&n.Mask), rim)
		}
	}
}

func TestWhatTheNetworkDoesNotBelieveIsDropped(t *testing.T) {
	g := grid(120, 120, 50, 0.7, 0.7, 1.25, 0)
	p := result.Point{-60, -40, -170}
	ct := scan(g, ellipsoid(p, 5, 5, 5, 0))
	o := Options{Model: metadata()}
	o.Model.Calibration["nodule"] = onnx.Platt{A: 1, B: -6}
	n, err := Find(t.Context(), ct, &brightness{}, []Candidate{around(g, p, 4)}, o, nil)
	if err != nil || len(n) != 0 {
		t.Errorf("%d nodules, %v", len(n), err)
	}
	// Nothing to draw near the candidate.
	if n := find(t, ct, Options{}, around(g, result.Point{-30, -60, -160}, 3)); len(n) != 0 {
		t.Errorf("%d nodules in air", len(n))
	}
	// A speck of one voxel is not measurable.
	speck := scan(g, ellipsoid(p, 0.8, 0.8, 0.8, 0))
	if n := find(t, speck, Options{}, around(g, p, 1)); len(n) != 0 {
		t.Errorf("a speck became %d nodules", len(n))
	}
	if n := find(t, ct, Options{}); len(n) != 0 {
		t.Errorf("%d nodules of no candidates", len(n))
	}
}

func TestCharacteristicsAreWeightedByArea(t *testing.T) {
	g := grid(120, 120, 50, 0.7, 0.7, 1, 0)
	p := result.Point{-60, -40, -175}
	got := find(t, scan(g, ellipsoid(p, 6, 6, 6, 0)), Options{}, around(g, p, 5))
	if len(got) != 1 {
		t.Fatal(len(got))
	}
	c := got[0].Characteristics
	// The share of bright samples in a slab is at most pi*6²/38.4² = 0.077; weighted
	// by area the mean over the slabs stays above half of it.
	logit := math.Log(c[0].Probability / (1 - c[0].Probability))
	if logit < 3.8 || logit > 7.8 {
		t.Errorf("malignancy logit %.2f", logit)
	}
	if c[0].Label != "high" || c[1].Label != "unclear" || c[2].Label != "solid" || c[3].Label != "present" {
		t.Errorf("labels %+v", c)
	}
}

func TestBandsOfMalignancy(t *testing.T) {
	for p, want := range map[float64]string{0: "low", 0.349: "low", 0.35: "indeterminate", 0.65: "indeterminate", 0.651: "high", 1: "high"} {
		if got := Label("malignancy", p, 0.5).Label; got != want {
			t.Errorf("%g is %q, want %q", p, got, want)
		}
	}
	if Label("margin", 0.6, 0.7).Label != "unclear" || Label("margin", 0.7, 0.7).Label != "clear" {
		t.Error("margin ignores its threshold")
	}
}

func TestNodulesAtTheEndsOfTheScan(t *testing.T) {
	g := grid(120, 120, 40, 0.7, 0.7, 1.25, 0)
	for _, z := range []float64{-200, -200 + 39*1.25} {
		p := result.Point{-99, -40, z}
		in := ellipsoid(p, 6, 6, 6, 0)
		got := find(t, scan(g, in), Options{}, around(g, p, 5))
		if len(got) != 1 {
			t.Fatalf("z %g: %d nodules", z, len(got))
		}
		if d := dice(drawn(g, in), &got[0].Mask); d < 0.9 {
			t.Errorf("z %g: Dice %.3f", z, d)
		}
	}
}

func TestASlabThatFailsFailsTheStage(t *testing.T) {
	g := grid(120, 120, 50, 0.7, 0.7, 1.25, 0)
	p := result.Point{-60, -40, -170}
	ct := scan(g, ellipsoid(p, 5, 5, 5, 0))
	c := []Candidate{around(g, p, 4), around(g, p, 4), around(g, p, 4), around(g, p, 4), around(g, p, 4), around(g, p, 4)}
	broken := &brightness{fail: func(slab int) error {
		if slab > 5 {
			return errors.New("the device went away")
		}
		return nil
	}}
	if n, err := Find(t.Context(), ct, broken, c, Options{Model: metadata()}, nil); err == nil || n != nil || !strings.Contains(err.Error(), "went away") {
		t.Errorf("%v, %v", n, err)
	}
	for name, v := range map[string]float32{"NaN": float32(math.NaN()), "two": 2, "less than nothing": -0.1} {
		odd := &brightness{mask: func(float32) float32 { return v }}
		if _, err := Find(t.Context(), ct, odd, c, Options{Model: metadata()}, nil); err == nil {
			t.Errorf("a mask of %s passed", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Find(ctx, ct, &brightness{}, c, Options{Model: metadata()}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	bad := around(g, p, 4)
	bad.Center[1] = math.NaN()
	if _, err := Find(t.Context(), ct, &brightness{}, []Candidate{bad}, Options{Model: metadata()}, nil); err == nil {
		t.Error("a candidate without a position passed")
	}
}

func TestPlanesThatCountAreSeenTwice(t *testing.T) {
	r := &refiner{ct: &CT{NZ: 400}, o: Options{Model: metadata()}, spacing: [3]float64{1, 0.7, 0.7}}
	for _, extent := range [][2]float64{{200, 200}, {190, 207}, {0, 3}, {395, 399}} {
		c := [3]float64{50, 50, (extent[0] + extent[1]) / 2}
		l := r.at(c, [3]float64{1, 0.6, 0.6}, extent[0], extent[1])
		n := l.k1 - l.k0 + 1
		if n < planes || (n-planes)%step != 0 {
			t.Fatalf("%v: %d planes", extent, n)
		}
		seen := make([]int, n)
		for s := 0; s+planes <= n; s += step {
			for k := s; k < s+planes; k++ {
				seen[k]++
			}
		}
		for k, times := range seen {
			z := c[2] + float64(k+l.k0)
			if z >= max(extent[0]-marginMM, 0) && z <= min(extent[1]+marginMM, 399) && times < 2 {
				t.Errorf("%v: the plane at %g is seen %d times", extent, z, times)
			}
		}
	}
}

// A slab shows four planes; what the whole contour says joins in the calibration.
func TestSizeAndDensityOfTheContourJoinTheRating(t *testing.T) {
	g := grid(120, 120, 50, 0.7, 0.7, 1.25, 0)
	p := result.Point{-60, -40, -170}
	ct := scan(g, ellipsoid(p, 5, 5, 5, 0))
	rated := func(c onnx.Platt) (Nodule, float64) {
		o := Options{Model: metadata()}
		o.Model.Calibration["malignancy"] = c
		n, err := Find(t.Context(), ct, &brightness{}, []Candidate{around(g, p, 4)}, o, nil)
		if err != nil || len(n) != 1 {
			t.Fatalf("%d nodules, %v", len(n), err)
		}
		v := n[0].Characteristics[0].Probability
		return n[0], math.Log(v / (1 - v))
	}
	n, alone := rated(onnx.Platt{A: 1})
	m := Measure(g, &n.Mask, func(x, y, z int) int16 { return ct.HU[(z*ct.NY+y)*ct.NX+x] })
	_, joined := rated(onnx.Platt{A: 1, Size: 0.5, Density: 0.1})
	want := 0.5*math.Log(math.Cbrt(6*m.VolumeMM3/math.Pi)) + 0.1*m.MeanHU/100
	if got := joined - alone; math.Abs(got-want) > 1e-9 || want < 0.5 {
		t.Errorf("the logit rose by %g, want %g", got, want)
	}
}
