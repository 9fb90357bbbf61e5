package pdu

import (
	"encoding/binary"
	"fmt"
)

// Type is the first byte of a PDU (PS3.8 9.3).
type Type byte

// The PDU types (PS3.8 tables 9-11 to 9-26).
const (
	TypeAAssociateRQ Type = 0x01
	TypeAAssociateAC Type = 0x02
	TypeAAssociateRJ Type = 0x03
	TypePDataTF      Type = 0x04
	TypeAReleaseRQ   Type = 0x05
	TypeAReleaseRP   Type = 0x06
	TypeAAbort       Type = 0x07
)

func (t Type) String() string {
	switch t {
	case TypeAAssociateRQ:
		return "A-ASSOCIATE-RQ"
	case TypeAAssociateAC:
		return "A-ASSOCIATE-AC"
	case TypeAAssociateRJ:
		return "A-ASSOCIATE-RJ"
	case TypePDataTF:
		return "P-DATA-TF"
	case TypeAReleaseRQ:
		return "A-RELEASE-RQ"
	case TypeAReleaseRP:
		return "A-RELEASE-RP"
	case TypeAAbort:
		return "A-ABORT"
	}
	return fmt.Sprintf("PDU type %02XH", byte(t))
}

// HeaderLength is the length of what every PDU begins with: type, a reserved
// byte, and the length of the body as 32 bits, big endian.
const HeaderLength = 6

// MaxAssociate bounds the body of A-ASSOCIATE-RQ and -AC. 128 presentation
// contexts with 25 transfer syntaxes each take 100 KiB.
const MaxAssociate = 256 << 10

// Header is what every PDU begins with.
type Header struct {
	Type   Type
	Length uint32 // of the body
}

// ParseHeader reads the first six bytes of a PDU and checks that the type is
// known and the length possible. The length of a P-DATA-TF is not bounded here.
func ParseHeader(b [HeaderLength]byte) (Header, error) {
	h := Header{Type(b[0]), binary.BigEndian.Uint32(b[2:])}
	switch h.Type {
	case TypePDataTF:
	case TypeAAssociateRQ, TypeAAssociateAC:
		if h.Length > MaxAssociate {
			return h, invalid("%v of %d bytes; at most %d are taken", h.Type, h.Length, MaxAssociate)
		}
	case TypeAAssociateRJ, TypeAReleaseRQ, TypeAReleaseRP, TypeAAbort:
		if h.Length != 4 {
			return h, invalid("%v of %d bytes instead of 4 (PS3.8 9.3)", h.Type, h.Length)
		}
	default:
		return h, &Error{Reason: ReasonUnrecognizedPDU, Text: fmt.Sprintf("%v is none that PS3.8 9.3 knows", h.Type)}
	}
	return h, nil
}

// PDU is one of *AAssociateRQ, *AAssociateAC, *AAssociateRJ, *PDataTF,
// *AReleaseRQ, *AReleaseRP and *AAbort.
type PDU interface {
	Type() Type
	appendBody([]byte) ([]byte, error)
}

// Decode reads the body of a PDU. What it returns refers to body where it holds
// bytes.
func Decode(t Type, body []byte) (PDU, error) {
	switch t {
	case TypeAAssociateRQ:
		return decodeAssociateRQ(body)
	case TypeAAssociateAC:
		return decodeAssociateAC(body)
	case TypePDataTF:
		return decodePDataTF(body)
	case TypeAAssociateRJ, TypeAReleaseRQ, TypeAReleaseRP, TypeAAbort:
		if len(body) != 4 {
			return nil, invalid("%v of %d bytes instead of 4 (PS3.8 9.3)", t, len(body))
		}
	}
	switch t {
	case TypeAAssociateRJ:
		return &AAssociateRJ{Result: body[1], Source: body[2], Reason: body[3]}, nil
	case TypeAReleaseRQ:
		return &AReleaseRQ{}, nil
	case TypeAReleaseRP:
		return &AReleaseRP{}, nil
	case TypeAAbort:
		return &AAbort{Source: body[2], Reason: body[3]}, nil
	}
	return nil, &Error{Reason: ReasonUnrecognizedPDU, Text: fmt.Sprintf("%v is none that PS3.8 9.3 knows", t)}
}

// Append appends the bytes of a PDU, header included. It fails when a field is
// longer than the format has room for; dst is then returned as it was.
func Append(dst []byte, p PDU) ([]byte, error) {
	start := len(dst)
	dst = append(dst, byte(p.Type()), 0, 0, 0, 0, 0)
	out, err := p.appendBody(dst)
	if err != nil {
		return dst[:start], err
	}
	binary.BigEndian.PutUint32(out[start+2:], uint32(len(out)-start-HeaderLength))
	return out, nil
}

// AAssociateRJ refuses an association (PS3.8 9.3.4).
type AAssociateRJ struct{ Result, Source, Reason byte }

// AReleaseRQ asks for the end of an association (PS3.8 9.3.6).
type AReleaseRQ struct{}

// AReleaseRP confirms the end of an association (PS3.8 9.3.7).
type AReleaseRP struct{}

// AAbort breaks an association off (PS3.8 9.3.8).
type AAbort struct {
	Source byte // SourceUser or SourceProvider
	Reason byte // significant with SourceProvider
}

// Sources of an A-ABORT (PS3.8 table 9-26).
const (
	SourceUser     byte = 0
	SourceProvider byte = 2
)

// Reasons of an A-ABORT by the provider (PS3.8 table 9-26).
const (
	ReasonNotSpecified          byte = 0
	ReasonUnrecognizedPDU       byte = 1
	ReasonUnexpectedPDU         byte = 2
	ReasonUnrecognizedParameter byte = 4
	ReasonUnexpectedParameter   byte = 5
	ReasonInvalidParameterValue byte = 6
)

func (*AAssociateRJ) Type() Type { return TypeAAssociateRJ }
func (*AReleaseRQ) Type() Type   { return TypeAReleaseRQ }
func (*AReleaseRP) Type() Type   { return TypeAReleaseRP }
func (*AAbort) Type() Type       { return TypeAAbort }

func (p *AAssociateRJ) appendBody(b []byte) ([]byte, error) {
	return append(b, 0, p.Result, p.Source, p.Reason), nil
}
func (*AReleaseRQ) appendBody(b []byte) ([]byte, error) { return append(b, 0, 0, 0, 0), nil }
func (*AReleaseRP) appendBody(b []byte) ([]byte, error) { return append(b, 0, 0, 0, 0), nil }
func (p *AAbort) appendBody(b []byte) ([]byte, error) {
	return append(b, 0, 0, p.Source, p.Reason), nil
}

// Error is a PDU that cannot be taken.
type Error struct {
	Reason byte // to give in the A-ABORT
	Text   string
}

func (e *Error) Error() string { return e.Text }

func invalid(format string, args ...any) error {
	return &Error{Reason: ReasonInvalidParameterValue, Text: fmt.Sprintf(format, args...)}
}
