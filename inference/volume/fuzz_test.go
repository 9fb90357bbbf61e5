package volume

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// FuzzStack gives Stack headers that nobody should write. positions has one Image
// Position (Patient) a slice, with "|" between them; the other texts are those of
// every slice. What is taken for a volume must keep the promises of one, and be
// as small at 1 mm as its slices are.
func FuzzStack(f *testing.F) {
	const up = `0\0\0|0\0\2.5|0\0\5`
	const orientation, spacing = `1\0\0\0\1\0`, `0.7\0.7`
	f.Add(up, orientation, spacing, "", uint16(3), uint16(4))
	f.Add(`0\0\5|0\0\2.5|0\0\0`, `0\1\0\0\0\-1`, `0.4\0.9`, "1", uint16(1), uint16(1))
	f.Add(`0\0\0|0\0\1e6`, orientation, spacing, "", uint16(3), uint16(4))
	f.Add(`0\0\0|0\0\1e-300|1e308\-1e308\1`, orientation, spacing, "", uint16(3), uint16(4))
	f.Add(up, `1\0\0\1\0\0`, spacing, "", uint16(3), uint16(4))
	f.Add(up, `1.0099\0\0\0\1.0099\0`, `100\100`, "", uint16(16), uint16(16))
	f.Add(up, orientation, `0.01\0.01`, "65535", uint16(3), uint16(4))
	f.Add(up, orientation, `1e-400\-0`, "-1", uint16(65535), uint16(65535))
	f.Add(`\\|nan\inf\0x1|1\2\3\4`, `\`, ``, "x", uint16(0), uint16(0))
	f.Fuzz(func(t *testing.T, positions, orientation, spacing, frames string, rows, columns uint16) {
		var files []*dataset.File
		for _, p := range strings.SplitN(positions, "|", 9) {
			h := axial().header(0)
			h.SetText(dataset.ImagePositionPatient, "DS", p)
			h.SetText(dataset.ImageOrientationPatient, "DS", orientation)
			h.SetText(dataset.PixelSpacing, "DS", spacing)
			h.SetText(dataset.NumberOfFrames, "IS", frames)
			if frames == "" {
				h.SetText(dataset.NumberOfFrames, "IS", "1")
			}
			h.SetUint16(dataset.Rows, rows)
			h.SetUint16(dataset.Columns, columns)
			b, err := h.AppendExplicit(dataset.FileMeta(dataset.MetaInfo{SOPClassUID: dataset.CTImage, SOPInstanceUID: "1.2", TransferSyntax: dataset.ExplicitLE}))
			if err != nil {
				return // longer than an element may be
			}
			b = append(b, 0xE0, 0x7F, 0x10, 0x00, 'O', 'W', 0, 0, 0, 2, 0, 0)
			b = append(b, make([]byte, 512)...)
			file, err := dataset.Read(bytes.NewReader(b), int64(len(b)), dataset.Limits{})
			if err != nil {
				return
			}
			files = append(files, file)
		}
		g, err := Stack(files)
		if err != nil {
			var refused *GeometryError
			if errors.As(err, &refused) && (refused.Code == "" || refused.Sentence == "") {
				t.Errorf("refused without a reason: %+v", refused)
			}
			return
		}
		if len(g.Slices) < 2 || len(g.Slices) != len(g.Grid.Instances) {
			t.Fatalf("%d slices, %d instances", len(g.Slices), len(g.Grid.Instances))
		}
		for i := range g.Slices[1:] {
			if !(g.Slices[i+1].along-g.Slices[i].along >= duplicateMM) {
				t.Errorf("slice %d does not lie above slice %d", i+1, i)
			}
		}
		voxels := 1.
		for a, n := range []int{g.Grid.Columns, g.Grid.Rows, len(g.Slices)} {
			d := spacingXYZ(g.Grid)[a]
			if !(d > 0 && float64(n-1)*d <= maxSideMM) {
				t.Fatalf("%d voxels of %g mm", n, d)
			}
			voxels *= float64(n-1)*d + 1
		}
		if voxels > maxVoxels {
			t.Fatalf("%g voxels at 1 mm", voxels)
		}
		v, err := Load(t.Context(), g, 2, nil)
		if err != nil {
			t.Fatal(err)
		}
		if voxels < 1e6 {
			_, _ = Lungs(v.Resample1mm(2))
		}
		v.Slabs([3]float64{1, 1, 1}, [3]float64{1, 0.6, 0.6}, -1, 2)
	})
}
