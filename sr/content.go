package sr

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/suyashkumar/dicom"
	"github.com/suyashkumar/dicom/pkg/tag"

	"github.com/pulmonode/pulmonode/sr/study"
)

// Relationships between a content item and its parent (PS3.3 table C.17.3-8).
const (
	contains      = "CONTAINS"
	hasObsContext = "HAS OBS CONTEXT"
	hasAcqContext = "HAS ACQ CONTEXT"
	hasConceptMod = "HAS CONCEPT MOD"
	hasProperties = "HAS PROPERTIES"
	inferredFrom  = "INFERRED FROM"
	selectedFrom  = "SELECTED FROM"
)

// item is a content item (PS3.3 C.17.3). The parent decides on the
// relationship, as it does in the tables of PS3.16.
type item struct {
	relationship string // empty at the root
	valueType    string
	name         study.Code // zero where the template names nothing
	value        []*dicom.Element
	children     []*item
}

// add appends children by a relationship. Children that are nil are left out.
func (i *item) add(relationship string, children ...*item) *item {
	for _, c := range children {
		if c != nil {
			c.relationship = relationship
			i.children = append(i.children, c)
		}
	}
	return i
}

// whole refuses a tree in which a code lacks a part: a reader could only guess
// what it means.
func (i *item) whole() error {
	named := i.name != (study.Code{})
	if i.name.Value == "" != !named || named && (i.name.Scheme == "" || i.name.Meaning == "") {
		return fmt.Errorf("a %s is named by the code (%q, %q, %q), which is not whole", i.valueType, i.name.Value, i.name.Scheme, i.name.Meaning)
	}
	if !named && !unnamed[i.valueType] {
		return fmt.Errorf("a %s has no concept name", i.valueType)
	}
	for _, e := range i.value {
		if e.Tag == tag.ConceptCodeSequence && !wholeCode(e) {
			return fmt.Errorf("the value of %s is a code that is not whole", i.name.Meaning)
		}
	}
	for _, c := range i.children {
		if err := c.whole(); err != nil {
			return err
		}
	}
	return nil
}

// unnamed are the value types whose name a template may leave out.
var unnamed = map[string]bool{"IMAGE": true, "SCOORD": true, "SCOORD3D": true}

// wholeCode says whether each item of a code sequence has a value and a meaning.
func wholeCode(e *dicom.Element) bool {
	for _, item := range e.Value.GetValue().([]*dicom.SequenceItemValue) {
		filled := map[tag.Tag]bool{}
		for _, a := range item.GetValue().([]*dicom.Element) {
			s, ok := a.Value.GetValue().([]string)
			filled[a.Tag] = ok && len(s) > 0 && s[0] != ""
		}
		value := filled[tag.CodeValue] || filled[tag.LongCodeValue]
		if !filled[tag.CodeMeaning] || !filled[tag.URNCodeValue] && !(value && filled[tag.CodingSchemeDesignator]) {
			return false
		}
	}
	return true
}

// elements are the attributes of the item: of the data set itself at the root.
func (i *item) elements() []*dicom.Element {
	out := append([]*dicom.Element{study.Text(tag.ValueType, i.valueType)}, i.value...)
	if i.relationship != "" {
		out = append(out, study.Text(tag.RelationshipType, i.relationship))
	}
	if i.name != (study.Code{}) {
		out = append(out, i.name.Element(tag.ConceptNameCodeSequence))
	}
	if len(i.children) > 0 {
		items := make([][]*dicom.Element, len(i.children))
		for n, c := range i.children {
			items[n] = c.elements()
		}
		out = append(out, study.Sequence(tag.ContentSequence, items...))
	}
	return out
}

// container groups items. template is its number in PS3.16 where it is the
// root of one (PS3.3 C.18.8.1.2), else empty.
func container(name study.Code, template string) *item {
	value := []*dicom.Element{study.Text(tag.ContinuityOfContent, "SEPARATE")}
	if template != "" {
		value = append(value, study.Sequence(tag.ContentTemplateSequence, study.Item(
			study.Text(tag.MappingResource, "DCMR"),
			study.Text(tag.TemplateIdentifier, template),
		)))
	}
	return &item{valueType: "CONTAINER", name: name, value: value}
}

func text(name study.Code, value string) *item {
	return &item{valueType: "TEXT", name: name, value: study.Item(study.Text(tag.TextValue, value))}
}

// textIf is text, or nothing where there is none: a TEXT may not be empty.
func textIf(name study.Code, value string) *item {
	if value == "" {
		return nil
	}
	return text(name, value)
}

func code(name, value study.Code) *item {
	return &item{valueType: "CODE", name: name, value: study.Item(value.Element(tag.ConceptCodeSequence))}
}

func uidref(name study.Code, uid string) *item {
	return &item{valueType: "UIDREF", name: name, value: study.Item(study.Text(tag.UID, uid))}
}

// num is a measurement (PS3.3 C.18.1). A number that the 16 characters of the
// decimal string do not hold is given whole beside it.
func num(name study.Code, value float64, unit study.Code) *item {
	s := study.DecimalString(value)
	measured := study.Item(study.Text(tag.NumericValue, s), unit.Element(tag.MeasurementUnitsCodeSequence))
	if back, err := strconv.ParseFloat(s, 64); err != nil || back != value {
		measured = append(measured, study.Floats(tag.FloatingPointValue, value))
	}
	return &item{valueType: "NUM", name: name, value: study.Item(study.Sequence(tag.MeasuredValueSequence, measured))}
}

// notMeasured is a measurement without a value.
func notMeasured(name study.Code) *item {
	return &item{valueType: "NUM", name: name, value: study.Item(
		study.Sequence(tag.MeasuredValueSequence),
		notMeasuredValue.Element(tag.NumericValueQualifierCodeSequence),
	)}
}

// image refers to an image (PS3.3 C.18.4), to a frame of it where frame is not
// 0, or to a segment of a segmentation where segment is not 0.
func image(name study.Code, sopClass, sopInstance string, frame, segment int) *item {
	ref := study.Reference(sopClass, sopInstance)
	if frame != 0 {
		ref = append(ref, study.Integer(tag.ReferencedFrameNumber, frame))
	}
	if segment != 0 {
		ref = append(ref, study.Ints(tag.ReferencedSegmentNumber, segment))
	}
	return &item{valueType: "IMAGE", name: name, value: study.Item(study.Sequence(tag.ReferencedSOPSequence, ref))}
}

// scoord draws on an image, in columns and rows of which 0\0 is the top left
// corner of the first pixel (PS3.3 C.18.6.1.2).
func scoord(name study.Code, graphic string, data ...float64) *item {
	return &item{valueType: "SCOORD", name: name, value: study.Item(
		study.Text(tag.GraphicType, graphic), study.Floats(tag.GraphicData, data...))}
}

// scoord3d draws in a frame of reference, in millimetres (PS3.3 C.18.9).
func scoord3d(name study.Code, frameOfReferenceUID, graphic string, data ...float64) *item {
	return &item{valueType: "SCOORD3D", name: name, value: study.Item(
		study.Text(tag.GraphicType, graphic), study.Floats(tag.GraphicData, data...),
		study.Text(tag.ReferencedFrameOfReferenceUID, frameOfReferenceUID))}
}

// shifted moves the decimal point, exactly in decimals: 100*0.29 is not 29.
func shifted(v float64, places int) float64 {
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(v, 'e', -1, 64), "e")
	e, err := strconv.Atoi(exponent)
	if err != nil {
		return v // not a finite number
	}
	out, _ := strconv.ParseFloat(mantissa+"e"+strconv.Itoa(e+places), 64)
	return out
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
