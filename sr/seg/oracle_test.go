package seg

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/sr/study"
)

// TestHighdicomAndPydicomReadTheSame asks two readers in Python.
func TestHighdicomAndPydicomReadTheSame(t *testing.T) {
	python := os.Getenv("PULMONODE_PYTHON")
	if _, err := os.Stat(python); err != nil {
		t.Skip("PULMONODE_PYTHON does not name an interpreter with highdicom")
	}
	dir := t.TempDir()
	for _, c := range cases {
		for _, kind := range kindNames {
			r := c.result()
			b, err := Write(header(), r, optionsOf(kind))
			if err != nil {
				t.Fatal(err)
			}
			told, err := json.Marshal(describe(kind, r, c.volume))
			if err != nil {
				t.Fatal(err)
			}
			name := filepath.Join(dir, c.name+", "+kind)
			for path, b := range map[string][]byte{name + ".dcm": b, name + ".json": told} {
				if err := os.WriteFile(path, b, 0o666); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if out, err := exec.Command(python, "../../testdata/oracle/seg.py", dir).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// describe tells the oracle what was put in.
func describe(kind string, r *result.Result, volume bool) map[string]any {
	var nodules, grid []map[string]any
	for i := range r.Nodules {
		n := &r.Nodules[i]
		var voxels [][4]int
		var lps []result.Point
		for z := range r.Grid.Instances {
			for y := range r.Grid.Rows {
				for x := range r.Grid.Columns {
					if v := truth(kind, r, i, x, y, z); v != 0 {
						voxels = append(voxels, [4]int{x, y, z, int(v)})
						lps = append(lps, r.Grid.LPS(float64(x), float64(y), z))
					}
				}
			}
		}
		by := study.ColorOf(n).RGB
		nodules = append(nodules, map[string]any{"rgb": [3]int{int(by.R), int(by.G), int(by.B)}, "id": n.ID, "tracking_uid": n.TrackingUID, "voxels": voxels, "lps": lps})
	}
	for _, in := range r.Grid.Instances {
		grid = append(grid, map[string]any{"sop_instance_uid": in.SOPInstanceUID, "frame": in.Frame, "position": in.PositionString})
	}
	return map[string]any{
		"kind": strings.ToUpper(kind), "rows": r.Grid.Rows, "columns": r.Grid.Columns, "nodules": nodules, "slices": grid, "volume": volume,
		"frame_of_reference_uid": r.Series.FrameOfReferenceUID, "algorithm": r.Algorithm.Name,
		"orientation": r.Grid.OrientationString, "pixel_spacing": r.Grid.PixelSpacing,
	}
}

// newerThanTheValidator is what dciodvfy of 2022 says against label maps, which
// came with Supplement 243 (PS3.3 2024d): it knows neither the class, for which
// that of other segmentations is put in, nor the type, nor that their background
// is segment 0 and that their frames name none.
var newerThanTheValidator = []string{
	"Unrecognized enumerated value = <LABELMAP>",
	"</SegmentSequence(0062,0002)[1]/SegmentNumber(0062,0004)[1]> - Value is zero",
	"have SegmentSequence item number 1 (from one) with SegmentNumber of 0",
	"SegmentIdentificationSequence(0062,000a)> - Missing attribute for Type 1 Required - Module=<SegmentationMacro>",
}

// TestTheValidatorFindsNoError runs dciodvfy of dicom3tools.
func TestTheValidatorFindsNoError(t *testing.T) {
	validator, err := exec.LookPath("dciodvfy")
	if err != nil {
		t.Skip("dciodvfy (dicom3tools) is not installed")
	}
	for _, c := range cases {
		for _, kind := range kindNames {
			t.Run(c.name+", "+kind, func(t *testing.T) {
				b, err := Write(header(), c.result(), optionsOf(kind))
				if err != nil {
					t.Fatal(err)
				}
				var known []string
				if kind == "labelmap" {
					known = newerThanTheValidator
					b = bytes.ReplaceAll(b, []byte(dataset.LabelMapSegmentation), []byte(dataset.SegmentationStorage))
				}
				file := filepath.Join(t.TempDir(), "seg.dcm")
				if err := os.WriteFile(file, b, 0o666); err != nil {
					t.Fatal(err)
				}
				out, _ := exec.Command(validator, "-new", file).CombinedOutput()
				for line := range strings.SplitSeq(string(out), "\n") {
					if strings.HasPrefix(line, "Error") && !slices.ContainsFunc(known, func(k string) bool { return strings.Contains(line, k) }) {
						t.Error(line)
					}
				}
				if !strings.Contains(string(out), "Segmentation\n") {
					t.Errorf("the validator does not know the object:\n%s", out)
				}
			})
		}
	}
}
