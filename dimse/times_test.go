package dimse

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pulmonode/pulmonode/dimse/pdu"
)

// pipes is a listener of connections in memory, whose deadlines keep the time of
// a synctest bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// timed runs a server and one peer of it in a bubble. Beside them another
// association is in the middle of a C-STORE that drips on and on, and ends as it
// should when the peer's time is over.
func timed(t *testing.T, s *Server, run func(t *testing.T, p *peer)) {
	bubble(t, s, func(t *testing.T, dial func() *peer) {
		beside := dial().standBy(s.Handler.(*handler))
		stop, stopped := make(chan bool), make(chan bool)
		go func() {
			defer close(stopped)
			for {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Second):
					beside.send(pData(value(3, dataMore, []byte("."))))
				}
			}
		}()
		p := dial()
		run(t, p)
		p.Close()
		close(stop)
		<-stopped
		beside.finishWithin(1 << 20)
	})
}

// bubble runs a server in a bubble of synctest, until the test ends.
func bubble(t *testing.T, s *Server, run func(t *testing.T, dial func() *peer)) {
	synctest.Test(t, func(t *testing.T) {
		l := &pipes{make(chan net.Conn), make(chan struct{})}
		served := make(chan error)
		go func() { served <- s.Serve(l) }()
		run(t, func() *peer {
			here, there := net.Pipe()
			l.conns <- there
			return &peer{t, here}
		})
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != ErrServerClosed {
			t.Error(err)
		}
	})
}

// took asks that an operation took its time to the second.
func took(t testing.TB, start time.Time, want time.Duration) {
	t.Helper()
	if got := time.Since(start); got != want {
		t.Errorf("it took %v, want %v", got, want)
	}
}

// How long a server waits for a peer that falls silent, and its last words. The
// defaults are tested: the time is the bubble's.
func TestServerWaits(t *testing.T) {
	half := pData(value(3, dataMore, []byte("da")))
	packed := pData(value(3, commandLast, storeCommand(1)), value(3, dataLast, []byte("data")))
	for _, test := range []struct {
		name string
		sent [][]byte // by parts, after the acceptance from the second
		last []byte
		want time.Duration
	}{
		{"for a request (ARTIM)", nil, nil, 30 * time.Second},
		{"for the rest of a header", [][]byte{{1, 0, 0}}, nil, 30 * time.Second},
		{"for the rest of a request", [][]byte{associateRQ(t, nil)[:100]}, nil, 30 * time.Second},
		{"for a message", [][]byte{associateRQ(t, nil), nil}, aborted(0, 0), 5 * time.Minute},
		{"for the rest of a header of a message", [][]byte{associateRQ(t, nil), {4, 0}}, aborted(0, 0), time.Minute},
		{"for the rest of a command", [][]byte{associateRQ(t, nil), pData(value(3, commandMore, storeCommand(1)[:20]))}, aborted(0, 0), time.Minute},
		{"for a data set", [][]byte{associateRQ(t, nil), storeRQ(1)}, aborted(0, 0), time.Minute},
		{"for the rest of a data set", [][]byte{associateRQ(t, nil), storeRQ(1), half}, aborted(0, 0), time.Minute},
		{"for the rest of a fragment", [][]byte{associateRQ(t, nil), storeRQ(1), half[:13]}, aborted(0, 0), time.Minute},
		{"for a data set in the PDU of its command", [][]byte{associateRQ(t, nil), packed[:len(packed)-10]}, aborted(0, 0), time.Minute},
		{"for the rest of a fragment in the PDU of its command", [][]byte{associateRQ(t, nil), packed[:len(packed)-2]}, aborted(0, 0), time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			timed(t, &Server{Handler: newHandler()}, func(t *testing.T, p *peer) {
				for i, b := range test.sent {
					p.send(b)
					if i == 0 && len(test.sent) > 1 {
						p.expect("the acceptance", associateAC(t, nil))
					}
				}
				start := time.Now()
				p.expectEnd("the last words", test.last)
				took(t, start, test.want)
			})
		})
	}
}

