package pdu

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func request() *AAssociateRQ {
	return &AAssociateRQ{
		ProtocolVersion: 1, CalledAE: "PULMONODE", CallingAE: "CT 1", ApplicationContext: ApplicationContext,
		Contexts: []ContextRQ{
			{ID: 1, AbstractSyntax: "1.2.840.10008.1.1", TransferSyntaxes: []string{"1.2.840.10008.1.2"}},
			{ID: 255, AbstractSyntax: "1.2.840.10008.5.1.4.1.1.2", TransferSyntaxes: []string{"1.2.840.10008.1.2.1", "1.2.840.10008.1.2"}},
		},
		User: UserInformation{
			MaxLength: 16384, ImplementationClassUID: "1.2.3", ImplementationVersion: "X",
			Operations: &Operations{5, 0},
			Roles:      []Role{{"1.2.840.10008.1.20.1", 1, 1}},
			Other:      []Item{{ItemExtendedNegotiation, []byte{0, 1, '1', 7}}, {ItemUserIdentity, []byte{1, 0, 0, 1, 'u', 0, 0}}, {0x7f, []byte{}}},
		},
	}
}

func everyPDU() []PDU {
	return []PDU{
		request(),
		&AAssociateAC{ProtocolVersion: 1, CalledAE: "A", CallingAE: "B", ApplicationContext: ApplicationContext,
			Contexts: []ContextAC{{1, Accepted, "1.2.840.10008.1.2"}, {3, TransferSyntaxUnsupported, ""}}, User: UserInformation{MaxLength: 262144, ImplementationClassUID: "1.2"}},
		&AAssociateRJ{2, 3, 2}, &AReleaseRQ{}, &AReleaseRP{}, &AAbort{SourceProvider, ReasonUnexpectedPDU},
		&PDataTF{[]PDV{{1, true, true, []byte("command")}, {1, false, false, []byte{}}, {1, false, true, []byte("data")}}},
	}
}

func TestRoundTrip(t *testing.T) {
	for _, p := range everyPDU() {
		b, err := Append([]byte("before"), p)
		if err != nil {
			t.Fatalf("%v: %v", p.Type(), err)
		}
		b = b[len("before"):]
		h, err := ParseHeader([6]byte(b))
		if err != nil || h.Type != p.Type() || int(h.Length) != len(b)-HeaderLength {
			t.Fatalf("%v: header %+v, %v", p.Type(), h, err)
		}
		got, err := Decode(h.Type, b[HeaderLength:])
		if err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("%v came back as %+v, %v", p.Type(), got, err)
		}
	}
}

// The bytes are those of PS3.8 tables 9-11, 9-21 and 9-26, written out by hand.
func TestBytesOfTheStandard(t *testing.T) {
	uid := func(itemType string, s string) string {
		return itemType + "00" + hex.EncodeToString([]byte{0, byte(len(s))}) + hex.EncodeToString([]byte(s))
	}
	context := "01000000" + uid("30", "1.2.840.10008.1.1") + uid("40", "1.2.840.10008.1.2")
	user := "5100000400004000" + uid("52", "1.2.3")
	associate := "0001" + "0000" +
		hex.EncodeToString([]byte("STORE           ")) + hex.EncodeToString([]byte("ME              ")) + strings.Repeat("00", 32) +
		uid("10", ApplicationContext) +
		"20000" + "02e" + context +
		"50000011" + user
	for name, test := range map[string]struct {
		p    PDU
		want string
	}{
		"A-ASSOCIATE-RQ": {&AAssociateRQ{ProtocolVersion: 1, CalledAE: "STORE", CallingAE: "ME", ApplicationContext: ApplicationContext,
			Contexts: []ContextRQ{{1, "1.2.840.10008.1.1", []string{"1.2.840.10008.1.2"}}},
			User:     UserInformation{MaxLength: 16384, ImplementationClassUID: "1.2.3"}},
			"0100" + hex.EncodeToString([]byte{0, 0, 0, byte(len(associate) / 2)}) + associate},
		"A-ASSOCIATE-RJ": {&AAssociateRJ{1, 1, 7}, "030000000004" + "00010107"},
		"A-RELEASE-RQ":   {&AReleaseRQ{}, "050000000004" + "00000000"},
		"A-RELEASE-RP":   {&AReleaseRP{}, "060000000004" + "00000000"},
		"A-ABORT":        {&AAbort{2, 6}, "070000000004" + "00000206"},
		"P-DATA-TF":      {&PDataTF{[]PDV{{5, true, true, []byte{0xaa, 0xbb}}}}, "040000000008" + "00000004" + "0503" + "aabb"},
	} {
		got, err := Append(nil, test.p)
		if err != nil || hex.EncodeToString(got) != test.want {
			t.Errorf("%s:\n got %x %v\nwant %s", name, got, err, test.want)
		}
	}
}

