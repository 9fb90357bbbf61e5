package study

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/suyashkumar/dicom"
	"github.com/suyashkumar/dicom/pkg/tag"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// Write makes a Part 10 file in Explicit VR Little Endian of the elements, in
// whatever order they come: the same elements give the same bytes.
func Write(elements []*dicom.Element) ([]byte, error) {
	body, err := sorted(elements)
	if err != nil {
		return nil, fmt.Errorf("writing a result object: %w", err)
	}
	class, instance := first(body, tag.SOPClassUID), first(body, tag.SOPInstanceUID)
	if class == "" || instance == "" {
		return nil, fmt.Errorf("writing a result object: it has no SOP Class UID or no SOP Instance UID")
	}
	meta := []*dicom.Element{ // PS3.10 7.1
		Bytes(tag.FileMetaInformationVersion, []byte{0, 1}),
		Text(tag.MediaStorageSOPClassUID, class),
		Text(tag.MediaStorageSOPInstanceUID, instance),
		Text(tag.TransferSyntaxUID, dataset.ExplicitLE),
		Text(tag.ImplementationClassUID, dataset.ImplementationUID),
		Text(tag.ImplementationVersionName, dataset.ImplementationVersion),
	}
	var b bytes.Buffer
	body, pixels := split(body)
	if err := dicom.Write(&b, dicom.Dataset{Elements: append(meta, body...)}); err != nil {
		return nil, fmt.Errorf("writing a result object: %w", err)
	}
	if pixels == nil {
		return b.Bytes(), nil
	}
	// Pixel Data is appended once, at its length: the writer would copy it each time
	// that a buffer grows.
	out := make([]byte, b.Len(), b.Len()+12+len(pixels))
	copy(out, b.Bytes())
	out = append(out, 0xE0, 0x7F, 0x10, 0x00, 'O', 'B', 0, 0) // PS3.5 7.1.2
	out = binary.LittleEndian.AppendUint32(out, uint32(len(pixels)))
	return append(out, pixels...), nil
}

// split takes Pixel Data, which stands last, from sorted elements.
func split(elements []*dicom.Element) (rest []*dicom.Element, pixels []byte) {
	if n := len(elements) - 1; n >= 0 && elements[n].Tag == tag.PixelData {
		if p, ok := elements[n].Value.GetValue().(dicom.PixelDataInfo); ok && p.IntentionallyUnprocessed {
			return elements[:n], p.UnprocessedValueData
		}
	}
	return elements, nil
}

func first(elements []*dicom.Element, t tag.Tag) string {
	for _, e := range elements {
		if e.Tag == t && e.Value.ValueType() == dicom.Strings {
			if v := dicom.MustGetStrings(e.Value); len(v) > 0 {
				return v[0]
			}
		}
	}
	return ""
}

// sorted orders elements by tag, those of items too (PS3.5 7.1), and refuses
// what the writer would write wrongly without a word.
func sorted(elements []*dicom.Element) ([]*dicom.Element, error) {
	out := slices.Clone(elements)
	slices.SortStableFunc(out, func(a, b *dicom.Element) int {
		return cmp.Or(cmp.Compare(a.Tag.Group, b.Tag.Group), cmp.Compare(a.Tag.Element, b.Tag.Element))
	})
	for i, e := range out {
		switch {
		case i > 0 && out[i-1].Tag == e.Tag:
			return nil, fmt.Errorf("%v stands twice", e.Tag)
		case tooLong(e):
			return nil, fmt.Errorf("%v is longer than a %s may be", e.Tag, e.RawValueRepresentation)
		case e.Value.ValueType() != dicom.Sequences:
			continue
		}
		var items [][]*dicom.Element
		for _, item := range e.Value.GetValue().([]*dicom.SequenceItemValue) {
			inner, err := sorted(item.GetValue().([]*dicom.Element))
			if err != nil {
				return nil, fmt.Errorf("in %v: %w", e.Tag, err)
			}
			items = append(items, inner)
		}
		out[i] = Sequence(e.Tag, items...)
	}
	return out, nil
}

// tooLong says that a value does not fit its length field of 16 bits (PS3.5
// 7.1.2). Representations of other lengths have 32 bits.
func tooLong(e *dicom.Element) bool {
	n := 0
	switch e.Value.ValueType() {
	case dicom.Strings:
		switch e.RawValueRepresentation {
		case "UC", "UR", "UT":
			return false
		}
		for _, s := range dicom.MustGetStrings(e.Value) {
			n += len(s) + 1
		}
	case dicom.Ints:
		n = 4 * len(dicom.MustGetInts(e.Value))
	case dicom.Floats:
		n = 8 * len(dicom.MustGetFloats(e.Value))
	}
	return n > math.MaxUint16
}
