package node

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
)

// oneNodule is a result on a small grid.
func oneNodule() *result.Result {
	g := &result.Grid{
		Rows: 32, Columns: 40, PixelSpacing: [2]float64{0.7, 0.7}, PixelSpacingString: `0.7\0.7`, SliceSpacing: 1,
		Orientation: [6]float64{1, 0, 0, 0, 1, 0}, OrientationString: `1\0\0\0\1\0`,
	}
	for z := range 8 {
		g.Instances = append(g.Instances, result.Instance{SOPClassUID: dataset.CTImage, SOPInstanceUID: fmt.Sprintf("1.2.3.4.%d", z+1),
			Position: result.Point{0, 0, float64(z)}, PositionString: fmt.Sprintf(`0\0\%d`, z)})
	}
	n := result.Nodule{
		ID: "N1", TrackingUID: "2.25.9", CenterLPS: g.LPS(12, 12, 3), KeySlice: "1.2.3.4.4", Slices: []string{"1.2.3.4.4"},
		VolumeMM3: 8, LongAxisMM: 3, ShortAxisMM: 3, MaxDiam3DMM: 3, MeanHU: 20, SDHU: 5, Score: 0.9, NoduleProb: 0.9, Laterality: "left",
		Mask:            result.Mask{X0: 10, Y0: 10, Z0: 3, NX: 4, NY: 4, NZ: 1, Bits: slices.Repeat([]bool{true}, 16)},
		Probabilities:   result.Probabilities{X0: 10, Y0: 10, Z0: 3, NX: 4, NY: 4, NZ: 1, Values: bytes.Repeat([]byte{200}, 16)},
		Characteristics: map[string]result.Characteristic{},
	}
	for name, label := range map[string]string{"malignancy": "high", "margin": "clear", "texture": "solid", "calcification": "absent"} {
		n.Characteristics[name] = result.Characteristic{Probability: 0.9, Label: label, Threshold: 0.5}
	}
	return &result.Result{
		Schema: result.Schema, Generation: 1, Outcome: result.OutcomeNodules, Grid: g, Nodules: []result.Nodule{n},
		Series:    result.Series{StudyInstanceUID: "1.2.3", SeriesInstanceUID: "1.2.3.4", FrameOfReferenceUID: "1.2.3.9", Instances: 8},
		Algorithm: result.Algorithm{Name: "pulmonode", Version: "1", Provider: "cpu"},
		Closed:    result.Closed{Reason: result.ClosedGeometry, Time: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)},
		Slices:    map[int]*result.Pixels{3: {Rows: 32, Columns: 40, HU: make([]int16, 32*40)}},
	}
}

// The class that the manifest, the file and the report's reference name is one:
// a destination is offered what it is then sent.
func TestTheKindOfSegmentationIsOneEverywhere(t *testing.T) {
	for kind, class := range map[string]string{
		"binary": dataset.SegmentationStorage, "fractional": dataset.SegmentationStorage, "labelmap": dataset.LabelMapSegmentation,
	} {
		t.Run(kind, func(t *testing.T) {
			c := config.Default()
			c.Output.SEG = kind
			header := &dataset.Dataset{}
			for tag, v := range map[dataset.Tag]string{
				dataset.StudyInstanceUID: "1.2.3", dataset.SeriesInstanceUID: "1.2.3.4", dataset.FrameOfReferenceUID: "1.2.3.9",
				dataset.SOPClassUID: dataset.CTImage, dataset.SOPInstanceUID: "1.2.3.4.1", dataset.Modality: "CT",
			} {
				header.SetText(tag, tag.VR(), v)
			}
			files, err := newDocuments(c)(header, oneNodule(), func(kind string, index int) string { return fmt.Sprintf("2.25.%d%d", len(kind), index) })
			if err != nil {
				t.Fatal(err)
			}
			seen := 0
			for _, f := range files {
				if f.Kind != kindSeg && f.Kind != kindSR {
					continue
				}
				seen++
				d, err := dataset.Read(bytes.NewReader(f.Bytes), int64(len(f.Bytes)), dataset.Limits{})
				if err != nil {
					t.Fatal(err)
				}
				if got := d.Header.Text(dataset.SOPClassUID); got != f.SOPClassUID || f.Kind == kindSeg && got != class {
					t.Errorf("%s is of class %s, its manifest says %s", f.Name, got, f.SOPClassUID)
				}
				if f.Kind == kindSR && !bytes.Contains(f.Bytes, []byte(class)) {
					t.Error("the report refers to another class of segmentation")
				}
			}
			if seen != 2 {
				t.Errorf("%d documents, want a segmentation and a report", seen)
			}
		})
	}
}
