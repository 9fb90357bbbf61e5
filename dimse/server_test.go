package dimse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/dimse/pdu"
)

// Command sets as the standard writes them (PS3.7 6.3.1, 9.3.1, 9.3.5), so that the
// tests may build the others.
func TestCommandGolden(t *testing.T) {
	const length, class, field, id, responded, priority, dataSet, status, instance = "\x00\x00\x00\x00\x04\x00\x00\x00", "\x00\x00\x02\x00",
		"\x00\x00\x00\x01\x02\x00\x00\x00", "\x00\x00\x10\x01\x02\x00\x00\x00", "\x00\x00\x20\x01\x02\x00\x00\x00",
		"\x00\x00\x00\x07\x02\x00\x00\x00", "\x00\x00\x00\x08\x02\x00\x00\x00", "\x00\x00\x00\x09\x02\x00\x00\x00", "\x00\x00\x00\x10"
	const verification, image, uid = "\x12\x00\x00\x001.2.840.10008.1.1\x00", "\x1A\x00\x00\x001.2.840.10008.5.1.4.1.1.2\x00", "\x06\x00\x00\x001.2.3\x00" // padded
	for name, test := range map[string]struct {
		got  []byte
		want []string
	}{
		"C-ECHO-RQ": {echoRQ(7)[12:], []string{length, "\x38\x00\x00\x00", // 56 bytes follow
			class, verification, field, "\x30\x00", id, "\x07\x00", dataSet, "\x01\x01"}}, // none
		"C-STORE-RQ": {storeRQ(7)[12:], []string{length, "\x58\x00\x00\x00",
			class, image, field, "\x01\x00", id, "\x07\x00", priority, "\x00\x00", dataSet, "\x01\x00", instance, uid}},
		"C-STORE-RSP": {storeRSP(7, OutOfResources)[12:], []string{length, "\x58\x00\x00\x00",
			class, image, field, "\x01\x80", responded, "\x07\x00", dataSet, "\x01\x01", status, "\x00\xA7", instance, uid}},
	} {
		if want := strings.Join(test.want, ""); string(test.got) != want {
			t.Errorf("%s: % X, want % X", name, test.got, want)
		}
	}
	whole := echoRQ(7)[12:]
	c, err := decodeCommand(whole)
	messageID, _ := c.number(elMessageID)
	if err != nil || c.text(elAffectedSOPClass) != verificationUID || messageID != 7 || c.hasDataSet() {
		t.Errorf("%v, %v", c, err)
	}
	for n := range whole {
		if got, err := decodeCommand(whole[:n]); err == nil && len(got) >= len(c) {
			t.Errorf("cut to %d bytes: %v", n, got)
		}
	}
}

// What the handler and the session are told.
func TestServerHandsOver(t *testing.T) {
	h := newHandler()
	p := connect(t, start(t, &Server{Handler: h}))
	p.send(associateRQ(t, func(a *pdu.AAssociate) {
		a.CalledAE = "ANYBODY"
		a.UserIdentity = &pdu.UserIdentity{Type: 1, Primary: []byte("alice")}
	}))
	p.send(message(3, commandElement{elAffectedSOPClass, ct}, commandElement{elCommandField, uint16(cStoreRQ)}, commandElement{elMessageID, uint16(9)},
		commandElement{elPriority, uint16(1)}, commandElement{elDataSetType, uint16(0)}, commandElement{elAffectedInstance, "1.2.3"},
		commandElement{elMoveOriginatorAE, "MOVER"}, commandElement{elMoveOriginatorID, uint16(5)}))
	p.send(pData(value(3, dataMore, []byte("some "))), pData(value(3, dataLast, []byte("data"))), pdu.AReleaseRQ)
	p.hangUp()
	if b, err := io.ReadAll(p); err != nil || !bytes.HasSuffix(b, join(storeRSP(9, Success), pdu.AReleaseRP)) {
		t.Errorf("% X, %v", b, err)
	}
	<-h.ends
	a, r := h.asked, h.last
	wantContexts := []PresentationContext{{1, verificationUID, []string{implicit}, 0, implicit}, {3, ct, []string{explicit, implicit}, 0, explicit}}
	if a.ID != 1 || a.CalledAE != "ANYBODY" || a.CallingAE != "CASE" || a.RemoteAddr.String() != p.LocalAddr().String() || a.TLS != nil ||
		!reflect.DeepEqual(a.Contexts, wantContexts) || string(a.UserIdentity.Primary) != "alice" {
		t.Errorf("%+v", a)
	}
	if r.ContextID != 3 || r.MessageID != 9 || r.SOPClassUID != ct || r.SOPInstanceUID != "1.2.3" || r.TransferSyntaxUID != explicit ||
		r.Priority != 1 || r.MoveOriginatorAE != "MOVER" || r.MoveOriginatorID != 5 || h.stored[0] != "some data" {
		t.Errorf("%+v, %q", r, h.stored)
	}
	if n, err := r.Data.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("data that was kept reads %d, %v", n, err)
	}
}

