package onnx

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Role is what a model does in the pipeline.
type Role string

const (
	Localize Role = "localize" // stage 1: cubes to nodule probability
	Refine   Role = "refine"   // stage 2: slabs to contour and characteristics
)

// Side is the number of rows and columns of a slab's planes, and Planes the
// number of planes of a slab: fixed by the refinement network's input.
const (
	Side   = 64
	Planes = 4
)

// tensorFloat is TensorProto.FLOAT.
const tensorFloat = 1

// signature is the models' contract: the tensors each role must have. -1 stands
// for a dimension that must be free (the batch), 0 for one that may be anything.
var signature = map[Role]struct{ inputs, outputs []Value }{
	Localize: {
		inputs:  []Value{{Name: "cube", Dims: []int64{-1, 1, 0, 0, 0}}},
		outputs: []Value{{Name: "nodule", Dims: []int64{-1, 1, 0, 0, 0}}},
	},
	Refine: {
		inputs: []Value{{Name: "slab", Dims: []int64{-1, Planes, Side, Side}}},
		outputs: []Value{
			{Name: "mask", Dims: []int64{-1, Planes, Side, Side}},
			{Name: "characteristics", Dims: []int64{-1, 4}},
			{Name: "nodule", Dims: []int64{-1, 1}},
		},
	},
}

// thresholds and calibrated outputs that a role's metadata must carry.
var (
	requiredThresholds = map[Role][]string{
		Localize: {"candidate"},
		Refine:   {"mask", "nodule", "malignancy", "margin", "texture", "calcification"},
	}
	requiredCalibration = map[Role][]string{
		Refine: {"nodule", "malignancy", "margin", "texture", "calcification"},
	}
)

// Metadata is the pulmonode.* part of a model's metadata, checked.
type Metadata struct {
	Name, Version, Preset, TrainedOn, Licence string

	SpacingMM   [3]float64         // z, y, x of the network's grid
	WindowHU    [2]float64         // clipped to, before quantising
	Levels      int                // of quantisation
	Thresholds  map[string]float64 // on calibrated probabilities
	SmallestMM  float64            // diameter of the smallest nodules it was evaluated for; 0: not said
	Calibration map[string]Platt   // per logit output
}

// Platt maps a logit to a calibrated probability: sigmoid(A*logit + B), plus,
// where the model's metadata has them, what the outlined nodule as a whole adds,
// of which a slab shows a part only: Size per ln of its diameter in mm, and
// Density per 100 HU of its mean.
type Platt struct{ A, B, Size, Density float64 }

// Of returns the map for a nodule of a diameter (that of a sphere of its volume)
// and mean density.
func (p Platt) Of(diameterMM, meanHU float64) Platt {
	return Platt{A: p.A, B: p.B + p.Size*math.Log(diameterMM) + p.Density*meanHU/100}
}

// Probability returns the calibrated probability of a logit.
func (p Platt) Probability(logit float64) float64 {
	return 1 / (1 + math.Exp(-(p.A*logit + p.B)))
}

