package sr

import (
	"strconv"
	"strings"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/sr/study"
)

// library is TID 1600: a group of the images that were analysed. What all of
// them share stands once, at the group (TID 1602, 1604); the position stands at
// each. The pictures that were drawn are not among them: a group names its
// modality, which is one of acquisition (CID 29).
func library(images []sourceImage, g *result.Grid, frameOfReferenceUID string) *item {
	if len(images) == 0 {
		return nil // the template wants at least one group
	}
	group := container(imageLibraryGroup, "").add(hasAcqContext, code(modality, computedTomo))
	if frameOfReferenceUID != "" {
		group.add(hasAcqContext, uidref(frameOfReference, frameOfReferenceUID))
	}
	if g != nil {
		group.add(hasAcqContext, gridDescriptors(g)...)
	}
	for _, i := range images {
		entry := image(study.Code{}, i.class, i.instance, 0, 0)
		if i.single {
			for axis, name := range positions {
				entry.add(hasAcqContext, num(name, i.position[axis], millimeter))
			}
		}
		group.add(contains, entry)
	}
	return container(imageLibrary, "1600").add(contains, group)
}

// gridDescriptors are those rows of TID 1602 and 1604 that hold for the stack.
func gridDescriptors(g *result.Grid) []*item {
	out := []*item{
		num(pixelDataRows, float64(g.Rows), pixels),
		num(pixelDataColumns, float64(g.Columns), pixels),
		num(horizontalSpacing, g.PixelSpacing[1], millimeter),
		num(verticalSpacing, g.PixelSpacing[0], millimeter),
	}
	if mm := g.SliceDistance(); mm > 0 {
		out = append(out, num(spacingOfSlices, mm, millimeter))
	}
	if t, err := strconv.ParseFloat(strings.TrimSpace(g.SliceThickness), 64); err == nil && finite(t) && t > 0 {
		out = append(out, num(sliceThickness, t, millimeter))
	}
	for i, name := range orientations {
		out = append(out, num(name, g.Orientation[i], cosine))
	}
	return out
}

// sourceImage is an image of the analysed series.
type sourceImage struct {
	class, instance string
	position        result.Point
	single          bool // one slice, at position; an enhanced object has many
}

// sourceImages are the images of the series, each once however many slices it
// has. Where nothing was analysed only the image whose header is at hand can be
// named: one image of the series is better evidence than none.
func sourceImages(ct *dataset.Dataset, g *result.Grid) []sourceImage {
	if g == nil {
		i := sourceImage{class: ct.Text(dataset.SOPClassUID), instance: ct.Text(dataset.SOPInstanceUID)}
		if dataset.ValidUID(i.class) != nil || dataset.ValidUID(i.instance) != nil {
			return nil
		}
		return []sourceImage{i}
	}
	var out []sourceImage
	seen := make(map[string]bool, len(g.Instances))
	for _, s := range g.Instances {
		if !seen[s.SOPInstanceUID] {
			seen[s.SOPInstanceUID] = true
			out = append(out, sourceImage{s.SOPClassUID, s.SOPInstanceUID, s.Position, s.Frame == 0})
		}
	}
	return out
}
