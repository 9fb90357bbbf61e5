package dimse

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/pulmonode/pulmonode/dimse/pdu"
)

// proposal is what associateRQ proposes, so that associateAC answers it.
var proposal = []Context{{verificationUID, []string{implicit}}, {ct, []string{explicit, implicit}}}

// scripted runs the peer's side of one association in its own goroutine, and
// waits for it at the test's end.
func scripted(t *testing.T, script func(*peer)) Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patient))
		script(&peer{t, c})
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return Client{CallingAE: "CASE", CalledAE: "PULMONODE", Address: l.Addr().String(), Timeouts: Timeouts{Closing: patient}}
}

// accept reads the request and accepts everything.
func (p *peer) accept() {
	p.pdu()
	p.send(associateAC(p.t, nil))
}

// storeMessage reads a message's command, whole in one PDU, and what follows up to
// the last fragment of its data set.
func (p *peer) storeMessage() (data []byte) {
	for {
		kind, b := p.pdu()
		if kind != pdu.TypePDataTF {
			p.t.Errorf("%v where data was due", kind)
			return nil
		}
		for len(b) > 0 {
			v, err := pdu.DecodePDV([6]byte(b), uint32(len(b)))
			if err != nil {
				p.t.Error(err)
				return nil
			}
			fragment := b[6 : 6+v.Length]
			if b = b[6+v.Length:]; !v.Command {
				if data = append(data, fragment...); v.Last {
					return data
				}
			}
		}
	}
}

func object(data io.Reader) StoreObject { return StoreObject{ct, "1.2.3", explicit, data} }

