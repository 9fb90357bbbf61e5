package pdu

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
)

// Item types of A-ASSOCIATE PDUs (PS3.8 9.3.2, annex D; PS3.7 annex D.3).
const (
	itemApplicationContext = 0x10
	itemContextRQ          = 0x20
	itemContextAC          = 0x21
	itemAbstractSyntax     = 0x30
	itemTransferSyntax     = 0x40
	itemUserInformation    = 0x50
	itemMaximumLength      = 0x51
	itemImplementationUID  = 0x52
	itemAsynchronous       = 0x53
	itemRole               = 0x54
	itemImplementationName = 0x55
	itemUserIdentityRQ     = 0x58
	itemUserIdentityAC     = 0x59
)

// ApplicationContext is DICOM's one application context name (PS3.7 A.2.1).
const ApplicationContext = "1.2.840.10008.3.1.1.1"

// Results of a presentation context (PS3.8 9.3.3.2).
const (
	Acceptance                  = 0
	UserRejection               = 1
	NoReason                    = 2
	AbstractSyntaxNotSupported  = 3
	TransferSyntaxesUnsupported = 4
)

// PresentationContext is an item of an A-ASSOCIATE PDU. A request has an
// abstract syntax and transfer syntaxes, an answer a result and one of them.
type PresentationContext struct {
	ID               byte
	Result           byte   // in an answer
	AbstractSyntax   string // in a request
	TransferSyntaxes []string
}

// Role is an SCP/SCU role selection (PS3.7 D.3.3.4).
type Role struct {
	SOPClassUID string
	SCU, SCP    bool
}

// Types of a user identity (PS3.7 D.3.3.7.1).
const (
	IdentityUsername = 1 // in Primary
	IdentityPasscode = 2 // a user name in Primary, its passcode in Secondary
	IdentityKerberos = 3 // a service ticket
	IdentitySAML     = 4 // an assertion
	IdentityJWT      = 5 // a JSON web token
)

// UserIdentity is a user identity request (PS3.7 D.3.3.7). None of it belongs into
// a log.
type UserIdentity struct {
	Type               byte // one of the above; others are handed on as they came
	ResponseRequested  bool
	Primary, Secondary []byte
}

// AAssociate is an A-ASSOCIATE-RQ or, when Accept is set, an A-ASSOCIATE-AC.
type AAssociate struct {
	Accept              bool
	ProtocolVersion     uint16
	CalledAE, CallingAE string // without the padding
	ApplicationContext  string
	Contexts            []PresentationContext

	MaxLength             uint32 // of a PDU's variable field; 0: no limit
	ImplementationUID     string
	ImplementationVersion string
	Asynchronous          *[2]uint16 // operations invoked, performed
	Roles                 []Role
	UserIdentity          *UserIdentity
	IdentityResponse      []byte // answer to a positive response request
}

