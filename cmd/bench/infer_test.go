package main

import (
	"math"
	"testing"
)

func TestOutputsOfBothSidesAreCompared(t *testing.T) {
	if d, err := farthest([]float32{0.5, -8, 0}, []float32{0.5, -8.0004, 0.00002}); err != nil || math.Abs(d-0.00005) > 1e-6 {
		t.Errorf("%g, %v: a logit's distance is a share of it", d, err)
	}
	for name, theirs := range map[string][]float32{"too few": {1}, "no number": {1, float32(math.NaN())}} {
		if _, err := farthest([]float32{1, 1}, theirs); err == nil {
			t.Errorf("%s: no fault", name)
		}
	}
}
