package sr

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/sr/study"
)

// group is TID 1411 (Volumetric ROI Measurements and Qualitative Evaluations)
// for nodule number index, counted from 0, and the segment of that number. Where
// there is no segmentation there is no region, and TID 1501 with the images takes
// its place.
func (w *writer) group(index int) (*item, error) {
	n := &w.r.Nodules[index]
	if err := w.check(n); err != nil {
		return nil, err
	}
	template := "1411"
	if w.o.Segmentation == nil {
		template = "1501"
	}
	g := container(measurementGroup, template).
		add(hasObsContext, text(trackingIdentifier, n.ID), uidref(trackingUID, n.TrackingUID)).
		add(contains, code(finding, nodule).add(hasProperties, w.center(n)))
	if s := w.o.Segmentation; s != nil {
		g.add(contains,
			image(referencedSegment, s.SOPClassUID, s.SOPInstanceUID, 0, index+1),
			uidref(sourceSeries, w.r.Series.SeriesInstanceUID))
	} else {
		for _, z := range w.slicesOf(n) {
			g.add(contains, w.slice(source, z))
		}
	}
	g.add(contains, w.picture(index))
	site := code(findingSite, lung)
	if side, ok := sides[n.Laterality]; ok {
		site.add(hasConceptMod, code(laterality, side))
	}
	g.add(hasConceptMod, site)
	g.add(hasConceptMod, algorithmIdentification(w.r.Algorithm)...)
	measurements, err := w.measurements(n)
	if err != nil {
		return nil, err
	}
	g.add(contains, measurements...)
	answers, err := evaluations(n)
	if err != nil {
		return nil, err
	}
	g.add(contains, answers...)
	return g.add(contains, text(comment, w.sentence(n))), nil
}

var sides = map[string]study.Code{"left": left, "right": right}

// check refuses a nodule that a report cannot honestly be made of.
func (w *writer) check(n *result.Nodule) error {
	if n.ID == "" {
		return fmt.Errorf("a nodule has no identifier")
	}
	if err := dataset.ValidUID(n.TrackingUID); err != nil {
		return fmt.Errorf("nodule %s: its tracking UID: %w", n.ID, err)
	}
	if _, known := sides[n.Laterality]; !known && n.Laterality != "" {
		return fmt.Errorf("nodule %s: laterality %q is neither left nor right", n.ID, n.Laterality)
	}
	if slices.ContainsFunc(n.CenterLPS[:], func(v float64) bool { return !finite(v) }) {
		return fmt.Errorf("nodule %s: where its centre lies is not known", n.ID)
	}
	for _, a := range []result.Axis{n.LongAxis, n.ShortAxis} {
		if slices.ContainsFunc(slices.Concat(a.From[:], a.To[:]), func(v float64) bool { return !finite(v) }) {
			return fmt.Errorf("nodule %s: where an axis lies is not known", n.ID)
		}
	}
	if !finite(n.VolumeMM3) || n.VolumeMM3 <= 0 {
		return fmt.Errorf("nodule %s: a volume of %v mm3 is no measurement", n.ID, n.VolumeMM3)
	}
	return nil
}

// measurements are the rows of TID 1419. What was not measured says so.
func (w *writer) measurements(n *result.Nodule) ([]*item, error) {
	long, err := w.axis(n, longAxis, n.LongAxisMM, n.LongAxis)
	if err != nil {
		return nil, err
	}
	short, err := w.axis(n, shortAxis, n.ShortAxisMM, n.ShortAxis)
	if err != nil {
		return nil, err
	}
	out := []*item{
		num(volume, n.VolumeMM3, cubicMillimeter),
		long,
		short,
		length(maxDiameter3D, n.MaxDiam3DMM),
		hu(n.MeanHU).add(hasConceptMod, code(derivation, mean)),
		hu(n.SDHU).add(hasConceptMod, code(derivation, standardDev)),
	}
	for _, p := range []float64{n.NoduleProb, n.Score} {
		if !(p >= 0 && p <= 1) {
			return nil, fmt.Errorf("nodule %s: %v is no probability", n.ID, p)
		}
	}
	return append(out, num(certainty, shifted(n.NoduleProb, 2), percent)), nil
}

