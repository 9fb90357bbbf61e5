package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/admin"
	"github.com/pulmonode/pulmonode/node/job/postgrestest"
	"github.com/pulmonode/pulmonode/node/store"
)

// verdict is what a node says of itself.
type verdict struct {
	alive, ready, receive bool
	parts                 string // that are not ready, in order
	said                  string
}

func (s *site) verdict() (v verdict) {
	s.t.Helper()
	var r admin.Readiness
	v.alive = s.get("/healthz", nil) == http.StatusOK
	v.ready = s.get("/readyz", &r) == http.StatusOK
	var not []string
	for _, c := range r.Checks {
		if !c.OK {
			not = append(not, c.Name)
			v.said += c.Sentence + "\n"
		}
	}
	v.parts = strings.Join(not, " ")
	v.receive = s.get("/readyz?for=receive", nil) == http.StatusOK
	return v
}

// untilVerdict asks until the parts are those that the test waits for, and say
// what it waits for: while models are loaded they are not ready for another reason.
func (s *site) untilVerdict(parts, says string) verdict {
	s.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var v verdict
	for range 2000 {
		if v = s.verdict(); v.parts == parts && strings.Contains(v.said, says) {
			return v
		}
		<-tick.C
	}
	s.t.Fatalf("%q never became all that is not ready, with %q: %+v", parts, says, v)
	return v
}

// In each fault the node says the right of itself: whether a restart would help
// (never), whether it would take a series, whether it could end it, and what a
// person is to do. When the fault is over it says so by itself.
func TestHealthIsRightInEachFault(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(*site)
		fault   func(*site) (mend func())
		parts   string // not ready
		receive bool
		says    string
	}{
		{name: "nothing", receive: true, fault: func(*site) func() { return func() {} }},
		{
			name: "a destination is down", receive: true,
			prepare: func(s *site) {
				gone, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					s.t.Fatal(err)
				}
				s.to("down", &pacs{address: gone.Addr().String()})
				gone.Close()
			},
			fault: func(s *site) func() {
				s.send(0, 4)
				s.until("tried in vain", func(d *admin.Detail) bool {
					return delivery(d, "down").Job != nil && delivery(d, "down").Job.LastError != ""
				})
				return func() {}
			},
		},
		{
			name: "the disk is below the watermark", parts: "disk", says: "stop_receiving_below",
			prepare: func(s *site) {
				s.config.Storage.DataDir, s.config.Storage.StopReceivingBelow = smallDisk(s.t, "16m"), 4*config.MiB
			},
			fault: filled,
		},
		{
			name: "the disk is full and there is no watermark", parts: "disk", says: "free space or move data_dir",
			prepare: func(s *site) { s.config.Storage.DataDir = smallDisk(s.t, "16m") },
			fault:   filled,
		},
		{
			name: "the disk became read-only", parts: "disk", says: "look at the disk and at the folder's rights",
			prepare: func(s *site) { s.refuse(unix.EROFS) },
			fault:   func(s *site) func() { return s.broken() },
		},
		{
			name: "the disk's writes fail", parts: "disk", says: "input/output error",
			prepare: func(s *site) { s.refuse(unix.EIO) },
			fault:   func(s *site) func() { return s.broken() },
		},
		{
			name: "the data folder was taken away", parts: "disk queue", says: "queue.db was removed or replaced",
			fault: func(s *site) func() {
				dir := s.config.Storage.DataDir
				if err := os.Rename(dir, dir+".away"); err != nil {
					s.t.Fatal(err)
				}
				return func() {
					if err := os.Rename(dir+".away", dir); err != nil {
						s.t.Fatal(err)
					}
				}
			},
		},
		{
			name: "the disk hangs", parts: "disk", says: "the disk hangs",
			prepare: func(s *site) {
				s.parts.readyWithin = 100 * time.Millisecond
				s.hang()
			},
			fault: func(s *site) func() { return s.broken() },
		},
		{
			name: "queue.db was deleted", parts: "queue", receive: true, says: "restart the node",
			fault: func(s *site) func() {
				path := filepath.Join(s.config.Storage.DataDir, "queue.db")
				if err := os.Rename(path, path+".away"); err != nil {
					s.t.Fatal(err)
				}
				return func() {
					if err := os.Rename(path+".away", path); err != nil {
						s.t.Fatal(err)
					}
				}
			},
		},
		{
			name: "PostgreSQL was killed", parts: "queue", receive: true, says: "look at its database",
			prepare: func(s *site) {
				p, err := postgrestest.Start()
				if missing := new(postgrestest.Missing); errors.As(err, &missing) {
					s.t.Skip(missing)
				}
				if err != nil {
					s.t.Fatal(err)
				}
				s.t.Cleanup(func() {
					s.stop()
					if err := p.Stop(); err != nil {
						s.t.Error(err)
					}
				})
				if s.config.Queue.URL, err = p.Database("pulmonode"); err != nil {
					s.t.Fatal(err)
				}
				s.broken = func() func() {
					p.Kill()
					return func() {
						if err := p.Restart(); err != nil {
							s.t.Fatal(err)
						}
					}
				}
			},
			fault: func(s *site) func() { return s.broken() },
		},
		{
			name: "the models are missing", parts: "models", receive: true, says: "localize.onnx is missing",
			prepare: func(s *site) {
				var there atomic.Bool
				s.mend = func() { there.Store(true) }
				s.parts.open = func(*config.Config, *zap.Logger) (Analyzer, error) {
					if !there.Load() {
						return nil, errors.New("localize.onnx is missing: put it back")
					}
					return s.analyzer, nil
				}
			},
			fault: func(s *site) func() { return s.mend },
		},
		{
			name: "every analysis fails", parts: "analyses", receive: true, says: "the GPU fell off the bus",
			prepare: func(s *site) {
				s.analyzer.analyze = func(context.Context, inference.Series) (*result.Result, error) {
					return nil, errors.New("the GPU fell off the bus")
				}
			},
			fault: func(s *site) func() {
				for i := range failingFrom {
					s.sendSeries(fmt.Sprintf("%s.%d", testStudy, 100+i))
				}
				return func() {
					s.analyzer.mu.Lock()
					s.analyzer.analyze = nil
					s.analyzer.mu.Unlock()
					s.sendSeries(testStudy + ".200")
				}
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, nil)
			if c.prepare != nil {
				c.prepare(s)
			}
			s.start()
			if c.parts != "models" {
				s.untilVerdict("", "")
			}
			mend := c.fault(s)
			v := s.untilVerdict(c.parts, c.says)
			if want := (verdict{alive: true, ready: c.parts == "", receive: c.receive, parts: c.parts, said: v.said}); v != want {
				t.Errorf("%+v, want %+v", v, want)
			}
			mend()
			if v := s.untilVerdict("", ""); !v.alive || !v.ready || !v.receive {
				t.Errorf("mended: %+v", v)
			}
		})
	}
}

