package seg

import (
	"github.com/suyashkumar/dicom"
	"github.com/suyashkumar/dicom/pkg/tag"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/sr/study"
)

// frameOfReference is the CT's (PS3.3 C.7.4.1): a segmentation of another one
// loads as nothing, without a word.
func frameOfReference(ct *dataset.Dataset) []*dicom.Element {
	indicator := study.Text(tag.PositionReferenceIndicator)
	if s, err := ct.UTF8(dataset.PositionReferenceIndicator); err == nil && s != "" {
		indicator = study.Text(tag.PositionReferenceIndicator, s)
	}
	return study.Item(study.Text(tag.FrameOfReferenceUID, ct.Text(dataset.FrameOfReferenceUID)), indicator)
}

// image is the Segmentation Image module with the Image Pixel attributes that it
// fixes (PS3.3 C.8.20.2).
func image(ct *dataset.Dataset, g *result.Grid, k *kind, shapes []shape) []*dicom.Element {
	shared := "NO"
	if overlap(shapes) {
		shared = "YES"
	}
	return append(append(study.Lossy(ct), k.elements()...),
		study.Text(tag.ImageType, "DERIVED", "PRIMARY"),
		study.Text(tag.BodyPartExamined, "CHEST"), // not one of two, so that no side of it is missing (PS3.3 C.7.3.1)
		study.Text(tag.ContentLabel, "LUNG_NODULES"),
		study.Text(tag.ContentDescription, study.NotVerified),
		study.Text(tag.ContentCreatorName, study.Manufacturer+"^"), // a family name; PS3.5 6.2.1 wants its delimiter
		study.Text(tag.SegmentsOverlap, shared),
		study.Ints(tag.SamplesPerPixel, 1),
		study.Text(tag.PhotometricInterpretation, "MONOCHROME2"),
		study.Ints(tag.Rows, g.Rows),
		study.Ints(tag.Columns, g.Columns),
		study.Ints(tag.PixelRepresentation, 0),
	)
}
