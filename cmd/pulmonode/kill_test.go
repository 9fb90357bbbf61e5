package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/node/admin"
)

// analysed is how long a small phantom may take from its last slice to its
// last receipt on a slow machine.
const analysed = 3 * time.Minute

// killAt makes the PACS kill the node while it handles the n-th object, once.
func killAt(p *pacs, s *server, n int, o func(received) bool) <-chan struct{} {
	killed := make(chan struct{})
	var once sync.Once
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hook = func(i int, r received) dimse.Status {
		if i >= n && (o == nil || o(r)) {
			once.Do(func() {
				s.process.Process.Kill()
				close(killed)
			})
		}
		return dimse.Success
	}
	return killed
}

func waitKilled(t *testing.T, killed <-chan struct{}) {
	t.Helper()
	select {
	case <-killed:
	case <-time.After(analysed):
		t.Fatal("the moment to kill at never came")
	}
}

// kill -9 while the series comes in: what was confirmed is there, the sender
// sends the rest again, one result set.
func TestKillDuringReception(t *testing.T) {
	needRuntime(t)
	p := newPACS(t)
	s := newServer(t, "", destination{"pacs", "PACS", p.port})
	dir := phantom(t)
	sender := command(t, "send", dir, "--to", fmt.Sprintf("PULMONODE@127.0.0.1:%d", s.dicom))
	if err := sender.Start(); err != nil {
		t.Fatal(err)
	}
	instances := filepath.Join(s.dir, "data", "series", "*", "*", "instances", "*.dcm")
	eventually(t, time.Minute, "some slices are kept", func() bool {
		kept, _ := filepath.Glob(instances)
		return len(kept) >= 10
	})
	s.kill()
	if sender.Wait() == nil {
		t.Log("the sender had already finished")
	}
	before, _ := filepath.Glob(instances)
	s.start()
	after, _ := filepath.Glob(instances)
	if len(after) < len(before) {
		t.Errorf("%d slices before the restart, %d after it", len(before), len(after))
	}
	s.send(dir)
	s.ends(1, analysed)
	p.check(t, 1)
}

func TestKillDuringAnalysis(t *testing.T) {
	needRuntime(t)
	p := newPACS(t)
	s := newServer(t, "", destination{"pacs", "PACS", p.port})
	s.send(phantom(t))
	eventually(t, analysed, "the analysis runs", func() bool {
		all := s.series()
		return len(all) == 1 && all[0].State == admin.Analysing
	})
	s.kill()
	s.start()
	s.ends(1, analysed)
	p.check(t, 1)
}

// kill -9 after the SEG arrived and while the SR does.
func TestKillBetweenSEGAndSR(t *testing.T) {
	needRuntime(t)
	p := newPACS(t)
	s := newServer(t, "", destination{"pacs", "PACS", p.port})
	killed := killAt(p, s, 2, func(r received) bool { return r.class == dataset.Comprehensive3DSR })
	s.send(phantom(t))
	waitKilled(t, killed)
	s.kill()
	s.start()
	s.ends(1, analysed)
	p.check(t, 1)
}

// kill -9 after the object arrived and before its receipt is written.
func TestKillBetweenDeliveryAndReceipt(t *testing.T) {
	needRuntime(t)
	p := newPACS(t)
	s := newServer(t, "", destination{"pacs", "PACS", p.port})
	killed := killAt(p, s, 1, nil)
	s.send(phantom(t))
	waitKilled(t, killed)
	s.kill()
	s.start()
	s.ends(1, analysed)
	p.check(t, 1)
	if again := p.object(p.seen()[0]).times; again < 2 {
		t.Errorf("the object without a receipt was sent %d times; it must be sent again", again)
	}
}

// Files are the truth: the queue can go at any time.
func TestQueueDeletedAndCorrupted(t *testing.T) {
	needRuntime(t)
	p := newPACS(t)
	s := newServer(t, "", destination{"pacs", "PACS", p.port})
	s.send(phantom(t))
	s.ends(1, analysed)
	s.stop()
	sent := len(p.seen())
	for _, damage := range []func(string) error{
		os.Remove,
		func(path string) error { return os.WriteFile(path, []byte("this is no database"), 0o600) },
	} {
		queue, _ := filepath.Glob(filepath.Join(s.dir, "data", "queue.db*"))
		for _, q := range queue {
			if filepath.Base(q) != "queue.db" {
				os.Remove(q)
			}
		}
		if err := damage(filepath.Join(s.dir, "data", "queue.db")); err != nil {
			t.Fatal(err)
		}
		s.start()
		if all := s.ends(1, analysed); all[0].State != admin.Delivered {
			t.Errorf("after the queue was lost the series is %q: %s", all[0].State, all[0].Sentence)
		}
		s.stop()
	}
	if again := len(p.seen()) - sent; again != 0 {
		t.Errorf("%d objects were sent again although all had receipts", again)
	}
	p.check(t, 1)
}

// A second node on the same folder must not start.
func TestSecondNodeIsRefused(t *testing.T) {
	s := newServer(t, "")
	out, err := command(t, "serve", "--config", s.config()).CombinedOutput()
	if err == nil {
		t.Fatalf("a second node started on the same folder:\n%s", out)
	}
	t.Logf("it said: %s", out)
}
