package sr

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/sr/study"
)

// limits of a report that is read: 3000 images with positions and 60 nodules
// have some 6 MiB and 300000 attributes and items.
var limits = dataset.Limits{HeaderBytes: 64 << 20, Elements: 1 << 20, Depth: 32, ValueBytes: 1 << 20}

// Report is what a structured report says. Of reports by others it has what
// their template has in common with ours: measurement groups as nodules.
type Report struct {
	SOPClassUID       string `json:"sop_class_uid"`
	SOPInstanceUID    string `json:"sop_instance_uid"`
	SeriesInstanceUID string `json:"series_instance_uid"`
	StudyInstanceUID  string `json:"study_instance_uid"`
	Title             string `json:"title"`
	Completion        string `json:"completion"`   // "COMPLETE" or "PARTIAL"
	Verification      string `json:"verification"` // "UNVERIFIED" or "VERIFIED"
	Predecessor       string `json:"predecessor_sr_uid,omitempty"`

	// Outcome is empty where the report does not say how the analysis ended, or
	// contradicts itself. Only result.OutcomeNone is "no nodules".
	Outcome   result.Outcome   `json:"outcome"`
	Partial   bool             `json:"partial,omitempty"` // of a part: what was searched is not, or may not be, the whole
	Reason    string           `json:"reason,omitempty"`  // why there is no analysis
	Warnings  []string         `json:"warnings,omitempty"`
	Comments  []string         `json:"comments,omitempty"`
	Algorithm result.Algorithm `json:"algorithm"`
	Images    []string         `json:"images"` // SOP Instance UIDs of the image library
	Nodules   []Nodule         `json:"nodules"`
}

// Nodule is one measurement group. What was not measured is nil.
type Nodule struct {
	ID          string        `json:"id"`
	TrackingUID string        `json:"tracking_uid"`
	Finding     string        `json:"finding"` // in words
	Laterality  string        `json:"laterality,omitempty"`
	Site        string        `json:"site,omitempty"`          // in words, where it is not just the lung
	Center      *result.Point `json:"center_lps_mm,omitempty"` // only in reports that have 3D coordinates

	SegmentationUID string `json:"segmentation_uid,omitempty"`
	Segment         int    `json:"segment,omitempty"`
	SourceSeriesUID string `json:"source_series_uid,omitempty"`
	KeySlice        string `json:"key_slice,omitempty"` // where the long axis is drawn
	KeyFrame        int    `json:"key_frame,omitempty"`
	LongAxis        *Line  `json:"long_axis,omitempty"`
	ShortAxis       *Line  `json:"short_axis,omitempty"`

	VolumeMM3   *float64 `json:"volume_mm3"`
	LongAxisMM  *float64 `json:"long_axis_mm"`
	ShortAxisMM *float64 `json:"short_axis_mm"`
	MaxDiam3DMM *float64 `json:"max_diameter_3d_mm"`
	MeanHU      *float64 `json:"mean_hu"`
	SDHU        *float64 `json:"sd_hu"`
	NoduleProb  *float64 `json:"nodule_prob"`

	Characteristics map[string]Characteristic `json:"characteristics"`
	// Others are measurements and evaluations that have no field.
	Others  []Other `json:"others,omitempty"`
	Comment string  `json:"comment,omitempty"`
}

// Characteristic is one of result.Characteristics. Label is a word of ours, or
// what a report by others says.
type Characteristic struct {
	Probability *float64 `json:"probability"`
	Label       string   `json:"label"`
	Threshold   *float64 `json:"threshold"`
}

// Line is a line on the key slice in columns and rows, of which 0, 0 is the top
// left corner of the image.
type Line struct {
	From [2]float64 `json:"from"`
	To   [2]float64 `json:"to"`
}

// Other is a measurement, with a number and a unit, or an evaluation, with a word.
type Other struct {
	Name  string   `json:"name"`
	Value *float64 `json:"value,omitempty"`
	Unit  string   `json:"unit,omitempty"`
	Word  string   `json:"word,omitempty"`
}

