package seg

import (
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

// frame is one segment in one slice, or all of them in a label map.
type frame struct {
	segment  int // index, -1 for all
	slice    int // index in the grid
	position int // rank of the slice among those that have frames, from 1
}

// framesOf lists the frames that have a voxel: segment by segment, each along
// the normal.
func framesOf(k *kind, depth int, shapes []shape) []frame {
	var out []frame
	rank, next := make([]int, depth), 1
	for z := range depth {
		if slices.ContainsFunc(shapes, func(s shape) bool { return s.in(z) }) {
			rank[z] = next
			next++
			if k.labels {
				out = append(out, frame{segment: -1, slice: z, position: rank[z]})
			}
		}
	}
	if k.labels {
		return out
	}
	for i := range shapes {
		s := &shapes[i]
		for z := s.z0; z < s.z0+s.nz; z++ {
			if s.in(z) {
				out = append(out, frame{segment: i, slice: z, position: rank[z]})
			}
		}
	}
	return out
}

// dimensions says by what the frames are indexed (PS3.3 C.7.6.17): the segment,
// where frames have one, then the position.
func dimensions(k *kind, organization string, frames []frame) []*dicom.Element {
	index := func(pointer, group tag.Tag, label string) []*dicom.Element {
		return study.Item(
			study.Text(tag.DimensionOrganizationUID, organization),
			study.Ints(tag.DimensionIndexPointer, int(pointer.Group), int(pointer.Element)),
			study.Ints(tag.FunctionalGroupPointer, int(group.Group), int(group.Element)),
			study.Text(tag.DimensionDescriptionLabel, label),
		)
	}
	indices := [][]*dicom.Element{index(tag.ImagePositionPatient, tag.PlanePositionSequence, "Image Position")}
	if !k.labels {
		indices = slices.Insert(indices, 0, index(tag.ReferencedSegmentNumber, tag.SegmentIdentificationSequence, "Segment Number"))
	}
	out := study.Item(
		study.Sequence(tag.DimensionOrganizationSequence, study.Item(study.Text(tag.DimensionOrganizationUID, organization))),
		study.Sequence(tag.DimensionIndexSequence, indices...),
	)
	if stacked(frames) {
		out = append(out, study.Text(tag.DimensionOrganizationType, "3D"))
	}
	return out
}

// stacked reports whether the frames, in their order, are one volume: planes of
// one segment or of all, without a hole. Only that is 3D (PS3.3 C.7.6.17); a
// reader that is told so may stack the frames without looking.
func stacked(frames []frame) bool {
	for i := range frames[1:] {
		if a, b := frames[i], frames[i+1]; a.segment != b.segment || a.slice+1 != b.slice {
			return false
		}
	}
	return len(frames) > 1
}

// shared are the functional groups that all frames have (PS3.3 C.7.6.16.2.1,
// C.7.6.16.2.4). The distance of slices is that of their positions; the thickness
// is the scanner's word and left out where it gave none.
func shared(g *result.Grid) *dicom.Element {
	measures := study.Item(
		study.Text(tag.PixelSpacing, values(g.PixelSpacingString)...),
	)
	if s := g.SliceDistance(); s > 0 {
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

// perFrame are the functional groups of each frame: its place among the frames
// and in the patient, its segment, the image that it was drawn on (PS3.3
// C.7.6.16.2.2, C.7.6.16.2.3, C.8.20.3.1, C.7.6.16.2.6).
func perFrame(g *result.Grid, frames []frame) *dicom.Element {
	items := make([][]*dicom.Element, len(frames))
	for i, f := range frames {
		in := g.Instances[f.slice]
		index := []int{f.position}
		if f.segment >= 0 {
			index = []int{f.segment + 1, f.position}
		}
		items[i] = study.Item(
			study.Sequence(tag.FrameContentSequence, study.Item(study.Ints(tag.DimensionIndexValues, index...))),
			study.Sequence(tag.PlanePositionSequence, study.Item(study.Text(tag.ImagePositionPatient, values(in.PositionString)...))),
			study.Sequence(tag.DerivationImageSequence, study.Item(
				segmentation.Element(tag.DerivationCodeSequence),
				study.Sequence(tag.SourceImageSequence, source(in)),
			)),
		)
		if f.segment >= 0 {
			items[i] = append(items[i], study.Sequence(tag.SegmentIdentificationSequence, study.Item(study.Ints(tag.ReferencedSegmentNumber, f.segment+1))))
		}
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
