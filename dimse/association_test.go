package dimse

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/dimse/pdu"
)

// Requests for an association and their answers (PS3.8 9.3.2 to 9.3.4).
func TestAssociations(t *testing.T) {
	request, accepted := associateRQ(t, nil), associateAC(t, nil)
	release, released := pdu.AReleaseRQ, pdu.AReleaseRP
	changed := func(change func(*pdu.AAssociate)) []byte { return associateRQ(t, change) }
	answer := func(change func(*pdu.AAssociate)) []byte { return associateAC(t, change) }
	called := func(ae string) func(*pdu.AAssociate) { return func(a *pdu.AAssociate) { a.CalledAE = ae } }
	calling := func(ae string) func(*pdu.AAssociate) { return func(a *pdu.AAssociate) { a.CallingAE = ae } }
	// titled is the request with other bytes in its fields for titles.
	titled := func(called, calling string) []byte {
		b := changed(nil)
		copy(b[10:26], called)
		copy(b[26:42], calling)
		return b
	}
	// echoing is the acceptance with these bytes of the request (PS3.8 table 9-17).
	reserved := bytes.Repeat([]byte{0xA5}, 32)
	echoing := func(called, calling string, reserved []byte) []byte {
		b := answer(nil)
		copy(b[10:26], called)
		copy(b[26:42], calling)
		copy(b[42:74], reserved)
		return b
	}
	// contexts proposes or answers n contexts, all for Verification.
	contexts := func(n int) func(*pdu.AAssociate) {
		return func(a *pdu.AAssociate) {
			a.Contexts = nil
			for i := range n {
				c := pdu.PresentationContext{ID: byte(2*i + 1), AbstractSyntax: verificationUID, TransferSyntaxes: []string{implicit}}
				if a.Accept {
					c.AbstractSyntax = ""
				}
				a.Contexts = append(a.Contexts, c)
			}
		}
	}
	// small is a response in PDUs whose variable field has at most max bytes.
	small := func(whole []byte, max int) (b []byte) {
		command := whole[12:]
		for len(command) > max-6 {
			b, command = append(b, pData(value(whole[10], commandMore, command[:max-6]))...), command[max-6:]
		}
		return append(b, pData(value(whole[10], commandLast, command))...)
	}

	play(t, []situation{
		{"asks and releases", join(request, release), join(accepted, released), Released},
		{"calls another AE", changed(called("SOMEBODY")), rejected(1, 1, 7), noSession},
		{"calls in the wrong case", changed(called("pulmonode")), rejected(1, 1, 7), noSession},
		{"is not known to the handler", changed(calling("STRANGER")), rejected(1, 1, 3), noSession},
		{"the handler says no without a reason", changed(calling("UNLUCKY")), rejected(1, 1, 1), noSession},
		{"the handler gives no session", changed(calling("NOBODY")), rejected(1, 1, 1), noSession},
		{"the handler panics", changed(calling("POISON")), rejected(1, 1, 1), noSession},
		{"unknown application context", changed(func(a *pdu.AAssociate) { a.ApplicationContext = "1.2.3" }), rejected(1, 1, 2), noSession},
		{"protocol version 2 alone", changed(func(a *pdu.AAssociate) { a.ProtocolVersion = 2 }), rejected(1, 2, 2), noSession},
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
		{"user identity that the handler did not look at: no response, though wanted", join(changed(func(a *pdu.AAssociate) {
			a.UserIdentity = &pdu.UserIdentity{Type: 1, ResponseRequested: true, Primary: []byte("alice")}
		}), release), join(accepted, released), Released},
		{"maximum length 0: no limit", join(changed(func(a *pdu.AAssociate) { a.MaxLength = 0 }), echoRQ(1), release), join(accepted, echoRSP(1), released), Released},
		{"maximum length of 4 GiB", join(changed(func(a *pdu.AAssociate) { a.MaxLength = 1<<32 - 1 }), echoRQ(1), release), join(accepted, echoRSP(1), released), Released},
		{"maximum length 32", join(changed(func(a *pdu.AAssociate) { a.MaxLength = 32 }), echoRQ(1), release), join(accepted, small(echoRSP(1), 32), released), Released},
		{"maximum length 33: fragments stay even", join(changed(func(a *pdu.AAssociate) { a.MaxLength = 33 }), echoRQ(1), release), join(accepted, small(echoRSP(1), 32), released), Released},
		{"maximum length 8: two bytes at a time", join(changed(func(a *pdu.AAssociate) { a.MaxLength = 8 }), echoRQ(1), release), join(accepted, small(echoRSP(1), 8), released), Released},
		{"maximum length 7: nothing fits", changed(func(a *pdu.AAssociate) { a.MaxLength = 7 }), aborted(2, 6), noSession},
		{"no presentation context", changed(func(a *pdu.AAssociate) { a.Contexts = nil }), aborted(2, 6), noSession},
		{"an even context ID", changed(func(a *pdu.AAssociate) { a.Contexts[0].ID = 2 }), aborted(2, 6), noSession},
		{"a context ID twice", changed(func(a *pdu.AAssociate) { a.Contexts[0].ID = 3 }), aborted(2, 6), noSession},
		{"a request of ten bytes", []byte("\x01\x00\x00\x00\x00\x0A\x00\x01\x00\x00PULMON"), aborted(2, 6), noSession},
		{"a request of 4 GiB", []byte("\x01\x00\xFF\xFF\xFF\xFF"), aborted(2, 6), noSession},

		// AE titles: the spaces around them do not count (PS3.8 9.3.2), the case does;
		// without a character, or with one that no title has, it is none (PS3.5 6.2).
		{"titles with spaces before them", join(titled("  PULMONODE     ", "            CASE"), release), join(echoing("  PULMONODE     ", "            CASE", nil), released), Released},
		{"titles padded with NULs", join(titled("PULMONODE\x00\x00\x00\x00\x00\x00\x00", "CASE\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), release), join(echoing("PULMONODE\x00\x00\x00\x00\x00\x00\x00", "CASE\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", nil), released), Released},
		{"reserved bytes that are not zero", join(request[:42], reserved, request[74:], release), join(echoing("PULMONODE       ", "CASE            ", reserved), released), Released},
		{"a called title of nothing but spaces", titled("                ", "CASE"), rejected(1, 1, 7), noSession},
		{"a calling title of nothing but spaces", titled("PULMONODE", "                "), rejected(1, 1, 3), noSession},
		{"a called title with a backslash", titled(`PULMO\NODE     `, "CASE"), rejected(1, 1, 7), noSession},
		{"a calling title with a backslash", titled("PULMONODE", `CA\SE`), rejected(1, 1, 3), noSession},
		{"a calling title with a line break", titled("PULMONODE", "CASE\nCT1"), rejected(1, 1, 3), noSession},

		// How many contexts, and for what.
		{"one context", join(changed(contexts(1)), echoRQ(1), release), join(answer(contexts(1)), echoRSP(1), released), Released},
		{"128 contexts, as many as there are IDs", join(changed(contexts(128)), echoRQ(1), release), join(answer(contexts(128)), echoRSP(1), released), Released},
		{"129 contexts", changed(contexts(129)), aborted(2, 6), noSession},
		{"a private abstract syntax", join(changed(func(a *pdu.AAssociate) { a.Contexts[1].AbstractSyntax = "1.3.12.2.1107.5.9.1" }), release),
			join(answer(func(a *pdu.AAssociate) { a.Contexts[1].Result = 3 }), released), Released},
		{"a private transfer syntax alone", join(changed(func(a *pdu.AAssociate) { a.Contexts[1].TransferSyntaxes = []string{"1.2.840.113619.5.2"} }), release),
			join(answer(func(a *pdu.AAssociate) {
				a.Contexts[1] = pdu.PresentationContext{ID: 3, Result: 4, TransferSyntaxes: []string{"1.2.840.113619.5.2"}}
			}), released), Released},
		{"a private transfer syntax before a known one", join(changed(func(a *pdu.AAssociate) { a.Contexts[1].TransferSyntaxes = []string{"1.2.840.113619.5.2", explicit} }), release),
			join(accepted, released), Released},
		{"maximum length 4096", join(changed(func(a *pdu.AAssociate) { a.MaxLength = 4096 }), echoRQ(1), release), join(accepted, echoRSP(1), released), Released},
		{"maximum length 1", changed(func(a *pdu.AAssociate) { a.MaxLength = 1 }), aborted(2, 6), noSession},
	})
}

// The items of a request: which may be absent, which order they may have, and
// lengths that are none (PS3.8 9.3.2, annex D).
func TestRequestItems(t *testing.T) {
	accepted := join(associateAC(t, nil), pdu.AReleaseRP)
	item := func(kind byte, parts ...[]byte) []byte {
		v := join(parts...)
		return join([]byte{kind, 0}, binary.BigEndian.AppendUint16(nil, uint16(len(v))), v)
	}
	uid := func(kind byte, uid string) []byte { return item(kind, []byte(uid)) }
	ask := func(items ...[]byte) []byte {
		body := join(append([][]byte{associateRQ(t, nil)[6:74]}, items...)...)
		return join([]byte{1, 0}, binary.BigEndian.AppendUint32(nil, uint32(len(body))), body)
	}
	askAndRelease := func(items ...[]byte) []byte { return join(ask(items...), pdu.AReleaseRQ) }
	name := uid(0x10, pdu.ApplicationContext)
	echo := item(0x20, []byte{1, 0, 0, 0}, uid(0x30, verificationUID), uid(0x40, implicit))
	images := item(0x20, []byte{3, 0, 0, 0}, uid(0x30, ct), uid(0x40, explicit), uid(0x40, implicit))
	length, class := item(0x51, []byte{0, 0, 0x40, 0}), uid(0x52, "1.2.3.4")
	user := item(0x50, length, class)
	cut := func(b []byte, n int) []byte { return b[:len(b)-n] }
	// padded is n bytes of items that are not known.
	padded := func(n int) (b []byte) {
		for n > 60000 {
			b, n = append(b, item(0x99, make([]byte, 29996))...), n-30000
		}
		return append(b, item(0x99, make([]byte, n-4))...)
	}

	play(t, []situation{
		{"as they should be", askAndRelease(name, echo, images, user), accepted, Released},
		{"in the opposite order", askAndRelease(item(0x50, class, length), images, echo, name), join(associateAC(t, func(a *pdu.AAssociate) {
			a.Contexts[0], a.Contexts[1] = a.Contexts[1], a.Contexts[0]
		}), pdu.AReleaseRP), Released},
		{"the transfer syntaxes before the abstract syntax", askAndRelease(name, echo, item(0x20, []byte{3, 0, 0, 0}, uid(0x40, explicit), uid(0x40, implicit), uid(0x30, ct)), user), accepted, Released},
		{"no implementation class UID", askAndRelease(name, echo, images, item(0x50, length)), accepted, Released},
		{"no maximum length", askAndRelease(name, echo, images, item(0x50, class)), accepted, Released},
		{"no user information", askAndRelease(name, echo, images), accepted, Released},
		{"no application context name", ask(echo, images, user), rejected(1, 1, 2), noSession},
		{"no contexts", ask(name, user), aborted(2, 6), noSession},
		{"no items", ask(), aborted(2, 6), noSession},
		{"a context without an abstract syntax", askAndRelease(name, echo, item(0x20, []byte{3, 0, 0, 0}, uid(0x40, explicit)), user),
			join(associateAC(t, func(a *pdu.AAssociate) { a.Contexts[1].Result = 3 }), pdu.AReleaseRP), Released},
		{"unknown items of every length", askAndRelease(uid(0xF0, ""), name, uid(0x99, strings.Repeat("?", 65535)), echo, images, uid(0x22, "?"), user), accepted, Released},
		{"UIDs padded with a NUL", askAndRelease(uid(0x10, pdu.ApplicationContext+"\x00"), echo, item(0x20, []byte{3, 0, 0, 0}, uid(0x30, ct+"\x00"), uid(0x40, explicit+"\x00")), user), accepted, Released},
		{"an abstract syntax of 65000 characters", askAndRelease(name, echo, item(0x20, []byte{3, 0, 0, 0}, uid(0x30, strings.Repeat("1", 65000)), uid(0x40, explicit)), user),
			join(associateAC(t, func(a *pdu.AAssociate) { a.Contexts[1].Result = 3 }), pdu.AReleaseRP), Released},
		{"one byte of an item's header", ask(name, echo, images, user, []byte{0x10}), aborted(2, 6), noSession},
		{"an item that ends behind the request", ask(name, echo, images, cut(user, 1)), aborted(2, 6), noSession},
		{"an item that ends behind its context", ask(name, echo, item(0x20, []byte{3, 0, 0, 0}, uid(0x30, ct), cut(uid(0x40, explicit), 1)), user), aborted(2, 6), noSession},
		{"an item that ends behind the user information", ask(name, echo, images, item(0x50, length, cut(class, 1))), aborted(2, 6), noSession},
		{"a context of three bytes", ask(name, echo, item(0x20, []byte{3, 0, 0}), user), aborted(2, 6), noSession},
		{"a maximum length of two bytes", ask(name, echo, images, item(0x50, uid(0x51, "\x40\x00"), class)), aborted(2, 6), noSession},
		{"an asynchronous operations window of five bytes", ask(name, echo, images, item(0x50, length, class, uid(0x53, "\x00\x01\x00\x01\x00"))), aborted(2, 6), noSession},
		{"a role whose UID ends behind it", ask(name, echo, images, item(0x50, length, class, uid(0x54, "\x00\xFF1.2.3\x01\x00"))), aborted(2, 6), noSession},
		{"a user name that ends behind its item", ask(name, echo, images, item(0x50, length, class, uid(0x58, "\x01\x00\x00\xFFalice\x00\x00"))), aborted(2, 6), noSession},
		{"512 items of user information", askAndRelease(name, echo, images, item(0x50, length, class, bytes.Repeat(uid(0x77, ""), 510))), accepted, Released},
		{"513 items of user information", ask(name, echo, images, item(0x50, length, class, bytes.Repeat(uid(0x77, ""), 511))), aborted(2, 6), noSession},
		{"a request of 128 KiB", join([]byte{1, 0, 0, 2, 0, 0}, associateRQ(t, nil)[6:74], name, echo, images, user, padded(128<<10-68-len(name)-len(echo)-len(images)-len(user)), pdu.AReleaseRQ), accepted, Released},
		{"a request of 128 KiB and a byte", join([]byte{1, 0, 0, 2, 0, 1}, make([]byte, 128<<10+1)), aborted(2, 6), noSession},
		{"a request of 1 MiB", join([]byte{1, 0, 0, 0x10, 0, 0}, make([]byte, 1<<20)), aborted(2, 6), noSession},
	})
}

// The largest request that means something, 128 contexts in every transfer syntax
// there is, is answered like any other.
func TestLargestRequest(t *testing.T) {
	h := newHandler()
	address := start(t, &Server{AETitle: "PULMONODE", Handler: h, AbstractSyntaxes: []string{ct}})
	beside := newBystander(t, h, address)
	p := connect(t, address)
	p.send(associateRQ(t, func(a *pdu.AAssociate) {
		a.Contexts = nil
		for i := range 128 {
			c := pdu.PresentationContext{ID: byte(2*i + 1), AbstractSyntax: ct}
			for range 20 {
				c.TransferSyntaxes = append(c.TransferSyntaxes, dataset.HTJ2KLossless)
			}
			c.TransferSyntaxes = append(c.TransferSyntaxes, explicit)
			a.Contexts = append(a.Contexts, c)
		}
	}), pdu.AReleaseRQ)
	p.hangUp()
	p.expectEnd("the answer", associateAC(t, func(a *pdu.AAssociate) {
		a.Contexts = nil
		for i := range 128 {
			a.Contexts = append(a.Contexts, pdu.PresentationContext{ID: byte(2*i + 1), TransferSyntaxes: []string{explicit}})
		}
	}), pdu.AReleaseRP)
	h.ended(t, Released)
	beside.finish()
}

// What is no association at all (Sta2 of table 9-10).
func TestBeforeTheRequest(t *testing.T) {
	request, accepted := associateRQ(t, nil), associateAC(t, nil)
	release, released := pdu.AReleaseRQ, pdu.AReleaseRP
	play(t, []situation{
		{"an HTTP request", []byte("GET / HTTP/1.1\r\nHost: pulmonode\r\n\r\n"), aborted(2, 1), noSession},
		{"a TLS hello", []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03"), aborted(2, 1), noSession},
		{"data before the request", join(echoRQ(1)), aborted(0, 0), noSession},
		{"an acceptance before the request", accepted, aborted(0, 0), noSession},
		{"a rejection before the request", rejected(1, 1, 1), aborted(0, 0), noSession},
		{"a release before the request", release, aborted(0, 0), noSession},
		{"a release response before the request", released, aborted(0, 0), noSession},
		{"an abort before the request", aborted(0, 0), nil, noSession},
		{"hangs up at once", nil, nil, noSession},
		{"hangs up in a PDU's header", request[:3], nil, noSession},
		{"hangs up in the request", request[:100], nil, noSession},

		{"a TLS hello, whole", join([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03"), make([]byte, 506)), aborted(2, 1), noSession},
		{"zeros without end", make([]byte, 1<<20), join(aborted(2, 1), aborted(2, 1)), noSession},
		{"a data set before the request", join(storeRQ(1), pData(value(3, dataLast, []byte("data")))), aborted(0, 0), noSession},
		{"an unknown PDU", []byte("\x09\x00\x00\x00\x00\x00"), aborted(2, 1), noSession},
		{"hangs up in an abort", aborted(0, 0)[:7], nil, noSession},
	})
}