// Whatever a session does with a data set, its status is the answer and the next
// message begins where it should.
func TestSessions(t *testing.T) {
	two := pData(value(3, dataMore, []byte("some ")), value(3, dataMore, bytes.Repeat([]byte("x"), 100000)))
	rest := pData(value(3, dataLast, []byte("data")))
	for name, test := range map[string]struct {
		store func(context.Context, *StoreRequest) Status
		want  Status
	}{
		"reads nothing":              {func(context.Context, *StoreRequest) Status { return OutOfResources }, OutOfResources},
		"reads a byte":               {func(_ context.Context, r *StoreRequest) Status { r.Data.Read(make([]byte, 1)); return 0xA7FF }, 0xA7FF},
		"reads up to the end of one": {func(_ context.Context, r *StoreRequest) Status { io.ReadFull(r.Data, make([]byte, 5)); return Coercion }, Coercion},
		"reads past the end": {func(_ context.Context, r *StoreRequest) Status {
			io.Copy(io.Discard, r.Data)
			if n, err := r.Data.Read(make([]byte, 9)); n != 0 || err != io.EOF {
				return CannotUnderstand
			}
			return Success
		}, Success},
		"panics before it reads": {func(context.Context, *StoreRequest) Status { panic("a session's fault") }, ProcessingFailure},
		"panics after it read": {func(_ context.Context, r *StoreRequest) Status {
			r.Data.Read(make([]byte, 7))
			panic(errors.New("a session's fault"))
		}, ProcessingFailure},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHandler()
			h.store = test.store
			address := start(t, &Server{Handler: h})
			beside := newBystander(t, h, address)
			p := connect(t, address)
			p.send(associateRQ(t, nil), storeRQ(1), two, rest, storeRQ(2), rest, echoRQ(3), pdu.AReleaseRQ)
			p.hangUp()
			first := test.want
			p.expect("the acceptance", associateAC(t, nil))
			p.expect("the first response", storeRSP(1, first))
			second := make([]byte, len(storeRSP(2, first)))
			if _, err := io.ReadFull(p, second); err != nil { // its status is the session's affair
				t.Error(err)
			}
			p.expectEnd("what follows", echoRSP(3), pdu.AReleaseRP)
			if e := <-h.ends; e.How != Released {
				t.Errorf("ended %+v", e)
			}
			beside.finishWithin(4 << 20)
		})
	}
}

// A session that fails when it is told the end takes nobody with it.
func TestEndPanics(t *testing.T) {
	h := newHandler()
	close(h.ends) // End sends on it
	faults := make(chan string, 9)
	address := start(t, &Server{Handler: h, Fault: func(a *Association, panicked any, stack []byte) {
		faults <- fmt.Sprintf("%s: %v, %t", a.CallingAE, panicked, bytes.Contains(stack, []byte(").End(")))
	}})
	beside := newBystander(t, h, address)
	p := connect(t, address)
	p.send(associateRQ(t, nil), pdu.AReleaseRQ)
	p.hangUp()
	p.expectEnd("the answer", associateAC(t, nil), pdu.AReleaseRP)
	if got, want := <-faults, "CASE: send on closed channel, true"; got != want {
		t.Errorf("heard %q, want %q", got, want)
	}
	beside.finish()
}

// A fault of this package costs its connection, and no other; the session hears of
// the end.
func TestFaultCostsOneConnection(t *testing.T) {
	h := newHandler()
	heard := make(chan any, 9)
	s := &Server{Handler: h, Fault: func(_ *Association, panicked any, _ []byte) { heard <- panicked }}
	h.store = func(_ context.Context, r *StoreRequest) Status {
		io.Copy(io.Discard, r.Data)
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			if c.number == 2 {
				c.syntax[1] = nil // as no code may leave it
			}
		}
		return Success
	}
	address := start(t, s)
	beside := newBystander(t, h, address)
	p := connect(t, address)
	p.send(associateRQ(t, nil), storeRQ(1), pData(value(3, dataLast, []byte("data"))))
	p.expect("the response", associateAC(t, nil), storeRSP(1, Success))
	p.send(echoRQ(2))
	p.expectEnd("the fault")
	if e := <-h.ends; e.How != Broken {
		t.Errorf("ended %+v", e)
	}
	<-heard
	beside.finish()
}

// One above Limits.Associations is told to come again; peers that only connect take
// nobody's place, and a place is free again when its association is over.
func TestMaxAssociations(t *testing.T) {
	h := newHandler()
	address := start(t, &Server{Handler: h, Limits: Limits{Associations: 2}})
	for range 3 {
		connect(t, address) // says nothing
	}
	one, two := newBystander(t, h, address), newBystander(t, h, address)
	p := connect(t, address)
	p.send(associateRQ(t, nil))
	p.hangUp()
	p.expectEnd("the third", rejected(2, 3, 2))
	one.finish()
	again := connect(t, address)
	// The end of the first is seen by the peer a moment before the place is free.
	for {
		again.send(associateRQ(t, nil))
		kind, _ := again.pdu()
		if kind == pdu.TypeAAssociateAC {
			break
		}
		if kind != pdu.TypeAAssociateRJ {
			t.Fatalf("%v", kind)
		}
		again.Close()
		again = connect(t, address)
	}
	again.send(pdu.AReleaseRQ)
	again.hangUp()
	again.expectEnd("the release", pdu.AReleaseRP)
	two.finish()
}

