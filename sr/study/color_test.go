package study

import (
	"slices"
	"testing"

	"github.com/pulmonode/pulmonode/inference/result"
)

func TestANoduleKeepsItsColour(t *testing.T) {
	of := func(id string) Color { return ColorOf(&result.Nodule{ID: id}) }
	if of("N1") != colors[0] || of("N8") != colors[7] || of("N9") != colors[0] {
		t.Error("the colour does not follow the number")
	}
	for i := range colors {
		for j := range i {
			if colors[i].RGB == colors[j].RGB || colors[i].Lab == colors[j].Lab {
				t.Errorf("colours %d and %d are the same", i, j)
			}
		}
	}
	// Of another hand, or broken: some colour all the same.
	for _, id := range []string{"", "N", "N0", "left", "N99999999999999999999999"} {
		if !slices.Contains(colors[:], of(id)) {
			t.Errorf("%q has no colour", id)
		}
	}
	// The ID decides, not the place in a result nor what else is known.
	if ColorOf(&result.Nodule{ID: "N3", TrackingUID: "1.2", Score: 1}) != of("N3") {
		t.Error("something beside the ID decides")
	}
}