// Encode returns the whole PDU. What does not fit its field is an error: a title
// cut to sixteen characters would be another node's, and an item longer than its
// length can say would be read as something else.
func (a *AAssociate) Encode() ([]byte, error) {
	var e encoder
	b := make([]byte, HeaderSize, 1024)
	b[0] = byte(TypeAAssociateRQ)
	if a.Accept {
		b[0] = byte(TypeAAssociateAC)
	}
	b = binary.BigEndian.AppendUint16(b, a.ProtocolVersion)
	b = append(b, 0, 0)
	b = e.title(b, a.CalledAE)
	b = e.title(b, a.CallingAE)
	b = append(b, make([]byte, 32)...)
	b = e.item(b, itemApplicationContext, []byte(a.ApplicationContext))
	for _, c := range a.Contexts {
		body := []byte{c.ID, 0, c.Result, 0}
		kind := byte(itemContextAC)
		if !a.Accept {
			kind = itemContextRQ
			body = e.item(body, itemAbstractSyntax, []byte(c.AbstractSyntax))
		}
		for _, ts := range c.TransferSyntaxes {
			body = e.item(body, itemTransferSyntax, []byte(ts))
		}
		b = e.item(b, kind, body)
	}
	user := e.item(nil, itemMaximumLength, binary.BigEndian.AppendUint32(nil, a.MaxLength))
	user = e.item(user, itemImplementationUID, []byte(a.ImplementationUID))
	if a.Asynchronous != nil {
		user = e.item(user, itemAsynchronous, binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, a.Asynchronous[0]), a.Asynchronous[1]))
	}
	for _, r := range a.Roles {
		user = e.item(user, itemRole, append(e.field(nil, []byte(r.SOPClassUID)), flag(r.SCU), flag(r.SCP)))
	}
	if a.ImplementationVersion != "" {
		user = e.item(user, itemImplementationName, []byte(a.ImplementationVersion))
	}
	if u := a.UserIdentity; u != nil {
		body := []byte{u.Type, flag(u.ResponseRequested)}
		user = e.item(user, itemUserIdentityRQ, e.field(e.field(body, u.Primary), u.Secondary))
	}
	if a.IdentityResponse != nil {
		user = e.item(user, itemUserIdentityAC, e.field(nil, a.IdentityResponse))
	}
	b = e.item(b, itemUserInformation, user)
	if n := len(b) - HeaderSize; e.err == nil && n > MaxAssociate {
		e.err = fmt.Errorf("an A-ASSOCIATE PDU of %d bytes is longer than the %d that are read", n, MaxAssociate)
	}
	if e.err != nil {
		return nil, e.err
	}
	binary.BigEndian.PutUint32(b[2:], uint32(len(b)-HeaderSize))
	return b, nil
}

// encoder keeps the first thing that does not fit.
type encoder struct{ err error }

// item appends an item: type, reserved byte, length, value.
func (e *encoder) item(b []byte, kind byte, body []byte) []byte {
	return e.field(append(b, kind, 0), body)
}

// field appends a value after its length in two bytes.
func (e *encoder) field(b, v []byte) []byte {
	if len(v) > math.MaxUint16 && e.err == nil {
		e.err = fmt.Errorf("an item's value of %d bytes, more than its length can say", len(v))
	}
	return append(binary.BigEndian.AppendUint16(b, uint16(len(v))), v...)
}

// title appends an AE title in its field of sixteen characters.
func (e *encoder) title(b []byte, s string) []byte {
	if len(s) > maxTitle {
		if e.err == nil {
			e.err = fmt.Errorf("AE title %q is longer than %d characters", s, maxTitle)
		}
		return b
	}
	return append(append(b, s...), strings.Repeat(" ", maxTitle-len(s))...)
}

// maxTitle is the length of the AE title fields (PS3.8 9.3.2).
const maxTitle = 16

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// DecodeAAssociate reads the body of an A-ASSOCIATE-RQ or -AC, the bytes after
// the PDU's header. Items that are not known, or belong to the other PDU, are
// passed over (PS3.8 9.3.1). AE titles lose the spaces around them, which do not
// count (PS3.8 9.3.2), and the NULs that some peers pad with.
func DecodeAAssociate(t Type, body []byte) (*AAssociate, error) {
	return Bounds{}.DecodeAAssociate(t, body)
}

// Bounds are on the items of an A-ASSOCIATE PDU: each costs more in memory than
// on the wire. Zero means none but its length.
type Bounds struct {
	Contexts  int // presentation contexts
	UserItems int // sub-items of the user information, known or not
}

// Echo gives an A-ASSOCIATE-AC the titles and the reserved bytes of the request
// that it answers, byte for byte (PS3.8 table 9-17). The request is the body that
// was decoded.
func Echo(accept, request []byte) {
	copy(accept[HeaderSize+4:HeaderSize+68], request[4:68])
}

