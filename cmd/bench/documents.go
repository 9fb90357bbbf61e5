package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/inference/volume"
	"github.com/pulmonode/pulmonode/sr"
	"github.com/pulmonode/pulmonode/sr/seg"
)

// noduleCount is how many nodules the documents describe.
const noduleCount = 8

// documents writes SEG and SR of the series. Both sides begin with headers and
// voxels in memory and end with two files; the peer runs warm.
func (b *bench) documents() row {
	if b.noPython() {
		return row{Skipped: "highdicom is not installed (make bench installs it)"}
	}
	d, err := b.documentsOf()
	if err != nil {
		return row{Skipped: err.Error()}
	}
	r := row{Peer: "highdicom", Unit: "s"}
	r = b.inTurn(r, false, d.write,
		func() (float64, error) { return b.peer("documents.py", b.series, d.seg, d.sr) })
	r.Command = fmt.Sprintf("SEG and SR of %d slices with %d nodules, %d KiB; %d KiB allocated by ours", b.slices, noduleCount, d.size>>10, d.allocated>>10)
	return r
}

// documentSet is what the documents are made of and where they go.
type documentSet struct {
	header    *dataset.Dataset
	result    *result.Result
	seg, sr   string // paths
	size      int
	allocated uint64
}

func (b *bench) documentsOf() (*documentSet, error) {
	paths, err := filepath.Glob(filepath.Join(b.series, "*.dcm"))
	if err != nil {
		return nil, err
	}
	files := make([]*dataset.File, len(paths))
	for i, p := range paths {
		if files[i], err = dataset.Open(p, dataset.Limits{}); err != nil {
			return nil, err
		}
	}
	g, err := volume.Stack(files)
	if err != nil {
		return nil, err
	}
	r := &result.Result{
		Schema: result.Schema, Generation: 1, Outcome: result.OutcomeNodules, Grid: g.Grid,
		Series: result.Series{StudyInstanceUID: g.StudyInstanceUID, SeriesInstanceUID: g.SeriesInstanceUID,
			FrameOfReferenceUID: g.FrameOfReferenceUID, Instances: len(files)},
		Closed:    result.Closed{Reason: result.ClosedGeometry, Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
		Algorithm: result.Algorithm{Name: "pulmonode", Version: "1", Provider: "cpu", Models: []result.Model{{Role: "localize", Version: "1"}, {Role: "refine", Version: "1"}}},
	}
	for i := range noduleCount {
		r.Nodules = append(r.Nodules, ball(g.Grid, i))
	}
	return &documentSet{header: files[0].Header, result: r, seg: filepath.Join(b.dir, "seg.dcm"), sr: filepath.Join(b.dir, "sr.dcm")}, nil
}

// ball is a nodule of 12 mm, number i of those along a diagonal of the grid.
func ball(g *result.Grid, i int) result.Nodule {
	const radius = 6.0
	spacing := [3]float64{g.PixelSpacing[1], g.PixelSpacing[0], g.SliceSpacing}
	var at, half [3]int
	for a, n := range [3]int{g.Columns, g.Rows, len(g.Instances)} {
		at[a] = n * (i + 1) / (noduleCount + 1)
		half[a] = int(radius / spacing[a])
	}
	m := result.Mask{X0: at[0] - half[0], Y0: at[1] - half[1], Z0: at[2] - half[2], NX: 2*half[0] + 1, NY: 2*half[1] + 1, NZ: 2*half[2] + 1}
	m.Bits = make([]bool, m.NX*m.NY*m.NZ)
	for k := range m.Bits {
		x := float64(k%m.NX-half[0]) * spacing[0]
		y := float64(k/m.NX%m.NY-half[1]) * spacing[1]
		z := float64(k/(m.NX*m.NY)-half[2]) * spacing[2]
		m.Bits[k] = x*x+y*y+z*z <= radius*radius
	}
	x, y := float64(at[0]), float64(at[1])
	n := result.Nodule{
		ID: fmt.Sprintf("N%d", i+1), TrackingUID: fmt.Sprintf("2.25.100%d", i), Mask: m,
		CenterLPS: g.LPS(x, y, at[2]), KeySlice: g.Instances[at[2]].SOPInstanceUID,
		VolumeMM3: 4 * math.Pi / 3 * radius * radius * radius, LongAxisMM: 2 * radius, ShortAxisMM: 2 * radius, MaxDiam3DMM: 2 * radius,
		MeanHU: 20, SDHU: 12, Score: 0.9, NoduleProb: 0.9, Laterality: []string{"left", "right"}[i%2],
		LongAxis:  result.Axis{From: g.LPS(x-radius/spacing[0], y, at[2]), To: g.LPS(x+radius/spacing[0], y, at[2])},
		ShortAxis: result.Axis{From: g.LPS(x, y-radius/spacing[1], at[2]), To: g.LPS(x, y+radius/spacing[1], at[2])},
		Characteristics: map[string]result.Characteristic{
			"malignancy": {Probability: 0.8, Label: "high", Threshold: 0.5}, "margin": {Probability: 0.7, Label: "clear", Threshold: 0.5},
			"texture": {Probability: 0.9, Label: "solid", Threshold: 0.5}, "calcification": {Probability: 0.9, Label: "absent", Threshold: 0.5},
		},
	}
	for z := range m.NZ {
		n.Slices = append(n.Slices, g.Instances[m.Z0+z].SOPInstanceUID)
	}
	return n
}

// write makes both files and says how long it took.
func (d *documentSet) write() (float64, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begin := time.Now()
	segmentation, err := seg.Write(d.header, d.result, seg.Options{SOPInstanceUID: "2.25.1", SeriesInstanceUID: "2.25.2", SeriesNumber: 9001, DimensionOrganizationUID: "2.25.3"})
	if err != nil {
		return 0, err
	}
	report, err := sr.Write(d.header, d.result, sr.Options{SOPInstanceUID: "2.25.4", SeriesInstanceUID: "2.25.5", SeriesNumber: 9002,
		Segmentation: &sr.Object{SOPClassUID: dataset.SegmentationStorage, SOPInstanceUID: "2.25.1", SeriesInstanceUID: "2.25.2"}})
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(d.seg, segmentation, 0o600); err != nil {
		return 0, err
	}
	if err := os.WriteFile(d.sr, report, 0o600); err != nil {
		return 0, err
	}
	seconds := time.Since(begin).Seconds()
	runtime.ReadMemStats(&after)
	d.size, d.allocated = len(segmentation)+len(report), after.TotalAlloc-before.TotalAlloc
	return seconds, nil
}