func TestMalformed(t *testing.T) {
	rq, err := Append(nil, request())
	if err != nil {
		t.Fatal(err)
	}
	edit := func(f func(*AAssociateRQ)) []byte {
		p := request()
		f(p)
		b, err := Append(nil, p)
		if err != nil {
			t.Fatal(err)
		}
		return b[HeaderLength:]
	}
	for name, test := range map[string]struct {
		t    Type
		body []byte
		want byte
	}{
		"unknown type":             {0x0f, nil, ReasonUnrecognizedPDU},
		"short reject":             {TypeAAssociateRJ, []byte{0, 1, 1}, ReasonInvalidParameterValue},
		"long abort":               {TypeAAbort, make([]byte, 5), ReasonInvalidParameterValue},
		"request without a body":   {TypeAAssociateRQ, nil, ReasonInvalidParameterValue},
		"item beyond the PDU":      {TypeAAssociateRQ, rq[HeaderLength : len(rq)-1], ReasonInvalidParameterValue},
		"half an item at the end":  {TypeAAssociateRQ, append(bytes.Clone(rq[HeaderLength:]), 0x77, 0), ReasonInvalidParameterValue},
		"even context ID":          {TypeAAssociateRQ, edit(func(p *AAssociateRQ) { p.Contexts[0].ID = 2 }), ReasonInvalidParameterValue},
		"context ID twice":         {TypeAAssociateRQ, edit(func(p *AAssociateRQ) { p.Contexts[0].ID = 255 }), ReasonInvalidParameterValue},
		"no PDV":                   {TypePDataTF, nil, ReasonInvalidParameterValue},
		"PDV of length 1":          {TypePDataTF, []byte{0, 0, 0, 1, 1, 3}, ReasonInvalidParameterValue},
		"PDV beyond its PDU":       {TypePDataTF, []byte{0, 0, 0, 3, 1, 3}, ReasonInvalidParameterValue},
		"PDV of 4 GiB":             {TypePDataTF, []byte{0xff, 0xff, 0xff, 0xff, 1, 3}, ReasonInvalidParameterValue},
		"role with wrong lengths":  {TypeAAssociateRQ, edit(func(p *AAssociateRQ) { p.User.Other = []Item{{itemRole, []byte{0, 9, '1', 0, 0}}} }), ReasonInvalidParameterValue},
		"maximum length of 2 byte": {TypeAAssociateRQ, edit(func(p *AAssociateRQ) { p.User.Other = []Item{{itemMaxLength, []byte{0, 1}}} }), ReasonInvalidParameterValue},
	} {
		_, err := Decode(test.t, test.body)
		var e *Error
		if !errors.As(err, &e) || e.Reason != test.want {
			t.Errorf("%s: %v, want an error with reason %d", name, err, test.want)
		}
	}
	for name, h := range map[string][6]byte{
		"abort of 5 bytes": {7, 0, 0, 0, 0, 5}, "request of 16 MiB": {1, 0, 1, 0, 0, 0}, "HTTP": {'G', 'E', 'T', ' ', '/', ' '},
	} {
		if _, err := ParseHeader(h); err == nil {
			t.Errorf("%s: the header was taken", name)
		}
	}
}

