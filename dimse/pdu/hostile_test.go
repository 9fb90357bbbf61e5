package pdu

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// isInvalid asks for an *Error: what the peer is told in the A-ABORT.
func isInvalid(t *testing.T, err error, reason byte, what string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Reason != reason || e.What == "" {
		t.Errorf("%s: %v", what, err)
	}
}

// A request cut off anywhere is no request, unless the cut falls between items:
// then what is missing is missing, and nothing else is read in its place.
func TestTruncatedAtEachByte(t *testing.T) {
	for _, text := range []string{requestBytes, acceptanceBytes} {
		whole := annotated(t, text)
		kind, body := Type(whole[0]), whole[HeaderSize:]
		full, err := DecodeAAssociate(kind, body)
		if err != nil {
			t.Fatal(err)
		}
		between := map[int]bool{68: true}
		for at := 68; at < len(body); at = at + 4 + int(binary.BigEndian.Uint16(body[at+2:])) {
			between[at] = true
		}
		for n := range body {
			got, err := DecodeAAssociate(kind, body[:n])
			if !between[n] {
				isInvalid(t, err, ReasonInvalidParameter, fmt.Sprintf("%v cut to %d bytes", kind, n))
				continue
			}
			if err != nil || len(got.Contexts) > len(full.Contexts) || got.ImplementationUID != "" {
				t.Errorf("%v cut between items, at %d: %+v, %v", kind, n, got, err)
			}
		}
	}
}

// Each length field, made larger than what there is.
func TestLengthsBeyondTheEnd(t *testing.T) {
	for name, field := range map[string]string{
		"application context":     "\x10\x00\x00\x15",
		"presentation context":    "\x20\x00\x00\x2E",
		"abstract syntax":         "\x30\x00\x00\x11",
		"transfer syntax":         "\x40\x00\x00\x11",
		"user information":        "\x50\x00\x00\x5B",
		"maximum length":          "\x51\x00\x00\x04",
		"implementation UID":      "\x52\x00\x00\x07",
		"asynchronous operations": "\x53\x00\x00\x04",
		"role selection":          "\x54\x00\x00\x18",
		"role's UID":              "\x00\x14",
		"user identity":           "\x58\x00\x00\x11",
		"user name":               "\x00\x05alice",
		"passcode":                "\x00\x06secret",
	} {
		for _, length := range []uint16{0xFFFF, 0x0200} {
			b := annotated(t, requestBytes)
			at := bytes.Index(b, []byte(field))
			if at < 0 {
				t.Fatalf("%s is not in the request", name)
			}
			if field[0] != 0 {
				at += 2
			}
			binary.BigEndian.PutUint16(b[at:], length)
			_, err := DecodeAAssociate(TypeAAssociateRQ, b[HeaderSize:])
			isInvalid(t, err, ReasonInvalidParameter, fmt.Sprintf("%s of %d bytes", name, length))
		}
	}
}

// Items that are not known, or not of this PDU, are passed over at every level
// (PS3.8 9.3.1).
func TestUnknownItemsArePassedOver(t *testing.T) {
	const unknown = `F1 00 0003 "???" `
	text := requestBytes
	for _, at := range []string{"10 00 0015", "20 00 002E", "50 00 005B"} {
		text = strings.Replace(text, at, unknown+at, 1)
	}
	text = strings.Replace(text, "20 00 004D", "20 00 0054", 1)
	text = strings.Replace(text, "40 00 0013", unknown+"40 00 0013", 1)
	text = strings.Replace(text, "50 00 005B", "21 00 0004 05 00 00 00 50 00 0062", 1) // and a context as only an answer has it
	text = strings.Replace(text, "52 00 0007", unknown+"52 00 0007", 1)
	got, err := DecodeAAssociate(TypeAAssociateRQ, annotated(t, text)[HeaderSize:])
	if err != nil || !reflect.DeepEqual(got, request) {
		t.Errorf("%+v, %v", got, err)
	}
}

// Titles count without the spaces around them; some peers pad with NULs.
func TestTitlesAreTrimmed(t *testing.T) {
	text := strings.Replace(requestBytes, `"PULMONODE       "`, `"  PULMONODE     "`, 1)
	text = strings.Replace(text, `"CT1             "`, `"CT1" 00000000000000000000000000`, 1)
	got, err := DecodeAAssociate(TypeAAssociateRQ, annotated(t, text)[HeaderSize:])
	if err != nil || got.CalledAE != "PULMONODE" || got.CallingAE != "CT1" {
		t.Errorf("%+v, %v", got, err)
	}
}