// Read reads a report of the kinds that Write makes, by us or by others, of
// which nothing is trusted.
func Read(data []byte) (*Report, error) {
	f, err := dataset.Read(bytes.NewReader(data), int64(len(data)), limits)
	if err != nil {
		return nil, fmt.Errorf("reading a structured report: %w", err)
	}
	root := f.Header
	class := root.Text(dataset.SOPClassUID)
	if !slices.ContainsFunc(slices.Collect(maps.Values(kinds)), func(k kind) bool { return k.class == class }) {
		return nil, fmt.Errorf("reading a structured report: SOP Class %q is not an Enhanced, Comprehensive or Comprehensive 3D SR", class)
	}
	if root.Text(dataset.ValueType) != "CONTAINER" || !isMeasurementReport(root) {
		return nil, fmt.Errorf("reading a structured report: it is titled %q and is no measurement report (TID 1500)", nameOf(root).Meaning)
	}
	r := &Report{
		SOPClassUID:       class,
		SOPInstanceUID:    root.Text(dataset.SOPInstanceUID),
		SeriesInstanceUID: root.Text(dataset.SeriesInstanceUID),
		StudyInstanceUID:  root.Text(dataset.StudyInstanceUID),
		Title:             nameOf(root).Meaning,
		Completion:        root.Text(dataset.CompletionFlag),
		Verification:      root.Text(dataset.VerificationFlag),
		Images:            []string{},
		Nodules:           []Nodule{},
	}
	for _, visit := range root.Items(dataset.PredecessorDocumentsSequence) {
		for _, series := range visit.Items(dataset.ReferencedSeriesSequence) {
			for _, sop := range series.Items(dataset.ReferencedSOPSequence) {
				r.Predecessor = cmp.Or(r.Predecessor, sop.Text(dataset.ReferencedSOPInstanceUID))
			}
		}
	}
	for _, part := range children(root) {
		switch {
		case named(part, imageLibrary):
			r.readLibrary(part)
		case named(part, imagingMeasurements):
			for _, g := range children(part) {
				if named(g, measurementGroup) {
					r.Nodules = append(r.Nodules, r.readGroup(g))
				}
			}
		case named(part, qualitativeEvaluations):
			r.readEvaluation(part)
		}
	}
	r.settle()
	r.Partial = r.Completion != "COMPLETE" && (r.Outcome == result.OutcomeNodules || r.Outcome == result.OutcomeNone)
	return r, nil
}

// settle takes back an outcome that the nodules contradict, and gives reports
// by others, which state none, the only one that follows from nodules.
func (r *Report) settle() {
	found := len(r.Nodules) > 0
	switch {
	case r.Outcome == "" && found:
		r.Outcome = result.OutcomeNodules
	case r.Outcome != "" && (r.Outcome == result.OutcomeNodules) != found:
		r.Warnings = append(r.Warnings, fmt.Sprintf("The report contradicts itself: its outcome is %q and it has %d nodules.", r.Outcome, len(r.Nodules)))
		r.Outcome = ""
	}
}

func isMeasurementReport(root *dataset.Dataset) bool {
	for _, t := range root.Items(dataset.ContentTemplateSequence) {
		if t.Text(dataset.TemplateIdentifier) == "1500" {
			return true
		}
	}
	return named(root, imagingMeasurementReport)
}

func (r *Report) readLibrary(library *dataset.Dataset) {
	for _, group := range children(library) {
		for _, entry := range children(group) {
			if ref := reference(entry); ref != nil {
				r.Images = append(r.Images, ref.Text(dataset.ReferencedSOPInstanceUID))
			}
		}
	}
}

// readEvaluation finds how the analysis ended. Of the endings the one whose
// codes are all there is the report's.
func (r *Report) readEvaluation(part *dataset.Dataset) {
	var said ending
	var a result.Algorithm
	for _, d := range children(part) {
		v := valueOf(d)
		switch {
		case named(d, findingsSummary):
			said.summary = v
		case named(d, summaryOfDetections):
			said.detections = v
		case named(d, summaryOfAnalyses):
			said.analyses = v
		case named(d, warning):
			r.Warnings = append(r.Warnings, textOf(d))
		case named(d, reason):
			r.Reason = textOf(d)
		case named(d, comment):
			r.Comments = append(r.Comments, textOf(d))
		default:
			readAlgorithm(&a, d)
		}
	}
	if a.Name != "" {
		r.Algorithm = a
	}
	for outcome, e := range endings {
		if same(said.summary, e.summary) && same(said.detections, e.detections) && same(said.analyses, e.analyses) {
			r.Outcome = outcome
		}
	}
}

