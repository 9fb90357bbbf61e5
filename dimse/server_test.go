package dimse

import (
	"bytes"
	"context"
	"errors"
	"io"
	"reflect"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/dimse/pdu"
)

// A command set as the standard writes it (PS3.7 6.3.1, 9.3.5), so that the
// tests may build the others.
func TestCommandGolden(t *testing.T) {
	want := "\x00\x00\x00\x00\x04\x00\x00\x00\x38\x00\x00\x00" + // (0000,0000) group length: 56
		"\x00\x00\x02\x00\x12\x00\x00\x001.2.840.10008.1.1\x00" + // (0000,0002) affected SOP class, padded
		"\x00\x00\x00\x01\x02\x00\x00\x00\x30\x00" + // (0000,0100) command field: C-ECHO-RQ
		"\x00\x00\x10\x01\x02\x00\x00\x00\x07\x00" + // (0000,0110) message ID 7
		"\x00\x00\x00\x08\x02\x00\x00\x00\x01\x01" // (0000,0800) data set type: none
	if got := echoRQ(7)[12:]; string(got) != want {
		t.Errorf("% X", got)
	}
	c, err := decodeCommand([]byte(want))
	id, _ := c.number(elMessageID)
	if err != nil || c.text(elAffectedSOPClass) != verificationUID || id != 7 || c.hasDataSet() {
		t.Errorf("%v, %v", c, err)
	}
	for n := range want {
		if got, err := decodeCommand([]byte(want[:n])); err == nil && len(got) >= len(c) {
			t.Errorf("cut to %d bytes: %v", n, got)
		}
	}
}

