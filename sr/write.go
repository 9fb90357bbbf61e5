package sr

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/sr/study"
)

// Object names an instance and its series.
type Object struct {
	SOPClassUID       string
	SOPInstanceUID    string
	SeriesInstanceUID string
}

// Options are what a report needs besides the result.
type Options struct {
	// Kind is "comprehensive3d" (as is the empty string), "comprehensive" or
	// "enhanced": the last two for archives that know no newer class.
	Kind              string
	SOPInstanceUID    string
	SeriesInstanceUID string
	SeriesNumber      int
	// SeriesName begins the Series Description, which goes on with how the
	// analysis ended; empty names the program.
	SeriesName   string
	AsReceived   bool     // text of the images in their own character set
	DeviceUID    string   // of the installation; empty names the program
	Segmentation *Object  // segment N is nodule N; nil where there is none
	KeyImages    []Object // picture N is of nodule N; further ones are of the whole
	// Predecessor is the report that this one replaces: that of the instance
	// which the result names. An empty class is this report's own.
	Predecessor *Object
}

// kind is a storage class of reports and what it may hold.
type kind struct {
	class    string
	scoord3d bool
}

var kinds = map[string]kind{
	"":                {"1.2.840.10008.5.1.4.1.1.88.34", true},
	"comprehensive3d": {"1.2.840.10008.5.1.4.1.1.88.34", true},  // PS3.3 A.35.13
	"comprehensive":   {"1.2.840.10008.5.1.4.1.1.88.33", false}, // PS3.3 A.35.3
	"enhanced":        {"1.2.840.10008.5.1.4.1.1.88.22", false}, // PS3.3 A.35.2
}

// SOPClass is the SOP Class UID of a kind of report, "" for one that is none.
func SOPClass(kind string) string { return kinds[kind].class }

type writer struct {
	ct               *dataset.Dataset
	r                *result.Result
	o                Options
	kind             kind
	ending           ending
	frameOfReference string
	repertoire       study.Repertoire
}

// Write makes the report of a result as a Part 10 file. ct is the header of any
// image of the analysed series. It refuses, with a sentence, a result that a
// report cannot honestly be made of.
func Write(ct *dataset.Dataset, r *result.Result, o Options) ([]byte, error) {
	w := &writer{ct: ct, r: r, o: o}
	err := w.checkResult()
	if err == nil {
		err = w.checkPredecessor()
	}
	if err != nil {
		return nil, fmt.Errorf("no report is written: %w", err)
	}
	w.repertoire = study.RepertoireOf(ct, o.AsReceived)
	images := sourceImages(ct, r.Grid)
	root, err := w.root(images)
	if err == nil {
		err = root.whole()
	}
	if err != nil {
		return nil, fmt.Errorf("no report is written: %w", err)
	}
	elements, err := study.Elements(ct, study.Object{
		SOPClassUID:       w.kind.class,
		SOPInstanceUID:    o.SOPInstanceUID,
		SeriesInstanceUID: o.SeriesInstanceUID,
		Modality:          "SR",
		SeriesNumber:      o.SeriesNumber,
		SeriesDescription: study.OfGeneration(cmp.Or(o.SeriesName, study.Manufacturer)+": "+w.ending.series, r.Generation),
		AsReceived:        o.AsReceived,
		InstanceNumber:    1,
		Time:              r.Closed.Time,
		Algorithm:         r.Algorithm,
		DeviceUID:         o.DeviceUID,
	})
	if err != nil {
		return nil, fmt.Errorf("no report is written: %w", err)
	}
	elements = append(elements, study.ContentTime(ct, r.Closed.Time)...)
	elements = append(elements, w.document(images)...)
	return study.Write(append(elements, root.elements()...))
}

// analysed says that the series was searched, with or without success.
func (w *writer) analysed() bool {
	return w.r.Outcome == result.OutcomeNodules || w.r.Outcome == result.OutcomeNone
}

// why is the reason that the series was not analysed for.
func (w *writer) why() string {
	if w.analysed() {
		return ""
	}
	return strings.TrimSpace(w.r.Reason)
}

