package pdu

import "encoding/binary"

// AAssociateRJ is an A-ASSOCIATE-RJ (PS3.8 9.3.4).
type AAssociateRJ struct{ Result, Source, Reason byte }

// Encode returns the whole PDU.
func (r AAssociateRJ) Encode() []byte {
	return []byte{byte(TypeAAssociateRJ), 0, 0, 0, 0, 4, 0, r.Result, r.Source, r.Reason}
}

// DecodeAAssociateRJ reads the body.
func DecodeAAssociateRJ(body []byte) (AAssociateRJ, error) {
	if len(body) != 4 {
		return AAssociateRJ{}, invalid("A-ASSOCIATE-RJ of %d bytes", len(body))
	}
	return AAssociateRJ{body[1], body[2], body[3]}, nil
}

// AAbort is an A-ABORT (PS3.8 9.3.8).
type AAbort struct{ Source, Reason byte }

// Encode returns the whole PDU.
func (a AAbort) Encode() []byte {
	return []byte{byte(TypeAAbort), 0, 0, 0, 0, 4, 0, 0, a.Source, a.Reason}
}

// DecodeAAbort reads the body. Short ones, which some peers send, are taken:
// the association is over either way.
func DecodeAAbort(body []byte) AAbort {
	var b [4]byte
	copy(b[:], body)
	return AAbort{b[2], b[3]}
}

// AReleaseRQ and AReleaseRP are the whole PDUs (PS3.8 9.3.6, 9.3.7).
var (
	AReleaseRQ = []byte{byte(TypeAReleaseRQ), 0, 0, 0, 0, 4, 0, 0, 0, 0}
	AReleaseRP = []byte{byte(TypeAReleaseRP), 0, 0, 0, 0, 4, 0, 0, 0, 0}
)

// Header is the first six bytes of a PDU.
type Header struct {
	Type   Type
	Length uint32 // of what follows
}

// DecodeHeader reads a PDU's header. An unknown type is an *Error.
func DecodeHeader(b [HeaderSize]byte) (Header, error) {
	h := Header{Type(b[0]), binary.BigEndian.Uint32(b[2:])}
	if h.Type < TypeAAssociateRQ || h.Type > TypeAAbort {
		return h, &Error{ReasonUnrecognizedPDU, h.Type.String()}
	}
	limit := uint32(4)
	switch h.Type {
	case TypeAAssociateRQ, TypeAAssociateAC:
		limit = MaxAssociate
	case TypePDataTF:
		return h, nil // bounded by what was negotiated, which the caller knows
	}
	if h.Length > limit {
		return h, invalid("%v of %d bytes", h.Type, h.Length)
	}
	return h, nil
}

// PDVHeaderSize is the length of a value's length, context and control header.
const PDVHeaderSize = 6

// PDV is the header of a presentation data value (PS3.8 9.3.5.1, annex E.2).
type PDV struct {
	Length    uint32 // of the fragment, without context and control header
	ContextID byte
	Command   bool // command, else data set
	Last      bool // last fragment
}

// DecodePDV reads a value's header. left is how much of the PDU there is,
// these six bytes included.
func DecodePDV(b [PDVHeaderSize]byte, left uint32) (PDV, error) {
	n := binary.BigEndian.Uint32(b[:])
	if left < PDVHeaderSize || n < 2 || n > left-4 {
		return PDV{}, invalid("presentation data value of %d bytes where %d are left", n, left)
	}
	return PDV{n - 2, b[4], b[5]&1 != 0, b[5]&2 != 0}, nil
}

// AppendPData appends the headers of a P-DATA-TF with one value,
// whose bytes go after them.
func AppendPData(b []byte, v PDV) []byte {
	b = append(b, byte(TypePDataTF), 0)
	b = binary.BigEndian.AppendUint32(b, v.Length+PDVHeaderSize)
	b = binary.BigEndian.AppendUint32(b, v.Length+2)
	return append(b, v.ContextID, flag(v.Command)|flag(v.Last)<<1)
}
