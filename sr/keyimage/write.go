package keyimage

import (
	"bytes"
	"cmp"
	"fmt"
	"image/png"

	"github.com/suyashkumar/dicom/pkg/tag"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/sr/study"
)

// SeriesDescription is that of all key images.
const SeriesDescription = "Key images (AI, not verified)"

// sourceImage is what the slice was used for (PS3.16 CID 7202).
var sourceImage = study.Code{Value: "121322", Scheme: "DCM", Meaning: "Source image for image processing operation"}

// fast takes a quarter of the time of the default and a third more space, for a
// file that stays on this machine.
var fast = png.Encoder{CompressionLevel: png.BestSpeed}

// PNG makes the picture's file for people.
func PNG(p Picture) ([]byte, error) {
	var b bytes.Buffer
	if err := fast.Encode(&b, p.RGBA); err != nil {
		return nil, fmt.Errorf("writing %s as PNG: %w", p.Name, err)
	}
	return b.Bytes(), nil
}

// Options are what the result does not say of an object.
type Options struct {
	SOPInstanceUID    string
	SeriesInstanceUID string // one for all pictures of a result
	SeriesNumber      int
	InstanceNumber    int
	DeviceUID         string // of the installation; may be empty
	SeriesDescription string // empty: SeriesDescription
	AsReceived        bool   // text of the images in their own character set
}

// Write makes the picture a Secondary Capture (PS3.3 A.8.1) in the study of its
// images; ct is the header of any of them. It has no Frame of Reference: its
// pixels are a page, not a place in the patient.
func Write(ct *dataset.Dataset, r *result.Result, p Picture, o Options) ([]byte, error) {
	size := p.RGBA.Rect.Size()
	if size.X < 1 || size.Y < 1 || size.X > 1<<16-1 || size.Y > 1<<16-1 {
		return nil, fmt.Errorf("writing %s: %d x %d pixels cannot be an image", p.Name, size.X, size.Y)
	}
	elements, err := study.Elements(ct, study.Object{
		SOPClassUID:       dataset.SecondaryCapture,
		SOPInstanceUID:    o.SOPInstanceUID,
		SeriesInstanceUID: o.SeriesInstanceUID,
		Modality:          "OT",
		SeriesNumber:      o.SeriesNumber,
		SeriesDescription: study.OfGeneration(cmp.Or(o.SeriesDescription, SeriesDescription), r.Generation),
		AsReceived:        o.AsReceived,
		InstanceNumber:    o.InstanceNumber,
		Time:              r.Closed.Time,
		Algorithm:         r.Algorithm,
		DeviceUID:         o.DeviceUID,
	})
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", p.Name, err)
	}
	elements = append(elements, study.ContentTime(ct, r.Closed.Time)...)
	elements = append(elements, study.Lossy(ct)...)
	elements = append(elements,
		study.Text(tag.ConversionType, "WSD"), // PS3.3 C.8.6.1: workstation
		study.Text(tag.ImageType, "DERIVED", "SECONDARY"),
		study.Text(tag.BodyPartExamined, "CHEST"), // not one of two, so that no side of it is missing (PS3.3 C.7.3.1)
		study.Text(tag.PatientOrientation),
		study.Text(tag.DerivationDescription, study.NotVerified),
		study.Text(tag.ImageComments, p.Title+". "+study.NotVerified),
		study.Text(tag.BurnedInAnnotation, "YES"),
		study.Ints(tag.SamplesPerPixel, 3),
		study.Text(tag.PhotometricInterpretation, "RGB"),
		study.Ints(tag.PlanarConfiguration, 0),
		study.Ints(tag.Rows, size.Y),
		study.Ints(tag.Columns, size.X),
		study.Ints(tag.BitsAllocated, 8),
		study.Ints(tag.BitsStored, 8),
		study.Ints(tag.HighBit, 7),
		study.Ints(tag.PixelRepresentation, 0),
		study.Pixels(rgb(p)),
	)
	if p.Source.SOPInstanceUID != "" {
		source := append(study.Reference(p.Source.SOPClassUID, p.Source.SOPInstanceUID),
			sourceImage.Element(tag.PurposeOfReferenceCodeSequence))
		if p.Source.Frame > 0 {
			source = append(source, study.Integer(tag.ReferencedFrameNumber, p.Source.Frame))
		}
		elements = append(elements, study.Sequence(tag.SourceImageSequence, source))
	}
	b, err := study.Write(elements)
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", p.Name, err)
	}
	return b, nil
}

// rgb is the picture without its alpha, which is full everywhere.
func rgb(p Picture) []byte {
	size := p.RGBA.Rect.Size()
	out := make([]byte, 0, 3*size.X*size.Y)
	for y := p.RGBA.Rect.Min.Y; y < p.RGBA.Rect.Max.Y; y++ {
		row := p.RGBA.Pix[p.RGBA.PixOffset(p.RGBA.Rect.Min.X, y):][:4*size.X]
		for ; len(row) > 0; row = row[4:] {
			out = append(out, row[0], row[1], row[2])
		}
	}
	return out
}
