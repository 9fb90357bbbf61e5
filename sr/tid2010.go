package sr

import (
	"cmp"
	"fmt"

	"github.com/suyashkumar/dicom"
	"github.com/suyashkumar/dicom/pkg/tag"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/sr/study"
)

// KeyObjectOptions are what a selection of key objects needs besides the result.
type KeyObjectOptions struct {
	SOPInstanceUID    string
	SeriesInstanceUID string
	SeriesNumber      int
	SeriesDescription string // empty: that of the program
	AsReceived        bool   // text of the images in their own character set
	DeviceUID         string // of the installation; empty names the program
	KeyImages         []Object
}

// KeyObjectsDescription is the Series Description of selections.
const KeyObjectsDescription = "Key slices (AI, not verified)"

// WriteKeyObjects makes a Key Object Selection (PS3.3 A.35.4) of the slices that
// show a nodule best and the pictures that were drawn of them, so that a viewer
// opens the series at its findings. There is none of a result without nodules:
// what is "of interest" there would be a guess.
func WriteKeyObjects(ct *dataset.Dataset, r *result.Result, o KeyObjectOptions) ([]byte, error) {
	w := &writer{ct: ct, r: r, o: Options{DeviceUID: o.DeviceUID, KeyImages: o.KeyImages}}
	if err := w.checkResult(); err != nil {
		return nil, fmt.Errorf("no key objects are selected: %w", err)
	}
	if len(r.Nodules) == 0 {
		return nil, fmt.Errorf("no key objects are selected: the result has no nodules")
	}
	w.repertoire = study.RepertoireOf(ct, o.AsReceived)
	slices, err := w.keySlices()
	if err != nil {
		return nil, fmt.Errorf("no key objects are selected: %w", err)
	}
	elements, err := study.Elements(ct, study.Object{
		SOPClassUID:       dataset.KeyObjectSelection,
		SOPInstanceUID:    o.SOPInstanceUID,
		SeriesInstanceUID: o.SeriesInstanceUID,
		Modality:          "KO",
		SeriesNumber:      o.SeriesNumber,
		SeriesDescription: study.OfGeneration(cmp.Or(o.SeriesDescription, KeyObjectsDescription), r.Generation),
		InstanceNumber:    1,
		AsReceived:        o.AsReceived,
		Time:              r.Closed.Time,
		Algorithm:         r.Algorithm,
		DeviceUID:         o.DeviceUID,
	})
	if err != nil {
		return nil, fmt.Errorf("no key objects are selected: %w", err)
	}
	elements = append(elements, study.ContentTime(ct, r.Closed.Time)...)
	elements = append(elements, w.keyObjectDocument(slices)...)
	return study.Write(append(elements, w.selection(slices).elements()...))
}

// selection is TID 2010 (Key Object Selection).
func (w *writer) selection(keySlices []int) *item {
	root := container(ofInterest, "2010").
		add(hasConceptMod, code(language, english)).
		add(hasObsContext, w.observer()...).
		add(contains, text(keyObjectDescription, fmt.Sprintf("%s %s", statement(w.r.Outcome, len(w.r.Nodules), w.r.Partial), notice)))
	for _, z := range keySlices {
		root.add(contains, w.slice(study.Code{}, z))
	}
	for _, p := range w.o.KeyImages {
		root.add(contains, image(study.Code{}, p.SOPClassUID, p.SOPInstanceUID, 0, 0))
	}
	return root
}

// keySlices are the slices that show a nodule best, each once, along the normal.
func (w *writer) keySlices() ([]int, error) {
	shows := map[int]bool{}
	for i := range w.r.Nodules {
		n := &w.r.Nodules[i]
		a := n.LongAxis
		if a == (result.Axis{}) {
			a = result.Axis{From: n.CenterLPS, To: n.CenterLPS}
		}
		z, err := w.keySlice(n, a)
		if err != nil {
			return nil, err
		}
		shows[z] = true
	}
	var out []int
	for z := range w.r.Grid.Instances {
		if shows[z] {
			out = append(out, z)
		}
	}
	return out, nil
}

// keyObjectDocument is the Key Object Document Series module (PS3.3 C.17.6.1) and
// the Key Object Document module (C.17.6.2).
func (w *writer) keyObjectDocument(keySlices []int) []*dicom.Element {
	var used []Object
	seen := map[string]bool{}
	for _, z := range keySlices {
		if s := w.r.Grid.Instances[z]; !seen[s.SOPInstanceUID] {
			seen[s.SOPInstanceUID] = true
			used = append(used, Object{s.SOPClassUID, s.SOPInstanceUID, w.r.Series.SeriesInstanceUID})
		}
	}
	used = append(used, w.o.KeyImages...)
	out := study.Item(
		study.Sequence(tag.ReferencedPerformedProcedureStepSequence),
		study.Sequence(tag.CurrentRequestedProcedureEvidenceSequence, hierarchy(w.r.Series.StudyInstanceUID, used)),
	)
	if requests := w.repertoire.Requests(); len(requests) > 0 {
		out = append(out, study.Sequence(tag.ReferencedRequestSequence, requests...))
	}
	return out
}