// Peers that connect and say nothing are let in only up to a bound.
func TestSilentConnectionsAreBounded(t *testing.T) {
	h := newHandler()
	address := start(t, &Server{Handler: h, Limits: Limits{Associations: 1}})
	beside := newBystander(t, h, address)
	var silent []*peer
	for range 2*1 + 16 - 1 {
		silent = append(silent, connect(t, address))
	}
	// Each more takes the place of the one that has waited longest.
	for _, p := range silent {
		connect(t, address)
		p.expectEnd("for a newer one")
	}
	beside.finish()
}

// An abort that the peer does not read, or after which it does not close, ends
// the connection all the same.
func TestPeerDoesNotClose(t *testing.T) {
	h := newHandler()
	address := start(t, &Server{Handler: h, Timeouts: Timeouts{Closing: 20 * time.Millisecond}})
	for name, sent := range map[string][]byte{
		"rejected": associateRQ(t, func(a *pdu.AAssociate) { a.CallingAE = "STRANGER" }),
		"aborted":  join(associateRQ(t, nil), []byte("\x09\x00\x00\x00\x00\x00")),
		"released": join(associateRQ(t, nil), pdu.AReleaseRQ),
	} {
		p := connect(t, address)
		p.send(sent)
		if _, err := io.ReadAll(p); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The abort reaches a peer that is in the middle of sending very much.
func TestAbortReachesABusyPeer(t *testing.T) {
	address := start(t, &Server{Handler: newHandler()})
	p := connect(t, address)
	p.send(associateRQ(t, nil))
	p.expect("the acceptance", associateAC(t, nil))
	p.send(make([]byte, 6), make([]byte, 32<<20)) // PDUs of type 0
	p.hangUp()
	p.expectEnd("the abort, once for the first and once for all the others", aborted(2, 1), aborted(2, 1))
}

// Without a list a server takes storage, whatever the UIDs look like: also what is
// stored by other prefixes, and no query that has the prefix of storage.
func TestEveryStorageClass(t *testing.T) {
	for class, want := range map[string]bool{
		ct: true, "1.2.840.10008.5.1.4.1.1.999": true, commitmentUID: true, verificationUID: true,
		"1.2.840.10008.5.1.4.34.7": true, "1.2.840.10008.5.1.4.1.1.200.3": true, "1.2.840.10008.5.1.4.1.1.201.1": true,
		"1.2.840.10008.5.1.4.1.1.200.4": false, "1.2.840.10008.5.1.4.1.1.201.6": false, "1.2.840.10008.5.1.4.1.1.": false, "1.2.840.10008.5.1.4.1.2.2.1": false, "": false,
	} {
		if got := (&Server{}).serves(class); got != want {
			t.Errorf("%q: %v", class, got)
		}
	}
}

func TestStatuses(t *testing.T) {
	for status, want := range map[Status]struct {
		text                       string
		warning, stored, permanent bool
	}{
		Success: {"0000H (success)", false, true, false},
		0x0110:  {"0110H (processing failure)", false, false, false},
		0x0111:  {"0111H (duplicate SOP instance)", false, false, true},
		0x0117:  {"0117H (invalid SOP instance)", false, false, true},
		0x0122:  {"0122H (SOP class not supported)", false, false, true},
		0x0124:  {"0124H (not authorised)", false, false, true},
		0xA700:  {"A700H (out of resources)", false, false, false},
		0xA7FF:  {"A7FFH (out of resources)", false, false, false},
		0xA901:  {"A901H (data set does not match SOP class)", false, false, true},
		0xB000:  {"B000H (warning: coercion of data elements)", true, true, false},
		0xB006:  {"B006H (warning: elements discarded)", true, true, false},
		0xB007:  {"B007H (warning: data set does not match SOP class)", true, true, false},
		0xB123:  {"B123H (warning)", true, true, false},
		0x0001:  {"0001H (warning)", true, true, false},
		0x0107:  {"0107H (warning)", true, true, false},
		0x0116:  {"0116H (warning)", true, true, false},
		0xC123:  {"C123H (cannot understand)", false, false, true},
		0xFE00:  {"FE00H (failure)", false, false, true},
	} {
		if status.String() != want.text || status.Warning() != want.warning || status.Stored() != want.stored || status.Permanent() != want.permanent {
			t.Errorf("%v: warning %v, stored %v, permanent %v", status, status.Warning(), status.Stored(), status.Permanent())
		}
	}
}
