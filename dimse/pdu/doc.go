// Package pdu turns the protocol data units of the DICOM upper layer (PS3.8
// section 9.3) into bytes and back. It knows no sockets and no states.
//
// DecodeHeader takes the header of a PDU; the body of most is small and decoded whole;
// the body of a P-DATA-TF is left on the stream, to be read value by value with
// DecodePDV, so that no data set is ever held whole.
package pdu

import "fmt"

// Type is the first byte of a PDU (PS3.8 9.3.1).
type Type byte

// The seven types.
const (
	TypeAAssociateRQ Type = 1
	TypeAAssociateAC Type = 2
	TypeAAssociateRJ Type = 3
	TypePDataTF      Type = 4
	TypeAReleaseRQ   Type = 5
	TypeAReleaseRP   Type = 6
	TypeAAbort       Type = 7
)

func (t Type) String() string {
	if t >= 1 && t <= 7 {
		return [...]string{"A-ASSOCIATE-RQ", "A-ASSOCIATE-AC", "A-ASSOCIATE-RJ", "P-DATA-TF", "A-RELEASE-RQ", "A-RELEASE-RP", "A-ABORT"}[t-1]
	}
	return fmt.Sprintf("PDU of type %02X", byte(t))
}

// HeaderSize is the length of type, reserved byte and length.
const HeaderSize = 6

// MaxAssociate bounds an A-ASSOCIATE PDU: 128 presentation contexts with every
// known transfer syntax stay below half of it.
const MaxAssociate = 1 << 17

// Abort sources and reasons (PS3.8 9.3.8).
const (
	SourceUser     = 0
	SourceProvider = 2

	ReasonNotSpecified          = 0
	ReasonUnrecognizedPDU       = 1
	ReasonUnexpectedPDU         = 2
	ReasonUnrecognizedParameter = 4
	ReasonUnexpectedParameter   = 5
	ReasonInvalidParameter      = 6
)

// Error says that bytes are no valid PDU. Reason is what an A-ABORT should give.
type Error struct {
	Reason byte
	What   string
}

func (e *Error) Error() string { return "invalid PDU: " + e.What }

func invalid(format string, args ...any) error {
	return &Error{ReasonInvalidParameter, fmt.Sprintf(format, args...)}
}