// A peer that does not answer the server's release is given up.
func TestServerWaitsForTheAnswerToItsRelease(t *testing.T) {
	h := newHandler()
	timed(t, &Server{Handler: h}, func(t *testing.T, p *peer) {
		p.send(associateRQ(t, nil))
		p.expect("the acceptance", associateAC(t, nil))
		h.mu.Lock()
		a := h.asked
		h.mu.Unlock()
		told := make(chan error, 1)
		go func() { told <- a.Release(context.Background()) }()
		p.expect("the release", pdu.AReleaseRQ)
		start := time.Now()
		p.expectEnd("the abort", aborted(0, 0))
		took(t, start, 10*time.Second)
		if err := <-told; err == nil {
			t.Error("the release is told to have been answered")
		}
	})
}

// Empty fragments and PDUs are legal, and no sign of life: they don't keep an
// association, nor a command, nor a data set waiting for ever.
func TestEmptyPDUsAreNoProgress(t *testing.T) {
	for name, test := range map[string]struct{ begin, empty []byte }{
		"empty PDUs between messages":     {nil, pData()},
		"empty fragments of a command":    {nil, pData(value(3, commandMore, nil))},
		"empty PDUs in a data set":        {storeRQ(1), pData()},
		"empty fragments of a data set":   {storeRQ(1), pData(value(3, dataMore, nil))},
		"empty fragments after some data": {join(storeRQ(1), pData(value(3, dataMore, []byte("da")))), pData(value(3, dataMore, nil))},
	} {
		t.Run(name, func(t *testing.T) {
			timed(t, &Server{Handler: newHandler()}, func(t *testing.T, p *peer) {
				p.send(associateRQ(t, nil))
				p.expect("the acceptance", associateAC(t, nil))
				p.send(test.begin)
				start := time.Now()
				gone := make(chan bool)
				go func() {
					defer close(gone)
					for {
						if _, err := p.Write(test.empty); err != nil {
							return
						}
						<-time.After(10 * time.Second)
					}
				}()
				p.expectEnd("the abort", aborted(0, 0))
				if d := time.Since(start); d > 6*time.Minute {
					t.Errorf("it lasted %v", d)
				}
				<-gone
			})
		})
	}
}

// The peer's deadline counts its own silence: a session may take its time over
// the data, of which the peer has sent all it can.
func TestSlowSession(t *testing.T) {
	h := newHandler()
	h.store = func(_ context.Context, r *StoreRequest) Status {
		b := make([]byte, 1)
		for {
			<-time.After(50 * time.Second)
			if _, err := r.Data.Read(b); err == io.EOF {
				return Success
			} else if err != nil {
				return ProcessingFailure
			}
		}
	}
	timed(t, &Server{Handler: h}, func(t *testing.T, p *peer) {
		p.send(associateRQ(t, nil))
		p.expect("the acceptance", associateAC(t, nil))
		start := time.Now()
		go p.Write(join(storeRQ(1), pData(value(3, dataMore, []byte("data"))), pData(value(3, dataLast, []byte("data")))))
		p.expect("the response", storeRSP(1, Success))
		took(t, start, 9*50*time.Second)
	})
}

// However lively, an association ends.
func TestWholeAssociation(t *testing.T) {
	bubble(t, &Server{Handler: newHandler()}, func(t *testing.T, dial func() *peer) {
		p, start := dial(), time.Now()
		p.send(associateRQ(t, nil))
		p.expect("the acceptance", associateAC(t, nil))
		for range 6*20 - 1 {
			<-time.After(3 * time.Minute)
			p.send(echoRQ(1))
			p.expect("the response", echoRSP(1))
		}
		p.expectEnd("the abort", aborted(0, 0))
		took(t, start, 6*time.Hour)
		p.Close()
	})
}

// One byte a second is no silence, and still too slow: the deadline is that of the
// phase, not of a byte.
func TestOneByteASecond(t *testing.T) {
	long := pData(value(3, dataLast, make([]byte, 1000)))
	for _, test := range []struct {
		name  string
		begin []byte // at once
		drip  []byte // a byte a second
		last  []byte
		want  time.Duration
	}{
		{"of the request", nil, associateRQ(t, nil), nil, 30 * time.Second},
		{"of a command", associateRQ(t, nil), storeRQ(1), aborted(0, 0), time.Minute + time.Second}, // from its first byte
		{"of a data set's fragment", join(associateRQ(t, nil), storeRQ(1)), long, aborted(0, 0), time.Minute},
		{"of a data set after an empty fragment", join(associateRQ(t, nil), storeRQ(1)), pData(value(3, dataMore, nil), value(3, dataMore, make([]byte, 1000))), aborted(0, 0), time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			timed(t, &Server{Handler: newHandler()}, func(t *testing.T, p *peer) {
				if test.begin != nil {
					go p.Write(test.begin)
					p.expect("the acceptance", associateAC(t, nil))
				}
				start := time.Now()
				gone := make(chan bool)
				go func() {
					defer close(gone)
					for i := range test.drip {
						<-time.After(time.Second)
						if _, err := p.Write(test.drip[i : i+1]); err != nil {
							return
						}
					}
				}()
				p.expectEnd("the last words", test.last)
				took(t, start, test.want)
				<-gone
			})
		})
	}
}