// DecodeAAssociate is the function of this name within bounds.
func (most Bounds) DecodeAAssociate(t Type, body []byte) (*AAssociate, error) {
	if len(body) < 68 {
		return nil, invalid("%v of %d bytes is too short", t, len(body))
	}
	a := &AAssociate{
		Accept:          t == TypeAAssociateAC,
		ProtocolVersion: binary.BigEndian.Uint16(body),
		CalledAE:        strings.Trim(string(body[4:20]), " \x00"),
		CallingAE:       strings.Trim(string(body[20:36]), " \x00"),
	}
	contexts := byte(itemContextRQ)
	if a.Accept {
		contexts = itemContextAC
	}
	userItems := 0
	user := func(kind byte, v []byte) error {
		if userItems++; most.UserItems != 0 && userItems > most.UserItems {
			return invalid("more than %d items of user information", most.UserItems)
		}
		return a.decodeUser(kind, v)
	}
	err := items(body[68:], func(kind byte, v []byte) error {
		switch kind {
		case itemApplicationContext:
			a.ApplicationContext = uid(v)
		case contexts:
			if most.Contexts != 0 && len(a.Contexts) == most.Contexts {
				return invalid("more than %d presentation contexts", most.Contexts)
			}
			c, err := decodeContext(v, !a.Accept)
			if err != nil {
				return err
			}
			a.Contexts = append(a.Contexts, c)
		case itemUserInformation:
			return items(v, user)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

func decodeContext(v []byte, request bool) (c PresentationContext, err error) {
	if len(v) < 4 {
		return c, invalid("presentation context of %d bytes", len(v))
	}
	c.ID = v[0]
	if !request { // in a request the field is reserved, and not tested
		c.Result = v[2]
	}
	err = items(v[4:], func(kind byte, v []byte) error {
		switch {
		case kind == itemAbstractSyntax && request:
			c.AbstractSyntax = uid(v)
		case kind == itemTransferSyntax:
			c.TransferSyntaxes = append(c.TransferSyntaxes, uid(v))
		}
		return nil
	})
	return c, err
}

func (a *AAssociate) decodeUser(kind byte, v []byte) error {
	switch kind {
	case itemMaximumLength:
		if len(v) != 4 {
			return invalid("maximum length of %d bytes", len(v))
		}
		a.MaxLength = binary.BigEndian.Uint32(v)
	case itemImplementationUID:
		a.ImplementationUID = uid(v)
	case itemImplementationName:
		a.ImplementationVersion = strings.TrimRight(string(v), " \x00")
	case itemAsynchronous:
		if len(v) != 4 {
			return invalid("asynchronous operations window of %d bytes", len(v))
		}
		a.Asynchronous = &[2]uint16{binary.BigEndian.Uint16(v), binary.BigEndian.Uint16(v[2:])}
	case itemRole:
		if len(v) < 4 || len(v) != 4+int(binary.BigEndian.Uint16(v)) {
			return invalid("role selection of %d bytes", len(v))
		}
		n := len(v) - 2
		a.Roles = append(a.Roles, Role{uid(v[2:n]), v[n] == 1, v[n+1] == 1})
	case itemUserIdentityRQ:
		if len(v) < 6 {
			return invalid("user identity of %d bytes", len(v))
		}
		n := int(binary.BigEndian.Uint16(v[2:]))
		if len(v) < 6+n || len(v) != 6+n+int(binary.BigEndian.Uint16(v[4+n:])) {
			return invalid("user identity of %d bytes", len(v))
		}
		a.UserIdentity = &UserIdentity{v[0], v[1] == 1, v[4 : 4+n], v[6+n:]}
	case itemUserIdentityAC:
		if len(v) < 2 || len(v) != 2+int(binary.BigEndian.Uint16(v)) {
			return invalid("user identity response of %d bytes", len(v))
		}
		a.IdentityResponse = v[2:]
	}
	return nil
}

func items(b []byte, each func(kind byte, v []byte) error) error {
	for len(b) > 0 {
		if len(b) < 4 {
			return invalid("%d bytes are left where an item should be", len(b))
		}
		n := 4 + int(binary.BigEndian.Uint16(b[2:]))
		if n > len(b) {
			return invalid("item %02X of %d bytes where %d are left", b[0], n, len(b))
		}
		if err := each(b[0], b[4:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// uid is a UID field; a trailing NUL or space is padding that some peers write.
func uid(v []byte) string { return strings.TrimRight(string(v), " \x00") }
