package dimse

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/dimse/pdu"
)

// How a peer may end an association, or break it, and when: what it is told, and
// what the session is. Nothing of an instance that did not come whole is kept.
func TestEnds(t *testing.T) {
	request, accepted := associateRQ(t, nil), associateAC(t, nil)
	release, released := pdu.AReleaseRQ, pdu.AReleaseRP
	stranger := associateRQ(t, func(a *pdu.AAssociate) { a.CallingAE = "STRANGER" })
	data := pData(value(3, dataLast, []byte("data")))
	unknown := []byte("\x09\x00\x00\x00\x00\x00")
	play(t, []situation{
		{"releases in a data set", join(request, storeRQ(1), pData(value(3, dataMore, []byte("da"))), release), join(accepted, released), Released},
		{"releases in a command", join(request, pData(value(3, commandMore, storeCommand(1)[:20])), release), join(accepted, released), Released},
		{"aborts in a data set", join(request, storeRQ(1), pData(value(3, dataMore, []byte("da"))), aborted(0, 0)), accepted, Aborted},
		{"aborts in a data set and sends on", join(request, storeRQ(1), pData(value(3, dataMore, []byte("da"))), aborted(0, 0), data, data), accepted, Aborted},
		{"releases in a data set and sends on", join(request, storeRQ(1), pData(value(3, dataMore, []byte("da"))), release, data, data), join(accepted, released), Released},
		{"an unknown PDU in a data set and sends on", join(request, storeRQ(1), pData(value(3, dataMore, []byte("da"))), unknown, data), join(accepted, aborted(2, 1)), Aborted},
		{"hangs up in a data set", join(request, storeRQ(1), pData(value(3, dataMore, []byte("da")))), accepted, Broken},
		{"hangs up in a fragment", join(request, storeRQ(1), pData(value(3, dataLast, []byte("data")))[:14]), accepted, Broken},
		{"releases with a response under way", join(request, storeRQ(1), data, release), join(accepted, storeRSP(1, Success), released), Released},
		{"releases before the data set", join(request, storeRQ(1), release), join(accepted, released), Released},
		{"releases twice", join(request, release, release), join(accepted, released), Released},
		{"releases and sends on", join(request, release, echoRQ(1), storeRQ(2), data), join(accepted, released), Released},
		{"aborts in a command", join(request, pData(value(3, commandMore, storeCommand(1)[:20])), aborted(0, 0)), accepted, Aborted},
		{"aborts before the data set", join(request, storeRQ(1), aborted(0, 0)), accepted, Aborted},
		{"aborts with a response under way", join(request, storeRQ(1), data, aborted(0, 0)), join(accepted, storeRSP(1, Success)), Aborted},
		{"aborts after a rejection", join(stranger, aborted(0, 0)), rejected(1, 1, 3), noSession},
		{"aborts after an abort", join(request, unknown, aborted(0, 0)), join(accepted, aborted(2, 1)), Aborted},
		{"aborts after its release", join(request, release, aborted(0, 0)), join(accepted, released), Released},
		{"an abort as provider", join(request, aborted(2, 6)), accepted, Aborted},
		{"an abort without its reason", join(request, []byte("\x07\x00\x00\x00\x00\x03\x00\x00\x00")), accepted, Aborted},
		{"an abort of one byte in a data set", join(request, storeRQ(1), []byte("\x07\x00\x00\x00\x00\x01\x00")), accepted, Aborted},
		{"hangs up in a command", join(request, pData(value(3, commandMore, storeCommand(1)[:20]))), accepted, Broken},
		{"hangs up before the data set", join(request, storeRQ(1)), accepted, Broken},
		{"hangs up with a response under way", join(request, storeRQ(1), data), join(accepted, storeRSP(1, Success)), Broken},
		{"hangs up in its release", join(request, release[:9]), accepted, Broken},
		// A second request, or what is no PDU, is answered once more (AA-7), whatever
		// ended the association before; the rest is ignored (AA-6).
		{"asks again after its release", join(request, release, request), join(accepted, released, aborted(2, 2)), Released},
		{"asks again after a rejection", join(stranger, request), join(rejected(1, 1, 3), aborted(2, 2)), noSession},
		{"asks again and again after an abort", join(request, request, request, request, request), join(accepted, aborted(2, 2), aborted(2, 2)), Aborted},
		{"an unknown PDU after its release", join(request, release, unknown), join(accepted, released, aborted(2, 1)), Released},
		{"every other PDU after its release", join(request, release, accepted, rejected(1, 1, 1), echoRQ(1), release, released), join(accepted, released), Released},
		{"sends on after a rejection", join(stranger, storeRQ(1), data, release), rejected(1, 1, 3), noSession},
	})
}

