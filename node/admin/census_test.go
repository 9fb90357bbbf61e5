package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A scrape neither waits for a census that runs nor begins a second one.
func TestCensusRunsBesideTheScrapes(t *testing.T) {
	gate, begun := make(chan struct{}), make(chan struct{}, 10)
	c := &census{take: func(context.Context) (map[State]int, error) {
		begun <- struct{}{}
		<-gate
		return map[State]int{Failed: 2}, nil
	}}
	c.counts, c.counted = map[State]int{Failed: 1}, time.Now().Add(-time.Hour)
	for range 5 {
		counts, age, ok := c.latest()
		if !ok || counts[Failed] != 1 || age < time.Hour {
			t.Fatalf("while it runs: %v, %v old, %v", counts, age, ok)
		}
	}
	<-begun
	c.mu.Lock()
	running := c.running
	c.mu.Unlock()
	close(gate)
	<-running
	if counts, age, ok := c.latest(); !ok || counts[Failed] != 2 || age > time.Hour {
		t.Errorf("after it: %v, %v old, %v", counts, age, ok)
	}
	if len(begun) != 0 {
		t.Error("a second one was begun: it is to rest after each")
	}
	if c.rest < censusRest {
		t.Errorf("it rests for %v", c.rest)
	}
}

// The first scrape has the numbers, and one that failed has none: an old number
// must not stand for a present one.
func TestCensusThatFailsSaysNothing(t *testing.T) {
	var fails error
	c := &census{take: func(context.Context) (map[State]int, error) { return map[State]int{Failed: 1}, fails }}
	if counts, _, ok := c.latest(); !ok || counts[Failed] != 1 {
		t.Errorf("the first: %v %v", counts, ok)
	}
	fails = errors.New("the disk is gone")
	c.mu.Lock()
	c.rest = 0
	c.mu.Unlock()
	c.latest()
	c.mu.Lock()
	running := c.running
	c.mu.Unlock()
	if running != nil {
		<-running
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts != nil {
		t.Errorf("after a failure it still says %v", c.counts)
	}
}

func TestCensusEndsWithItsServer(t *testing.T) {
	begun := make(chan struct{})
	c := &census{take: func(ctx context.Context) (map[State]int, error) {
		close(begun)
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	c.counts, c.counted = map[State]int{}, time.Now().Add(-time.Hour)
	c.latest()
	<-begun
	c.close()
	c.latest()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running != nil {
		t.Error("it runs after its end")
	}
}

// With 5,000 series a scrape is answered well within Prometheus' ten seconds,
// and one of them has the number.
func TestScrapeOfFiveThousandSeries(t *testing.T) {
	const n = 5000
	h := newHouse(t)
	for i := range n {
		folder := filepath.Join(h.store.Dir(), "series", "1.2.3", fmt.Sprintf("1.2.3.%d", i+1), "instances")
		h.must(os.MkdirAll(folder, 0o700))
		h.must(os.WriteFile(filepath.Join(folder, "1.2.3.4.dcm"), nil, 0o600))
	}
	defer h.census.close()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range 600 {
		began := time.Now()
		w := h.ask("GET", "/metrics", nil)
		if took := time.Since(began); w.Code != http.StatusOK || took > 10*time.Second {
			t.Fatalf("a scrape: %d in %v", w.Code, took)
		}
		if strings.Contains(w.Body.String(), fmt.Sprintf("pulmonode_series{state=%q} %d\n", Receiving, n)) {
			return
		}
		<-tick.C
	}
	t.Error("no scrape had the number")
}

// A look that hangs keeps nobody who gives up: a disk that hangs must not collect
// the page's requests until no connection is left for /healthz.
func TestWhoGivesUpDoesNotWaitForTheSurvey(t *testing.T) {
	h := newHouse(t)
	h.surveying <- struct{}{} // somebody looks, and the disk hangs
	ctx, giveUp := context.WithCancel(t.Context())
	giveUp()
	if _, err := h.survey(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-h.surveying
	if _, err := h.survey(t.Context()); err != nil {
		t.Error(err)
	}
}
