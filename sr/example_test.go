package sr_test

import (
	"fmt"
	"log"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/sr"
)

// A report is written of a result and read back.
func Example() {
	ct := &dataset.Dataset{} // the header of any image of the series
	ct.SetText(dataset.StudyInstanceUID, "UI", "2.25.1")
	ct.SetText(dataset.SeriesInstanceUID, "UI", "2.25.2")

	grid := &result.Grid{
		Rows: 512, Columns: 512, PixelSpacing: [2]float64{0.7, 0.7}, SliceSpacing: 1,
		Orientation: [6]float64{1, 0, 0, 0, 1, 0},
		Instances:   []result.Instance{{SOPClassUID: "1.2.840.10008.5.1.4.1.1.2", SOPInstanceUID: "2.25.3"}},
	}
	nodule := func(id, trackingUID string, malignancy float64, label string) result.Nodule {
		return result.Nodule{
			ID: id, TrackingUID: trackingUID, CenterLPS: grid.LPS(200, 240, 0), KeySlice: "2.25.3",
			VolumeMM3: 268, LongAxisMM: 8, ShortAxisMM: 7.5, MaxDiam3DMM: 8.4, MeanHU: 12, SDHU: 80,
			Characteristics: map[string]result.Characteristic{
				"malignancy":    {Probability: malignancy, Label: label, Threshold: 0.65},
				"margin":        {Probability: 0.8, Label: "clear", Threshold: 0.5},
				"texture":       {Probability: 0.9, Label: "solid", Threshold: 0.5},
				"calcification": {Probability: 0.7, Label: "absent", Threshold: 0.5},
			},
		}
	}
	r := &result.Result{
		Series:    result.Series{StudyInstanceUID: "2.25.1", SeriesInstanceUID: "2.25.2", FrameOfReferenceUID: "2.25.6"},
		Closed:    result.Closed{Time: time.Date(2026, 1, 2, 10, 0, 0, 0, time.UTC)},
		Outcome:   result.OutcomeNodules,
		Algorithm: result.Algorithm{Name: "pulmonode", Version: "1.0.0"},
		Grid:      grid,
		Nodules:   []result.Nodule{nodule("N1", "2.25.7", 0.82, "high"), nodule("N2", "2.25.8", 0.11, "low")},
	}
	file, err := sr.Write(ct, r, sr.Options{SOPInstanceUID: "2.25.4", SeriesInstanceUID: "2.25.5", SeriesNumber: 9001})
	if err != nil {
		log.Fatal(err)
	}
	report, err := sr.Read(file)
	if err != nil {
		log.Fatal(err)
	}
	for _, n := range report.Nodules {
		fmt.Println(n.ID, n.Characteristics["malignancy"])
	}
	// Output:
	// N1 high (0.82)
	// N2 low (0.11)
}
