package onnx_test

import (
	"math"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/inference/onnx"
	"github.com/pulmonode/pulmonode/inference/onnx/onnxtest"
)

func TestParseReadsShapesAndMetadata(t *testing.T) {
	g, err := onnx.Parse(onnxtest.Refiner(nil))
	if err != nil {
		t.Fatal(err)
	}
	if g.Opset != 17 || len(g.SHA256) != 64 {
		t.Errorf("opset %d, hash %q", g.Opset, g.SHA256)
	}
	if got := g.Inputs[0].String(); got != "slab [?,4,64,64]" {
		t.Errorf("input %s", got)
	}
	if len(g.Outputs) != 3 || g.Outputs[1].String() != "characteristics [?,4]" {
		t.Errorf("outputs %v", g.Outputs)
	}
	m, err := g.Check(onnx.Refine)
	if err != nil {
		t.Fatal(err)
	}
	if m.SpacingMM != [3]float64{1, 0.6, 0.6} || m.Thresholds["mask"] != 0.5 || m.Calibration["nodule"] != (onnx.Platt{A: 1}) {
		t.Errorf("metadata %+v", m)
	}
}

func TestTheSmallestNoduleIsKnownWhereTheModelSaysIt(t *testing.T) {
	for said, want := range map[string]float64{"": 0, "3": 3, "4.5": 4.5} {
		g, err := onnx.Parse(onnxtest.Localizer(map[string]string{"smallest_mm": said}))
		if err != nil {
			t.Fatal(err)
		}
		if m, err := g.Check(onnx.Localize); err != nil || m.SmallestMM != want {
			t.Errorf("%q: %+v, %v", said, m, err)
		}
	}
}

func TestCalibrationMayWeighSizeAndDensity(t *testing.T) {
	g, err := onnx.Parse(onnxtest.Refiner(map[string]string{"calibration": `{"nodule":[1,0],"malignancy":[2,-1,0.5,-0.25],"margin":[1,0],"texture":[1,0],"calcification":[1,0]}`}))
	if err != nil {
		t.Fatal(err)
	}
	m, err := g.Check(onnx.Refine)
	if err != nil {
		t.Fatal(err)
	}
	// ln 10 mm weighs 0.5, -400 HU weigh four times -0.25.
	if got, want := m.Calibration["malignancy"].Of(10, -400), (onnx.Platt{A: 2, B: -1 + 0.5*math.Ln10 + 1}); got.A != want.A || math.Abs(got.B-want.B) > 1e-12 {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := m.Calibration["margin"].Of(10, -400); got != (onnx.Platt{A: 1}) {
		t.Errorf("without weights size and density change it to %+v", got)
	}
}

func TestAModelThatDoesNotFitIsRefusedWithASentence(t *testing.T) {
	with := func(key, value string) map[string]string { return map[string]string{key: value} }
	for name, c := range map[string]struct {
		model []byte
		role  onnx.Role
		says  string
	}{
		"the other stage's":          {onnxtest.Refiner(nil), onnx.Localize, `no input "cube"`},
		"of a later contract":        {onnxtest.Localizer(with("contract", "2")), onnx.Localize, `contract "2"`},
		"without a version":          {onnxtest.Localizer(with("version", "")), onnx.Localize, "pulmonode.version is missing"},
		"for another window":         {onnxtest.Localizer(with("window_hu", "[-1350,150]")), onnx.Localize, "its window is"},
		"for other grey levels":      {onnxtest.Localizer(with("levels", "256")), onnx.Localize, "256 grey levels"},
		"stage 1 at 2 mm":            {onnxtest.Localizer(with("spacing_mm", "[2,2,2]")), onnx.Localize, "stage 1 runs at 1 mm"},
		"spacing of nothing":         {onnxtest.Refiner(with("spacing_mm", "[1,0,0]")), onnx.Refine, "spacings from 0.2 to 3 mm"},
		"spacing in words":           {onnxtest.Refiner(with("spacing_mm", "fine")), onnx.Refine, `"fine"`},
		"without the threshold":      {onnxtest.Localizer(with("thresholds", "{}")), onnx.Localize, `lacks "candidate"`},
		"threshold out of range":     {onnxtest.Localizer(with("thresholds", `{"candidate":1.5}`)), onnx.Localize, "between 0 and 1"},
		"without calibration":        {onnxtest.Refiner(with("calibration", "")), onnx.Refine, "pulmonode.calibration is missing"},
		"calibration upside down":    {onnxtest.Refiner(with("calibration", `{"nodule":[-1,0]}`)), onnx.Refine, "a above 0"},
		"three numbers":              {onnxtest.Refiner(with("calibration", `{"nodule":[1,0],"malignancy":[1,0,1],"margin":[1,0],"texture":[1,0],"calcification":[1,0]}`)), onnx.Refine, "[a, b, size, density]"},
		"a judge by size":            {onnxtest.Refiner(with("calibration", `{"nodule":[1,0,1,1]}`)), onnx.Refine, `calibration of "nodule"`},
		"a smallest nodule of 0 mm":  {onnxtest.Refiner(with("smallest_mm", "0")), onnx.Refine, "pulmonode.smallest_mm is 0"},
		"a smallest nodule in words": {onnxtest.Refiner(with("smallest_mm", "small")), onnx.Refine, "pulmonode.smallest_mm is"},
		"calibration of one output":  {onnxtest.Refiner(with("calibration", `{"nodule":[1,0]}`)), onnx.Refine, `lacks "malignancy"`},
	} {
		t.Run(name, func(t *testing.T) {
			g, err := onnx.Parse(c.model)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := g.Check(c.role); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want a sentence with %q", err, c.says)
			}
		})
	}
}

func TestATruncatedModelIsAnError(t *testing.T) {
	whole := onnxtest.Refiner(nil)
	for n := range whole {
		g, err := onnx.Parse(whole[:n])
		if err != nil {
			continue
		}
		if _, err := g.Check(onnx.Refine); err == nil {
			t.Fatalf("the first %d of %d bytes passed", n, len(whole))
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(onnxtest.Localizer(nil))
	f.Add(onnxtest.Refiner(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := onnx.Parse(b)
		if err != nil {
			return
		}
		g.Check(onnx.Localize)
		g.Check(onnx.Refine)
	})
}
