package dimse

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pulmonode/pulmonode/dimse/pdu"
)

// release is the end of a release in the background.
func release(a *Association) chan error {
	done := make(chan error, 1)
	go func() { done <- a.Release(context.Background()) }()
	return done
}

// A release waits for the message in progress.
func TestReleaseAfterTheMessage(t *testing.T) {
	h := newHandler()
	bubble(t, &Server{Handler: h}, func(t *testing.T, dial func() *peer) {
		p := dial()
		p.send(associateRQ(t, nil), storeRQ(1), pData(value(3, dataMore, []byte("da"))))
		p.expect("the acceptance", associateAC(t, nil))
		synctest.Wait() // the session reads
		done := release(h.association())
		synctest.Wait()
		p.send(pData(value(3, dataLast, []byte("ta"))))
		p.expect("the response, then the release", storeRSP(1, Success), pdu.AReleaseRQ)
		p.send(pdu.AReleaseRP)
		p.expectEnd("what follows")
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Both ends of this package release at once, again and again: neither hangs, and
// both say that it was in order.
func TestBothEndsRelease(t *testing.T) {
	h := newHandler()
	address := start(t, &Server{Handler: h})
	for range 200 {
		conn, err := (Client{CallingAE: "CASE", CalledAE: "PULMONODE", Address: address}).Dial(t.Context(), proposal)
		if err != nil {
			t.Fatal(err)
		}
		done := release(h.association())
		if err := conn.Release(t.Context()); err != nil && !errors.Is(err, errReleased) {
			t.Error(err)
		}
		if err := <-done; err != nil && err != ErrAssociationOver {
			t.Error(err)
		}
		h.ended(t, Released)
	}
}

// Where the next PDU begins is known after last words (Sta13), whatever they
// were about: only there a request is answered once more (AA-7).
func TestLastWordsInsideAPDU(t *testing.T) {
	request, accepted := associateRQ(t, nil), associateAC(t, nil)
	n := len(request)
	for name, test := range map[string]struct{ sent, got []byte }{
		"an unknown PDU that holds a request":           {join(request, []byte{9, 0, 0, 0, byte(n >> 8), byte(n)}, request), join(accepted, aborted(2, 1))},
		"an unknown PDU, and a request behind it":       {join(request, []byte{9, 0, 0, 0, 0, 2, 1, 0}, request), join(accepted, aborted(2, 1), aborted(2, 2))},
		"a release too long that holds a request":       {join(request, []byte{5, 0, 0, 0, byte(n >> 8), byte(n)}, request), join(accepted, aborted(2, 6))},
		"a refused value, with a request in the next":   {join(request, pData(value(9, commandLast, make([]byte, 30)), value(3, dataLast, request))), join(accepted, aborted(2, 6))},
		"a refused value, and a request behind the PDU": {join(request, pData(value(9, commandLast, make([]byte, 30)), value(3, dataLast, request)), request), join(accepted, aborted(2, 6), aborted(2, 2))},
		"an abort of its own, and a request behind it":  {join(request, pdu.AReleaseRQ, aborted(0, 0), request), join(accepted, pdu.AReleaseRP)},
	} {
		t.Run(name, func(t *testing.T) {
			p := connect(t, start(t, &Server{Handler: newHandler()}))
			p.send(test.sent)
			p.expectEnd("the answer", test.got)
		})
	}
}

// The client's last words are crossed too; and nobody who stays keeps a
// connection longer than Closing.
func TestClientsLastWordsAreCrossed(t *testing.T) {
	stays := make(chan bool)
	client := scripted(t, func(p *peer) {
		p.pdu()
		p.send(pdu.AReleaseRP, associateRQ(t, nil))
		p.expect("two aborts", aborted(2, 2), aborted(2, 2))
		if b, err := io.ReadAll(p); len(b) > 0 || err != nil { // and does not close
			t.Errorf("% X, %v", b, err)
		}
		<-stays
	})
	client.Timeouts.Closing = 300 * time.Millisecond
	began := time.Now()
	if _, err := client.Dial(t.Context(), proposal); !errors.As(err, new(*AbortError)) {
		t.Error(err)
	}
	if d := time.Since(began); d < client.Timeouts.Closing || d > patient {
		t.Errorf("it took %v", d)
	}
	close(stays)
}
