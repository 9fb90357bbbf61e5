package series

import (
	"math"
	"testing"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// Whatever the headers say, there is a verdict with a sentence of one line, and
// finite figures.
func FuzzSelect(f *testing.F) {
	f.Add(`1\0\0\0\1\0`, `0\0\0`, `0\0\1`, `0.7\0.7`, `ORIGINAL\PRIMARY\AXIAL`, "CT")
	f.Add(`1\0\0\0\0\-1`, `1e5\-1e5\0`, ``, `-1\NaN`, `\\\`, "MR")
	f.Add(`0\0\0\0\0\0`, `1e6\1e6\1e6`, `-1e6\0\0`, `1e-300\1e300`, "LOCALIZER\\\x00\n", "")
	f.Fuzz(func(t *testing.T, orientation, one, other, spacing, imageType, modality string) {
		c := axial
		c.orientation, c.spacing, c.imageType, c.modality = orientation, spacing, imageType, modality
		c.position = func(i int) string { return []string{one, other}[i%2] }
		headers := []*dataset.Dataset{c.header(0), c.header(1), axial.header(2)}
		v := Select(headers, Selection{MinSlices: 1})
		if v.OK == (v.Reason != "") || math.IsNaN(v.SpacingMM) || math.IsInf(v.SpacingMM, 0) {
			t.Errorf("%+v", v)
		}
		for _, r := range v.Reason {
			if r < ' ' || r > '~' {
				t.Errorf("the sentence holds %q: %q", r, v.Reason)
			}
		}
		var s stack
		for _, h := range headers {
			s.add(h)
		}
		if closed := s.closed(); closed && (s.odd || len(s.positions) < 3) {
			t.Errorf("closed, with %d of 3 slices placed", len(s.positions))
		}
	})
}