// length is a measurement in millimetres: one that is not positive is none.
func length(name study.Code, mm float64) *item {
	if !finite(mm) || mm <= 0 {
		return notMeasured(name)
	}
	return num(name, mm, millimeter)
}

func hu(v float64) *item {
	if !finite(v) {
		return notMeasured(attenuation)
	}
	return num(attenuation, v, hounsfield)
}

// axis is a diameter and the line on the key slice that it was measured along:
// viewers draw a line that they find below a number.
func (w *writer) axis(n *result.Nodule, name study.Code, mm float64, a result.Axis) (*item, error) {
	m := length(name, mm)
	if !finite(mm) || mm <= 0 || a == (result.Axis{}) {
		return m, nil
	}
	z, err := w.keySlice(n, a)
	if err != nil {
		return nil, err
	}
	var line []float64
	for _, p := range []result.Point{a.From, a.To} {
		column, row := pixel(w.r.Grid, z, p)
		columns, rows := float64(w.r.Grid.Columns), float64(w.r.Grid.Rows)
		if !(column >= -0.5 && row >= -0.5 && column <= columns+0.5 && row <= rows+0.5) {
			return nil, fmt.Errorf("nodule %s: its %s ends outside the image, at column %.1f, row %.1f",
				n.ID, strings.ToLower(name.Meaning), column, row)
		}
		// At the border of the image rounding must not put the end outside.
		column, row = min(max(column, 0), columns), min(max(row, 0), rows)
		line = append(line, column, row)
	}
	return m.add(inferredFrom, scoord(study.Code{}, "POLYLINE", line...).
		add(selectedFrom, w.slice(study.Code{}, z))), nil
}

// keySlice finds the slice that an axis was drawn on: of the frames of the key
// image the nearest, which must lie in the plane of the axis.
func (w *writer) keySlice(n *result.Nodule, a result.Axis) (int, error) {
	best, distance := -1, math.Inf(1)
	for z, s := range w.r.Grid.Instances {
		if s.SOPInstanceUID != n.KeySlice {
			continue
		}
		if d := max(offPlane(w.r.Grid, z, a.From), offPlane(w.r.Grid, z, a.To)); d < distance {
			best, distance = z, d
		}
	}
	if best < 0 {
		return 0, fmt.Errorf("nodule %s: its key slice is not an image of the series", n.ID)
	}
	if limit := max(w.r.Grid.SliceDistance()/2, 0.1); distance > limit {
		return 0, fmt.Errorf("nodule %s: an axis lies %.1f mm off its key slice", n.ID, distance)
	}
	return best, nil
}

// offPlane is how far p lies from the plane of slice z.
func offPlane(g *result.Grid, z int, p result.Point) float64 {
	normal, d := g.Normal(), 0.0
	for i := range p {
		d += (p[i] - g.Instances[z].Position[i]) * normal[i]
	}
	return math.Abs(d)
}

// pixel is the inverse of Grid.LPS in the coordinates of PS3.3 C.18.6.1.2, where
// the centre of the first pixel, which is Grid's 0, lies at 0.5\0.5.
func pixel(g *result.Grid, z int, p result.Point) (column, row float64) {
	for i := range p {
		d := p[i] - g.Instances[z].Position[i]
		column += d * g.Orientation[i] / g.PixelSpacing[1]
		row += d * g.Orientation[3+i] / g.PixelSpacing[0]
	}
	return column + 0.5, row + 0.5
}

// picture refers to the picture of number index; nil where there is none.
func (w *writer) picture(index int) *item {
	if index >= len(w.o.KeyImages) {
		return nil
	}
	p := w.o.KeyImages[index]
	return image(illustration, p.SOPClassUID, p.SOPInstanceUID, 0, 0)
}

// slice refers to the image or the frame of slice z.
func (w *writer) slice(name study.Code, z int) *item {
	s := w.r.Grid.Instances[z]
	return image(name, s.SOPClassUID, s.SOPInstanceUID, s.Frame, 0)
}