// What does not fit its field is refused, never cut or wrapped around: a title
// of seventeen characters, items above 65535 bytes and what holds them.
func TestTooLongToEncode(t *testing.T) {
	long := strings.Repeat("1", 65536)
	many := make([]string, 4000)
	for i := range many {
		many[i] = "1.2.840.10008.1.2"
	}
	for name, change := range map[string]func(*AAssociate){
		"called AE title":                     func(a *AAssociate) { a.CalledAE = "SEVENTEENLETTERS_" },
		"calling AE title":                    func(a *AAssociate) { a.CallingAE = "SEVENTEENLETTERS_" },
		"application context":                 func(a *AAssociate) { a.ApplicationContext = long },
		"abstract syntax":                     func(a *AAssociate) { a.Contexts[0].AbstractSyntax = long },
		"transfer syntax":                     func(a *AAssociate) { a.Contexts[0].TransferSyntaxes[0] = long },
		"a context of 4000 transfer syntaxes": func(a *AAssociate) { a.Contexts[0].TransferSyntaxes = many },
		"implementation UID":                  func(a *AAssociate) { a.ImplementationUID = long },
		"implementation version":              func(a *AAssociate) { a.ImplementationVersion = long },
		"role's UID":                          func(a *AAssociate) { a.Roles[0].SOPClassUID = long },
		"user name":                           func(a *AAssociate) { a.UserIdentity.Primary = []byte(long) },
		"passcode":                            func(a *AAssociate) { a.UserIdentity.Secondary = []byte(long) },
		"identity of two that fit one by one": func(a *AAssociate) {
			a.UserIdentity.Primary, a.UserIdentity.Secondary = []byte(long[1:]), []byte(long[1:])
		},
		"identity response":                    func(a *AAssociate) { a.IdentityResponse = []byte(long) },
		"user information of items that fit":   func(a *AAssociate) { a.ImplementationUID, a.ImplementationVersion = long[:40000], long[:40000] },
		"more contexts than a PDU that's read": func(a *AAssociate) { a.Contexts = []PresentationContext{big(1), big(3), big(5)} },
	} {
		a := *request
		a.Contexts = []PresentationContext{{ID: 1, AbstractSyntax: "1.2", TransferSyntaxes: []string{"1.2"}}}
		a.Roles = []Role{{SOPClassUID: "1.2"}}
		a.UserIdentity = &UserIdentity{}
		if _, err := a.Encode(); err != nil {
			t.Fatalf("%s: it fitted before: %v", name, err)
		}
		change(&a)
		if b, err := a.Encode(); err == nil {
			t.Errorf("%s: encoded in %d bytes", name, len(b))
		}
	}
	sixteen := *request
	sixteen.CalledAE = "SIXTEEN_LETTERS_"
	if _, err := sixteen.Encode(); err != nil {
		t.Error(err)
	}
}

// big is a presentation context of almost 65535 bytes.
func big(id byte) PresentationContext {
	return PresentationContext{ID: id, AbstractSyntax: strings.Repeat("1", 65000)}
}