func readAlgorithm(a *result.Algorithm, d *dataset.Dataset) {
	switch {
	case named(d, algorithmName):
		a.Name = textOf(d)
	case named(d, algorithmVersion):
		a.Version = textOf(d)
	case named(d, algorithmParameter):
		parseParameter(a, textOf(d))
	}
}

func (r *Report) readGroup(group *dataset.Dataset) Nodule {
	n := Nodule{Characteristics: map[string]Characteristic{}}
	var a result.Algorithm
	for _, d := range children(group) {
		readAlgorithm(&a, d)
		switch d.Text(dataset.ValueType) {
		case "TEXT":
			switch {
			case named(d, trackingIdentifier):
				n.ID = textOf(d)
			case named(d, comment):
				n.Comment = textOf(d)
			}
		case "UIDREF":
			switch {
			case named(d, trackingUID):
				n.TrackingUID = d.Text(dataset.UID)
			case named(d, sourceSeries):
				n.SourceSeriesUID = d.Text(dataset.UID)
			}
		case "IMAGE":
			if ref := reference(d); ref != nil && named(d, referencedSegment) {
				n.SegmentationUID = ref.Text(dataset.ReferencedSOPInstanceUID)
				n.Segment, _ = ref.Int(dataset.ReferencedSegmentNumber)
			}
		case "SCOORD": // the region, of reports that have contours in place of segments
			n.readSlice(d)
		case "CODE":
			n.readCode(d)
		case "NUM":
			n.readNumber(d)
		}
	}
	if r.Algorithm.Name == "" {
		r.Algorithm = a
	}
	return n
}

func (n *Nodule) readCode(d *dataset.Dataset) {
	v := valueOf(d)
	switch {
	case named(d, finding):
		n.Finding = v.Meaning
		for _, p := range children(d) {
			if data, err := p.Floats(dataset.GraphicData); err == nil && len(data) == 3 && named(p, center) {
				n.Center = &result.Point{data[0], data[1], data[2]}
			}
		}
		return
	case named(d, findingSite):
		if !same(v, lung) {
			n.Site = v.Meaning
		}
		for _, p := range children(d) {
			for word, side := range sides {
				if named(p, laterality) && same(valueOf(p), side) {
					n.Laterality = word
				}
			}
		}
		return
	case named(d, algorithmFamily):
		return
	}
	for _, c := range characteristics {
		if !named(d, c.concept) {
			continue
		}
		is := n.Characteristics[c.key]
		is.Label = v.Meaning
		for _, a := range c.answers {
			if same(v, a.code) {
				is.Label = a.label
			}
		}
		for _, p := range children(d) {
			if named(p, c.name) {
				is.Probability, is.Threshold = probabilityOf(p)
			}
		}
		n.Characteristics[c.key] = is
		return
	}
	n.Others = append(n.Others, Other{Name: nameOf(d).Meaning, Word: v.Meaning})
}

func (n *Nodule) readNumber(d *dataset.Dataset) {
	value, unit := numberOf(d)
	if named(d, cancer) {
		c := n.Characteristics["malignancy"]
		c.Probability, c.Threshold = probabilityOf(d)
		n.Characteristics["malignancy"] = c
		return
	}
	if named(d, certainty) {
		n.NoduleProb, _ = probabilityOf(d)
		return
	}
	var derived study.Code
	for _, p := range children(d) {
		if named(p, derivation) {
			derived = valueOf(p)
		}
	}
	for _, m := range []struct {
		name, derived, unit study.Code
		field               **float64
	}{
		{volume, study.Code{}, cubicMillimeter, &n.VolumeMM3},
		{longAxis, study.Code{}, millimeter, &n.LongAxisMM},
		{shortAxis, study.Code{}, millimeter, &n.ShortAxisMM},
		{maxDiameter3D, study.Code{}, millimeter, &n.MaxDiam3DMM},
		{attenuation, mean, hounsfield, &n.MeanHU},
		{attenuation, standardDev, hounsfield, &n.SDHU},
	} {
		if !named(d, m.name) || !same(derived, m.derived) {
			continue
		}
		if value != nil && !same(unit, m.unit) {
			break // a number in other units is not ours to convert
		}
		*m.field = value
		switch {
		case named(d, longAxis):
			n.LongAxis = n.readLine(d)
		case named(d, shortAxis):
			n.ShortAxis = n.readLine(d)
		}
		return
	}
	n.Others = append(n.Others, Other{Name: nameOf(d).Meaning, Value: value, Unit: unit.Value})
}

