package sr

import (
	"cmp"
	"strings"
	"unicode/utf8"

	"github.com/suyashkumar/dicom"
	"github.com/suyashkumar/dicom/pkg/tag"

	"github.com/pulmonode/pulmonode/sr/study"
)

// document is the SR Document Series (PS3.3 C.17.1) and the SR Document General
// module (C.17.2).
func (w *writer) document(images []sourceImage) []*dicom.Element {
	out := []*dicom.Element{
		study.Sequence(tag.ReferencedPerformedProcedureStepSequence),
		study.Sequence(tag.PerformedProcedureCodeSequence),
		study.Text(tag.CompletionFlag, w.ending.completion),
		study.Text(tag.VerificationFlag, "UNVERIFIED"),
		study.Sequence(tag.CodingSchemeIdentificationSequence, study.Item(
			study.Text(tag.CodingSchemeDesignator, Scheme),
			study.Text(tag.CodingSchemeName, "Private codes of pulmonode"),
			study.Text(tag.CodingSchemeResponsibleOrganization, study.Manufacturer),
		)),
	}
	if requests := w.repertoire.Requests(); len(requests) > 0 {
		out = append(out, study.Sequence(tag.ReferencedRequestSequence, requests...))
	}
	if w.ending.completion != "COMPLETE" {
		out = append(out, study.Text(tag.CompletionFlagDescription, short(cmp.Or(w.why(), strings.Join(w.r.Warnings, "; ")))))
	}
	var used []Object
	for _, i := range images {
		used = append(used, Object{i.class, i.instance, w.r.Series.SeriesInstanceUID})
	}
	if w.o.Segmentation != nil && len(w.r.Nodules) > 0 {
		used = append(used, *w.o.Segmentation)
	}
	used = append(used, w.o.KeyImages...)
	if len(used) > 0 {
		out = append(out, study.Sequence(tag.CurrentRequestedProcedureEvidenceSequence,
			hierarchy(w.r.Series.StudyInstanceUID, used)))
	}
	if p := w.o.Predecessor; p != nil {
		earlier := *p
		earlier.SOPClassUID = cmp.Or(p.SOPClassUID, w.kind.class)
		out = append(out, study.Sequence(tag.PredecessorDocumentsSequence,
			hierarchy(w.r.Series.StudyInstanceUID, []Object{earlier})))
	}
	return out
}

// hierarchy is the Hierarchical SOP Instance Reference macro (PS3.3 table
// C.17-3): the instances by their series, in the order given.
func hierarchy(studyUID string, objects []Object) []*dicom.Element {
	var order []string
	bySeries := map[string][][]*dicom.Element{}
	for _, o := range objects {
		if _, seen := bySeries[o.SeriesInstanceUID]; !seen {
			order = append(order, o.SeriesInstanceUID)
		}
		bySeries[o.SeriesInstanceUID] = append(bySeries[o.SeriesInstanceUID],
			study.Reference(o.SOPClassUID, o.SOPInstanceUID))
	}
	var series [][]*dicom.Element
	for _, uid := range order {
		series = append(series, study.Item(
			study.Text(tag.SeriesInstanceUID, uid),
			study.Sequence(tag.ReferencedSOPSequence, bySeries[uid]...),
		))
	}
	return study.Item(
		study.Text(tag.StudyInstanceUID, studyUID),
		study.Sequence(tag.ReferencedSeriesSequence, series...),
	)
}

// short is s in the 64 characters of a LO (PS3.5 6.2). What does not fit ends
// behind a word and says that it goes on: the whole stands in the content.
func short(s string) string {
	const most, more = 64, "..."
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	s = string([]rune(s)[:most-len(more)])
	if at := strings.LastIndexByte(s, ' '); at > 0 {
		s = s[:at]
	}
	return s + more
}
