package pdu

import (
	"reflect"
	"testing"
)

// What is read of any bytes can be written and reads back the same, unless it
// is too long to be written: user information split over several items, say.
func FuzzDecodeAAssociate(f *testing.F) {
	for _, text := range []string{requestBytes, acceptanceBytes} {
		b := annotated(f, text)
		f.Add(b[0] == byte(TypeAAssociateAC), b[HeaderSize:])
	}
	f.Add(false, make([]byte, 68))
	f.Fuzz(func(t *testing.T, accept bool, body []byte) {
		kind := TypeAAssociateRQ
		if accept {
			kind = TypeAAssociateAC
		}
		first, err := DecodeAAssociate(kind, body)
		if err != nil {
			isInvalid(t, err, ReasonInvalidParameter, "an error of its own kind")
			return
		}
		b, err := first.Encode()
		if err != nil {
			if len(body) < 1<<16 {
				t.Fatalf("%d bytes were read, and can't be written: %v", len(body), err)
			}
			return
		}
		h, err := DecodeHeader([HeaderSize]byte(b))
		if err != nil || h.Type != kind || int(h.Length) != len(b)-HeaderSize {
			t.Fatalf("header %+v, %v", h, err)
		}
		again, err := DecodeAAssociate(kind, b[HeaderSize:])
		if err != nil || !reflect.DeepEqual(first, again) {
			t.Fatalf("%+v\n%+v\n%v", first, again, err)
		}
	})
}

// A header that is taken is within its type's bound; a value that is taken is
// within its PDU, and written again it is the same.
func FuzzDecodePDV(f *testing.F) {
	f.Add(annotated(f, "04 00 00000010 0000000C 05 03"))
	f.Add(annotated(f, "01 00 00020001 00000000 00 00"))
	f.Add(annotated(f, "04 00 00000003 00000002 01 02"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < HeaderSize+PDVHeaderSize {
			return
		}
		h, err := DecodeHeader([HeaderSize]byte(b))
		if err == nil && (h.Type < TypeAAssociateRQ || h.Type > TypeAAbort || h.Type != TypePDataTF && h.Length > MaxAssociate) {
			t.Fatalf("taken: %+v", h)
		}
		v, err := DecodePDV([PDVHeaderSize]byte(b[HeaderSize:]), h.Length)
		if err != nil {
			return
		}
		if uint64(v.Length)+PDVHeaderSize > uint64(h.Length) {
			t.Fatalf("%+v in %d bytes", v, h.Length)
		}
		written := AppendPData(nil, v)
		again, err := DecodePDV([PDVHeaderSize]byte(written[HeaderSize:]), v.Length+PDVHeaderSize)
		if err != nil || again != v {
			t.Fatalf("%+v became %+v, %v", v, again, err)
		}
	})
}
