package volume

import (
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/phantom"
	"github.com/pulmonode/pulmonode/inference/pixel"
)

// One multi-frame image, as highdicom makes it of a series whose slices have each
// their own rescale, is the volume that the series is, in every encapsulation.
func TestEnhancedImagesAreTheSeriesTheyWereMadeOf(t *testing.T) {
	interpreter := python(t)
	dir, out := t.TempDir(), t.TempDir()
	chest, _, err := phantom.Generate(t.Context(), phantom.Options{Slices: 12, SpacingZ: 20, Rows: 66, Columns: 70}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := phantom.WriteSeries(t.Context(), dir, chest, nil); err != nil {
		t.Fatal(err)
	}
	said, err := exec.Command(interpreter, filepath.Join("..", "..", "testdata", "oracle", "enhanced.py"), dir, out).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("%v\n%s", err, exit.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
	var syntaxes map[string]string
	if err := json.Unmarshal(said, &syntaxes); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	classic := load(t, open(t, filepath.Join(out, "classic")))
	if len(syntaxes) < 10 {
		t.Errorf("%d enhanced images were made: %v", len(syntaxes), syntaxes)
	}
	for name, syntax := range syntaxes {
		t.Run(name, func(t *testing.T) {
			if !slices.Contains(pixel.Supported(), syntax) {
				t.Skip("the transfer syntax is not in this build (make test installs its library)")
			}
			v := load(t, open(t, filepath.Join(out, name)))
			if !slices.Equal(v.HU, classic.HU) {
				t.Error("other HU than the series")
			}
			ours, theirs := *v.Grid, *classic.Grid
			if len(ours.Instances) != len(theirs.Instances) {
				t.Fatalf("%d slices, the series has %d", len(ours.Instances), len(theirs.Instances))
			}
			for z, i := range ours.Instances {
				if i.Position != theirs.Instances[z].Position || i.SOPInstanceUID != "1.2.3.2" || i.Frame < 1 || i.Frame > v.NZ {
					t.Errorf("slice %d is frame %d of %s at %v, in the series at %v", z, i.Frame, i.SOPInstanceUID, i.Position, theirs.Instances[z].Position)
				}
			}
			if ours.Orientation != theirs.Orientation || ours.PixelSpacing != theirs.PixelSpacing || ours.SliceSpacing != theirs.SliceSpacing || ours.Rows != theirs.Rows || ours.Columns != theirs.Columns {
				t.Errorf("grid %v, of the series %v", ours, theirs)
			}
			want := dataset.LegacyConvertedEnhancedCT
			if name == "nothing-shared" {
				want = dataset.EnhancedCT
			}
			if got := ours.Instances[0].SOPClassUID; got != want {
				t.Errorf("SOP class %s, want %s", got, want)
			}
		})
	}
}
