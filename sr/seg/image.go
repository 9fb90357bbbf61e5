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
func image(ct *dataset.Dataset, r *result.Result) []*dicom.Element {
	overlap := "NO"
	if overlapping(r.Nodules) {
		overlap = "YES"
	}
	return append(study.Lossy(ct),
		study.Text(tag.ImageType, "DERIVED", "PRIMARY"),
		study.Text(tag.ContentLabel, "LUNG_NODULES"),
		study.Text(tag.ContentDescription, study.NotVerified),
		study.Text(tag.ContentCreatorName, study.Manufacturer+"^"), // a family name; PS3.5 6.2.1 wants its delimiter
		study.Text(tag.SegmentationType, "BINARY"),
		study.Text(tag.SegmentsOverlap, overlap),
		study.Ints(tag.SamplesPerPixel, 1),
		study.Text(tag.PhotometricInterpretation, "MONOCHROME2"),
		study.Ints(tag.Rows, r.Grid.Rows),
		study.Ints(tag.Columns, r.Grid.Columns),
		study.Ints(tag.BitsAllocated, 1),
		study.Ints(tag.BitsStored, 1),
		study.Ints(tag.HighBit, 0),
		study.Ints(tag.PixelRepresentation, 0),
	)
}

// overlapping says whether two nodules share a voxel.
func overlapping(nodules []result.Nodule) bool {
	for i := range nodules {
		a := &nodules[i].Mask
		for j := range nodules[:i] {
			b := &nodules[j].Mask
			for z := max(a.Z0, b.Z0); z < min(a.Z0+a.NZ, b.Z0+b.NZ); z++ {
				for y := max(a.Y0, b.Y0); y < min(a.Y0+a.NY, b.Y0+b.NY); y++ {
					for x := max(a.X0, b.X0); x < min(a.X0+a.NX, b.X0+b.NX); x++ {
						if a.At(x, y, z) && b.At(x, y, z) {
							return true
						}
					}
				}
			}
		}
	}
	return false
}