// What a peer sends from its connection to its hanging up, and all that it gets.
// Beside each of them another association is in the middle of a C-STORE and
// finds nothing changed.
func TestServerAnswers(t *testing.T) {
	request, accepted := associateRQ(t, nil), associateAC(t, nil)
	release, released := pdu.AReleaseRQ, pdu.AReleaseRP
	changed := func(change func(*pdu.AAssociate)) []byte { return associateRQ(t, change) }
	answer := func(change func(*pdu.AAssociate)) []byte { return associateAC(t, change) }
	called := func(ae string) func(*pdu.AAssociate) { return func(a *pdu.AAssociate) { a.CalledAE = ae } }
	calling := func(ae string) func(*pdu.AAssociate) { return func(a *pdu.AAssociate) { a.CallingAE = ae } }
	const none = How(255) // no session, so no end
	data := pData(value(3, dataLast, []byte("data")))
	// operation is a request with a command field of choice, response the answer to it.
	operation := func(contextID byte, field uint16, class string) []byte {
		return message(contextID, commandElement{elAffectedSOPClass, class}, commandElement{elCommandField, field}, commandElement{elMessageID, uint16(7)}, commandElement{elDataSetType, uint16(noDataSet)})
	}
	respond := func(contextID byte, field uint16, class string, status Status, instance ...string) []byte {
		elements := []commandElement{{elAffectedSOPClass, class}, {elCommandField, field}, {elMessageIDResponded, uint16(7)}, {elDataSetType, uint16(noDataSet)}, {elStatus, uint16(status)}}
		for _, uid := range instance {
			elements = append(elements, commandElement{elAffectedInstance, uid})
		}
		return message(contextID, elements...)
	}
	store := func(class, instance string, dataSetType uint16) []byte {
		elements := []commandElement{{elAffectedSOPClass, class}, {elCommandField, uint16(cStoreRQ)}, {elMessageID, uint16(7)}, {elPriority, uint16(0)}, {elDataSetType, dataSetType}}
		if instance != "" {
			elements = append(elements, commandElement{elAffectedInstance, instance})
		}
		return message(3, elements...)
	}
	// small is a response in PDUs whose variable field has at most max bytes.
	small := func(whole []byte, max int) (b []byte) {
		command := whole[12:]
		for len(command) > max-6 {
			b, command = append(b, pData(value(whole[10], commandMore, command[:max-6]))...), command[max-6:]
		}
		return append(b, pData(value(whole[10], commandLast, command))...)
	}
	bytewise := func(contextID byte, command []byte) (b []byte) {
		for i := range command {
			control := byte(commandMore)
			if i == len(command)-1 {
				control = commandLast
			}
			b = append(b, pData(value(contextID, control, command[i:i+1]))...)
		}
		return b
	}

	for _, test := range []struct {
		name string
		sent []byte
		got  []byte
		end  How
	}{
		// The association (PS3.8 9.3.2 to 9.3.4).
		{"asks and releases", join(request, release), join(accepted, released), Released},
		{"calls another AE", changed(called("SOMEBODY")), rejected(1, 1, 7), none},
		{"calls in the wrong case", changed(called("pulmonode")), rejected(1, 1, 7), none},
		{"is not known to the handler", changed(calling("STRANGER")), rejected(1, 1, 3), none},
		{"the handler says no without a reason", changed(calling("UNLUCKY")), rejected(1, 1, 1), none},
		{"the handler gives no session", changed(calling("NOBODY")), rejected(1, 1, 1), none},
		{"the handler panics", changed(calling("POISON")), rejected(1, 1, 1), none},
		{"unknown application context", changed(func(a *pdu.AAssociate) { a.ApplicationContext = "1.2.3" }), rejected(1, 1, 2), none},
		{"protocol version 2 alone", changed(func(a *pdu.AAssociate) { a.ProtocolVersion = 2 }), rejected(1, 2, 2), none},
		{"protocol versions 1 and 2", join(changed(func(a *pdu.AAssociate) { a.ProtocolVersion = 3 }), release), join(accepted, released), Released},
		{"unknown abstract syntax", join(changed(func(a *pdu.AAssociate) { a.Contexts[1].AbstractSyntax = mr }), release),
			join(answer(func(a *pdu.AAssociate) { a.Contexts[1].Result = 3 }), released), Released},
		{"no transfer syntax in common", join(changed(func(a *pdu.AAssociate) { a.Contexts[1].TransferSyntaxes = []string{"1.2.840.10008.1.2.4.50"} }), release),
			join(answer(func(a *pdu.AAssociate) {
				a.Contexts[1] = pdu.PresentationContext{ID: 3, Result: 4, TransferSyntaxes: []string{"1.2.840.10008.1.2.4.50"}}
			}), released), Released},
		{"no transfer syntax at all", join(changed(func(a *pdu.AAssociate) { a.Contexts[1].TransferSyntaxes = nil }), release),
			join(answer(func(a *pdu.AAssociate) {
				a.Contexts[1] = pdu.PresentationContext{ID: 3, Result: 4, TransferSyntaxes: []string{""}}
			}), released), Released},
		{"nothing in common: accepted, and of no use", join(changed(func(a *pdu.AAssociate) { a.Contexts[0].AbstractSyntax, a.Contexts[1].AbstractSyntax = "1.2.3", mr }), release),
			join(answer(func(a *pdu.AAssociate) { a.Contexts[0].Result, a.Contexts[1].Result = 3, 3 }), released), Released},
		{"one class in several contexts, each its own syntax", join(changed(func(a *pdu.AAssociate) {
			a.Contexts = append(a.Contexts, pdu.PresentationContext{ID: 5, AbstractSyntax: ct, TransferSyntaxes: []string{implicit}},
				pdu.PresentationContext{ID: 255, AbstractSyntax: ct, TransferSyntaxes: []string{"1.2.3", implicit, explicit}})
		}), release), join(answer(func(a *pdu.AAssociate) {
			a.Contexts = append(a.Contexts, pdu.PresentationContext{ID: 5, TransferSyntaxes: []string{implicit}}, pdu.PresentationContext{ID: 255, TransferSyntaxes: []string{implicit}})
		}), released), Released},
		{"asynchronous operations: one at a time", join(changed(func(a *pdu.AAssociate) { a.Asynchronous = &[2]uint16{8, 8} }), release),
			join(answer(func(a *pdu.AAssociate) { a.Asynchronous = &[2]uint16{1, 1} }), released), Released},
		{"user identity with a response wanted", join(changed(func(a *pdu.AAssociate) {
			a.UserIdentity = &pdu.UserIdentity{Type: 1, ResponseRequested: true, Primary: []byte("alice")}
		}), release), join(answer(func(a *pdu.AAssociate) { a.IdentityResponse = []byte{} }), released), Released},
		{"maximum length 0: no limit", join(changed(func(a *pdu.AAssociate) { a.MaxLength = 0 }), echoRQ(1), release), join(accepted, echoRSP(1), released), Released},
		{"maximum length of 4 GiB", join(changed(func(a *pdu.AAssociate) { a.MaxLength = 1<<32 - 1 }), echoRQ(1), release), join(accepted, echoRSP(1), released), Released},
		{"maximum length 32", join(changed(func(a *pdu.AAssociate) { a.MaxLength = 32 }), echoRQ(1), release), join(accepted, small(echoRSP(1), 32), released), Released},
		{"maximum length 33: fragments stay even", join(changed(func(a *pdu.AAssociate) { a.MaxLength = 33 }), echoRQ(1), release), join(accepted, small(echoRSP(1), 32), released), Released},
		{"maximum length 8: two bytes at a time", join(changed(func(a *pdu.AAssociate) { a.MaxLength = 8 }), echoRQ(1), release), join(accepted, small(echoRSP(1), 8), released), Released},
		{"maximum length 7: nothing fits", changed(func(a *pdu.AAssociate) { a.MaxLength = 7 }), aborted(2, 6), none},
		{"no presentation context", changed(func(a *pdu.AAssociate) { a.Contexts = nil }), aborted(2, 6), none},
		{"an even context ID", changed(func(a *pdu.AAssociate) { a.Contexts[0].ID = 2 }), aborted(2, 6), none},
		{"a context ID twice", changed(func(a *pdu.AAssociate) { a.Contexts[0].ID = 3 }), aborted(2, 6), none},
		{"a request of ten bytes", []byte("\x01\x00\x00\x00\x00\x0A\x00\x01\x00\x00PULMON"), aborted(2, 6), none},
		{"a request of 4 GiB", []byte("\x01\x00\xFF\xFF\xFF\xFF"), aborted(2, 6), none},

		// What is no association at all (Sta2 of table 9-10).
		{"an HTTP request", []byte("GET / HTTP/1.1\r\nHost: pulmonode\r\n\r\n"), aborted(2, 1), none},
		{"a TLS hello", []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03"), aborted(2, 1), none},
		{"data before the request", join(echoRQ(1)), aborted(0, 0), none},
		{"an acceptance before the request", accepted, aborted(0, 0), none},
		{"a rejection before the request", rejected(1, 1, 1), aborted(0, 0), none},
		{"a release before the request", release, aborted(0, 0), none},
		{"a release response before the request", released, aborted(0, 0), none},
		{"an abort before the request", aborted(0, 0), nil, none},
		{"hangs up at once", nil, nil, none},
		{"hangs up in a PDU's header", request[:3], nil, none},
		{"hangs up in the request", request[:100], nil, none},

		// What has no place in an association (Sta6 of table 9-10).
		{"a second request", join(request, request), join(accepted, aborted(2, 2)), Aborted},
		{"an acceptance", join(request, accepted), join(accepted, aborted(2, 2)), Aborted},
		{"a rejection", join(request, rejected(1, 1, 1)), join(accepted, aborted(2, 2)), Aborted},
		{"a release response", join(request, released), join(accepted, aborted(2, 2)), Aborted},
		{"an unknown PDU", join(request, []byte("\x09\x00\x00\x00\x00\x00")), join(accepted, aborted(2, 1)), Aborted},
		{"a release of five bytes", join(request, []byte("\x05\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00")), join(accepted, aborted(2, 6)), Aborted},
		{"an abort", join(request, aborted(0, 0)), accepted, Aborted},
		{"an abort of no length", join(request, []byte("\x07\x00\x00\x00\x00\x00")), accepted, Aborted},
		{"hangs up", request, accepted, Broken},
		{"hangs up in a PDU's header", join(request, release[:4]), accepted, Broken},
		{"hangs up in an abort", join(request, aborted(0, 0)[:8]), accepted, Broken},

		// Values and fragments (PS3.8 annex E).
		{"a value for a context that was refused", join(changed(func(a *pdu.AAssociate) { a.Contexts[0].AbstractSyntax = mr }), echoRQ(1)),
			join(answer(func(a *pdu.AAssociate) { a.Contexts[0].Result = 3 }), aborted(2, 6)), Aborted},
		{"a value for a context never proposed", join(request, operation(9, cEchoRQ, verificationUID)), join(accepted, aborted(2, 6)), Aborted},
		{"a value of length 0", join(request, pData([]byte{0, 0, 0, 0, 3, 3})), join(accepted, aborted(2, 6)), Aborted},
		{"a value of length 1", join(request, pData([]byte{0, 0, 0, 1, 3, 3})), join(accepted, aborted(2, 6)), Aborted},
		{"a value beyond its PDU", join(request, pData([]byte{0, 0, 0, 3, 3, 3})), join(accepted, aborted(2, 6)), Aborted},
		{"a PDU too short for a value", join(request, pData([]byte{0, 0, 0, 2, 3})), join(accepted, aborted(2, 6)), Aborted},
		{"a PDU longer than agreed", join(request, []byte("\x04\x00\x00\x04\x00\x01")), join(accepted, aborted(2, 6)), Aborted},
		{"a PDU as long as agreed", join(request, storeRQ(1), pData(value(3, dataLast, make([]byte, DefaultMaxPDU-6))), release), join(accepted, storeRSP(1, Success), released), Released},
		{"a PDU without values", join(request, pData(), echoRQ(1), pData(), release), join(accepted, echoRSP(1), released), Released},
		{"command and data in one PDU", join(request, pData(value(3, commandLast, storeCommand(1)), value(3, dataMore, []byte("da")), value(3, dataLast, []byte("ta"))), release),
			join(accepted, storeRSP(1, Success), released), Released},
		{"two messages in one PDU", join(request, pData(value(1, commandLast, echoRQ(1)[12:]), value(1, commandLast, echoRQ(2)[12:])), release), join(accepted, echoRSP(1), echoRSP(2), released), Released},
		{"a command byte by byte", join(request, bytewise(1, echoRQ(1)[12:]), release), join(accepted, echoRSP(1), released), Released},
		{"an empty last fragment of a command", join(request, pData(value(1, commandMore, echoRQ(1)[12:])), pData(value(1, commandLast, nil)), release), join(accepted, echoRSP(1), released), Released},
		{"empty fragments of a data set", join(request, storeRQ(1), pData(value(3, dataMore, nil)), pData(value(3, dataMore, []byte("data"))), pData(value(3, dataMore, nil), value(3, dataLast, nil)), release),
			join(accepted, storeRSP(1, Success), released), Released},
		{"an empty data set", join(request, storeRQ(1), pData(value(3, dataLast, nil)), release), join(accepted, storeRSP(1, Success), released), Released},
		{"data where a command is due", join(request, data), join(accepted, aborted(2, 5)), Aborted},
		{"data inside a command", join(request, pData(value(3, commandMore, storeCommand(1)[:20])), data), join(accepted, aborted(2, 5)), Aborted},
		{"a command in two contexts", join(request, pData(value(3, commandMore, storeCommand(1)[:20]), value(1, commandLast, storeCommand(1)[20:]))), join(accepted, aborted(2, 5)), Aborted},
		{"a command inside a data set", join(request, storeRQ(1), pData(value(3, dataMore, []byte("da"))), echoRQ(2)), join(accepted, aborted(2, 5)), Aborted},
		{"another context inside a data set", join(request, storeRQ(1), pData(value(1, dataMore, []byte("da")))), join(accepted, aborted(2, 5)), Aborted},
		{"a command of more than 16 KiB", join(request, pData(value(3, commandMore, make([]byte, 10000))), pData(value(3, commandMore, make([]byte, 10000)))), join(accepted, aborted(2, 6)), Aborted},
		{"a command that is none", join(request, pData(value(1, commandLast, []byte("no command set")))), join(accepted, aborted(2, 6)), Aborted},
		{"an empty command", join(request, pData(value(1, commandLast, nil))), join(accepted, aborted(2, 6)), Aborted},
		{"a command without a message ID", join(request, message(1, commandElement{elCommandField, uint16(cEchoRQ)})), join(accepted, aborted(2, 6)), Aborted},
		{"a response", join(request, echoRSP(1)), join(accepted, aborted(2, 6)), Aborted},

		// Services (PS3.7 9.1). The association outlives a refused operation.
		{"C-ECHO", join(request, echoRQ(1), echoRQ(65535), release), join(accepted, echoRSP(1), echoRSP(65535), released), Released},
		{"C-STORE", join(request, storeRQ(1), data, storeRQ(2), data, release), join(accepted, storeRSP(1, Success), storeRSP(2, Success), released), Released},
		{"C-FIND in a storage context", join(request, operation(3, 0x0020, ct), echoRQ(1), release), join(accepted, respond(3, 0x8020, ct, UnrecognizedOperation), echoRSP(1), released), Released},
		{"C-FIND with its data set", join(request, message(3, commandElement{elAffectedSOPClass, ct}, commandElement{elCommandField, uint16(0x0020)}, commandElement{elMessageID, uint16(7)}, commandElement{elDataSetType, uint16(1)}), data, echoRQ(1), release),
			join(accepted, respond(3, 0x8020, ct, UnrecognizedOperation), echoRSP(1), released), Released},
		{"an operation nobody knows", join(request, operation(3, 0x0666, ct), echoRQ(1), release), join(accepted, respond(3, 0x8666, ct, UnrecognizedOperation), echoRSP(1), released), Released},
		{"C-ECHO in a storage context", join(request, operation(3, cEchoRQ, ct), echoRQ(1), release), join(accepted, respond(3, cEchoRSP, ct, UnrecognizedOperation), echoRSP(1), released), Released},
		{"C-STORE in the context of Verification", join(request, operation(1, cStoreRQ, ct), echoRQ(1), release), join(accepted, respond(1, cStoreRSP, ct, UnrecognizedOperation), echoRSP(1), released), Released},
		{"C-STORE of a class not of its context", join(request, store(mr, "1.2.3", 1), data, echoRQ(1), release), join(accepted, respond(3, cStoreRSP, mr, SOPClassNotSupported, "1.2.3"), echoRSP(1), released), Released},
		{"C-STORE without a class", join(request, store("", "1.2.3", 1), data, echoRQ(1), release), join(accepted, respond(3, cStoreRSP, "", MistypedArgument, "1.2.3"), echoRSP(1), released), Released},
		{"C-STORE without an instance", join(request, store(ct, "", 1), data, echoRQ(1), release), join(accepted, respond(3, cStoreRSP, ct, MistypedArgument), echoRSP(1), released), Released},
		{"C-STORE that says it has no data set", join(request, store(ct, "1.2.3", noDataSet), echoRQ(1), release), join(accepted, respond(3, cStoreRSP, ct, MistypedArgument, "1.2.3"), echoRSP(1), released), Released},
		{"C-CANCEL, which has no answer", join(request, message(3, commandElement{elCommandField, uint16(cCancelRQ)}, commandElement{elMessageIDResponded, uint16(7)}, commandElement{elDataSetType, uint16(noDataSet)}), echoRQ(1), release),
			join(accepted, echoRSP(1), released), Released},

		// Ends in the middle of a C-STORE.
		{"releases in a data set", join(request, storeRQ(1), pData(value(3, dataMore, []byte("da"))), release), join(accepted, released), Released},
		{"releases in a command", join(request, pData(value(3, commandMore, storeCommand(1)[:20])), release), join(accepted, released), Released},
		{"aborts in a data set", join(request, storeRQ(1), pData(value(3, dataMore, []byte("da"))), aborted(0, 0)), accepted, Aborted},
		{"aborts in a data set and sends on", join(request, storeRQ(1), pData(value(3, dataMore, []byte("da"))), aborted(0, 0), data, data), accepted, Aborted},
		{"releases in a data set and sends on", join(request, storeRQ(1), pData(value(3, dataMore, []byte("da"))), release, data, data), join(accepted, released), Released},
		{"an unknown PDU in a data set and sends on", join(request, storeRQ(1), pData(value(3, dataMore, []byte("da"))), []byte("\x09\x00\x00\x00\x00\x00"), data), join(accepted, aborted(2, 1)), Aborted},
		{"hangs up in a data set", join(request, storeRQ(1), pData(value(3, dataMore, []byte("da")))), accepted, Broken},
		{"hangs up in a fragment", join(request, storeRQ(1), pData(value(3, dataLast, []byte("data")))[:14]), accepted, Broken},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHandler()
			address := start(t, &Server{AETitle: "PULMONODE", Handler: h, AbstractSyntaxes: []string{ct}, Timeouts: Timeouts{Closing: patient}})
			beside := newBystander(t, address)
			p := connect(t, address)
			p.send(test.sent)
			p.hangUp()
			p.expectEnd("the answer", test.got)
			if test.end != none {
				select {
				case e := <-h.ends:
					if e.How != test.end || (e.Err == nil) != (e.How == Released) {
						t.Errorf("ended %+v, want %v", e, test.end)
					}
				case <-time.After(patient):
					t.Error("the session never ended")
				}
			}
			beside.finish()
			if len(h.ends) > 0 {
				t.Errorf("the session ended again: %+v", <-h.ends)
			}
		})
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
			beside := newBystander(t, address)
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
			beside.finish()
		})
	}
}

