package study

import (
	"github.com/suyashkumar/dicom"
	"github.com/suyashkumar/dicom/pkg/tag"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// Lossy says whether the CT had been compressed with loss before it was analysed,
// with how much and by what: it is never undone (PS3.3 C.7.6.1.1.5).
func Lossy(ct *dataset.Dataset) []*dicom.Element {
	if ct.Text(dataset.LossyImageCompression) != "01" {
		return Item(Text(tag.LossyImageCompression, "00"))
	}
	out := Item(Text(tag.LossyImageCompression, "01"))
	for _, t := range []dataset.Tag{dataset.LossyImageCompressionRatio, dataset.LossyImageCompressionMethod} {
		if v := valuesOf(ct, t); len(v) > 0 {
			out = append(out, Text(written(t), v...))
		}
	}
	return out
}