// A peer that takes nothing any more holds a response for as long as a write may
// last, and the abort for as long as a close may.
func TestPeerNeverReads(t *testing.T) {
	h := newHandler()
	timed(t, &Server{Handler: h}, func(t *testing.T, p *peer) {
		h.ends = make(chan End, 1) // of the bubble, whose time goes on while it is waited for
		p.send(associateRQ(t, nil))
		p.expect("the acceptance", associateAC(t, nil))
		start := time.Now()
		p.send(echoRQ(1))
		e := <-h.ends
		took(t, start, time.Minute+5*time.Second)
		if e.How != Aborted || !strings.Contains(e.Err.Error(), "silent too long taking a response") {
			t.Errorf("%+v", e)
		}
	})
}

// clientAndPeer opens a client's association with a peer in memory.
func clientAndPeer(t *testing.T, script func(*peer)) (*Conn, error) {
	here, there := net.Pipe()
	go func() {
		defer there.Close()
		script(&peer{t, there})
	}()
	client := Client{CallingAE: "CASE", CalledAE: "PULMONODE"}
	request, err := client.request(proposal).Encode()
	if err != nil {
		t.Fatal(err)
	}
	return client.open(context.Background(), here, Timeouts{}.withDefaults(), proposal, request)
}

// How long a client waits for a peer that hangs, says nothing useful, or takes
// nothing.
func TestClientWaits(t *testing.T) {
	hang := func(p *peer) { p.expectEnd("the abort", aborted(0, 0)) }
	empty := func(p *peer) {
		go io.Copy(io.Discard, p)
		for {
			if _, err := p.Write(pData()); err != nil {
				return
			}
			<-time.After(time.Second)
		}
	}
	echo := func(k *Conn) error { _, err := k.Echo(context.Background()); return err }
	store := func(k *Conn) error {
		_, err := k.Store(context.Background(), object(strings.NewReader("data")))
		return err
	}
	release := func(k *Conn) error { return k.Release(context.Background()) }
	for _, test := range []struct {
		name   string
		script func(*peer)
		do     func(*Conn) error
		want   time.Duration
	}{
		{"for the answer to its request", func(p *peer) { p.pdu(); hang(p) }, nil, 30 * time.Second},
		{"for the response to an echo", func(p *peer) { p.accept(); p.pdu(); hang(p) }, echo, 2 * time.Minute},
		{"for the response to a store", func(p *peer) { p.accept(); p.storeMessage(); hang(p) }, store, 2 * time.Minute},
		{"for the rest of a response", func(p *peer) { p.accept(); p.pdu(); p.send(echoRSP(1)[:30]); hang(p) }, echo, 2 * time.Minute},
		{"for a response among empty PDUs", func(p *peer) { p.accept(); p.pdu(); empty(p) }, echo, 2 * time.Minute},
		{"for the answer to its release", func(p *peer) { p.accept(); p.pdu(); hang(p) }, release, 10 * time.Second},
		{"for the answer to its release among data", func(p *peer) { p.accept(); p.pdu(); empty(p) }, release, 10 * time.Second},
		// Nothing can be told to whom nothing reaches: the write, the look for what
		// the peer said, and the abort each have their time.
		{"for a peer that takes nothing", func(p *peer) { p.accept(); <-time.After(time.Hour) }, store, time.Minute + 5*time.Second + 5*time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				conn, err := clientAndPeer(t, test.script)
				if test.do != nil {
					if err != nil {
						t.Fatal(err)
					}
					err = test.do(conn)
				}
				took(t, start, test.want)
				if err == nil {
					t.Error("no error")
				}
				<-time.After(2 * time.Hour) // the peer goes its way
			})
		})
	}
}

