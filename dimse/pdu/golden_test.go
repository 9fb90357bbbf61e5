package pdu

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
)

// annotated turns hexadecimal with comments (from "#" to the line's end) into
// bytes; what stands in quotes is ASCII.
func annotated(t testing.TB, text string) []byte {
	t.Helper()
	var b []byte
	for _, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		for i, part := range strings.Split(line, `"`) {
			if i%2 == 1 {
				b = append(b, part...)
				continue
			}
			v, err := hex.DecodeString(strings.Join(strings.Fields(part), ""))
			if err != nil {
				t.Fatalf("%q: %v", part, err)
			}
			b = append(b, v...)
		}
	}
	return b
}

// requestBytes is an A-ASSOCIATE-RQ with every item that is known.
const requestBytes = `
01 00 0000 013F                      # A-ASSOCIATE-RQ, reserved, length 319 (PS3.8 table 9-11)
0001 0000                            # protocol version 1, reserved
"PULMONODE       "                   # called AE title
"CT1             "                   # calling AE title
0000000000000000 0000000000000000    # reserved, 32 bytes
0000000000000000 0000000000000000
10 00 0015 "1.2.840.10008.3.1.1.1"   # application context name (PS3.8 9.3.2.1), 21 bytes
20 00 002E                           # presentation context (PS3.8 9.3.2.2), 46 bytes
  01 00 00 00                        #   ID 1, reserved
  30 00 0011 "1.2.840.10008.1.1"     #   abstract syntax: Verification
  40 00 0011 "1.2.840.10008.1.2"     #   transfer syntax: Implicit VR Little Endian
20 00 004D                           # presentation context, 77 bytes
  03 00 00 00                        #   ID 3
  30 00 0019 "1.2.840.10008.5.1.4.1.1.2"  # abstract syntax: CT Image Storage
  40 00 0013 "1.2.840.10008.1.2.1"   #   transfer syntax: Explicit VR Little Endian
  40 00 0011 "1.2.840.10008.1.2"     #   transfer syntax: Implicit VR Little Endian
50 00 005B                           # user information (PS3.8 9.3.2.3), 91 bytes
  51 00 0004 00004000                #   maximum length (PS3.8 D.1): 16384
  52 00 0007 "1.2.3.4"               #   implementation class UID (PS3.7 D.3.3.2.1)
  53 00 0004 0003 0002               #   asynchronous operations window (PS3.7 D.3.3.3): 3 invoked, 2 performed
  54 00 0018                         #   role selection (PS3.7 D.3.3.4), 24 bytes
     0014 "1.2.840.10008.1.20.1" 00 01  #  Storage Commitment: not SCU, SCP
  55 00 000B "SCANNER_1_0"           #   implementation version name (PS3.7 D.3.3.2.3)
  58 00 0011                         #   user identity (PS3.7 D.3.3.7), 17 bytes
     02 01                           #     user name and passcode, response requested
     0005 "alice"
     0006 "secret"
`

var request = &AAssociate{
	ProtocolVersion: 1, CalledAE: "PULMONODE", CallingAE: "CT1", ApplicationContext: ApplicationContext,
	Contexts: []PresentationContext{
		{ID: 1, AbstractSyntax: "1.2.840.10008.1.1", TransferSyntaxes: []string{"1.2.840.10008.1.2"}},
		{ID: 3, AbstractSyntax: "1.2.840.10008.5.1.4.1.1.2", TransferSyntaxes: []string{"1.2.840.10008.1.2.1", "1.2.840.10008.1.2"}},
	},
	MaxLength: 16384, ImplementationUID: "1.2.3.4", ImplementationVersion: "SCANNER_1_0",
	Asynchronous: &[2]uint16{3, 2},
	Roles:        []Role{{"1.2.840.10008.1.20.1", false, true}},
	UserIdentity: &UserIdentity{Type: 2, ResponseRequested: true, Primary: []byte("alice"), Secondary: []byte("secret")},
}

