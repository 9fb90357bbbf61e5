package seg

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/suyashkumar/dicom"
	"github.com/suyashkumar/dicom/pkg/tag"

	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/sr/study"
)

// What every segment is.
var (
	category   = study.Code{Value: "49755003", Scheme: "SCT", Meaning: "Morphologically Abnormal Structure"} // PS3.16 CID 7150
	nodule     = study.Code{Value: "27925004", Scheme: "SCT", Meaning: "Nodule"}                             // PS3.16 CID 7159
	lung       = study.Code{Value: "39607008", Scheme: "SCT", Meaning: "Lung"}                               // PS3.16 CID 4
	nothing    = study.Code{Value: "125040", Scheme: "DCM", Meaning: "Background"}                           // PS3.16 CID 7150, CID 7159
	artificial = study.Code{Value: "123110", Scheme: "DCM", Meaning: "Artificial Intelligence"}              // PS3.16 CID 7162
)

// sides by Laterality of a nodule (PS3.16 CID 244).
var sides = map[string]study.Code{
	"left":  {Value: "7771000", Scheme: "SCT", Meaning: "Left"},
	"right": {Value: "24028007", Scheme: "SCT", Meaning: "Right"},
}

// black in the integers of PS3.3 C.10.7.1.1.
var black = [3]int{0, 0x8080, 0x8080}

// segments describes each nodule (PS3.3 C.8.20.2.4), numbered from 1 in the order
// of the result. A label map describes every value that its voxels have (PS3.3
// C.8.20.2.3.3), so its background too.
func segments(r *result.Result, k *kind, shapes []shape) *dicom.Element {
	var items [][]*dicom.Element
	name := cmp.Or(r.Algorithm.Name, study.Manufacturer)
	if k.labels {
		items = append(items, study.Item(
			study.Ints(tag.SegmentNumber, background),
			study.Text(tag.SegmentLabel, "Background"),
			study.Text(tag.SegmentAlgorithmType, "AUTOMATIC"),
			study.Text(tag.SegmentAlgorithmName, name),
			nothing.Element(tag.SegmentedPropertyCategoryCodeSequence),
			nothing.Element(tag.SegmentedPropertyTypeCodeSequence),
			study.Ints(tag.RecommendedDisplayCIELabValue, black[:]...),
		))
	}
	for i := range r.Nodules {
		n := &r.Nodules[i]
		region := lung.Item()
		if side, ok := sides[n.Laterality]; ok {
			region = append(region, side.Element(tag.AnatomicRegionModifierSequence))
		}
		lab := study.ColorOf(n).Lab
		item := study.Item(
			study.Ints(tag.SegmentNumber, i+1),
			study.Text(tag.SegmentLabel, "Nodule "+n.ID),
			study.Text(tag.SegmentAlgorithmType, "AUTOMATIC"),
			study.Text(tag.SegmentAlgorithmName, name),
			study.Sequence(tag.SegmentationAlgorithmIdentificationSequence, algorithm(name, r.Algorithm)),
			category.Element(tag.SegmentedPropertyCategoryCodeSequence),
			nodule.Element(tag.SegmentedPropertyTypeCodeSequence),
			study.Sequence(tag.AnatomicRegionSequence, region),
			study.Text(tag.TrackingID, n.ID),
			study.Text(tag.TrackingUID, n.TrackingUID),
			study.Ints(tag.RecommendedDisplayCIELabValue, lab[:]...),
		)
		if note := shapes[i].note; note != "" {
			item = append(item, study.Text(tag.SegmentDescription, note))
		}
		items = append(items, item)
	}
	return study.Sequence(tag.SegmentSequence, items...)
}

// algorithm is the Algorithm Identification macro (PS3.3 10.16), with the models
// by their whole hash.
func algorithm(name string, a result.Algorithm) []*dicom.Element {
	out := study.Item(
		artificial.Element(tag.AlgorithmFamilyCodeSequence),
		study.Text(tag.AlgorithmName, name),
		study.Text(tag.AlgorithmVersion, cmp.Or(a.Version, "unknown")),
		study.Text(tag.AlgorithmSource, study.Manufacturer),
	)
	var models []string
	for _, m := range a.Models {
		models = append(models, fmt.Sprintf("%s=%s sha256:%s", m.Role, m.Version, m.SHA256))
	}
	if len(models) > 0 {
		out = append(out, study.Text(tag.AlgorithmParameters, strings.Join(models, "; ")))
	}
	return out
}