// readLine reads the line below a diameter; the image it is drawn on is the key
// slice.
func (n *Nodule) readLine(d *dataset.Dataset) *Line {
	for _, p := range children(d) {
		data, err := p.Floats(dataset.GraphicData)
		if p.Text(dataset.ValueType) != "SCOORD" || err != nil || len(data) != 4 {
			continue
		}
		n.readSlice(p)
		return &Line{From: [2]float64{data[0], data[1]}, To: [2]float64{data[2], data[3]}}
	}
	return nil
}

// readSlice notes what image coordinates are drawn on, unless another is known.
func (n *Nodule) readSlice(d *dataset.Dataset) {
	for _, i := range children(d) {
		if ref := reference(i); ref != nil && n.KeySlice == "" {
			n.KeySlice = ref.Text(dataset.ReferencedSOPInstanceUID)
			n.KeyFrame, _ = ref.Int(dataset.ReferencedFrameNumber)
		}
	}
}

// probabilityOf is a probability of 0 to 1 and the threshold it was held
// against; nil where there is none or more than one, as between bands.
func probabilityOf(d *dataset.Dataset) (p, limit *float64) {
	p = fraction(d)
	limits := 0
	for _, c := range children(d) {
		if named(c, threshold) {
			limit = fraction(c)
			limits++
		}
	}
	if limits > 1 {
		limit = nil
	}
	return p, limit
}

func fraction(d *dataset.Dataset) *float64 {
	v, unit := numberOf(d)
	if v != nil && same(unit, percent) {
		*v = shifted(*v, -2)
	}
	if v == nil || !(*v >= 0 && *v <= 1) {
		return nil
	}
	return v
}

// numberOf is the value of a NUM; nil where it has none that is a number.
func numberOf(d *dataset.Dataset) (*float64, study.Code) {
	measured := d.Items(dataset.MeasuredValueSequence)
	if len(measured) != 1 {
		return nil, study.Code{}
	}
	var unit study.Code
	for _, u := range measured[0].Items(dataset.MeasurementUnitsCodeSequence) {
		unit = codeOf(u)
	}
	for _, t := range []dataset.Tag{dataset.FloatingPointValue, dataset.NumericValue} {
		if v, err := measured[0].Floats(t); err == nil && len(v) == 1 {
			return &v[0], unit
		}
	}
	return nil, unit
}

func children(d *dataset.Dataset) []*dataset.Dataset { return d.Items(dataset.ContentSequence) }

// reference is what an IMAGE refers to; nil for items of other types.
func reference(d *dataset.Dataset) *dataset.Dataset {
	if refs := d.Items(dataset.ReferencedSOPSequence); d.Text(dataset.ValueType) == "IMAGE" && len(refs) == 1 {
		return refs[0]
	}
	return nil
}

func textOf(d *dataset.Dataset) string {
	s, _ := d.UTF8(dataset.TextValue) // what cannot be decoded stands as U+FFFD
	return s
}

func nameOf(d *dataset.Dataset) study.Code { return firstCode(d, dataset.ConceptNameCodeSequence) }

func valueOf(d *dataset.Dataset) study.Code { return firstCode(d, dataset.ConceptCodeSequence) }

func firstCode(d *dataset.Dataset, t dataset.Tag) study.Code {
	for _, c := range d.Items(t) {
		return codeOf(c)
	}
	return study.Code{}
}

// codeOf reads an item of a code sequence (PS3.3 8.8).
func codeOf(d *dataset.Dataset) study.Code {
	value := cmp.Or(d.Text(dataset.CodeValue), d.Text(dataset.LongCodeValue), d.Text(dataset.URNCodeValue))
	scheme := d.Text(dataset.CodingSchemeDesignator)
	meaning, _ := d.UTF8(dataset.CodeMeaning)
	return study.Code{Value: value, Scheme: scheme, Meaning: strings.TrimSpace(meaning)}
}

func named(d *dataset.Dataset, c study.Code) bool { return same(nameOf(d), c) }

// same compares codes without their meaning, which may be in any language, and
// schemes without case, because RADLEX is often written RadLex.
func same(a, b study.Code) bool {
	return a.Value == b.Value && strings.EqualFold(a.Scheme, b.Scheme)
}
