// Package seg writes the nodules of a result as a DICOM Segmentation (PS3.3
// A.51): one segment for each nodule, on the grid of the CT that it was found in.
// A segment is the voxels inside the contour (binary, which every reader takes),
// their probabilities (fractional), or a number in a label map.
//
// Viewers lay a segmentation over its images by Frame of Reference, orientation
// and position. These are therefore the strings of the CT, byte for byte, and
// where they are missing or contradict each other nothing is written: a
// segmentation in the wrong place is worse than none. Frames without a voxel
// are left out.
package seg

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/suyashkumar/dicom/pkg/tag"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/sr/study"
)

// SeriesDescription is that of all segmentations.
const SeriesDescription = "Lung nodules (AI, not verified)"

// Options are what the result does not say. All UIDs but DeviceUID are needed.
type Options struct {
	// Kind is "binary" (as is the empty string), "fractional" or "labelmap".
	Kind                     string
	SOPInstanceUID           string
	SeriesInstanceUID        string
	SeriesNumber             int
	DimensionOrganizationUID string
	DeviceUID                string // of the installation; may be empty
	SeriesDescription        string // empty: SeriesDescription
	AsReceived               bool   // text of the images in their own character set
}

// Write makes the Part 10 file of the segmentation. ct is the header of any image
// of the series. The same result and options give the same bytes.
func Write(ct *dataset.Dataset, r *result.Result, o Options) ([]byte, error) {
	b, err := write(ct, r, o)
	if err != nil {
		return nil, fmt.Errorf("writing the segmentation: %w", err)
	}
	return b, nil
}

func write(ct *dataset.Dataset, r *result.Result, o Options) ([]byte, error) {
	k, ok := kinds[o.Kind]
	if !ok {
		return nil, fmt.Errorf("%q is no kind of segmentation", o.Kind)
	}
	if err := check(ct, r); err != nil {
		return nil, err
	}
	shapes, err := k.shapes(r.Nodules)
	if err != nil {
		return nil, err
	}
	if err := dataset.ValidUID(o.DimensionOrganizationUID); err != nil {
		return nil, fmt.Errorf("the Dimension Organization UID: %w", err)
	}
	elements, err := study.Elements(ct, study.Object{
		SOPClassUID:       k.sopClass,
		SOPInstanceUID:    o.SOPInstanceUID,
		SeriesInstanceUID: o.SeriesInstanceUID,
		Modality:          "SEG",
		SeriesNumber:      o.SeriesNumber,
		SeriesDescription: study.OfGeneration(cmp.Or(o.SeriesDescription, SeriesDescription), r.Generation),
		AsReceived:        o.AsReceived,
		InstanceNumber:    1,
		Time:              r.Closed.Time,
		Algorithm:         r.Algorithm,
		DeviceUID:         o.DeviceUID,
	})
	if err != nil {
		return nil, err
	}
	elements = append(elements, study.ContentTime(ct, r.Closed.Time)...)
	elements = append(elements, frameOfReference(ct)...)
	elements = append(elements, image(ct, r.Grid, k, shapes)...)
	frames := framesOf(k, len(r.Grid.Instances), shapes)
	pixels, err := pack(k, r.Grid, shapes, frames)
	if err != nil {
		return nil, err
	}
	elements = append(elements, dimensions(k, o.DimensionOrganizationUID, frames)...)
	elements = append(elements,
		segments(r, k, shapes),
		referencedSeries(r),
		shared(r.Grid),
		perFrame(r.Grid, frames),
		study.Integer(tag.NumberOfFrames, len(frames)),
		study.Pixels(pixels),
	)
	return study.Write(elements)
}

// values splits a string of several values as received.
func values(s string) []string { return strings.Split(s, `\`) }