// A session that fails when it is told the end takes nobody with it.
func TestEndPanics(t *testing.T) {
	h := newHandler()
	close(h.ends) // End sends on it
	address := start(t, &Server{Handler: h})
	beside := newBystander(t, address)
	p := connect(t, address)
	p.send(associateRQ(t, nil), pdu.AReleaseRQ)
	p.hangUp()
	p.expectEnd("the answer", associateAC(t, nil), pdu.AReleaseRP)
	beside.finish()
}

// One above MaxAssociations is told to come again; peers that only connect take
// nobody's place, and a place is free again when its association is over.
func TestMaxAssociations(t *testing.T) {
	h := newHandler()
	address := start(t, &Server{Handler: h, MaxAssociations: 2})
	for range 3 {
		connect(t, address) // says nothing
	}
	one, two := newBystander(t, address), newBystander(t, address)
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
	address := start(t, &Server{Handler: newHandler(), MaxAssociations: 1})
	beside := newBystander(t, address)
	for range 2*1 + 16 - 1 {
		connect(t, address)
	}
	p := connect(t, address)
	p.expectEnd("one too many")
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
	p.expectEnd("the abort", aborted(2, 1))
}

func TestStatuses(t *testing.T) {
	for status, want := range map[Status]struct {
		text                       string
		warning, stored, permanent bool
	}{
		Success: {"0000H (success)", false, true, false},
		0x0110:  {"0110H (processing failure)", false, false, false},
		0x0111:  {"0111H (duplicate SOP instance)", false, false, true},
		0x0122:  {"0122H (SOP class not supported)", false, false, true},
		0x0124:  {"0124H (not authorised)", false, false, true},
		0xA700:  {"A700H (out of resources)", false, false, false},
		0xA7FF:  {"A7FFH (out of resources)", false, false, false},
		0xA901:  {"A901H (data set does not match SOP class)", false, false, true},
		0xB000:  {"B000H (warning: coercion of data elements)", true, true, false},
		0xB006:  {"B006H (warning: elements discarded)", true, true, false},
		0xB007:  {"B007H (warning: data set does not match SOP class)", true, true, false},
		0xB123:  {"B123H (warning)", true, true, false},
		0xC123:  {"C123H (cannot understand)", false, false, true},
		0xFE00:  {"FE00H (failure)", false, false, true},
	} {
		if status.String() != want.text || status.Warning() != want.warning || status.Stored() != want.stored || status.Permanent() != want.permanent {
			t.Errorf("%v: warning %v, stored %v, permanent %v", status, status.Warning(), status.Stored(), status.Permanent())
		}
	}
}