// What peers send although the standard has it otherwise, or has it seldom.
func TestTolerated(t *testing.T) {
	p := request()
	b, err := Append(nil, p)
	if err != nil {
		t.Fatal(err)
	}
	body := b[HeaderLength:]
	copy(body[4:20], "  PULMONODE\x00\x00\x00\x00\x00")
	body = append(body, 0x99, 0, 0, 3, 1, 2, 3) // an item of the future
	got, err := Decode(TypeAAssociateRQ, body)
	if err != nil || !reflect.DeepEqual(got, p) {
		t.Errorf("came back as %+v, %v", got, err)
	}
	ac := []byte("\x00\x01\x00\x00" + strings.Repeat(" ", 32) + strings.Repeat("\x00", 32) + "\x21\x00\x00\x04\x01\x00\x03\x00")
	got, err = Decode(TypeAAssociateAC, ac)
	if err != nil || !reflect.DeepEqual(got.(*AAssociateAC).Contexts, []ContextAC{{1, AbstractSyntaxUnsupported, ""}}) {
		t.Errorf("a refused context without transfer syntax came back as %+v, %v", got, err)
	}
}

func TestFragmentsFitThePeer(t *testing.T) {
	message := bytes.Repeat([]byte("0123456789"), 10)
	for _, maxLength := range []uint32{0, 1, 7, 8, 9, 16, 100, 105, 106, 107, 1 << 20} {
		b := AppendMessage(nil, 3, true, message, maxLength)
		var got []byte
		last := false
		for len(b) > 0 {
			h, err := ParseHeader([6]byte(b))
			if err != nil || last {
				t.Fatalf("maximum %d: %v, after the last: %v", maxLength, err, last)
			}
			if maxLength >= 8 && h.Length > maxLength {
				t.Errorf("maximum %d: PDU of %d", maxLength, h.Length)
			}
			p, err := Decode(h.Type, b[HeaderLength:HeaderLength+h.Length])
			if err != nil {
				t.Fatal(err)
			}
			v := p.(*PDataTF).Items[0]
			if len(v.Fragment)%2 != 0 || v.ContextID != 3 || !v.Command {
				t.Errorf("maximum %d: fragment of %d bytes, %+v", maxLength, len(v.Fragment), v)
			}
			got, last = append(got, v.Fragment...), v.Last
			b = b[HeaderLength+h.Length:]
		}
		if !last || !bytes.Equal(got, message) {
			t.Errorf("maximum %d: the fragments are %q, last seen: %v", maxLength, got, last)
		}
	}
}

func TestTooLongToEncode(t *testing.T) {
	for name, f := range map[string]func(*AAssociateRQ){
		"AE title of 17": func(p *AAssociateRQ) { p.CalledAE = strings.Repeat("A", 17) },
		"2,000 transfer syntaxes": func(p *AAssociateRQ) {
			for range 2000 {
				p.Contexts[0].TransferSyntaxes = append(p.Contexts[0].TransferSyntaxes, strings.Repeat("1", 64))
			}
		},
	} {
		p := request()
		f(p)
		if b, err := Append([]byte("x"), p); err == nil || string(b) != "x" {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
	}
}

// What decodes encodes to what decodes to the same.
func FuzzDecode(f *testing.F) {
	for _, p := range everyPDU() {
		b, err := Append(nil, p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < HeaderLength || len(b) > 1<<16 {
			return
		}
		if _, err := ParseHeader([6]byte(b)); err != nil && b[0] > byte(TypeAAbort) {
			return
		}
		p, err := Decode(Type(b[0]), b[HeaderLength:])
		if err != nil {
			return
		}
		again, err := Append(nil, p)
		if err != nil {
			t.Fatalf("%+v decoded, but does not encode: %v", p, err)
		}
		q, err := Decode(Type(b[0]), again[HeaderLength:])
		if err != nil || !reflect.DeepEqual(p, q) {
			t.Fatalf("%+v came back as %+v, %v", p, q, err)
		}
	})
}
