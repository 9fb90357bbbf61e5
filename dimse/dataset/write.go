package dataset

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// Who wrote a file (PS3.7 annex D.3.3.2). The UID is of the 2.25 root (PS3.5 B.2).
const (
	ImplementationUID     = "2.25.89513258873650884906056723150410881561"
	ImplementationVersion = "PULMONODE_1"
)

// MetaInfo is what a file's meta information says of its data set.
type MetaInfo struct {
	SOPClassUID, SOPInstanceUID string
	TransferSyntax              string
	SourceAE                    string // who sent it; may be empty
}

// FileMeta makes the beginning of a Part 10 file (PS3.10 7.1): preamble, DICM and
// group 2. The same information gives the same bytes. A source longer than an AE
// title is cut to 16 characters.
func FileMeta(m MetaInfo) []byte {
	body := appendShort(nil, FileMetaInformationVersion, "OB", []byte{0, 1})
	body = appendShort(body, MediaStorageSOPClassUID, "UI", []byte(m.SOPClassUID))
	body = appendShort(body, MediaStorageSOPInstanceUID, "UI", []byte(m.SOPInstanceUID))
	body = appendShort(body, TransferSyntaxUID, "UI", []byte(m.TransferSyntax))
	body = appendShort(body, ImplementationClassUID, "UI", []byte(ImplementationUID))
	body = appendShort(body, ImplementationVersionName, "SH", []byte(ImplementationVersion))
	if m.SourceAE != "" {
		body = appendShort(body, SourceApplicationEntityTitle, "AE", []byte(m.SourceAE[:min(16, len(m.SourceAE))]))
	}
	out := make([]byte, 128, 144+len(body))
	out = append(out, "DICM"...)
	out = appendShort(out, FileMetaInformationGroupLength, "UL", binary.LittleEndian.AppendUint32(nil, uint32(len(body))))
	return append(out, body...)
}

// appendShort appends an element whose value is known to be short, in Explicit LE.
func appendShort(b []byte, t Tag, vr string, value []byte) []byte {
	b = appendHead(b, t, vr, uint32(len(value)+len(value)%2))
	return appendPadded(b, vr, value)
}

func appendHead(b []byte, t Tag, vr string, length uint32) []byte {
	b = binary.LittleEndian.AppendUint16(b, t.Group())
	b = binary.LittleEndian.AppendUint16(b, uint16(t))
	b = append(b, vr...)
	if shortVR(vr) {
		return binary.LittleEndian.AppendUint16(b, uint16(length))
	}
	return binary.LittleEndian.AppendUint32(append(b, 0, 0), length)
}

func appendPadded(b []byte, vr string, value []byte) []byte {
	b = append(b, value...)
	if len(value)%2 == 1 {
		if paddedWithSpace(vr) {
			return append(b, ' ')
		}
		return append(b, 0)
	}
	return b
}

// paddedWithSpace: text but UIDs (PS3.5 6.2).
func paddedWithSpace(vr string) bool {
	switch vr {
	case "AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT":
		return true
	}
	return false
}

// Set puts an attribute into the data set, in its place by tag, replacing what
// was there. The value is as it will stand in the data set but for padding.
func (d *Dataset) Set(t Tag, vr string, value []byte) { d.put(Element{Tag: t, VR: vr, Value: value}) }

// SetText sets a text attribute; more than one value are joined by a backslash.
func (d *Dataset) SetText(t Tag, vr string, values ...string) {
	var b []byte
	for i, v := range values {
		if i > 0 {
			b = append(b, '\\')
		}
		b = append(b, v...)
	}
	d.Set(t, vr, b)
}

// SetUint16 sets an attribute of VR US.
func (d *Dataset) SetUint16(t Tag, values ...uint16) {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	d.Set(t, "US", b)
}

// SetUint32 sets an attribute of VR UL.
func (d *Dataset) SetUint32(t Tag, values ...uint32) {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	d.Set(t, "UL", b)
}

// SetFloat64 sets an attribute of VR FD.
func (d *Dataset) SetFloat64(t Tag, values ...float64) {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
	}
	d.Set(t, "FD", b)
}

// SetItems sets a sequence.
func (d *Dataset) SetItems(t Tag, items ...*Dataset) {
	for _, item := range items {
		item.parent = d
	}
	d.put(Element{Tag: t, VR: "SQ", Items: items})
}

func (d *Dataset) put(e Element) {
	i, found := slices.BinarySearchFunc(d.Elements, e.Tag, func(e Element, t Tag) int { return int(int64(e.Tag) - int64(t)) })
	if found {
		d.Elements[i] = e
		return
	}
	d.Elements = slices.Insert(d.Elements, i, e)
}

// AppendExplicit appends the data set in Explicit VR Little Endian, sequences and
// items with their lengths, values padded to even length: the same data set gives
// the same bytes. Only little endian data sets can be written, and values longer
// than their VR's length field are an error.
func (d *Dataset) AppendExplicit(b []byte) ([]byte, error) {
	if d.bigEndian {
		return nil, fmt.Errorf("writing a data set: its values are big endian")
	}
	for i := range d.Elements {
		e := &d.Elements[i]
		if e.VR != "SQ" {
			n := len(e.Value) + len(e.Value)%2
			if shortVR(e.VR) && n > math.MaxUint16 || int64(n) >= undefinedLength {
				return nil, fmt.Errorf("writing a data set: %v has %d bytes, more than a %s may have", e.Tag, n, e.VR)
			}
			b = appendHead(b, e.Tag, e.VR, uint32(n))
			b = appendPadded(b, e.VR, e.Value)
			continue
		}
		b = appendHead(b, e.Tag, "SQ", 0)
		begin := len(b)
		for _, item := range e.Items {
			b = binary.LittleEndian.AppendUint32(b, 0xE000FFFE)
			b = append(b, 0, 0, 0, 0)
			at := len(b)
			var err error
			if b, err = item.AppendExplicit(b); err != nil {
				return nil, err
			}
			binary.LittleEndian.PutUint32(b[at-4:], uint32(len(b)-at))
		}
		if int64(len(b)-begin) >= undefinedLength {
			return nil, fmt.Errorf("writing a data set: %v is longer than 4 GiB", e.Tag)
		}
		binary.LittleEndian.PutUint32(b[begin-4:], uint32(len(b)-begin))
	}
	return b, nil
}
