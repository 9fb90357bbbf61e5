package dimse

import (
	"context"
	"io"
	"runtime"
	"sync"
	"testing"

	"github.com/pulmonode/pulmonode/dimse/pdu"
)

// zeros is a data set without end that nobody holds.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// 64 associations that each send 64 MiB at once, 4 GiB together, keep the live
// heap of both ends, which are one process here, below 256 KiB an association:
// no instance is ever whole in memory. A slow test; -short sends a sixteenth.
func TestMemoryOfManyAssociations(t *testing.T) {
	const associations, bound = 64, 256 << 10
	size := int64(64 << 20)
	if testing.Short() || raceEnabled {
		size /= 16
	}
	h := newHandler()
	h.ends = make(chan End, associations)
	var half sync.WaitGroup // all have received half
	half.Add(associations)
	measured := make(chan bool)
	h.store = func(_ context.Context, r *StoreRequest) Status {
		n, err := io.CopyN(io.Discard, r.Data, size/2)
		half.Done()
		<-measured
		if err != nil {
			return ProcessingFailure
		}
		m, err := io.Copy(io.Discard, r.Data)
		if err != nil || n+m != size {
			return ProcessingFailure
		}
		return Success
	}
	client := Client{CallingAE: "CASE", CalledAE: "PULMONODE", Address: start(t, &Server{Handler: h, Limits: Limits{Associations: associations}})}
	before := liveHeap()
	failed := make(chan error, associations)
	for range associations {
		go func() {
			conn, err := client.Dial(context.Background(), proposal)
			if err != nil {
				failed <- err
				return
			}
			status, err := conn.Store(context.Background(), object(io.LimitReader(zeros{}, size)))
			if err == nil && status != Success {
				t.Error(status)
			}
			if err == nil {
				err = conn.Release(context.Background())
			}
			failed <- err
		}()
	}
	half.Wait()
	grown := liveHeap() - before
	close(measured)
	for range associations {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	if grown > associations*bound {
		t.Errorf("the heap grew by %d KiB an association, of which both ends may have %d", grown/associations>>10, bound>>10)
	}
	t.Logf("%d KiB an association, both ends", grown/associations>>10)
	if pdu.MaxAssociate+readBuffer > bound {
		t.Error("a request alone goes beyond the bound")
	}
}

func liveHeap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
