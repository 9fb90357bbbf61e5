package sr

import (
	"bytes"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
)

const (
	studyUID  = "1.2.826.0.1.3680043.8.498.1"
	seriesUID = "1.2.826.0.1.3680043.8.498.2"
	frameUID  = "1.2.826.0.1.3680043.8.498.3"
	ctClass   = "1.2.840.10008.5.1.4.1.1.2"
	segClass  = "1.2.840.10008.5.1.4.1.1.66.4"
	scClass   = "1.2.840.10008.5.1.4.1.1.7"
)

func instance(z int) string { return fmt.Sprintf("%s.%d", seriesUID, z+1) }

// header is that of a CT image with a name that needs UTF-8.
func header() *dataset.Dataset {
	d := &dataset.Dataset{}
	for t, v := range map[dataset.Tag]string{
		dataset.SpecificCharacterSet: "ISO_IR 100",
		dataset.SOPClassUID:          ctClass,
		dataset.SOPInstanceUID:       instance(0),
		dataset.StudyDate:            "20260102",
		dataset.StudyTime:            "101500",
		dataset.AccessionNumber:      "A-77",
		dataset.Modality:             "CT",
		dataset.Manufacturer:         "Scanner Works",
		dataset.PatientName:          "M\xfcller^J\xf6rg",
		dataset.PatientID:            "4711",
		dataset.PatientBirthDate:     "19500401",
		dataset.PatientSex:           "M",
		dataset.StudyID:              "1",
		dataset.StudyInstanceUID:     studyUID,
		dataset.SeriesInstanceUID:    seriesUID,
		dataset.FrameOfReferenceUID:  frameUID,
	} {
		d.SetText(t, t.VR(), v)
	}
	return d
}

// tilted is a grid whose rows and columns are not the patient's axes, so that a
// mistake in the geometry shows.
func tilted(slices int) *result.Grid {
	s, c := math.Sincos(0.1)
	g := &result.Grid{
		Rows: 512, Columns: 400,
		Orientation:  [6]float64{c, s, 0, -s, c, 0},
		PixelSpacing: [2]float64{0.7, 0.65},
		SliceSpacing: 1.25, SliceThickness: "1.25",
	}
	for z := range slices {
		g.Instances = append(g.Instances, result.Instance{
			SOPClassUID: ctClass, SOPInstanceUID: instance(z),
			Position: result.Point{-120.5, -180.25, -300 + 1.25*float64(z)},
		})
	}
	return g
}

func nodulesOf(g *result.Grid) []result.Nodule {
	make := func(id string, x, y float64, z int, side string, p [4]float64, labels [4]string) result.Nodule {
		n := result.Nodule{
			ID: id, TrackingUID: "2.25.1" + id[1:], CenterLPS: g.LPS(x, y, z),
			Slices: []string{instance(z - 1), instance(z)}, KeySlice: instance(z),
			VolumeMM3: 523.5987755982989, LongAxisMM: 10.4, ShortAxisMM: 8.25, MaxDiam3DMM: 11.0625,
			MeanHU: -41.5, SDHU: 120.125, Score: 0.93, NoduleProb: 0.97, Laterality: side,
			LongAxis:        result.Axis{From: g.LPS(x-8, y, z), To: g.LPS(x+8, y, z)},
			ShortAxis:       result.Axis{From: g.LPS(x, y-5.5, z), To: g.LPS(x, y+5.5, z)},
			Characteristics: map[string]result.Characteristic{},
		}
		limits := [4]float64{0.65, 0.5, 0.48, 0.29}
		for i, key := range result.Characteristics {
			n.Characteristics[key] = result.Characteristic{Probability: p[i], Label: labels[i], Threshold: limits[i]}
		}
		return n
	}
	return []result.Nodule{
		make("N1", 120, 200, 20, "right", [4]float64{0.91, 0.29, 0.8123456789012345, 0.97}, [4]string{"high", "unclear", "solid", "absent"}),
		make("N2", 310.5, 222.25, 31, "left", [4]float64{0.5, 0.75, 0.1, 0.07}, [4]string{"indeterminate", "clear", "subsolid", "present"}),
		make("N3", 50, 60, 2, "", [4]float64{0.04, 1, 0.6, 0.99}, [4]string{"low", "clear", "solid", "absent"}),
	}
}

