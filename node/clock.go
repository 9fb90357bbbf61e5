package node

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

// leastStep is by how much the wall clock must be set back to be noticed: less is
// what a time server does each day, and less than any wait of the queue.
const leastStep = 5 * time.Second

// wallClock notices that the wall clock was set back.
type wallClock struct {
	now     func() (wall time.Time, running time.Duration)
	wall    time.Time
	running time.Duration
}

// newWallClock looks at the system's clocks: the one that people set, and the one
// that goes on evenly.
func newWallClock() *wallClock {
	began := time.Now()
	c := &wallClock{now: func() (time.Time, time.Duration) {
		now := time.Now()
		return now.Round(0), now.Sub(began)
	}}
	c.back()
	return c
}

// back is by how much the wall clock was set back since the call before.
func (c *wallClock) back() time.Duration {
	wall, running := c.now()
	back := running - c.running - wall.Sub(c.wall)
	c.wall, c.running = wall, running
	if back < leastStep {
		return 0
	}
	return back
}

// clockSetBack has everything in the queue done as soon as it can be. The queue's
// times are the wall clock's: what was queued before the step is due only when the
// clock is there again, an hour later where it was set back by one.
func (n *Node) clockSetBack(ctx context.Context, by time.Duration) error {
	n.log.Warn("clock_set_back", zap.Duration("by", by), zap.String("do", "nothing, what was queued goes on; look at what sets this machine's clock"))
	err := n.queue.WakeAnalyses(ctx)
	for _, d := range n.config.Destination {
		err = errors.Join(err, n.queue.Wake(ctx, d.Name))
	}
	return err
}
