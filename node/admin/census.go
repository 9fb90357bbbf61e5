package admin

import (
	"context"
	"sync"
	"time"
)

// A census counts the series by state. Each has to be looked at, which with
// thousands of them takes longer than a scrape may, so it is held beside the
// scrapes, at most one at a time, and rests after each so long that it never
// takes more than a twentieth of one core.
type census struct {
	take func(context.Context) (map[State]int, error)

	mu      sync.Mutex
	closed  bool
	cancel  context.CancelFunc
	counts  map[State]int // nil before the first
	counted time.Time
	rest    time.Duration
	running chan struct{} // closed when the one that runs has ended; nil when none does
}

// Bounds of the rest between two censuses, and how long a scrape waits for the
// very first one.
const (
	censusRest  = 15 * time.Second
	censusShare = 20
	censusFirst = 2 * time.Second
)

// latest returns the latest counts and their age, and begins a census when it is
// time for one. ok is false while the first has not ended.
func (c *census) latest() (counts map[State]int, age time.Duration, ok bool) {
	c.mu.Lock()
	if c.running == nil && !c.closed && (c.counted.IsZero() || time.Since(c.counted) > c.rest) {
		var ctx context.Context
		ctx, c.cancel = context.WithCancel(context.Background())
		c.running = make(chan struct{})
		go c.hold(ctx, c.running)
	}
	first := c.running
	if c.counts != nil {
		first = nil
	}
	c.mu.Unlock()
	if first != nil {
		select {
		case <-first:
		case <-time.After(censusFirst):
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts, time.Since(c.counted), c.counts != nil
}

func (c *census) hold(ctx context.Context, done chan struct{}) {
	defer close(done)
	began := time.Now()
	counts, err := c.take(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel()
	c.running = nil
	c.rest = max(censusRest, censusShare*time.Since(began))
	c.counted = time.Now()
	if err == nil {
		c.counts = counts
	} else {
		c.counts = nil // an old number must not stand for a present one
	}
}

// close ends the census that runs; none begins any more.
func (c *census) close() {
	c.mu.Lock()
	c.closed = true
	running := c.running
	if running != nil {
		c.cancel()
	}
	c.mu.Unlock()
	if running != nil {
		<-running
	}
}

// countSeries counts what a survey found.
func (s *Server) countSeries(ctx context.Context) (map[State]int, error) {
	n, err := s.survey(ctx)
	if err != nil {
		return nil, err
	}
	return n.counts(), nil
}
