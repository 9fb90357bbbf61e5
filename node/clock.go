package node

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

// leastStep is by how much the wall clock must be set back to matter: less is
// what a time server does each day, and less than any wait of the queue.
const leastStep = 5 * time.Second

// wallClock tells when the clock that people set, and the one that goes on evenly,
// no longer go together.
type wallClock struct {
	wall    time.Time // at the last look
	running time.Duration
}

// set is by how much the wall clock was set since the look before, below zero
// where it was set back; a machine that slept has it set ahead.
func (c *wallClock) set(wall time.Time, running time.Duration) (by time.Duration) {
	wall = wall.Round(0) // without its reading of the other clock
	if !c.wall.IsZero() {
		by = wall.Sub(c.wall) - (running - c.running)
	}
	c.wall, c.running = wall, running
	return by
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