// Check holds a model's description against the contract of a role and returns
// its metadata. The error lists every fault at once.
func (g *Graph) Check(role Role) (*Metadata, error) {
	sig, ok := signature[role]
	if !ok {
		return nil, fmt.Errorf("no model has the role %q", role)
	}
	var faults []string
	fault := func(format string, a ...any) { faults = append(faults, fmt.Sprintf(format, a...)) }

	if g.Opset < 17 {
		fault("its operator set is %d, at least 17 is needed", g.Opset)
	}
	if len(g.Inputs) != len(sig.inputs) {
		fault("it has %d inputs, not %d", len(g.Inputs), len(sig.inputs))
	}
	for _, want := range sig.inputs {
		checkValue("input", want, g.Inputs, fault)
	}
	for _, want := range sig.outputs {
		checkValue("output", want, g.Outputs, fault)
	}

	m := &Metadata{}
	text := func(key string, to *string) {
		v, ok := g.Metadata["pulmonode."+key]
		if !ok || v == "" {
			fault("metadata pulmonode.%s is missing", key)
		}
		*to = v
	}
	structured := func(key string, to any) bool {
		v, ok := g.Metadata["pulmonode."+key]
		if !ok {
			fault("metadata pulmonode.%s is missing", key)
			return false
		}
		if err := json.Unmarshal([]byte(v), to); err != nil {
			fault("metadata pulmonode.%s is %q, which is not of the expected form", key, short(v))
			return false
		}
		return true
	}
	var contract string
	text("contract", &contract)
	if contract != "" && contract != "1" {
		fault("it follows contract %q, this program knows contract 1", short(contract))
	}
	text("name", &m.Name)
	text("version", &m.Version)
	text("preset", &m.Preset)
	text("trained_on", &m.TrainedOn)
	text("licence", &m.Licence)

	var numbers []float64
	if structured("spacing_mm", &numbers) {
		if len(numbers) != 3 {
			fault("metadata pulmonode.spacing_mm has %d numbers, not 3 (z, y, x)", len(numbers))
		} else {
			m.SpacingMM = [3]float64(numbers)
			for _, s := range numbers {
				if !(s >= 0.2 && s <= 3) {
					fault("metadata pulmonode.spacing_mm holds %g; spacings from 0.2 to 3 mm are possible", s)
				}
			}
			if role == Localize && m.SpacingMM != [3]float64{1, 1, 1} {
				fault("it works at %v mm; stage 1 runs at 1 mm in every direction", m.SpacingMM)
			}
		}
	}
	numbers = nil
	if structured("window_hu", &numbers) {
		if len(numbers) != 2 || numbers[0] != -1000 || numbers[1] != 500 {
			fault("its window is %v HU; images are prepared for -1000 to 500 HU", numbers)
		} else {
			m.WindowHU = [2]float64(numbers)
		}
	}
	if structured("levels", &m.Levels) && m.Levels != 1024 {
		fault("it expects %d grey levels; images are prepared with 1024", m.Levels)
	}
	if structured("thresholds", &m.Thresholds) {
		for _, name := range requiredThresholds[role] {
			if v, ok := m.Thresholds[name]; !ok {
				fault("metadata pulmonode.thresholds lacks %q", name)
			} else if !(v > 0 && v < 1) {
				fault("the threshold %q is %g; it must lie between 0 and 1", name, v)
			}
		}
	}
	if _, said := g.Metadata["pulmonode.smallest_mm"]; said && structured("smallest_mm", &m.SmallestMM) {
		if !(m.SmallestMM > 0 && m.SmallestMM <= 30) {
			fault("metadata pulmonode.smallest_mm is %g; nodules have more than 0 and at most 30 mm", m.SmallestMM)
		}
	}
	if names := requiredCalibration[role]; len(names) > 0 {
		var pairs map[string][]float64
		if structured("calibration", &pairs) {
			m.Calibration = map[string]Platt{}
			for _, name := range names {
				p, ok := pairs[name]
				switch {
				case !ok:
					fault("metadata pulmonode.calibration lacks %q", name)
				case len(p) == 2 && p[0] > 0 && finite(p...):
					m.Calibration[name] = Platt{A: p[0], B: p[1]}
				case len(p) == 4 && p[0] > 0 && finite(p...) && name != "nodule":
					m.Calibration[name] = Platt{p[0], p[1], p[2], p[3]}
				default:
					fault("the calibration of %q is %v; it must be [a, b] with a above 0, or of a characteristic [a, b, size, density]", name, p)
				}
			}
		}
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("the model does not fit the %s stage: %s; export it with this version's training code, or use the shipped one", role, strings.Join(faults, "; "))
	}
	return m, nil
}

func checkValue(kind string, want Value, have []Value, fault func(string, ...any)) {
	i := slices.IndexFunc(have, func(v Value) bool { return v.Name == want.Name })
	if i < 0 {
		fault("it has no %s %q", kind, want.Name)
		return
	}
	v := have[i]
	if v.Type != tensorFloat {
		fault("%s %s is not float32", kind, v)
	}
	if len(v.Dims) == 0 && kind == "output" {
		return // an output without a stated shape is checked when it is run
	}
	fits := len(v.Dims) == len(want.Dims)
	for d := 0; fits && d < len(v.Dims); d++ {
		switch want.Dims[d] {
		case -1:
			fits = v.Dims[d] <= 0
		case 0:
			fits = v.Dims[d] <= 0 || v.Dims[d]%16 == 0
		default:
			fits = v.Dims[d] == want.Dims[d] || v.Dims[d] <= 0
		}
	}
	if !fits {
		w := want
		w.Dims = slices.Clone(want.Dims)
		fault("%s %s does not have the form %s with a free first dimension", kind, v, w)
	}
}

func finite(values ...float64) bool {
	return !slices.ContainsFunc(values, func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
}

// short keeps a hostile metadata value from filling an error message.
func short(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}