// The request as it goes over the wire.
func TestDialAsks(t *testing.T) {
	client := scripted(t, func(p *peer) {
		p.expect("the request", associateRQ(t, func(a *pdu.AAssociate) {
			a.MaxLength, a.ImplementationUID, a.ImplementationVersion = 65536, ImplementationClassUID, ImplementationVersion
		}))
		p.send(associateAC(t, nil))
		p.expect("the release", pdu.AReleaseRQ)
		p.send(pdu.AReleaseRP)
		p.expectEnd("what follows")
	})
	client.Limits.PDU = 65536
	conn, err := client.Dial(t.Context(), proposal)
	if err != nil {
		t.Fatal(err)
	}
	if got := conn.Accepted(ct); len(got) != 1 || got[0] != explicit {
		t.Errorf("accepted %v", got)
	}
	if err := conn.Release(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := conn.Echo(t.Context()); err == nil || !strings.Contains(err.Error(), "released") {
		t.Errorf("an echo after the release: %v", err)
	}
}

// What can't be asked is refused before anything is sent.
func TestDialRefusesItself(t *testing.T) {
	many := make([]Context, 129)
	for name, test := range map[string]struct {
		client   Client
		contexts []Context
		want     string
	}{
		"no context":             {Client{}, nil, "1 to 128 presentation contexts"},
		"129 contexts":           {Client{}, many, "1 to 128 presentation contexts"},
		"a title of 17 letters":  {Client{CalledAE: "SEVENTEENLETTERS_"}, proposal, `"SEVENTEENLETTERS_" is longer than 16`},
		"our own of 17 letters":  {Client{CallingAE: "SEVENTEENLETTERS_"}, proposal, `"SEVENTEENLETTERS_" is longer than 16`},
		"a class of 65536 bytes": {Client{}, []Context{{strings.Repeat("1", 65536), []string{implicit}}}, "more than its length can say"},
	} {
		test.client.Address = "127.0.0.1:1" // never reached
		if _, err := test.client.Dial(t.Context(), test.contexts); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every rejection of PS3.8 9.3.4 is an error of its own: by its fields for a
// program, by its words for a person.
func TestRejections(t *testing.T) {
	said := map[string]Reject{}
	for _, test := range []struct {
		Reject
		transient bool
		text      string
	}{
		{Reject{1, 1, 1}, false, "result 1, source 1, reason 1"},
		{Reject{1, 1, 2}, false, "result 1, source 1, reason 2"},
		{Reject{1, 1, 3}, false, "it does not know the AE title CASE: add it"},
		{Reject{1, 1, 7}, false, "it is not called PULMONODE: correct the AE title"},
		{Reject{1, 2, 1}, false, "result 1, source 2, reason 1"},
		{Reject{1, 2, 2}, false, "result 1, source 2, reason 2"},
		{Reject{2, 1, 1}, true, "result 2, source 1, reason 1"},
		{Reject{2, 2, 1}, true, "result 2, source 2, reason 1"},
		{Reject{2, 3, 1}, true, "congested"},
		{Reject{2, 3, 2}, true, "too many associations"},
		{Reject{1, 1, 9}, false, "result 1, source 1, reason 9"}, // a reserved one
		{Reject{0, 0, 0}, false, "result 0, source 0, reason 0"},
		{Reject{255, 255, 255}, false, "result 255, source 255, reason 255"},
	} {
		client := scripted(t, func(p *peer) {
			p.pdu()
			p.send(rejected(test.Result, test.Source, test.Reason))
			p.expectEnd("what follows a rejection")
		})
		_, err := client.Dial(t.Context(), proposal)
		var reject *RejectError
		if !errors.As(err, &reject) || reject.Reject != test.Reject || reject.Transient() != test.transient || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%v: %v", test.Reject, err)
			continue
		}
		if other, twice := said[err.Error()]; twice {
			t.Errorf("%v and %v both say: %v", test.Reject, other, err)
		}
		said[err.Error()] = test.Reject
	}
}

// What a peer says instead of a fitting answer, what it then gets, and the error.
func TestClientErrors(t *testing.T) {
	echo := func(ctx context.Context, k *Conn) error { _, err := k.Echo(ctx); return err }
	store := func(ctx context.Context, k *Conn) error {
		_, err := k.Store(ctx, object(strings.NewReader("data")))
		return err
	}
	endless := func(ctx context.Context, k *Conn) error {
		_, err := k.Store(ctx, object(zeros{}))
		return err
	}
	release := func(ctx context.Context, k *Conn) error { return k.Release(ctx) }
	twoAnswers := func(p *peer) { p.accept(); p.pdu() }
	for _, test := range []struct {
		name   string
		script func(*peer)
		do     func(context.Context, *Conn) error // nil: Dial fails
		want   string
		gets   []byte // the peer, at the end
	}{
		{"aborts the request", func(p *peer) { p.pdu(); p.send(aborted(2, 1)) }, nil, "the peer aborted the association (source 2, reason 1)", nil},
		{"closes upon the request", func(p *peer) { p.pdu(); p.hangUp() }, nil, "closed the connection", nil},
		{"closes inside its answer", func(p *peer) { p.pdu(); p.send(associateAC(p.t, nil)[:50]); p.hangUp() }, nil, "closed the connection", nil},
		{"answers with data", func(p *peer) { p.pdu(); p.send(echoRSP(1)) }, nil, "P-DATA-TF in Sta5", aborted(2, 2)},
		{"answers with a request", func(p *peer) { p.pdu(); p.send(associateRQ(p.t, nil)) }, nil, "A-ASSOCIATE-RQ in Sta5", aborted(2, 2)},
		{"answers with a release", func(p *peer) { p.pdu(); p.send(pdu.AReleaseRQ) }, nil, "A-RELEASE-RQ in Sta5", aborted(2, 2)},
		{"answers in HTTP", func(p *peer) { p.pdu(); p.send([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }, nil, "invalid PDU: PDU of type 48", aborted(2, 1)},
		{"answers with ten bytes", func(p *peer) { p.pdu(); p.send([]byte("\x02\x00\x00\x00\x00\x0A\x00\x01\x00\x00PULMON")) }, nil, "too short", aborted(2, 6)},
		{"rejects in three bytes", func(p *peer) { p.pdu(); p.send([]byte("\x03\x00\x00\x00\x00\x03\x00\x01\x01")) }, nil, "A-ASSOCIATE-RJ of 3 bytes", aborted(2, 6)},
		{"takes PDUs of 7 bytes", func(p *peer) { p.pdu(); p.send(associateAC(p.t, func(a *pdu.AAssociate) { a.MaxLength = 7 })) }, nil, "into which nothing fits", aborted(0, 0)},

		{"answers with 4 GiB", func(p *peer) { p.pdu(); p.send([]byte("\x02\x00\xFF\xFF\xFF\xFF")) }, nil, "A-ASSOCIATE-AC of 4294967295 bytes", aborted(2, 6)},
		{"rejects with 4 GiB", func(p *peer) { p.pdu(); p.send([]byte("\x03\x00\xFF\xFF\xFF\xFF")) }, nil, "A-ASSOCIATE-RJ of 4294967295 bytes", aborted(2, 6)},
		{"resets upon the request", func(p *peer) { p.pdu(); p.reset() }, nil, "closed the connection", nil},
		{"resets inside its answer", func(p *peer) { p.pdu(); p.send(associateAC(p.t, nil)[:50]); p.reset() }, nil, "closed the connection", nil},
		{"aborts without a reason", func(p *peer) { p.pdu(); p.send([]byte("\x07\x00\x00\x00\x00\x02\x00\x00")) }, nil, "the peer aborted the association (source 0, reason 0)", nil},

		{"closes instead of a response", func(p *peer) { twoAnswers(p); p.hangUp() }, echo, "closed the connection without releasing", nil},
		{"aborts instead of a response", func(p *peer) { twoAnswers(p); p.send(aborted(0, 0)) }, echo, "the peer aborted the association (source 0, reason 0)", nil},
		{"releases instead of a response", func(p *peer) { twoAnswers(p); p.send(pdu.AReleaseRQ) }, echo, "the peer released the association", pdu.AReleaseRP},
		{"answers another message", func(p *peer) { twoAnswers(p); p.send(echoRSP(2)) }, echo, "answered message 1 with command 8030 for message 2", aborted(0, 0)},
		{"answers another operation", func(p *peer) { twoAnswers(p); p.send(storeRSP(1, Success)) }, echo, "answered message 1 with command 8001 for message 1", aborted(0, 0)},
		{"answers without a status", func(p *peer) {
			twoAnswers(p)
			p.send(message(1, commandElement{elCommandField, uint16(cEchoRSP)}, commandElement{elMessageIDResponded, uint16(1)}))
		}, echo, "answered message 1", aborted(0, 0)},
		{"asks instead of a response", func(p *peer) { twoAnswers(p); p.send(echoRQ(1)) }, echo, "with command 0030", aborted(0, 0)},
		{"sends a PDU longer than agreed", func(p *peer) { twoAnswers(p); p.send([]byte("\x04\x00\x00\x04\x00\x01")) }, echo, "where 262144 were agreed", aborted(2, 6)},
		{"aborts a C-STORE", func(p *peer) { p.accept(); p.storeMessage(); p.send(aborted(2, 6)) }, store, "the peer aborted the association (source 2, reason 6)", nil},
		{"closes upon a C-STORE", func(p *peer) { p.accept(); p.storeMessage(); p.hangUp() }, store, "closed the connection", nil},
		{"resets instead of a response", func(p *peer) { twoAnswers(p); p.reset() }, echo, "closed the connection", nil},
		{"resets inside a response", func(p *peer) { twoAnswers(p); p.send(echoRSP(1)[:40]); p.reset() }, echo, "closed the connection", nil},
		{"resets in a data set", func(p *peer) { p.accept(); p.pdu(); p.reset() }, endless, "sending: ", nil},
		{"aborts in a data set", func(p *peer) { p.accept(); p.pdu(); p.send(aborted(2, 6)); p.Close() }, endless, "the peer aborted the association (source 2, reason 6)", nil},
		{"answers before the data set has ended, and aborts", func(p *peer) { p.accept(); p.storeMessage(); p.send(storeRSP(9, Success), aborted(0, 0)) }, store, "answered message 1 with command 8001 for message 9", aborted(0, 0)},
		{"answers a C-STORE as a C-ECHO", func(p *peer) { p.accept(); p.storeMessage(); p.send(echoRSP(1)) }, store, "answered message 1 with command 8030 for message 1", aborted(0, 0)},
		{"answers with a command set that is none", func(p *peer) { twoAnswers(p); p.send(pData(value(1, commandLast, []byte("no command set")))) }, echo, "command element", aborted(2, 6)},
		{"answers with data", func(p *peer) { twoAnswers(p); p.send(pData(value(1, dataLast, []byte("data")))) }, echo, "data where a command was due", aborted(2, 5)},
		{"answers with an unknown PDU", func(p *peer) { twoAnswers(p); p.send([]byte("\x09\x00\x00\x00\x00\x00")) }, echo, "PDU of type 09", aborted(2, 1)},
		{"answers with an acceptance", func(p *peer) { twoAnswers(p); p.send(associateAC(p.t, nil)) }, echo, "A-ASSOCIATE-AC in Sta6", aborted(2, 2)},
		{"answers with a value beyond its PDU", func(p *peer) { twoAnswers(p); p.send(pData([]byte{0, 0, 0, 9, 1, 3})) }, echo, "presentation data value of 9 bytes", aborted(2, 6)},
		{"answers with a command without end", func(p *peer) {
			twoAnswers(p)
			p.send(bytes.Repeat(pData(value(1, commandMore, make([]byte, 1000))), 17))
		}, echo, "more than 16384 bytes", aborted(2, 6)},
		{"aborts in a release collision", func(p *peer) {
			twoAnswers(p)
			p.send(pdu.AReleaseRQ)
			p.expect("the answer", pdu.AReleaseRP)
			p.send(aborted(0, 0))
		}, release, "the peer aborted", nil},
		{"closes in a release collision", func(p *peer) {
			twoAnswers(p)
			p.send(pdu.AReleaseRQ)
			p.expect("the answer", pdu.AReleaseRP)
			p.hangUp()
		}, release, "closed the connection", nil},
		{"resets in a release collision", func(p *peer) {
			twoAnswers(p)
			p.send(pdu.AReleaseRQ)
			p.expect("the answer", pdu.AReleaseRP)
			p.reset()
		}, release, "closed the connection", nil},
		{"releases again in a release collision", func(p *peer) {
			twoAnswers(p)
			p.send(pdu.AReleaseRQ)
			p.expect("the answer", pdu.AReleaseRP)
			p.send(pdu.AReleaseRQ)
		}, release, "A-RELEASE-RQ in Sta11", aborted(2, 2)},
		{"resets upon the release", func(p *peer) { twoAnswers(p); p.reset() }, release, "closed the connection", nil},
		{"answers the release with a request", func(p *peer) { twoAnswers(p); p.send(associateRQ(p.t, nil)) }, release, "A-ASSOCIATE-RQ in Sta7", aborted(2, 2)},
		{"closes upon the release", func(p *peer) { twoAnswers(p); p.hangUp() }, release, "closed the connection", nil},
		{"aborts upon the release", func(p *peer) { twoAnswers(p); p.send(aborted(0, 0)) }, release, "the peer aborted", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			client := scripted(t, func(p *peer) {
				test.script(p)
				if _, err := p.Read(nil); errors.Is(err, net.ErrClosed) {
					return // by the script
				}
				p.expectEnd("what the peer gets", test.gets)
			})
			conn, err := client.Dial(t.Context(), proposal)
			if test.do != nil {
				if err != nil {
					t.Fatal(err)
				}
				err = test.do(t.Context(), conn)
				if again := test.do(t.Context(), conn); again == nil {
					t.Error("the association goes on after it")
				}
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

// Without a context that fits an operation fails at once, by name; nothing is
// sent and the association goes on.
func TestNoContextAccepted(t *testing.T) {
	client := scripted(t, func(p *peer) {
		p.pdu()
		p.send(associateAC(t, func(a *pdu.AAssociate) {
			a.Contexts[0].Result = pdu.AbstractSyntaxNotSupported
			a.Contexts[1].TransferSyntaxes = []string{"1.2.840.10008.1.2.4.50"} // which was never proposed
			a.Contexts = append(a.Contexts, pdu.PresentationContext{ID: 99, TransferSyntaxes: []string{explicit}})
		}))
		p.expect("the release", pdu.AReleaseRQ)
		p.send(pdu.AReleaseRP)
	})
	conn, err := client.Dial(t.Context(), proposal)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Echo(t.Context()); err == nil || err.Error() != "the peer accepted no presentation context for SOP class "+verificationUID {
		t.Error(err)
	}
	for _, syntax := range []string{explicit, implicit, "1.2.840.10008.1.2.4.50"} {
		if _, err := conn.Store(t.Context(), StoreObject{ct, "1.2.3", syntax, nil}); !errors.Is(err, ErrNoContext) || !strings.Contains(err.Error(), ct+" with transfer syntax "+syntax) {
			t.Error(err)
		}
	}
	if got := conn.Accepted(ct); got != nil {
		t.Errorf("accepted %v", got)
	}
	if err := conn.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// Every status comes back as it is, and says what it is to a program; the
// association goes on.
func TestStoreStatuses(t *testing.T) {
	const stored, warned, again, final = "stored", "stored, with a reservation", "to be tried again", "final"
	outcome := func(s Status) string {
		switch {
		case s.Warning() && s.Stored():
			return warned
		case s.Stored():
			return stored
		case s.Permanent():
			return final
		}
		return again
	}
	table := []struct {
		status Status
		want   string
	}{
		{Success, stored}, {Coercion, warned}, {ElementsDiscarded, warned}, {ClassMismatchWarning, warned},
		{OutOfResources, again}, {0xA701, again}, {0xA7FF, again}, {DataSetMismatch, final}, {0xA9FF, final}, {CannotUnderstand, final}, {0xC123, final}, {0xCFFF, final},
		{ProcessingFailure, again}, {DuplicateInstance, final}, {InvalidInstance, final}, {SOPClassNotSupported, final}, {NotAuthorized, final},
		{DuplicateInvocation, final}, {UnrecognizedOperation, final}, {MistypedArgument, final},
		{0x0001, warned}, {0x0107, warned}, {0x0116, warned}, {0xA800, final}, {0xFE00, final}, {0xFF00, final}, {0xFFFF, final}, {0xBFFF, warned}, // which no C-STORE has
	}
	h := newHandler()
	i := -1
	h.store = func(context.Context, *StoreRequest) Status { i++; return table[i].status }
	client := Client{CallingAE: "CASE", CalledAE: "PULMONODE", Address: start(t, &Server{Handler: h})}
	conn, err := client.Dial(t.Context(), proposal)
	if err != nil {
		t.Fatal(err)
	}
	// Data of who knows which transfer syntax is not sent in one that was accepted.
	if _, err := conn.Store(t.Context(), StoreObject{ct, "1.2.3", "", strings.NewReader("data")}); err == nil || !strings.Contains(err.Error(), "no transfer syntax") {
		t.Error(err)
	}
	for _, test := range table {
		if got, err := conn.Store(t.Context(), object(strings.NewReader("data"))); got != test.status || outcome(got) != test.want || err != nil {
			t.Errorf("%v, which is %s, %v; want %v, which is %s", got, outcome(got), err, test.status, test.want)
		}
	}
	if err := conn.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// Whatever maximum length a peer has, it gets what was read: in fragments of an
// even length, none longer than it takes, none empty but of an empty data set,
// the last marked. Sizes lie around the fragment's.
func TestFragments(t *testing.T) {
	for _, maxLength := range []uint32{0, 8, 100, 101, 16383, 16384, 1 << 20, 1<<32 - 1} {
		fragment := (&transport{peerMax: maxLength}).fragment(sendFragment)
		for _, size := range []int{0, 2, fragment - 2, fragment, fragment + 2, 2 * fragment, 2*fragment + 2} {
			data := make([]byte, size)
			for i := range data {
				data[i] = byte(rand.Uint32())
			}
			var longest, fragments int
			var got []byte
			client := scripted(t, func(p *peer) {
				p.pdu()
				p.send(associateAC(t, func(a *pdu.AAssociate) { a.MaxLength = maxLength }))
				for last := false; !last; {
					kind, b := p.pdu()
					if kind != pdu.TypePDataTF || len(b) < 6 || len(b)%2 != 0 {
						t.Errorf("%v of %d bytes", kind, len(b))
						return
					}
					longest = max(longest, len(b))
					if b[5]&1 == 0 {
						fragments++
						got, last = append(got, b[6:]...), b[5] == dataLast
						if len(b) == 6 && size > 0 {
							t.Error("an empty fragment")
						}
					}
				}
				p.send(storeRSP(1, Success))
				p.pdu()
				p.send(pdu.AReleaseRP)
			})
			conn, err := client.Dial(t.Context(), proposal)
			if err != nil {
				t.Fatal(err)
			}
			if status, err := conn.Store(t.Context(), object(bytes.NewReader(data))); status != Success || err != nil {
				t.Errorf("%v, %v", status, err)
			}
			if err := conn.Release(t.Context()); err != nil {
				t.Error(err)
			}
			if want := max(1, (size+fragment-1)/fragment); !bytes.Equal(got, data) || fragments != want || maxLength != 0 && longest > int(maxLength) {
				t.Errorf("maximum length %d, %d bytes: %d came in %d fragments, want %d; the longest PDU has %d", maxLength, size, len(got), fragments, want, longest)
			}
		}
	}
}

// Both asked at once: the requestor answers first, then the acceptor (PS3.8
// 9.2.2, AR-8 and AR-9).
func TestReleaseCollision(t *testing.T) {
	client := scripted(t, func(p *peer) {
		p.accept()
		p.expect("the client's release", pdu.AReleaseRQ)
		p.send(pdu.AReleaseRQ)
		p.expect("the client's answer", pdu.AReleaseRP)
		p.send(pdu.AReleaseRP)
		p.expectEnd("what follows")
	})
	conn, err := client.Dial(t.Context(), proposal)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// Data that was under way when the release was asked for is read past (AR-6).
func TestDataCrossesTheRelease(t *testing.T) {
	client := scripted(t, func(p *peer) {
		p.accept()
		p.pdu()
		p.send(echoRSP(1), pdu.AReleaseRP)
		p.expectEnd("what follows")
	})
	conn, err := client.Dial(t.Context(), proposal)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAbort(t *testing.T) {
	client := scripted(t, func(p *peer) { p.accept(); p.expectEnd("the abort", aborted(0, 0)) })
	conn, err := client.Dial(t.Context(), proposal)
	if err != nil {
		t.Fatal(err)
	}
	conn.Abort()
	conn.Abort()
	var abort *AbortError
	if err := conn.Release(t.Context()); !errors.As(err, &abort) || abort.ByPeer {
		t.Error(err)
	}
}

// An instance that can't be read to its end is not half sent: the association
// is aborted, and the cause is in the error.
func TestUnreadableInstance(t *testing.T) {
	client := scripted(t, func(p *peer) { p.accept(); p.expectEnd("the abort", aborted(0, 0)) })
	conn, err := client.Dial(t.Context(), proposal)
	if err != nil {
		t.Fatal(err)
	}
	disk := errors.New("the disk is gone")
	if _, err := conn.Store(t.Context(), object(io.MultiReader(strings.NewReader("data"), readerFunc(func([]byte) (int, error) { return 0, disk })))); !errors.Is(err, disk) {
		t.Error(err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A context that ends while the instance is read ends the sending, though each
// write sets its own deadline; the peer is told.
func TestContextEndsWhileSending(t *testing.T) {
	client := scripted(t, func(p *peer) {
		p.accept()
		b, err := io.ReadAll(p)
		if err != nil || len(b) == 0 {
			t.Errorf("%d bytes, %v", len(b), err)
		}
	})
	conn, err := client.Dial(t.Context(), proposal)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cause, read := errors.New("the job was taken back"), 0
	_, err = conn.Store(ctx, object(readerFunc(func(p []byte) (int, error) { // without end
		if read += len(p); read > 1<<20 {
			cancel(cause)
		}
		return len(p), nil
	})))
	if err != cause {
		t.Errorf("%v", err)
	}
}

// A context that ends while a peer keeps a response back, an answer to the
// request, or to the release: it ends the waiting at once, by an abort.
func TestContextEndsWhileWaiting(t *testing.T) {
	for name, do := range map[string]func(context.Context, *Conn) error{
		"echo": func(ctx context.Context, k *Conn) error { _, err := k.Echo(ctx); return err },
		"store": func(ctx context.Context, k *Conn) error {
			_, err := k.Store(ctx, object(strings.NewReader("data")))
			return err
		},
		"release": func(ctx context.Context, k *Conn) error { return k.Release(ctx) },
		"dial":    nil,
	} {
		ctx, cancel := context.WithCancel(context.Background())
		client := scripted(t, func(p *peer) {
			if do != nil {
				p.accept()
			}
			p.pdu() // the command, or the request
			if name == "store" {
				p.pdu()
			}
			cancel()
			p.expectEnd("the abort", aborted(0, 0))
		})
		dialCtx := context.Background()
		if do == nil {
			dialCtx = ctx
		}
		conn, err := client.Dial(dialCtx, proposal)
		if do != nil {
			if err != nil {
				t.Fatal(err)
			}
			err = do(ctx, conn)
			if next := conn.Release(context.Background()); next == nil {
				t.Errorf("%s: the association goes on", name)
			}
		}
		if err != context.Canceled {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Client and server of this package, many at once, with and without TLS.
func TestBothEnds(t *testing.T) {
	fixture := httptest.NewTLSServer(nil) // for its certificate
	certificates, roots := fixture.TLS.Certificates, x509.NewCertPool()
	roots.AddCert(fixture.Certificate())
	fixture.Close()
	for name, test := range map[string]struct{ server, client *tls.Config }{
		"plain": {nil, nil},
		"TLS":   {&tls.Config{Certificates: certificates}, &tls.Config{RootCAs: roots}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHandler()
			h.store = func(_ context.Context, r *StoreRequest) Status {
				sum := sha256.New()
				if _, err := io.Copy(sum, r.Data); err != nil || hex.EncodeToString(sum.Sum(nil)) != r.SOPInstanceUID {
					return CannotUnderstand
				}
				return Success
			}
			client := Client{CallingAE: "CASE", CalledAE: "PULMONODE", TLS: test.client, Address: start(t, &Server{Handler: h, TLS: test.server})}
			failed := make(chan error, 8)
			for worker := range uint64(cap(failed)) {
				go func() {
					failed <- func() error {
						random := rand.NewChaCha8([32]byte{byte(worker)})
						conn, err := client.Dial(context.Background(), proposal)
						if err != nil {
							return err
						}
						for size := range 20 {
							data := make([]byte, 20001*size)
							random.Read(data)
							sum := sha256.Sum256(data)
							status, err := conn.Store(context.Background(), StoreObject{ct, hex.EncodeToString(sum[:]), explicit, bytes.NewReader(data)})
							if err != nil || status != Success {
								return errors.Join(err, errors.New(status.String()))
							}
							if status, err := conn.Echo(context.Background()); err != nil || status != Success {
								return errors.Join(err, errors.New(status.String()))
							}
						}
						return conn.Release(context.Background())
					}()
				}()
			}
			for range cap(failed) {
				if err := <-failed; err != nil {
					t.Error(err)
				}
			}
			for range cap(failed) {
				if e := <-h.ends; e.How != Released {
					t.Errorf("%+v", e)
				}
			}
		})
	}
}

// scriptedConn is a connection in memory: what the peer says is known before, and so
// is what becomes of what it is told.
type scriptedConn struct {
	net.Conn
	says  io.Reader
	heard error
}

func (c scriptedConn) Read(p []byte) (int, error)       { return c.says.Read(p) }
func (c scriptedConn) Write(p []byte) (int, error)      { return len(p), c.heard }
func (c scriptedConn) CloseWrite() error                { return nil }
func (c scriptedConn) Close() error                     { return nil }
func (c scriptedConn) SetDeadline(time.Time) error      { return nil }
func (c scriptedConn) SetReadDeadline(time.Time) error  { return nil }
func (c scriptedConn) SetWriteDeadline(time.Time) error { return nil }

// A peer that is reset before it has read the request may have said anything.
func TestRequestCanNotBeSent(t *testing.T) {
	for name, test := range map[string]struct {
		says []byte
		want string
	}{
		"nothing":             {nil, "sending: "},
		"a rejection":         {rejected(2, 3, 2), "sending: "},
		"a rejection, broken": {rejected(2, 3, 2)[:7], "sending: "},
		"an acceptance":       {associateAC(t, nil), "sending: "},
		"a release":           {pdu.AReleaseRQ, "sending: "},
		"data":                {echoRSP(1), "sending: "},
		"no DICOM":            {[]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), "sending: "},
		"an abort":            {aborted(2, 1), "the peer aborted"},
	} {
		conn := scriptedConn{says: bytes.NewReader(test.says), heard: syscall.ECONNRESET}
		_, err := Client{}.open(t.Context(), conn, DefaultTimeouts(), proposal, associateRQ(t, nil))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A peer may be gone, reset or silent after any byte of what it says, whatever the
// association is at: that is an error, and nothing worse.
func TestAnswersBreakOffAnywhere(t *testing.T) {
	accepted, release, released := associateAC(t, nil), pdu.AReleaseRQ, pdu.AReleaseRP
	for name, test := range map[string]struct {
		says  []byte
		whole bool // released in the end
	}{
		"an association":               {join(accepted, echoRSP(1), released), true},
		"a release collision":          {join(accepted, echoRSP(1), release, released), true},
		"data that crosses a release":  {join(accepted, echoRSP(1), echoRSP(7), released), true},
		"a rejection":                  {rejected(1, 1, 3), false},
		"an abort of the request":      {aborted(2, 1), false},
		"an abort of a message":        {join(accepted, aborted(2, 6)), false},
		"an abort of the release":      {join(accepted, echoRSP(1), aborted(0, 0)), false},
		"a release before an answer":   {join(accepted, release), false},
		"an acceptance of the release": {join(accepted, echoRSP(1), accepted), false},
	} {
		for _, end := range []error{io.EOF, syscall.ECONNRESET, os.ErrDeadlineExceeded} {
			for n := range len(test.says) + 1 {
				says := io.MultiReader(bytes.NewReader(test.says[:n]), iotest.ErrReader(end))
				conn, err := Client{}.open(t.Context(), scriptedConn{says: says}, DefaultTimeouts(), proposal, associateRQ(t, nil))
				if err == nil {
					_, err = conn.Echo(t.Context())
				}
				if err == nil {
					err = conn.Release(t.Context())
				}
				if (err == nil) != (test.whole && n == len(test.says)) {
					t.Errorf("%s, %d bytes of %d, then %v: %v", name, n, len(test.says), end, err)
				}
			}
		}
	}
}
