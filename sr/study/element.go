package study

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/suyashkumar/dicom"
	"github.com/suyashkumar/dicom/pkg/tag"
)

// element makes an element with the value representation of the dictionary.
func element(t tag.Tag, data any) *dicom.Element {
	e, err := dicom.NewElement(t, data)
	if err != nil {
		panic(fmt.Sprintf("study: element %v: %v", t, err))
	}
	return e
}

// Text makes an element of our own text, of any text value representation;
// without values it is empty. Values are made ASCII, which every character set
// holds, cleaned of what their representation does not allow, and cut at its
// length.
func Text(t tag.Tag, values ...string) *dicom.Element {
	ascii := make([]string, len(values))
	for i, v := range values {
		ascii[i] = inASCII(v)
	}
	return inUTF8(t, ascii...)
}

// inUTF8 is Text of text of others. The values become the element's.
func inUTF8(t tag.Tag, values ...string) *dicom.Element {
	e := element(t, values)
	vr := e.RawValueRepresentation
	length := max(0, len(values)-1)
	for i, v := range values {
		values[i] = cleaned(vr, v)
		length += len(values[i])
	}
	if length%2 == 1 {
		switch vr { // the writer pads these with a zero, which PS3.5 6.2 keeps for UI
		case "AS", "DA", "UC", "UR":
			values[len(values)-1] += " "
		}
	}
	return e
}

// Integer makes an element of an integer string (IS).
func Integer(t tag.Tag, values ...int) *dicom.Element {
	text := make([]string, len(values))
	for i, v := range values {
		text[i] = strconv.Itoa(v)
	}
	return Text(t, text...)
}

// Decimal makes an element of a decimal string (DS).
func Decimal(t tag.Tag, values ...float64) *dicom.Element {
	text := make([]string, len(values))
	for i, v := range values {
		text[i] = DecimalString(v)
	}
	return Text(t, text...)
}

// DecimalString writes a number with the most digits that the 16 characters of
// a DS hold (PS3.5 6.2), and no more than tell it from its neighbours.
func DecimalString(v float64) string {
	s := strconv.FormatFloat(v, 'f', -1, 64)
	for precision := 16; len(s) > 16 && precision > 0; precision-- {
		s = strconv.FormatFloat(v, 'g', precision, 64)
	}
	if s == "-0" {
		return "0"
	}
	return s
}

// Ints makes an element of binary integers (US, SS, UL, SL, AT).
func Ints(t tag.Tag, values ...int) *dicom.Element { return element(t, values) }

// Floats makes an element of binary numbers (FL, FD).
func Floats(t tag.Tag, values ...float64) *dicom.Element { return element(t, values) }

// Bytes makes an element of bytes (OB, OW other than Pixel Data).
func Bytes(t tag.Tag, value []byte) *dicom.Element { return element(t, value) }

// Pixels makes Pixel Data of samples of at most 8 bits, with its pad byte.
func Pixels(value []byte) *dicom.Element {
	if len(value)%2 == 1 {
		value = append(value[:len(value):len(value)], 0)
	}
	e := element(tag.PixelData, dicom.PixelDataInfo{IntentionallyUnprocessed: true, UnprocessedValueData: value})
	e.RawValueRepresentation = "OB" // PS3.5 A.2: allowed up to 8 bits allocated, and has no byte order
	return e
}

// Item groups the elements of one item of a sequence.
func Item(elements ...*dicom.Element) []*dicom.Element { return elements }

// Sequence makes a sequence; without items it is empty.
func Sequence(t tag.Tag, items ...[]*dicom.Element) *dicom.Element {
	if items == nil {
		items = [][]*dicom.Element{}
	}
	return element(t, items)
}

// Reference makes an item of the SOP Instance Reference macro (PS3.3 10.8).
func Reference(sopClass, sopInstance string) []*dicom.Element {
	return Item(
		Text(tag.ReferencedSOPClassUID, sopClass),
		Text(tag.ReferencedSOPInstanceUID, sopInstance),
	)
}

// Code is a coded entry (PS3.3 8.1).
type Code struct{ Value, Scheme, Meaning string }

// Item makes the item of the code (PS3.3 table 8.8-1).
func (c Code) Item() []*dicom.Element {
	value := tag.CodeValue
	switch {
	case strings.HasPrefix(c.Value, "urn:"):
		return Item(Text(tag.URNCodeValue, c.Value), Text(tag.CodeMeaning, c.Meaning))
	case len(c.Value) > 16:
		value = tag.LongCodeValue
	}
	return Item(Text(value, c.Value), Text(tag.CodingSchemeDesignator, c.Scheme), Text(tag.CodeMeaning, c.Meaning))
}

// Element makes a code sequence with one item.
func (c Code) Element(t tag.Tag) *dicom.Element { return Sequence(t, c.Item()) }