// The bound on what is read leaves twice the room of the largest honest request:
// 128 contexts, UIDs of 64 characters for classes, every transfer syntax known.
func TestMaxAssociateIsEnough(t *testing.T) {
	a := *request
	a.Contexts = nil
	for i := range 128 {
		c := PresentationContext{ID: byte(2*i + 1), AbstractSyntax: strings.Repeat("1", 64)}
		for range 16 {
			c.TransferSyntaxes = append(c.TransferSyntaxes, "1.2.840.10008.1.2.4.201")
		}
		a.Contexts = append(a.Contexts, c)
	}
	b, err := a.Encode()
	if err != nil || len(b) > MaxAssociate*6/10 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func TestHeaders(t *testing.T) {
	for name, test := range map[string]struct {
		bytes  string
		want   Header
		reason byte // of the abort; 0: none
	}{
		"type 0":                      {"00 00 00000004", Header{0, 4}, ReasonUnrecognizedPDU},
		"type 8":                      {"08 00 00000004", Header{8, 4}, ReasonUnrecognizedPDU},
		"an HTTP request":             {`"GET / "`, Header{'G', 0x54202F20}, ReasonUnrecognizedPDU},
		"a TLS hello":                 {"16 03 01020001", Header{0x16, 0x01020001}, ReasonUnrecognizedPDU},
		"request":                     {"01 00 00020000", Header{TypeAAssociateRQ, 1 << 17}, 0},
		"request above the bound":     {"01 00 00020001", Header{TypeAAssociateRQ, 1<<17 + 1}, ReasonInvalidParameter},
		"acceptance of 4 GiB":         {"02 00 FFFFFFFF", Header{TypeAAssociateAC, 1<<32 - 1}, ReasonInvalidParameter},
		"rejection":                   {"03 00 00000004", Header{TypeAAssociateRJ, 4}, 0},
		"rejection of 5 bytes":        {"03 00 00000005", Header{TypeAAssociateRJ, 5}, ReasonInvalidParameter},
		"data as long as can be":      {"04 00 FFFFFFFF", Header{TypePDataTF, 1<<32 - 1}, 0}, // the caller knows what was agreed
		"release of 4 GiB":            {"05 00 FFFFFFFF", Header{TypeAReleaseRQ, 1<<32 - 1}, ReasonInvalidParameter},
		"release response of 5 bytes": {"06 00 00000005", Header{TypeAReleaseRP, 5}, ReasonInvalidParameter},
		"abort":                       {"07 00 00000004", Header{TypeAAbort, 4}, 0},
		"abort of 64 KiB":             {"07 00 00010000", Header{TypeAAbort, 1 << 16}, ReasonInvalidParameter},
		"reserved byte set":           {"05 FF 00000004", Header{TypeAReleaseRQ, 4}, 0}, // not tested (PS3.8 9.3.6)
	} {
		h, err := DecodeHeader([HeaderSize]byte(annotated(t, test.bytes)))
		if h != test.want {
			t.Errorf("%s: %+v", name, h)
		}
		if test.reason != 0 {
			isInvalid(t, err, test.reason, name)
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestValues(t *testing.T) {
	for name, test := range map[string]struct {
		bytes string
		left  uint32
		want  PDV
		valid bool
	}{
		"command, last":              {"00000006 01 03", 10, PDV{4, 1, true, true}, true},
		"data, more to come":         {"00000006 03 00", 100, PDV{4, 3, false, false}, true},
		"empty, last":                {"00000002 01 02", 6, PDV{0, 1, false, true}, true},
		"reserved control bits":      {"00000002 01 FE", 6, PDV{0, 1, false, true}, true},
		"length 0":                   {"00000000 01 02", 6, PDV{}, false},
		"length 1":                   {"00000001 01 02", 6, PDV{}, false},
		"one byte beyond the PDU":    {"00000007 01 02", 10, PDV{}, false},
		"4 GiB":                      {"FFFFFFFF 01 02", 10, PDV{}, false},
		"4 GiB in a PDU of 4 GiB":    {"FFFFFFFB 01 02", 1<<32 - 1, PDV{1<<32 - 7, 1, false, true}, true},
		"where there is no room":     {"00000002 01 02", 5, PDV{}, false},
		"where nothing at all is":    {"00000002 01 02", 0, PDV{}, false},
		"length 2, one byte missing": {"00000002 01 02", 3, PDV{}, false},
	} {
		v, err := DecodePDV([PDVHeaderSize]byte(annotated(t, test.bytes)), test.left)
		if v != test.want {
			t.Errorf("%s: %+v", name, v)
		}
		if test.valid && err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !test.valid {
			isInvalid(t, err, ReasonInvalidParameter, name)
		}
	}
}

func TestSmallBodies(t *testing.T) {
	for n := range 8 {
		_, err := DecodeAAssociateRJ(make([]byte, n))
		if (err == nil) != (n == 4) {
			t.Errorf("rejection of %d bytes: %v", n, err)
		}
	}
	// An abort ends the association whatever it looks like.
	for body, want := range map[string]AAbort{"": {}, "\x00\x00\x02": {2, 0}, "\x00\x00\x02\x06": {2, 6}} {
		if got := DecodeAAbort([]byte(body)); got != want {
			t.Errorf("abort % X: %+v", body, got)
		}
	}
}

func TestTypesHaveNames(t *testing.T) {
	if got := fmt.Sprint(TypeAAssociateRQ, TypeAAbort, Type(0), Type(8)); got != "A-ASSOCIATE-RQ A-ABORT PDU of type 00 PDU of type 08" {
		t.Error(got)
	}
}