// filled fills the disk and returns what empties it.
func filled(s *site) func() {
	filler := filepath.Join(s.config.Storage.DataDir, "filler")
	fill(s.t, filler)
	return func() {
		if err := os.Remove(filler); err != nil {
			s.t.Fatal(err)
		}
	}
}

// refuse has the disk refuse every change from broken on.
func (s *site) refuse(why error) {
	var bad atomic.Bool
	s.parts.before = func(step, path string) error {
		if bad.Load() {
			return &os.PathError{Op: step, Path: path, Err: why}
		}
		return nil
	}
	s.broken = func() func() {
		bad.Store(true)
		return func() { bad.Store(false) }
	}
}

// hang has every change of the disk hang from broken on.
func (s *site) hang() {
	var mu sync.Mutex
	var gate chan struct{}
	s.parts.before = func(string, string) error {
		mu.Lock()
		wait := gate
		mu.Unlock()
		if wait != nil {
			<-wait
		}
		return nil
	}
	s.broken = func() func() {
		mu.Lock()
		defer mu.Unlock()
		gate = make(chan struct{})
		return func() {
			mu.Lock()
			defer mu.Unlock()
			close(gate)
			gate = nil
		}
	}
}

// sendSeries sends a series of its own study.
func (s *site) sendSeries(study string) {
	s.t.Helper()
	conn, err := s.dial("CT1")
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range 5 {
		sop := fmt.Sprintf("%s.1.%d", study, i+1)
		_, data := slice(s.t, i, func(d *dataset.Dataset) {
			d.SetText(dataset.SOPInstanceUID, "UI", sop)
			d.SetText(dataset.StudyInstanceUID, "UI", study)
			d.SetText(dataset.SeriesInstanceUID, "UI", study+".1")
		})
		s.storeOne(conn, sop, data)
	}
	if err := conn.Release(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// While it drains, the node says that it takes nothing new, and still answers: a
// load balancer learns of it from the node.
func TestDrainingIsNotReady(t *testing.T) {
	s := newSite(t, nil)
	s.start()
	s.untilVerdict("", "")
	conn, err := s.dial("CT1")
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- s.node.Stop() }()
	v := s.untilVerdict("listener", "") // the open association keeps the node draining
	if !v.alive || v.receive || !strings.Contains(v.said, "is stopping") {
		t.Errorf("draining: %+v", v)
	}
	conn.Abort()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	s.node = nil
}

// A node whose upkeep has stopped says that a restart would help; nothing that a
// restart would not mend makes it say so.
func TestWedgedIsNotAlive(t *testing.T) {
	s := newSite(t, nil)
	s.start()
	if v := s.untilVerdict("", ""); !v.alive {
		t.Errorf("just started: %+v", v)
	}
	var said string
	status := http.StatusOK
	for range 2000 { // it may beat once more in between
		s.node.heart.last.Store(-2 * int64(wedgedAfter))
		if status = s.get("/healthz", &said); status != http.StatusOK {
			break
		}
	}
	if status != http.StatusServiceUnavailable || !strings.Contains(said, "restart the node") {
		t.Errorf("wedged: %d %s", status, said)
	}
	s.node.missed <- struct{}{} // the upkeep turns once
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 2000 {
		if s.get("/healthz", nil) == http.StatusOK {
			return
		}
		<-tick.C
	}
	t.Error("it turned, and is not alive again")
}

// The heart goes by the monotonic clock, whatever the wall clock is set to.
func TestTheHeartDoesNotSeeTheWallClock(t *testing.T) {
	h := newHeart()
	if !strings.Contains(h.began.String(), " m=") {
		t.Fatalf("%v has no monotonic reading", h.began)
	}
	h.beat()
	if s := h.silence(); s < 0 || s > wedgedAfter {
		t.Errorf("silent for %v", s)
	}
}

func TestStreakNeedsSeveralSeries(t *testing.T) {
	var s streak
	bad := errors.New("bad pixels")
	for range 10 {
		s.ended(testKey, bad)
	}
	if err := s.err(); err != nil {
		t.Errorf("one series alone: %v", err)
	}
	for i := range failingFrom {
		s.ended(store.Key{Study: "1.2", Series: fmt.Sprint("1.2.", i)}, bad)
	}
	if err := s.err(); !errors.Is(err, bad) {
		t.Errorf("%d series: %v", failingFrom, err)
	}
	s.ended(testKey, nil)
	if err := s.err(); err != nil {
		t.Errorf("after a success: %v", err)
	}
}

// Whoever asks while the disk hangs costs one goroutine in all.
func TestProbeAsksOnceAtATime(t *testing.T) {
	gate, asked := make(chan struct{}), 0
	p := probe{within: time.Millisecond, hangs: "look at it", ask: func(context.Context) error {
		asked++
		<-gate
		return nil
	}}
	for range 5 {
		if err := p.answer(); err == nil || !strings.Contains(err.Error(), "look at it") {
			t.Errorf("while it hangs: %v", err)
		}
	}
	p.mu.Lock()
	running := p.running
	p.mu.Unlock()
	close(gate)
	<-running.done
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

// What is measured from end to end is there once results are delivered, once a
// delivery, and not when a person has them delivered again.
func TestTurnaroundIsMeasuredOnce(t *testing.T) {
	p := newPACS(t, "127.0.0.1:0", nil)
	s := newSite(t, func(s *site) { s.to("pacs", p) })
	s.start()
	s.send(0, 4)
	s.untilState(admin.Delivered)
	has := func(text ...string) {
		t.Helper()
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		var all string
		for range 2000 { // a delivery counts a moment after its last receipt
			s.get("/metrics", &all)
			text = slices.DeleteFunc(text, func(one string) bool { return strings.Contains(all, one+"\n") })
			if len(text) == 0 {
				return
			}
			<-tick.C
		}
		t.Fatalf("the metrics lack %q", text)
	}
	counted := []string{
		`pulmonode_turnaround_seconds_count{destination="pacs"} 1`, `pulmonode_destination_up{destination="pacs"} 1`,
		`pulmonode_instances_total{outcome="stored",source="CT1"} 5`, `pulmonode_late_generations_total 0`,
	}
	has(append(slices.Clone(counted), `pulmonode_deliveries_total{destination="pacs",outcome="delivered"} 1`)...)
	if status := s.ask(http.MethodPost, againPath+"?destination=pacs", nil); status != http.StatusOK {
		t.Fatalf("deliver again: %d", status)
	}
	s.until("sent twice", func(d *admin.Detail) bool { return d.State == admin.Delivered && copies(p) == 6 })
	has(append(slices.Clone(counted), `pulmonode_deliveries_total{destination="pacs",outcome="delivered"} 2`)...)
}
