package seg

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/suyashkumar/dicom"
	"github.com/suyashkumar/dicom/pkg/tag"

	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/sr/study"
)

// What a frame was made by and from (PS3.16 CID 7203, CID 7202).
var (
	segmentation = study.Code{Value: "113076", Scheme: "DCM", Meaning: "Segmentation"}
	sourceImage  = study.Code{Value: "121322", Scheme: "DCM", Meaning: "Source image for image processing operation"}
)

// frame is one nodule in one slice.
type frame struct {
	nodule, slice int // indices in the result and the grid
	position      int // rank of the slice among those that have frames, from 1
}

// framesOf lists the frames that have a voxel: nodule by nodule, each along the
// normal.
func framesOf(r *result.Result) []frame {
	var out []frame
	used := map[int]bool{}
	for i := range r.Nodules {
		m := &r.Nodules[i].Mask
		for z := range m.NZ {
			if slices.Contains(m.Bits[z*m.NX*m.NY:(z+1)*m.NX*m.NY], true) {
				out = append(out, frame{nodule: i, slice: m.Z0 + z})
				used[m.Z0+z] = true
			}
		}
	}
	rank, next := map[int]int{}, 1
	for z := range r.Grid.Instances {
		if used[z] {
			rank[z] = next
			next++
		}
	}
	for i := range out {
		out[i].position = rank[out[i].slice]
	}
	return out
}

// pack makes Pixel Data: one bit a voxel, the first in the lowest bit, each frame
// directly behind the one before, even inside a byte (PS3.5 8.1.1).
func pack(r *result.Result, frames []frame) []byte {
	size := r.Grid.Rows * r.Grid.Columns
	out := make([]byte, (len(frames)*size+7)/8)
	for i, f := range frames {
		m := &r.Nodules[f.nodule].Mask
		bits := m.Bits[(f.slice-m.Z0)*m.NX*m.NY:][:m.NX*m.NY]
		for j, in := range bits {
			if in {
				at := i*size + (m.Y0+j/m.NX)*r.Grid.Columns + m.X0 + j%m.NX
				out[at/8] |= 1 << (at % 8)
			}
		}
	}
	return out
}

// dimensions says by what the frames are indexed (PS3.3 C.7.6.17): the segment,
// then the position.
func dimensions(organization string) []*dicom.Element {
	index := func(pointer, group tag.Tag, label string) []*dicom.Element {
		return study.Item(
			study.Text(tag.DimensionOrganizationUID, organization),
			study.Ints(tag.DimensionIndexPointer, int(pointer.Group), int(pointer.Element)),
			study.Ints(tag.FunctionalGroupPointer, int(group.Group), int(group.Element)),
			study.Text(tag.DimensionDescriptionLabel, label),
		)
	}
	return study.Item(
		study.Sequence(tag.DimensionOrganizationSequence, study.Item(study.Text(tag.DimensionOrganizationUID, organization))),
		study.Text(tag.DimensionOrganizationType, "3D"),
		study.Sequence(tag.DimensionIndexSequence,
			index(tag.ReferencedSegmentNumber, tag.SegmentIdentificationSequence, "Segment Number"),
			index(tag.ImagePositionPatient, tag.PlanePositionSequence, "Image Position"),
		),
	)
}

// shared are the functional groups that all frames have (PS3.3 C.7.6.16.2.1,
// C.7.6.16.2.4). The distance of slices is that of their positions; the thickness
// is the scanner's word and left out where it gave none.
func shared(g *result.Grid) *dicom.Element {
	measures := study.Item(
		study.Text(tag.PixelSpacing, values(g.PixelSpacingString)...),
	)
	if s := spacing(g); s > 0 {
		measures = append(measures, study.Decimal(tag.SpacingBetweenSlices, s))
	}
	if v, err := strconv.ParseFloat(strings.TrimSpace(g.SliceThickness), 64); err == nil && v > 0 {
		measures = append(measures, study.Text(tag.SliceThickness, strings.TrimSpace(g.SliceThickness)))
	}
	return study.Sequence(tag.SharedFunctionalGroupsSequence, study.Item(
		study.Sequence(tag.PlaneOrientationSequence, study.Item(study.Text(tag.ImageOrientationPatient, values(g.OrientationString)...))),
		study.Sequence(tag.PixelMeasuresSequence, measures),
	))
}

// spacing is the distance of slices to a nanometre: positions have no more digits
// that mean something, and 1.2499999999997 would look like another series.
func spacing(g *result.Grid) float64 { return math.Round(g.SliceSpacing*1e6) / 1e6 }

// perFrame are the functional groups of each frame: its place among the frames
// and in the patient, its segment, the image that it was drawn on (PS3.3
// C.7.6.16.2.2, C.7.6.16.2.3, C.8.20.3.1, C.7.6.16.2.6).
func perFrame(g *result.Grid, frames []frame) *dicom.Element {
	items := make([][]*dicom.Element, len(frames))
	for i, f := range frames {
		in := g.Instances[f.slice]
		items[i] = study.Item(
			study.Sequence(tag.FrameContentSequence, study.Item(study.Ints(tag.DimensionIndexValues, f.nodule+1, f.position))),
			study.Sequence(tag.PlanePositionSequence, study.Item(study.Text(tag.ImagePositionPatient, values(in.PositionString)...))),
			study.Sequence(tag.SegmentIdentificationSequence, study.Item(study.Ints(tag.ReferencedSegmentNumber, f.nodule+1))),
			study.Sequence(tag.DerivationImageSequence, study.Item(
				segmentation.Element(tag.DerivationCodeSequence),
				study.Sequence(tag.SourceImageSequence, source(in)),
			)),
		)
	}
	return study.Sequence(tag.PerFrameFunctionalGroupsSequence, items...)
}

func source(in result.Instance) []*dicom.Element {
	out := append(study.Reference(in.SOPClassUID, in.SOPInstanceUID),
		sourceImage.Element(tag.PurposeOfReferenceCodeSequence),
		study.Text(tag.SpatialLocationsPreserved, "YES"),
	)
	if in.Frame > 0 {
		out = append(out, study.Integer(tag.ReferencedFrameNumber, in.Frame))
	}
	return out
}

// referencedSeries names every image of the grid (Common Instance Reference,
// PS3.3 C.12.2), a multi-frame one once.
func referencedSeries(r *result.Result) *dicom.Element {
	var items [][]*dicom.Element
	seen := map[string]bool{}
	for _, in := range r.Grid.Instances {
		if !seen[in.SOPInstanceUID] {
			seen[in.SOPInstanceUID] = true
			items = append(items, study.Reference(in.SOPClassUID, in.SOPInstanceUID))
		}
	}
	return study.Sequence(tag.ReferencedSeriesSequence, study.Item(
		study.Text(tag.SeriesInstanceUID, r.Series.SeriesInstanceUID),
		study.Sequence(tag.ReferencedInstanceSequence, items...),
	))
}
