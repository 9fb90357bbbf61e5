package dimse

import "fmt"

// Status is the status of a response (PS3.7 annex C, PS3.4 annex B), and the
// reason why an instance is not committed to (PS3.3 C.14.1.1).
type Status uint16

// Statuses by name.
const (
	Success               Status = 0x0000
	ProcessingFailure     Status = 0x0110
	DuplicateInstance     Status = 0x0111
	NoSuchInstance        Status = 0x0112
	NoSuchEventType       Status = 0x0113
	InvalidArgument       Status = 0x0115
	InvalidInstance       Status = 0x0117
	NoSuchSOPClass        Status = 0x0118
	ClassInstanceConflict Status = 0x0119
	MissingAttribute      Status = 0x0120
	MissingValue          Status = 0x0121
	SOPClassNotSupported  Status = 0x0122
	NoSuchAction          Status = 0x0123
	NotAuthorized         Status = 0x0124
	DuplicateTransaction  Status = 0x0131
	DuplicateInvocation   Status = 0x0210
	UnrecognizedOperation Status = 0x0211
	MistypedArgument      Status = 0x0212
	ResourceLimitation    Status = 0x0213
	OutOfResources        Status = 0xA700
	DataSetMismatch       Status = 0xA900
	CannotUnderstand      Status = 0xC000
	Coercion              Status = 0xB000
	ElementsDiscarded     Status = 0xB006
	ClassMismatchWarning  Status = 0xB007
)

var statusNames = map[Status]string{
	Success: "success", ProcessingFailure: "processing failure", DuplicateInstance: "duplicate SOP instance",
	SOPClassNotSupported: "SOP class not supported", NotAuthorized: "not authorised", DuplicateInvocation: "duplicate invocation",
	UnrecognizedOperation: "unrecognised operation", MistypedArgument: "mistyped argument",
	NoSuchInstance: "no such SOP instance", NoSuchEventType: "no such event type", InvalidArgument: "invalid argument value", InvalidInstance: "invalid SOP instance",
	NoSuchSOPClass: "no such SOP class", ClassInstanceConflict: "class-instance conflict", MissingAttribute: "missing attribute",
	MissingValue: "missing attribute value", NoSuchAction: "no such action", DuplicateTransaction: "duplicate transaction UID",
	ResourceLimitation: "resource limitation",
	Coercion:           "warning: coercion of data elements", ElementsDiscarded: "warning: elements discarded",
	ClassMismatchWarning: "warning: data set does not match SOP class",
}

// families are the statuses that only their first digits name.
var families = map[Status]string{0xA700: "out of resources", 0xA900: "data set does not match SOP class", 0xC000: "cannot understand"}

func (s Status) String() string {
	name, ok := statusNames[s]
	if !ok {
		name, ok = families[s.family()]
	}
	switch {
	case ok:
	case s.Warning():
		name = "warning"
	default:
		name = "failure"
	}
	return fmt.Sprintf("%04XH (%s)", uint16(s), name)
}

func (s Status) family() Status {
	if s&0xF000 == 0xC000 {
		return 0xC000
	}
	return s & 0xFF00
}

// Warning reports whether the instance was stored with a reservation (PS3.7 annex
// C: 0001H, 0107H, 0116H and those from B000H on).
func (s Status) Warning() bool {
	return s&0xF000 == 0xB000 || s == 0x0001 || s == 0x0107 || s == 0x0116
}

// Stored reports whether the peer has the instance.
func (s Status) Stored() bool { return s == Success || s.Warning() }

// Permanent reports whether sending the same again would end the same.
func (s Status) Permanent() bool {
	return !s.Stored() && s.family() != 0xA700 && s != ProcessingFailure && s != ResourceLimitation
}
