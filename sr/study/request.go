package study

import (
	"slices"

	"github.com/suyashkumar/dicom"
	"github.com/suyashkumar/dicom/pkg/tag"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// requested are those attributes of a request that are text, and issuers those
// that say whose numbers they are.
var (
	requested = []dataset.Tag{
		dataset.AccessionNumber,
		dataset.PlacerOrderNumberImagingServiceRequest,
		dataset.FillerOrderNumberImagingServiceRequest,
		dataset.RequestedProcedureID,
		dataset.RequestedProcedureDescription,
	}
	issuers = []dataset.Tag{
		dataset.IssuerOfAccessionNumberSequence,
		dataset.OrderPlacerIdentifierSequence,
		dataset.OrderFillerIdentifierSequence,
	}
)

// Requests are the items of Referenced Request Sequence (PS3.3 C.17.2): the
// requests that the images name, and nothing that they do not say. Without
// Request Attributes an Accession Number is a request of which no more is known.
func (r Repertoire) Requests() [][]*dicom.Element {
	ct := r.ct
	asked := ct.Items(dataset.RequestAttributesSequence)
	if len(asked) == 0 {
		if ct.Text(dataset.AccessionNumber) == "" {
			return nil
		}
		return [][]*dicom.Element{r.request(&dataset.Dataset{}, true)}
	}
	var out [][]*dicom.Element
	for _, q := range asked {
		// The images' own numbers are those of their request where there is one.
		out = append(out, r.request(q, len(asked) == 1))
	}
	return out
}

func (r Repertoire) request(q *dataset.Dataset, only bool) []*dicom.Element {
	uid := q.Text(dataset.StudyInstanceUID)
	if dataset.ValidUID(uid) != nil {
		uid = r.ct.Text(dataset.StudyInstanceUID)
	}
	out := Item(Text(tag.StudyInstanceUID, uid), r.studies(q))
	for _, t := range requested {
		e := r.Copy(q, t)
		if e == nil && only {
			e = r.Copy(r.ct, t)
		}
		if e == nil {
			e = Text(written(t)) // type 2
		}
		out = append(out, e)
	}
	for _, t := range issuers {
		items := q.Items(t)
		if len(items) == 0 && only {
			items = r.ct.Items(t)
		}
		if e := r.issuer(t, items); e != nil {
			out = append(out, e)
		}
	}
	var codes [][]*dicom.Element
	for _, p := range q.Items(dataset.RequestedProcedureCodeSequence) {
		if c := r.Coded(p); c != nil {
			codes = append(codes, c)
		}
	}
	return append(out, Sequence(tag.RequestedProcedureCodeSequence, codes...))
}

// studies copies Referenced Study Sequence, which is of type 2.
func (r Repertoire) studies(q *dataset.Dataset) *dicom.Element {
	var items [][]*dicom.Element
	for _, s := range q.Items(dataset.ReferencedStudySequence) {
		class, instance := s.Text(dataset.ReferencedSOPClassUID), s.Text(dataset.ReferencedSOPInstanceUID)
		if dataset.ValidUID(class) == nil && dataset.ValidUID(instance) == nil {
			items = append(items, Reference(class, instance))
		}
	}
	return Sequence(tag.ReferencedStudySequence, items...)
}

// issuer is the HL7v2 Hierarchic Designator macro (PS3.3 table 10-17).
func (r Repertoire) issuer(t dataset.Tag, items []*dataset.Dataset) *dicom.Element {
	for _, i := range items {
		var out []*dicom.Element
		for _, part := range []dataset.Tag{dataset.LocalNamespaceEntityID, dataset.UniversalEntityID, dataset.UniversalEntityIDType} {
			if e := r.Copy(i, part); e != nil {
				out = append(out, e)
			}
		}
		has := func(t dataset.Tag) bool {
			return slices.ContainsFunc(out, func(e *dicom.Element) bool { return e.Tag == written(t) })
		}
		if has(dataset.UniversalEntityID) == has(dataset.UniversalEntityIDType) && len(out) > 0 { // each needs the other
			return Sequence(written(t), out)
		}
	}
	return nil
}