// A shutdown in the middle of a C-STORE: the instance finishes and is answered,
// then the peer is told; who rests or has not asked yet does not delay it.
func TestShutdownInAStore(t *testing.T) {
	h := newHandler()
	s := &Server{Handler: h}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	address := l.Addr().String()
	inData, resting, silent := connect(t, address), connect(t, address), connect(t, address)
	reading := make(chan bool)
	h.store = func(_ context.Context, r *StoreRequest) Status {
		reading <- true
		if b, err := io.ReadAll(r.Data); string(b) != "some data" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		return Success
	}
	for _, p := range []*peer{inData, resting} {
		p.send(associateRQ(t, nil))
		p.expect("the acceptance", associateAC(t, nil))
	}
	inData.send(storeRQ(1), pData(value(3, dataMore, []byte("some "))))
	<-reading
	done := make(chan error)
	go func() { done <- s.Shutdown(context.Background()) }()
	if err := <-served; err != ErrServerClosed {
		t.Error(err)
	}
	silent.expectEnd("who has not asked")
	resting.hangUp()
	resting.expectEnd("who rests", aborted(0, 0))
	if c, err := net.Dial("tcp", address); err == nil {
		c.Close()
		t.Error("a new connection was taken")
	}
	inData.send(pData(value(3, dataLast, []byte("data"))))
	inData.hangUp()
	inData.expectEnd("who was in a C-STORE", storeRSP(1, Success), aborted(0, 0))
	if err := <-done; err != nil {
		t.Error(err)
	}
	for range 2 {
		if e := <-h.ends; e.How != Aborted || !strings.Contains(e.Err.Error(), "shuts down") {
			t.Errorf("%+v", e)
		}
	}
	if err := s.Serve(l); err != ErrServerClosed {
		t.Errorf("serving again: %v", err)
	}
}

// A peer that stops in the middle of its data set is waited for until the
// shutdown's context ends.
func TestShutdownIsCutShort(t *testing.T) {
	h := newHandler()
	s := &Server{Handler: h}
	synctest.Test(t, func(t *testing.T) {
		l := &pipes{make(chan net.Conn), make(chan struct{})}
		go s.Serve(l)
		here, there := net.Pipe()
		l.conns <- there
		p := &peer{t, here}
		p.send(associateRQ(t, nil))
		p.expect("the acceptance", associateAC(t, nil))
		p.send(storeRQ(1))
		ctx, cancel := context.WithTimeout(context.Background(), 7*time.Second)
		defer cancel()
		start := time.Now()
		if err := s.Shutdown(ctx); err != context.DeadlineExceeded {
			t.Error(err)
		}
		took(t, start, 7*time.Second)
		p.expectEnd("what follows")
	})
	if e := <-h.ends; e.How != Broken {
		t.Errorf("%+v", e)
	}
}

// A shutdown at any moment of associations that come and go returns at once: no
// wait for a next message begins unseen.
func TestShutdownAtAnyMoment(t *testing.T) {
	for i := range 200 {
		s := &Server{Handler: newHandler()}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go s.Serve(l)
		p := connect(t, l.Addr().String())
		p.send(associateRQ(t, nil), echoRQ(1))
		for range i % 3 {
			p.pdu()
		}
		go func() { // until the server's last words, then close
			io.Copy(io.Discard, p)
			p.Close()
		}()
		ctx, cancel := context.WithTimeout(context.Background(), patient)
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		cancel()
	}
}

// A wait that begins when its end was already asked for does not begin.
func TestDrainAndCutBeforeTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, end := range map[string]func(*transport){"drain": (*transport).drain, "cut": (*transport).cut} {
			here, there := net.Pipe()
			go io.Copy(io.Discard, here)
			tr := newTransport(there, Timeouts{}.withDefaults(), Limits{}.withDefaults(), 4096)
			end(tr)
			start := time.Now()
			if err := tr.rest(start.Add(time.Hour), "between messages"); err == nil {
				t.Errorf("%s: no error", name)
			}
			took(t, start, 0)
			here.Close()
		}
	})
}

// A peer that is silent in a TLS handshake delays no shutdown.
func TestShutdownInATLSHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &pipes{make(chan net.Conn), make(chan struct{})}
		s := &Server{Handler: newHandler(), TLS: &tls.Config{}}
		go s.Serve(l)
		here, there := net.Pipe()
		l.conns <- there
		synctest.Wait()
		start := time.Now()
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		took(t, start, 0)
		here.Close()
	})
}
