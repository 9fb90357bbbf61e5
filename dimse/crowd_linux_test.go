package dimse

import (
	"context"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/dimse/pdu"
)

// 64 associations, all that there are: one sends instances, 63 are slow, silent,
// or take nothing; more connections ask for nothing at all, or a byte at a time.
// The one is never disturbed, memory stays within 256 KiB an association, and
// each of the others loses its place when its phase's deadline is over.
func TestCrowdOfBadPeers(t *testing.T) {
	const associations, bound, deadline = 64, 256 << 10, 3 * time.Second
	h := newHandler()
	h.ends = make(chan End, 3*associations)
	s := &Server{Handler: h, Limits: Limits{Associations: associations}, Timeouts: Timeouts{Request: deadline, Idle: deadline, Message: deadline, Write: deadline, Closing: 100 * time.Millisecond}}
	address := startOn(t, s, narrow{listen(t)})

	// The good one: instance after instance until it is told to stop.
	good, err := Client{CallingAE: "GOOD", Address: address}.Dial(t.Context(), proposal)
	if err != nil {
		t.Fatal(err)
	}
	var stored atomic.Int64
	stop, stopped := make(chan bool), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				stopped <- good.Release(context.Background())
				return
			case <-time.After(20 * time.Millisecond):
			}
			status, err := good.Store(context.Background(), object(strings.NewReader(firstHalf+strings.Repeat(".", 300<<10)+secondHalf)))
			if status != Success || err != nil {
				t.Errorf("the good one after %d instances: %v, %v", stored.Load(), status, err)
				stopped <- err
				return
			}
			stored.Add(1)
		}
	}()

	var bad sync.WaitGroup
	over := make(chan bool) // nobody drips any more
	slowly := func(p *peer, b []byte) {
		bad.Add(1)
		go func() {
			defer bad.Done()
			for i := range b {
				select {
				case <-over:
					return
				case <-time.After(50 * time.Millisecond):
				}
				if _, err := p.Write(b[i : i+1]); err != nil {
					return
				}
			}
		}()
	}
	asking := make([]byte, 0, 100*len(echoRQ(1)))
	for range 100 {
		asking = append(asking, echoRQ(1)...)
	}
	kinds := []func(*peer){
		func(*peer) {},                                     // silent between messages
		func(p *peer) { p.send(storeRQ(1)) },               // half-open: gone before its data set
		func(p *peer) { p.send(storeRQ(1), []byte{4, 0}) }, // and inside a PDU
		func(p *peer) { // slow-loris
			p.send(storeRQ(1))
			slowly(p, pData(value(3, dataLast, make([]byte, 4096))))
		},
		func(p *peer) { // zero window
			p.Conn.(*net.TCPConn).SetReadBuffer(4096)
			bad.Add(1)
			go func() {
				defer bad.Done()
				for {
					if _, err := p.Write(asking); err != nil {
						return
					}
				}
			}()
		},
	}
	before := liveHeap()
	var peers []*peer
	for i := range associations - 1 {
		p := connect(t, address)
		peers = append(peers, p)
		p.send(associateRQ(t, nil))
		p.expect("the acceptance", associateAC(t, nil))
		kinds[i%len(kinds)](p)
	}
	for i := range 32 {
		p := connect(t, address)
		if i%2 == 0 {
			slowly(p, associateRQ(t, nil))
		}
	}
	last := connect(t, address)
	last.send(associateRQ(t, nil))
	last.hangUp()
	last.expectEnd("one too many", rejected(2, 3, 2))
	grown := liveHeap() - before
	for range 4 { // what is made while the collector runs is counted as alive
		grown = min(grown, liveHeap()-before)
	}
	if grown > associations*bound {
		t.Errorf("the heap grew by %d KiB for %d associations, of which each may have %d", grown>>10, associations, bound>>10)
	}

	during := stored.Load()
	for range associations - 1 {
		h.ended(t, Aborted)
	}
	connections(t, s, 1)
	close(over)
	for _, p := range peers {
		p.Close()
	}
	bad.Wait()
	if stored.Load() == during {
		t.Error("the good one stood still beside them")
	}
	// Their places are free.
	var again []*Conn
	for range associations - 1 {
		conn, err := Client{CallingAE: "CASE", Address: address}.Dial(t.Context(), proposal)
		if err != nil {
			t.Fatal(err)
		}
		again = append(again, conn)
	}
	for _, conn := range again {
		if err := conn.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// 10,000 associations, ended in every way, leave no goroutine, no descriptor and
// no timer: one that is left holds its connection, which the heap would show.
// Under the race detector, and with -short, they are 1,000.
func TestNothingIsLeftOfTenThousandAssociations(t *testing.T) {
	many := 10_000
	if testing.Short() || raceEnabled {
		many = 1000
	}
	h := newHandler()
	h.ends = make(chan End, 64)
	s := &Server{AETitle: "PULMONODE", Handler: h}
	address := start(t, s)
	go func() {
		for range h.ends {
		}
	}()
	defer close(h.ends)
	request, stranger := associateRQ(t, nil), associateRQ(t, func(a *pdu.AAssociate) { a.CallingAE = "STRANGER" })
	store := join(storeRQ(1), pData(value(3, dataMore, []byte("da"))))
	client := Client{CallingAE: "NEIGHBOUR", CalledAE: "PULMONODE", Address: address}
	raw := func(last func(*net.TCPConn) error, sent ...[]byte) error {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patient))
		if _, err := c.Write(join(sent...)); err != nil {
			return err
		}
		return last(c.(*net.TCPConn))
	}
	hangUp := func(c *net.TCPConn) error {
		c.CloseWrite()
		_, err := io.Copy(io.Discard, c)
		return err
	}
	reset := func(c *net.TCPConn) error {
		if _, err := io.ReadFull(c, make([]byte, 100)); err != nil { // of the acceptance
			return err
		}
		return c.SetLinger(0)
	}
	ways := []func() error{
		func() error {
			conn, err := client.Dial(context.Background(), proposal)
			if err != nil {
				return err
			}
			if _, err := conn.Store(context.Background(), object(strings.NewReader(firstHalf+secondHalf))); err != nil {
				return err
			}
			return conn.Release(context.Background())
		},
		func() error {
			conn, err := client.Dial(context.Background(), proposal)
			if err == nil {
				conn.Abort()
			}
			return err
		},
		func() error { return raw(hangUp, request, echoRQ(1), pdu.AReleaseRQ) },
		func() error { return raw(hangUp, request, store, aborted(0, 0)) },
		func() error { return raw(hangUp, request, request) }, // aborted by the server
		func() error { return raw(hangUp, stranger) },
		func() error { return raw(hangUp, request, store) },
		func() error { return raw(hangUp, request[:50]) },
		func() error { return raw(reset, request, store) },
		func() error { return raw(func(*net.TCPConn) error { return nil }) },
	}
	associate := func(n int) {
		var next atomic.Int64
		var workers sync.WaitGroup
		for range 8 {
			workers.Go(func() {
				for i := next.Add(1); i <= int64(n); i = next.Add(1) {
					if err := ways[i%int64(len(ways))](); err != nil {
						t.Errorf("association %d: %v", i, err)
						return
					}
				}
			})
		}
		workers.Wait()
		connections(t, s, 0)
	}
	associate(200) // what is made once
	goroutines, files, heap := runtime.NumGoroutine(), descriptors(t), liveHeap()
	associate(many)
	if n := descriptors(t); n > files {
		t.Errorf("%d descriptors became %d", files, n)
	}
	for deadline := time.Now().Add(patient); runtime.NumGoroutine() > goroutines; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines became %d", goroutines, runtime.NumGoroutine())
		}
	}
	if grown := liveHeap() - heap; grown > 256<<10 {
		t.Errorf("the heap grew by %d KiB over %d associations", grown>>10, many)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}
