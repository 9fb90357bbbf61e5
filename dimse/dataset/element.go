package dataset

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

//go:generate go run gentags.go

// Tag is an attribute tag, group<<16 | element.
type Tag uint32

// Delimiters of items and sequences (PS3.5 7.5).
const (
	tagItem              Tag = 0xFFFEE000
	tagItemDelimiter     Tag = 0xFFFEE00D
	tagSequenceDelimiter Tag = 0xFFFEE0DD
)

// String writes the tag as PS3.6 does: (0008,0018).
func (t Tag) String() string { return fmt.Sprintf("(%04X,%04X)", uint32(t)>>16, uint32(t)&0xFFFF) }

// Group is the tag's group number.
func (t Tag) Group() uint16 { return uint16(t >> 16) }

// VR is the value representation of the tag in the data dictionary of PS3.6,
// the first where it allows several (OW before others), "UN" where it has none.
func (t Tag) VR() string {
	if t&0xFFFF == 0 {
		return "UL" // group length
	}
	if g := t.Group(); g&1 == 1 {
		if e := t & 0xFFFF; e >= 0x10 && e <= 0xFF {
			return "LO" // private creator (PS3.5 7.8.1)
		}
		return "UN"
	}
	if t>>24 == 0x60 && t.Group() <= 0x60FE {
		t = 0x60000000 | t&0xFFFF // repeating group: overlays
	}
	i, ok := slices.BinarySearchFunc(dictionary[:], t, func(e struct {
		tag Tag
		vr  string
	}, t Tag) int {
		return cmp.Compare(e.tag, t)
	})
	if !ok {
		return "UN"
	}
	return dictionary[i].vr
}

// Element is one attribute of a data set. Value holds its bytes as received, in
// the byte order of the data set and with their padding; Items is set instead
// where the attribute is a sequence.
type Element struct {
	Tag   Tag
	VR    string
	Value []byte
	Items []*Dataset
}

// Dataset is a list of attributes, ascending by tag. The zero value is an empty
// little endian data set.
type Dataset struct {
	Elements  []Element
	bigEndian bool
	parent    *Dataset // where this is an item: character sets are inherited (PS3.3 C.12.1.1.2)
}

// Get finds an attribute; nil where it is absent.
func (d *Dataset) Get(t Tag) *Element {
	if d == nil {
		return nil
	}
	i, ok := slices.BinarySearchFunc(d.Elements, t, func(e Element, t Tag) int { return cmp.Compare(e.Tag, t) })
	if !ok {
		return nil
	}
	return &d.Elements[i]
}

// ByteOrder is the byte order of the binary values.
func (d *Dataset) ByteOrder() binary.ByteOrder {
	if d != nil && d.bigEndian {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// Raw is the whole value of a text attribute as received, without the padding at
// its end; empty where the attribute is absent.
func (d *Dataset) Raw(t Tag) string {
	e := d.Get(t)
	if e == nil {
		return ""
	}
	return string(bytes.TrimRight(e.Value, " \x00"))
}

// Text is the first value of a text attribute as received, without padding;
// empty where the attribute is absent.
func (d *Dataset) Text(t Tag) string {
	if v := d.Texts(t); len(v) > 0 {
		return v[0]
	}
	return ""
}

// Texts are the values of a text attribute as received, each without padding.
// A backslash separates values unless it is half of a character.
func (d *Dataset) Texts(t Tag) []string {
	e := d.Get(t)
	if e == nil {
		return nil
	}
	raw := string(bytes.TrimRight(e.Value, " \x00"))
	if raw == "" {
		return nil
	}
	vr := e.knownVR()
	var values []string
	switch vr {
	case "ST", "LT", "UT", "UR":
		return []string{raw} // never multi-valued (PS3.5 table 6.2-1)
	case "LO", "SH", "PN", "UC":
		values = splitText(raw, d.CharacterSets())
	default:
		values = strings.Split(raw, `\`)
	}
	for i, v := range values {
		v = strings.TrimRight(v, " \x00")
		if vr != "PN" && vr != "UC" {
			v = strings.TrimLeft(v, " ")
		}
		values[i] = v
	}
	return values
}

// knownVR is the element's VR, from the dictionary where a gateway that did not
// know the attribute made it UN (PS3.5 6.2.2).
func (e *Element) knownVR() string {
	if e.VR == "UN" {
		return e.Tag.VR()
	}
	return e.VR
}

// Int is the first value of an integer attribute (US, SS, UL, SL, IS).
func (d *Dataset) Int(t Tag) (int, bool) {
	e := d.Get(t)
	if e == nil {
		return 0, false
	}
	order := d.ByteOrder()
	if e.VR == "UN" {
		order = binary.LittleEndian
	}
	switch v := e.Value; e.knownVR() {
	case "US":
		if len(v) >= 2 {
			return int(order.Uint16(v)), true
		}
	case "SS":
		if len(v) >= 2 {
			return int(int16(order.Uint16(v))), true
		}
	case "UL":
		if len(v) >= 4 {
			return int(order.Uint32(v)), true
		}
	case "SL":
		if len(v) >= 4 {
			return int(int32(order.Uint32(v))), true
		}
	case "IS":
		n, err := strconv.ParseInt(d.Text(t), 10, 32)
		return int(n), err == nil
	}
	return 0, false
}

// Floats are the values of a decimal attribute (DS, FD, FL). An absent or empty
// attribute has none; a value that is not a finite number is an error.
func (d *Dataset) Floats(t Tag) ([]float64, error) {
	e := d.Get(t)
	if e == nil {
		return nil, nil
	}
	order := d.ByteOrder()
	if e.VR == "UN" {
		order = binary.LittleEndian
	}
	var out []float64
	switch e.knownVR() {
	case "DS", "IS":
		for i, s := range d.Texts(t) {
			f, err := strconv.ParseFloat(s, 64)
			// ParseFloat also takes "inf", hexadecimals and the like, which DS does not have.
			if err != nil || strings.Trim(s, "0123456789+-.eE") != "" {
				return nil, fmt.Errorf("%v: value %d is not a decimal number", t, i+1)
			}
			out = append(out, f)
		}
	case "FD":
		if len(e.Value)%8 != 0 {
			return nil, fmt.Errorf("%v: %d bytes are not a number of 8-byte values", t, len(e.Value))
		}
		for v := e.Value; len(v) > 0; v = v[8:] {
			out = append(out, math.Float64frombits(order.Uint64(v)))
		}
	case "FL":
		if len(e.Value)%4 != 0 {
			return nil, fmt.Errorf("%v: %d bytes are not a number of 4-byte values", t, len(e.Value))
		}
		for v := e.Value; len(v) > 0; v = v[4:] {
			out = append(out, float64(math.Float32frombits(order.Uint32(v))))
		}
	default:
		return nil, fmt.Errorf("%v: value representation %s is not decimal", t, e.VR)
	}
	for i, f := range out {
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, fmt.Errorf("%v: value %d is not a finite number", t, i+1)
		}
	}
	return out, nil
}

// Items are the items of a sequence; none where it is absent or empty.
func (d *Dataset) Items(t Tag) []*Dataset {
	e := d.Get(t)
	if e == nil {
		return nil
	}
	return e.Items
}