// acceptanceBytes is an A-ASSOCIATE-AC: one context accepted, one refused.
const acceptanceBytes = `
02 00 0000 00C7                      # A-ASSOCIATE-AC, reserved, length 199 (PS3.8 table 9-17)
0001 0000                            # protocol version 1, reserved
"PULMONODE       "                   # as in the request, not tested
"CT1             "
0000000000000000 0000000000000000    # as in the request, not tested
0000000000000000 0000000000000000
10 00 0015 "1.2.840.10008.3.1.1.1"   # application context name
21 00 0019                           # presentation context (PS3.8 9.3.3.2), 25 bytes
  01 00 00 00                        #   ID 1, reserved, result 0: acceptance, reserved
  40 00 0011 "1.2.840.10008.1.2"     #   transfer syntax
21 00 001B                           # presentation context, 27 bytes
  03 00 04 00                        #   ID 3, result 4: transfer syntaxes not supported
  40 00 0013 "1.2.840.10008.1.2.1"   #   not significant
50 00 002A                           # user information, 42 bytes
  51 00 0004 00000000                #   maximum length 0: no limit
  52 00 0007 "1.2.3.5"               #   implementation class UID
  53 00 0004 0001 0001               #   asynchronous operations window: one at a time
  55 00 0003 "PN1"                   #   implementation version name
  59 00 0004 0002 "ok"               #   user identity response (PS3.7 D.3.3.7.2)
`

var acceptance = &AAssociate{
	Accept: true, ProtocolVersion: 1, CalledAE: "PULMONODE", CallingAE: "CT1", ApplicationContext: ApplicationContext,
	Contexts: []PresentationContext{
		{ID: 1, Result: Acceptance, TransferSyntaxes: []string{"1.2.840.10008.1.2"}},
		{ID: 3, Result: TransferSyntaxesUnsupported, TransferSyntaxes: []string{"1.2.840.10008.1.2.1"}},
	},
	ImplementationUID: "1.2.3.5", ImplementationVersion: "PN1", Asynchronous: &[2]uint16{1, 1}, IdentityResponse: []byte("ok"),
}

// What is written is what stands in the standard, byte for byte, and reads back.
func TestAssociateGolden(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		pdu  *AAssociate
	}{
		"request": {requestBytes, request}, "acceptance": {acceptanceBytes, acceptance},
	} {
		t.Run(name, func(t *testing.T) {
			want := annotated(t, test.text)
			got, err := test.pdu.Encode()
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("encoded\n%swant\n%s%v", hex.Dump(got), hex.Dump(want), err)
			}
			h, err := DecodeHeader([HeaderSize]byte(want))
			if err != nil || int(h.Length) != len(want)-HeaderSize {
				t.Fatalf("header %+v, %v", h, err)
			}
			back, err := DecodeAAssociate(h.Type, want[HeaderSize:])
			if err != nil || !reflect.DeepEqual(back, test.pdu) {
				t.Errorf("decoded %+v, %v", back, err)
			}
		})
	}
}

func TestSmallGolden(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		got  []byte
	}{
		"rejection": {`
			03 00 0000 0004  # A-ASSOCIATE-RJ (PS3.8 table 9-21)
			00 01 01 07      # reserved, result permanent, source service-user, reason called AE title not recognised`,
			AAssociateRJ{1, 1, 7}.Encode()},
		"abort": {`
			07 00 0000 0004  # A-ABORT (PS3.8 table 9-26)
			00 00 02 06      # reserved, reserved, source service-provider, reason invalid PDU parameter value`,
			AAbort{SourceProvider, ReasonInvalidParameter}.Encode()},
		"release": {`
			05 00 0000 0004  # A-RELEASE-RQ (PS3.8 table 9-24)
			00000000         # reserved`, AReleaseRQ},
		"release response": {`
			06 00 0000 0004  # A-RELEASE-RP (PS3.8 table 9-25)
			00000000         # reserved`, AReleaseRP},
		"last fragment of a command": {`
			04 00 0000 0010  # P-DATA-TF (PS3.8 table 9-22), 16 bytes
			0000 000C        # one value (PS3.8 table 9-23) of 12 bytes
			05               # presentation context 5
			03               # message control header (PS3.8 E.2): command, last`,
			AppendPData(nil, PDV{Length: 10, ContextID: 5, Command: true, Last: true})},
		"fragment of a data set that goes on": {`
			04 00 0001 0006 0001 0002 05 00`, AppendPData(nil, PDV{Length: 0x10000, ContextID: 5})},
		"last, empty fragment of a data set": {`
			04 00 0000 0006 0000 0002 FF 02`, AppendPData(nil, PDV{ContextID: 255, Last: true})},
	} {
		if want := annotated(t, test.text); !bytes.Equal(test.got, want) {
			t.Errorf("%s: % X, want % X", name, test.got, want)
		}
	}
}
