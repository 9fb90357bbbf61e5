package dimse

import (
	"bytes"
	"context"
	"encoding/binary"
	"reflect"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/dimse/pdu"
)

// gate verifies user identities: it lets in whom it knows, by the bytes of Primary
// and Secondary, and answers as its table says.
type gate struct {
	*handler
	known map[string][]byte
	asked chan *pdu.UserIdentity
}

func (g gate) Associate(ctx context.Context, a *Association) (Session, error) {
	g.asked <- a.UserIdentity
	u := a.UserIdentity
	if u == nil {
		return nil, &Reject{1, 1, 1}
	}
	response, ok := g.known[string(u.Primary)+"/"+string(u.Secondary)]
	if !ok {
		return nil, &Reject{1, 1, 1}
	}
	a.IdentityResponse = response
	return g.handler.Associate(ctx, a)
}

// Every type of identity (PS3.7 D.3.3.7) reaches the handler as it was sent; its
// response reaches the peer, where one was requested.
func TestUserIdentity(t *testing.T) {
	ticket, assertion := bytes.Repeat([]byte{0, 0xFF, 0x82}, 5000), []byte("<saml:Assertion/>")
	g := gate{newHandler(), map[string][]byte{
		"alice/": {}, "alice/secret": {}, string(ticket) + "/": ticket[1:], string(assertion) + "/": []byte("<saml:Response/>"),
		"a.b.c/": []byte("d.e.f"), "new/": []byte("newer"), "/": {},
	}, make(chan *pdu.UserIdentity, 1)}
	client := Client{CallingAE: "CASE", CalledAE: "PULMONODE", Address: start(t, &Server{Handler: g})}
	for name, test := range map[string]struct {
		identity *pdu.UserIdentity
		letIn    bool
		response []byte
	}{
		"user name":                     {&pdu.UserIdentity{Type: pdu.IdentityUsername, ResponseRequested: true, Primary: []byte("alice"), Secondary: []byte{}}, true, []byte{}},
		"user name, no response wanted": {&pdu.UserIdentity{Type: pdu.IdentityUsername, Primary: []byte("alice"), Secondary: []byte{}}, true, nil},
		"user name and passcode":        {&pdu.UserIdentity{Type: pdu.IdentityPasscode, ResponseRequested: true, Primary: []byte("alice"), Secondary: []byte("secret")}, true, []byte{}},
		"wrong passcode":                {&pdu.UserIdentity{Type: pdu.IdentityPasscode, ResponseRequested: true, Primary: []byte("alice"), Secondary: []byte("guess")}, false, nil},
		"Kerberos":                      {&pdu.UserIdentity{Type: pdu.IdentityKerberos, ResponseRequested: true, Primary: ticket, Secondary: []byte{}}, true, ticket[1:]},
		"Kerberos, no response wanted":  {&pdu.UserIdentity{Type: pdu.IdentityKerberos, Primary: ticket, Secondary: []byte{}}, true, nil},
		"SAML":                          {&pdu.UserIdentity{Type: pdu.IdentitySAML, ResponseRequested: true, Primary: assertion, Secondary: []byte{}}, true, []byte("<saml:Response/>")},
		"JWT":                           {&pdu.UserIdentity{Type: pdu.IdentityJWT, ResponseRequested: true, Primary: []byte("a.b.c"), Secondary: []byte{}}, true, []byte("d.e.f")},
		"a type that is to come":        {&pdu.UserIdentity{Type: 99, ResponseRequested: true, Primary: []byte("new"), Secondary: []byte{}}, true, []byte("newer")},
		"empty":                         {&pdu.UserIdentity{Type: pdu.IdentityUsername, ResponseRequested: true, Primary: []byte{}, Secondary: []byte{}}, true, []byte{}},
		"nobody":                        {nil, false, nil},
		"an unknown user":               {&pdu.UserIdentity{Type: pdu.IdentityUsername, Primary: []byte("mallory"), Secondary: []byte{}}, false, nil},
	} {
		client.UserIdentity = test.identity
		conn, err := client.Dial(t.Context(), proposal)
		if got := <-g.asked; !reflect.DeepEqual(got, test.identity) {
			t.Errorf("%s: the handler was told %+v", name, got)
		}
		if (err == nil) != test.letIn {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		if got := conn.IdentityResponse(); !reflect.DeepEqual(got, test.response) {
			t.Errorf("%s: the response is %q, want %q", name, got, test.response)
		}
		if err := conn.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// Without a handler that verified it there is no positive response: the peer may
// rely on one (PS3.7 D.3.3.7).
func TestIdentityThatNobodyVerified(t *testing.T) {
	client := Client{CallingAE: "CASE", CalledAE: "PULMONODE", Address: start(t, &Server{Handler: newHandler()}),
		UserIdentity: &pdu.UserIdentity{Type: pdu.IdentityUsername, ResponseRequested: true, Primary: []byte("alice")}}
	conn, err := client.Dial(t.Context(), proposal)
	if err != nil {
		t.Fatal(err)
	}
	if got := conn.IdentityResponse(); got != nil {
		t.Errorf("a response: %q", got)
	}
	if err := conn.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// A response that no item can hold ends the association, and only it.
func TestIdentityResponseTooLong(t *testing.T) {
	g := gate{newHandler(), map[string][]byte{"alice/": make([]byte, 1<<16)}, make(chan *pdu.UserIdentity, 1)}
	address := start(t, &Server{Handler: g})
	client := Client{CallingAE: "CASE", CalledAE: "PULMONODE", Address: address,
		UserIdentity: &pdu.UserIdentity{Type: pdu.IdentityUsername, ResponseRequested: true, Primary: []byte("alice")}}
	if _, err := client.Dial(t.Context(), proposal); err == nil || !strings.Contains(err.Error(), "the peer aborted") {
		t.Error(err)
	}
	g.ended(t, Aborted)
}

// SOP class extended and common extended negotiation (PS3.7 D.3.3.5, D.3.3.6), and
// sub-items of the future, are read past and not answered; an asynchronous
// operations window is one operation each way where it is asked for.
func TestNegotiationsWithoutAnAnswer(t *testing.T) {
	item := func(kind byte, body ...[]byte) []byte {
		b := join(body...)
		return join([]byte{kind, 0}, binary.BigEndian.AppendUint16(nil, uint16(len(b))), b)
	}
	field := func(s string) []byte { return join(binary.BigEndian.AppendUint16(nil, uint16(len(s))), []byte(s)) }
	for name, test := range map[string]struct {
		added  []byte
		answer *[2]uint16
	}{
		"extended":                        {item(0x56, field(ct), []byte{2, 0, 1, 0, 0, 0}), nil},
		"common extended":                 {item(0x57, field(ct), field("1.2.840.10008.4.2"), field("")), nil},
		"one to come":                     {item(0x5A, []byte("whatever")), nil},
		"empty ones":                      {join(item(0x56), item(0x57), item(0xFF)), nil},
		"asynchronous, any number":        {item(0x53, []byte{0, 0, 0, 0}), &[2]uint16{1, 1}},
		"asynchronous, among the unknown": {join(item(0x57, []byte("?")), item(0x53, []byte{0, 9, 0, 9})), &[2]uint16{1, 1}},
	} {
		request := associateRQ(t, nil)
		user := bytes.LastIndex(request, []byte{0x50, 0})
		binary.BigEndian.PutUint16(request[user+2:], binary.BigEndian.Uint16(request[user+2:])+uint16(len(test.added)))
		binary.BigEndian.PutUint32(request[2:], binary.BigEndian.Uint32(request[2:])+uint32(len(test.added)))
		p := connect(t, start(t, &Server{Handler: newHandler()}))
		p.send(request, test.added, echoRQ(1), pdu.AReleaseRQ)
		p.expectEnd(name, associateAC(t, func(a *pdu.AAssociate) { a.Asynchronous = test.answer }), echoRSP(1), pdu.AReleaseRP)
	}
	if (Client{}).request(proposal).Asynchronous != nil {
		t.Error("a client offers asynchronous operations")
	}
}
