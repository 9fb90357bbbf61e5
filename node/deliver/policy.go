package deliver

import "fmt"

// verdict is what an answer of a peer means for the object.
type verdict int

const (
	stored verdict = iota // the peer has it
	again                 // worth another attempt
	once                  // worth one more attempt
	final                 // no attempt can mend it
)

// statusRow says what the C-STORE statuses from low to high mean.
type statusRow struct {
	low, high uint16
	verdict   verdict
	words     string // what the peer said, a clause
	remedy    string // what to do; empty when nothing is to be done here
}

// statuses is looked through from the top (PS3.4 table B.2-1, PS3.7 annex C).
var statuses = []statusRow{
	{0x0000, 0x0000, stored, "", ""},
	{0x0001, 0x0001, stored, "stored with a warning", ""},
	{0x0107, 0x0107, stored, "stored with a warning on attributes", ""},
	{0x0110, 0x0110, once, "processing failure", "look for the instance in the destination's log"},
	// The bytes of a UID never differ, so what the peer has is this object.
	{0x0111, 0x0111, stored, "the destination had it already", ""},
	{0x0116, 0x0116, stored, "stored, an attribute value was out of range", ""},
	{0x0117, 0x0117, final, "invalid SOP Instance UID", "look for the instance in the destination's log"},
	{0x0122, 0x0122, final, "SOP class not supported", "let the destination accept the SOP class, or take the kind out of its `send` list"},
	{0x0124, 0x0124, final, "not authorised", "allow this node's AE title to store at the destination"},
	{0x0210, 0x0212, final, "the request was refused as malformed", "send the log to the makers"},
	{0xA700, 0xA7FF, again, "out of resources", "free space at the destination"},
	{0xA900, 0xA9FF, final, "data set does not match SOP class", "look for the instance in the destination's log"},
	{0xB000, 0xB000, stored, "stored with elements coerced", ""},
	{0xB006, 0xB006, stored, "stored with elements discarded", ""},
	{0xB007, 0xB007, stored, "stored, though the data set does not match the SOP class for the destination", ""},
	{0xB000, 0xBFFF, stored, "stored with a warning", ""},
	{0xC000, 0xCFFF, final, "cannot understand", "look for the instance in the destination's log"},
	{0x0000, 0xFFFF, again, "an unknown answer", "look for the instance in the destination's log"},
}

func meaning(status uint16) statusRow {
	for _, r := range statuses {
		if status >= r.low && status <= r.high {
			return r
		}
	}
	return statuses[len(statuses)-1]
}

// rejection says what an A-ASSOCIATE-RJ means (PS3.8 table 9-21): whether it is
// final, and the sentence.
func rejection(d Destination, calling string, result, source, reason byte) (permanent bool, sentence string) {
	permanent = result == 1
	words, remedy := "without a reason", fmt.Sprintf("look for the AE title %q in the destination's log", calling)
	switch [2]byte{source, reason} {
	case [2]byte{1, 2}:
		words, remedy = "application context name not supported", "the peer is no DICOM node of this age: check the address"
	case [2]byte{1, 3}:
		words, remedy = "calling AE title not recognised", fmt.Sprintf("add the AE title %q of this node to the peers that the destination knows", calling)
	case [2]byte{1, 7}:
		words, remedy = "called AE title not recognised", fmt.Sprintf("the destination has another AE title than %q: mend ae_title in its [[destination]] row", d.AETitle)
	case [2]byte{2, 2}:
		words, remedy = "protocol version not supported", "the peer is no DICOM node of this age: check the address"
	case [2]byte{3, 1}:
		words, remedy = "temporary congestion", "nothing, it is tried again"
	case [2]byte{3, 2}:
		words, remedy = "local limit exceeded", "allow more associations at the destination if this lasts"
	}
	kind := "for now"
	if permanent {
		kind = "for good"
	}
	return permanent, fmt.Sprintf("%s (%s) rejected the association %s: %s: %s", d.Name, d.Address, kind, words, remedy)
}

// Outcome says in words what a C-STORE status of a destination means for the
// object: "stored", "tried again", "tried once more" or "failed".
func Outcome(status uint16) string {
	return map[verdict]string{stored: "stored", again: "tried again", once: "tried once more", final: "failed"}[meaning(status).verdict]
}
