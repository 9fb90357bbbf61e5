package seg

import (
	"github.com/suyashkumar/dicom"
	"github.com/suyashkumar/dicom/pkg/tag"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/sr/study"
)

// kind is a Segmentation Type (PS3.3 C.8.20.2.3).
type kind struct {
	sopClass string
	term     string
	bits     int // allocated and stored
	// labels says that a voxel's value is the number of its segment, so that a
	// frame holds all segments; else a frame is of one.
	labels bool
	shapes func([]result.Nodule) ([]shape, error)
}

// kinds by their names in the settings.
var kinds = map[string]*kind{
	"":           &binary,
	"binary":     &binary,
	"fractional": {sopClass: dataset.SegmentationStorage, term: "FRACTIONAL", bits: 8, shapes: likelihoods},
	"labelmap":   {sopClass: dataset.LabelMapSegmentation, term: "LABELMAP", bits: 8, labels: true, shapes: labels},
}

var binary = kind{sopClass: dataset.SegmentationStorage, term: "BINARY", bits: 1, shapes: contours}

// SOPClass is the class of the objects of a kind (Options.Kind).
func SOPClass(name string) string {
	if k, ok := kinds[name]; ok {
		return k.sopClass
	}
	return ""
}

// mostLabels is what 8 bits number beside the background.
const mostLabels = 1<<8 - 1

// background is the value of voxels of no segment in a label map.
const background = 0

// elements are the attributes that tell the kind and how its voxels are stored.
func (k *kind) elements() []*dicom.Element {
	out := study.Item(
		study.Text(tag.SegmentationType, k.term),
		study.Ints(tag.BitsAllocated, k.bits),
		study.Ints(tag.BitsStored, k.bits),
		study.Ints(tag.HighBit, k.bits-1),
	)
	switch {
	case k.labels:
		out = append(out, study.Ints(tag.PixelPaddingValue, background))
	case k.bits > 1:
		out = append(out,
			study.Text(tag.SegmentationFractionalType, "PROBABILITY"),
			study.Ints(tag.MaximumFractionalValue, result.MostProbable))
	}
	return out
}