// slicesOf are the slices that a nodule names; the nearest to its centre where
// it names none.
func (w *writer) slicesOf(n *result.Nodule) []int {
	var out []int
	seen := map[string]bool{}
	for z, s := range w.r.Grid.Instances {
		if slices.Contains(n.Slices, s.SOPInstanceUID) && !seen[s.SOPInstanceUID] {
			seen[s.SOPInstanceUID] = true
			out = append(out, z)
		}
	}
	if len(out) == 0 {
		out = append(out, w.nearest(n.CenterLPS))
	}
	return out
}

func (w *writer) nearest(p result.Point) int {
	best := 0
	for z := range w.r.Grid.Instances {
		if offPlane(w.r.Grid, z, p) < offPlane(w.r.Grid, best, p) {
			best = z
		}
	}
	return best
}

// center is where the nodule is: in space where the class of report has
// SCOORD3D, else on the nearest slice. It stands below the finding and not
// beside it, because viewers take coordinates in a group for its region.
func (w *writer) center(n *result.Nodule) *item {
	c := n.CenterLPS
	if w.kind.scoord3d {
		return scoord3d(center, w.frameOfReference, "POINT", c[:]...)
	}
	z := w.nearest(c)
	column, row := pixel(w.r.Grid, z, c)
	return scoord(center, "POINT", column, row).add(selectedFrom, w.slice(study.Code{}, z))
}

// evaluations are the four characteristics. The probability of cancer is a
// measurement of its own. The other three stand below the answer that they are
// about: a viewer that lists numbers by name would show three probabilities
// beside a nodule and leave the reader to guess of what.
func evaluations(n *result.Nodule) ([]*item, error) {
	var out []*item
	for _, c := range characteristics {
		v, ok := n.Characteristics[c.key]
		if !ok {
			return nil, fmt.Errorf("nodule %s: there is no %s", n.ID, c.key)
		}
		at := slices.IndexFunc(c.answers, func(a answer) bool { return a.label == v.Label })
		if at < 0 {
			return nil, fmt.Errorf("nodule %s: %q is not a word for %s", n.ID, v.Label, c.key)
		}
		for _, p := range []float64{v.Probability, v.Threshold} {
			if !(p >= 0 && p <= 1) {
				return nil, fmt.Errorf("nodule %s: %s: %v is no probability", n.ID, c.key, p)
			}
		}
		p := num(c.name, shifted(v.Probability, 2), percent)
		if c.of != (study.Code{}) {
			p.add(hasConceptMod, code(c.concept, c.of))
		}
		p.add(hasConceptMod, text(equivalent, c.phrase))
		limits := []float64{v.Threshold}
		if c.name == cancer { // its words are those of the bands
			limits = []float64{result.MalignancyLow, result.MalignancyHigh}
		}
		for _, limit := range limits {
			p.add(inferredFrom, num(threshold, shifted(limit, 2), percent))
		}
		says := code(c.concept, c.answers[at].code)
		if c.name == cancer {
			out = append(out, says, p)
		} else {
			out = append(out, says.add(hasProperties, p))
		}
	}
	return out, nil
}

// sentence is the nodule in one line that a person can read.
func (w *writer) sentence(n *result.Nodule) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: ", n.ID)
	if n.LongAxisMM > 0 && n.ShortAxisMM > 0 {
		fmt.Fprintf(&b, "%.1f x %.1f mm, ", n.LongAxisMM, n.ShortAxisMM)
	}
	fmt.Fprintf(&b, "%.0f mm3", n.VolumeMM3)
	if n.Laterality != "" {
		fmt.Fprintf(&b, ", %s lung", n.Laterality)
	}
	for _, c := range characteristics {
		v := n.Characteristics[c.key]
		fmt.Fprintf(&b, "; %s %s (%.0f %% %s)", c.key, v.Label, 100*v.Probability, c.likely)
	}
	fmt.Fprintf(&b, "; a nodule at all %.0f %%, stage 1 %.2f; centre %.1f, %.1f, %.1f mm (LPS).",
		100*n.NoduleProb, n.Score, n.CenterLPS[0], n.CenterLPS[1], n.CenterLPS[2])
	return b.String()
}