// A peer whose connection is reset, in every state: the session ends, the
// connection is given up, and another association goes on.
func TestResets(t *testing.T) {
	request, accepted := associateRQ(t, nil), associateAC(t, nil)
	half := pData(value(3, dataMore, []byte("da")))
	for _, test := range []struct {
		name string
		sent []byte
		got  []byte // before the reset
		end  How
	}{
		{"at once", nil, nil, noSession},
		{"in a PDU's header", request[:3], nil, noSession},
		{"in the request", request[:100], nil, noSession},
		{"after the acceptance", request, accepted, Broken},
		{"before it took the acceptance", request, nil, Broken},
		{"in a command", join(request, pData(value(3, commandMore, storeCommand(1)[:20]))), accepted, Broken},
		{"before the data set", join(request, storeRQ(1)), accepted, Broken},
		{"in a data set", join(request, storeRQ(1), half), accepted, Broken},
		{"in a fragment", join(request, storeRQ(1), half[:13]), accepted, Broken},
		{"after a response", join(request, echoRQ(1)), join(accepted, echoRSP(1)), Broken},
		{"before it took a response", join(request, echoRQ(1)), accepted, Broken},
		{"after a rejection", associateRQ(t, func(a *pdu.AAssociate) { a.CallingAE = "STRANGER" }), rejected(1, 1, 3), noSession},
		{"after an abort", join(request, request), join(accepted, aborted(2, 2)), Aborted},
		{"after its release", join(request, pdu.AReleaseRQ), join(accepted, pdu.AReleaseRP), Released},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHandler()
			s := &Server{AETitle: "PULMONODE", Handler: h, AbstractSyntaxes: []string{ct}, Timeouts: Timeouts{Closing: patient}}
			address := start(t, s)
			beside := newBystander(t, h, address)
			p := connect(t, address)
			p.send(test.sent)
			p.expect("before the reset", test.got)
			p.reset()
			if test.end != noSession {
				h.ended(t, test.end)
			}
			connections(t, s, 1) // long before any deadline
			if len(h.stored) > 0 {
				t.Errorf("kept %q", h.stored)
			}
			beside.finishWithin(1 << 20)
		})
	}
}

// reset closes without a word to the peer but TCP's RST.
func (p *peer) reset() {
	p.t.Helper()
	if err := p.Conn.(*net.TCPConn).SetLinger(0); err != nil {
		p.t.Error(err)
	}
	p.Close()
}

// connections waits until a server has this many.
func connections(t testing.TB, s *Server, want int) {
	t.Helper()
	have := 0
	for deadline := time.Now().Add(patient); time.Now().Before(deadline); <-time.After(time.Millisecond) {
		s.mu.Lock()
		have = len(s.conns)
		s.mu.Unlock()
		if have == want {
			return
		}
	}
	t.Errorf("the server has %d connections, want %d", have, want)
}

// A peer that thinks better of it while the handler decides (Sta3): the session
// that the handler then gives has its end.
func TestEndsWhileTheHandlerDecides(t *testing.T) {
	for name, test := range map[string]struct {
		act func(*peer)
		got []byte
		end How
	}{
		"aborts":   {func(p *peer) { p.send(aborted(0, 0)); p.hangUp() }, associateAC(t, nil), Aborted},
		"releases": {func(p *peer) { p.send(pdu.AReleaseRQ); p.hangUp() }, join(associateAC(t, nil), pdu.AReleaseRP), Released},
		"hangs up": {func(p *peer) { p.hangUp() }, associateAC(t, nil), Broken},
		"resets":   {func(p *peer) { p.reset() }, nil, Broken},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHandler()
			asked, decided := make(chan bool), make(chan bool)
			h.decide = func() { asked <- true; <-decided }
			address := start(t, &Server{Handler: h, AbstractSyntaxes: []string{ct}})
			beside := newBystander(t, h, address)
			p := connect(t, address)
			p.send(associateRQ(t, nil))
			<-asked
			test.act(p)
			decided <- true
			if test.got != nil {
				p.expectEnd("the answer", test.got)
			}
			h.ended(t, test.end)
			beside.finishWithin(1 << 20)
		})
	}
}