// found is a result with three nodules.
func found() *result.Result {
	g := tilted(40)
	return &result.Result{
		Schema: result.Schema,
		Series: result.Series{StudyInstanceUID: studyUID, SeriesInstanceUID: seriesUID, FrameOfReferenceUID: frameUID, Instances: 40},
		Closed: result.Closed{Reason: "geometry", Time: time.Date(2026, 1, 2, 11, 0, 5, 0, time.UTC)},
		Algorithm: result.Algorithm{
			Name: "pulmonode", Version: "1.2.0", Provider: "cpu",
			Models: []result.Model{
				{Role: "localize", Version: "0.9", SHA256: "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"},
				{Role: "refine", Version: "0.8", SHA256: "d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35"},
			},
		},
		Outcome:    result.OutcomeNodules,
		Generation: 1,
		Warnings:   []string{"CUDA was not to be had; the CPU was used."},
		Nodules:    nodulesOf(g),
		Grid:       g,
	}
}

// ended is a result without nodules.
func ended(o result.Outcome, why string) *result.Result {
	r := found()
	r.Outcome, r.Reason, r.Nodules, r.Warnings = o, why, nil, nil
	if o != result.OutcomeNone {
		r.Grid, r.Algorithm = nil, result.Algorithm{}
	}
	return r
}

func options() Options {
	return Options{
		SOPInstanceUID: "2.25.11", SeriesInstanceUID: "2.25.12", SeriesNumber: 9001, DeviceUID: "2.25.13",
		Segmentation: &Object{segClass, "2.25.14", "2.25.15"},
		KeyImages:    []Object{{scClass, "2.25.16", "2.25.17"}, {scClass, "2.25.18", "2.25.17"}, {scClass, "2.25.19", "2.25.17"}, {scClass, "2.25.20", "2.25.17"}},
	}
}

// bare are the options of a report without nodules.
func bare() Options {
	o := options()
	o.Segmentation, o.KeyImages = nil, nil
	return o
}

func written(t testing.TB, r *result.Result, o Options) []byte {
	t.Helper()
	b, err := Write(header(), r, o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parsed(t testing.TB, b []byte) *dataset.Dataset {
	t.Helper()
	f, err := dataset.Read(bytes.NewReader(b), int64(len(b)), limits)
	if err != nil {
		t.Fatal(err)
	}
	return f.Header
}

// everyReport is one of each kind and outcome, by name.
func everyReport() map[string]struct {
	r *result.Result
	o Options
} {
	out := map[string]struct {
		r *result.Result
		o Options
	}{}
	for _, kind := range []string{"comprehensive3d", "comprehensive", "enhanced"} {
		o := options()
		o.Kind = kind
		b := bare()
		b.Kind = kind
		add := func(name string, r *result.Result, o Options) {
			out[kind+" "+name] = struct {
				r *result.Result
				o Options
			}{r, o}
		}
		add("nodules", found(), o)
		noSegment := o
		noSegment.Segmentation = nil
		add("nodules without segmentation", found(), noSegment)
		later := found()
		later.Predecessor = "2.25.99"
		withEarlier := o
		withEarlier.Predecessor = &Object{SOPInstanceUID: "2.25.99", SeriesInstanceUID: "2.25.98"}
		add("second generation", later, withEarlier)
		add("none", ended(result.OutcomeNone, ""), b)
		half := ended(result.OutcomeNone, "")
		half.Partial, half.Warnings = true, []string{"the lungs are not wholly in view"}
		add("none in a part", half, b)
		add("skipped", ended(result.OutcomeSkipped, "Slices are 5.0 mm apart; at most 3.0 mm are analysed: ask for the thin reconstruction."), b)
		add("failed", ended(result.OutcomeFailed, "Slice 12 could not be decoded: send the series again."), b)
	}
	return out
}
