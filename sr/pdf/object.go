package pdf

import (
	"cmp"
	"fmt"

	"github.com/suyashkumar/dicom/pkg/tag"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/sr"
	"github.com/pulmonode/pulmonode/sr/study"
)

// SeriesDescription is that of all documents.
const SeriesDescription = "Report for people (AI, not verified)"

// title is that of the report the document is made of (PS3.16 CID 7021).
var title = study.Code{Value: "126000", Scheme: "DCM", Meaning: "Imaging Measurement Report"}

// Options are what the result does not say of the object.
type Options struct {
	SOPInstanceUID    string
	SeriesInstanceUID string
	SeriesNumber      int
	SeriesDescription string // empty: SeriesDescription
	AsReceived        bool   // text of the images in their own character set
	DeviceUID         string // of the installation; may be empty
}

// Write makes a document of Document an Encapsulated PDF (PS3.3 A.45.1) in the
// study of the images. It is named as made from the report.
func Write(ct *dataset.Dataset, r *result.Result, report *sr.Report, document []byte, o Options) ([]byte, error) {
	elements, err := study.Elements(ct, study.Object{
		SOPClassUID:       dataset.EncapsulatedPDF,
		SOPInstanceUID:    o.SOPInstanceUID,
		SeriesInstanceUID: o.SeriesInstanceUID,
		Modality:          "DOC",
		SeriesNumber:      o.SeriesNumber,
		SeriesDescription: study.OfGeneration(cmp.Or(o.SeriesDescription, SeriesDescription), r.Generation),
		InstanceNumber:    1,
		AsReceived:        o.AsReceived,
		Time:              r.Closed.Time,
		Algorithm:         r.Algorithm,
		DeviceUID:         o.DeviceUID,
	})
	if err != nil {
		return nil, fmt.Errorf("writing the PDF: %w", err)
	}
	padded := document
	if len(document)%2 == 1 {
		padded = append(document[:len(document):len(document)], 0)
	}
	elements = append(elements, study.ContentTime(ct, r.Closed.Time)...)
	return study.Write(append(elements,
		study.Text(tag.ConversionType, "WSD"),
		study.Text(tag.AcquisitionDateTime),
		study.Text(tag.BurnedInAnnotation, "YES"), // it says whose it is
		study.Sequence(tag.SourceInstanceSequence, study.Reference(report.SOPClassUID, report.SOPInstanceUID)),
		study.Text(tag.DocumentTitle, heading+". "+study.NotVerified),
		title.Element(tag.ConceptNameCodeSequence),
		study.Text(tag.MIMETypeOfEncapsulatedDocument, "application/pdf"),
		study.Bytes(tag.EncapsulatedDocument, padded),
		study.Ints(tag.EncapsulatedDocumentLength, len(document)),
	))
}