// An association that the server releases, and all that its peer may do then: the
// session has one end, and the one who released is told how it went.
func TestServerReleases(t *testing.T) {
	release, released := pdu.AReleaseRQ, pdu.AReleaseRP
	data := pData(value(3, dataLast, []byte("data")))
	for name, test := range map[string]struct {
		peer func(*peer)
		end  How
	}{
		"the peer answers": {func(p *peer) { p.send(released); p.expectEnd("what follows") }, Released},
		"both ask: the peer answers first, as the requestor": {func(p *peer) { p.send(release, released); p.expectEnd("the server's answer", released) }, Released},
		"the peer's data crossed the release":                {func(p *peer) { p.send(storeRQ(1), data, released); p.expectEnd("what follows") }, Released},
		"the peer hangs up":                                  {func(p *peer) { p.hangUp(); p.expectEnd("what follows") }, Broken},
		"the peer resets":                                    {func(p *peer) { p.reset() }, Broken},
		"the peer aborts":                                    {func(p *peer) { p.send(aborted(0, 0)); p.expectEnd("what follows") }, Aborted},
		"the peer asks for an association":                   {func(p *peer) { p.send(associateRQ(t, nil)); p.expectEnd("the abort", aborted(2, 2)) }, Aborted},
		"the peer sends an unknown PDU":                      {func(p *peer) { p.send([]byte("\x09\x00\x00\x00\x00\x00")); p.expectEnd("the abort", aborted(2, 1)) }, Aborted},
		"both ask, and the peer hangs up":                    {func(p *peer) { p.send(release); p.hangUp(); p.expectEnd("what follows") }, Broken},
		"both ask, and the peer resets":                      {func(p *peer) { p.send(release); p.reset() }, Broken},
		"both ask, and the peer aborts":                      {func(p *peer) { p.send(release, aborted(0, 0)); p.expectEnd("what follows") }, Aborted},
		"both ask, and the peer sends data":                  {func(p *peer) { p.send(release, echoRQ(1)); p.expectEnd("the abort", aborted(2, 2)) }, Aborted},
		"both ask, and the peer asks again":                  {func(p *peer) { p.send(release, release); p.expectEnd("the abort", aborted(2, 2)) }, Aborted},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHandler()
			address := start(t, &Server{Handler: h, AbstractSyntaxes: []string{ct}})
			beside := newBystander(t, h, address)
			p := connect(t, address)
			p.send(associateRQ(t, nil))
			p.expect("the acceptance", associateAC(t, nil))
			h.mu.Lock()
			a := h.asked
			h.mu.Unlock()
			told := make(chan error, 1)
			go func() { told <- a.Release(context.Background()) }()
			p.expect("the server's release", release)
			test.peer(p)
			if err := <-told; (err == nil) != (test.end == Released) {
				t.Errorf("the release: %v", err)
			}
			h.ended(t, test.end)
			if len(h.stored) > 0 {
				t.Errorf("kept %q", h.stored)
			}
			if err := a.Release(context.Background()); err == nil {
				t.Error("released again")
			}
			beside.finishWithin(1 << 20)
		})
	}
}

// A peer that asks on and on and reads nothing: its window is closed, the
// server's write gets its deadline, and nobody else waits.
func TestZeroWindow(t *testing.T) {
	h := newHandler()
	address := startOn(t, &Server{Handler: h, Timeouts: Timeouts{Write: 200 * time.Millisecond, Closing: 100 * time.Millisecond}}, narrow{listen(t)})
	beside := newBystander(t, h, address)
	p := connect(t, address)
	if err := p.Conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	p.send(associateRQ(t, nil))
	stopped := make(chan bool)
	go func() {
		defer close(stopped)
		many := make([]byte, 0, 100*len(echoRQ(1)))
		for range 100 {
			many = append(many, echoRQ(1)...)
		}
		for {
			if _, err := p.Write(many); err != nil {
				return
			}
		}
	}()
	select {
	case e := <-h.ends:
		if e.How != Aborted || !strings.Contains(e.Err.Error(), "silent too long taking a response") {
			t.Errorf("%+v", e)
		}
	case <-time.After(patient):
		t.Error("the server still writes")
	}
	p.Close()
	<-stopped
	beside.finish()
}

// A peer that closes its half and then reads: it gets what it asked for.
func TestHalfClosedPeerIsAnswered(t *testing.T) {
	h := newHandler()
	h.store = func(_ context.Context, r *StoreRequest) Status {
		io.Copy(io.Discard, r.Data)
		return ElementsDiscarded
	}
	address := start(t, &Server{Handler: h})
	p := connect(t, address)
	p.send(associateRQ(t, nil), storeRQ(1), pData(value(3, dataLast, make([]byte, 100000))))
	p.hangUp()
	p.expectEnd("the answers", associateAC(t, nil), storeRSP(1, ElementsDiscarded))
	h.ended(t, Broken)
}