func (w *writer) checkResult() error {
	switch {
	case w.ct == nil || w.r == nil:
		return fmt.Errorf("there is no result, or no image that it is of")
	case w.r.Closed.Time.IsZero():
		return fmt.Errorf("the result does not say when its series was closed")
	}
	var ok bool
	if w.kind, ok = kinds[w.o.Kind]; !ok {
		return fmt.Errorf("%q is no kind of report: take one of %q", w.o.Kind, slices.Sorted(maps.Keys(kinds))[1:])
	}
	e, ok := endings[w.r.Outcome]
	if !ok {
		return fmt.Errorf("%q is not an outcome", w.r.Outcome)
	}
	w.ending = e.of(w.r)
	for _, s := range []struct {
		name, ours string
		theirs     dataset.Tag
	}{
		{"study", w.r.Series.StudyInstanceUID, dataset.StudyInstanceUID},
		{"series", w.r.Series.SeriesInstanceUID, dataset.SeriesInstanceUID},
	} {
		if s.ours != w.ct.Text(s.theirs) {
			return fmt.Errorf("the result is of another %s than the image that is to identify it", s.name)
		}
	}
	if err := dataset.ValidUID(w.device()); err != nil {
		return fmt.Errorf("the UID of the installation: %w", err)
	}
	others := w.o.KeyImages
	if w.o.Segmentation != nil {
		others = append(slices.Clone(others), *w.o.Segmentation)
	}
	for _, o := range others {
		for _, uid := range []string{o.SOPClassUID, o.SOPInstanceUID, o.SeriesInstanceUID} {
			if err := dataset.ValidUID(uid); err != nil {
				return fmt.Errorf("a segmentation or key image that it names: %w", err)
			}
		}
	}
	w.frameOfReference = cmp.Or(w.r.Series.FrameOfReferenceUID, w.ct.Text(dataset.FrameOfReferenceUID))
	switch analysed := w.analysed(); {
	case !analysed && w.why() == "":
		return fmt.Errorf("the series was not analysed and no reason is given")
	case (w.r.Outcome == result.OutcomeNodules) != (len(w.r.Nodules) > 0):
		return fmt.Errorf("the outcome is %q and there are %d nodules", w.r.Outcome, len(w.r.Nodules))
	case analysed && (w.r.Algorithm.Name == "" || w.r.Algorithm.Version == ""):
		return fmt.Errorf("the algorithm has no name or no version")
	case !analysed:
		return nil
	case trackedTwice(w.r.Nodules):
		return fmt.Errorf("two nodules have the same tracking UID")
	case len(w.r.Nodules) > 0 && dataset.ValidUID(w.frameOfReference) != nil:
		return fmt.Errorf("the images have no usable Frame of Reference UID: where the nodules lie could not be said")
	case w.r.Grid == nil || len(w.r.Grid.Instances) == 0:
		return fmt.Errorf("the images that were analysed are not named")
	}
	return checkGrid(w.r.Grid)
}

func trackedTwice(nodules []result.Nodule) bool {
	seen := map[string]bool{}
	for _, n := range nodules {
		seen[n.TrackingUID] = true
	}
	return len(seen) < len(nodules)
}

func checkGrid(g *result.Grid) error {
	numbers := slices.Concat(g.Orientation[:], g.PixelSpacing[:], []float64{g.SliceSpacing})
	for _, s := range g.Instances {
		if dataset.ValidUID(s.SOPClassUID) != nil || dataset.ValidUID(s.SOPInstanceUID) != nil {
			return fmt.Errorf("an image that was analysed has no usable UID")
		}
		numbers = append(numbers, s.Position[:]...)
	}
	if slices.ContainsFunc(numbers, func(v float64) bool { return !finite(v) }) ||
		!(g.PixelSpacing[0] > 0 && g.PixelSpacing[1] > 0) || g.Rows <= 0 || g.Columns <= 0 {
		return fmt.Errorf("the geometry of the images is not known")
	}
	return nil
}

func (w *writer) checkPredecessor() error {
	p := w.o.Predecessor
	switch {
	case w.r.Predecessor == "" && p == nil:
		return nil
	case p == nil:
		return fmt.Errorf("the result replaces an earlier report whose series is not given")
	case p.SOPInstanceUID != w.r.Predecessor:
		return fmt.Errorf("the result replaces another report than the one that is given")
	}
	return nil
}
