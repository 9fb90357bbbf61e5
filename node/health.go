package node

import (
	"fmt"
	"sync/atomic"
	"time"
)

// heart tells whether the upkeep still turns. It beats on the monotonic clock:
// a stepped wall clock neither stops nor hides anything.
type heart struct {
	began time.Time    // with its monotonic reading
	last  atomic.Int64 // nanoseconds since began
}

// wedgedAfter is how long the upkeep may be silent before the node counts as
// wedged. It beats each minute, and at each series that retention looks at;
// what keeps it longer than this does not end by itself, and a restart, which
// loses nothing, is all that helps.
const wedgedAfter = 10 * time.Minute

func newHeart() *heart { return &heart{began: time.Now()} }

func (h *heart) beat() { h.last.Store(int64(time.Since(h.began))) }

func (h *heart) silence() time.Duration { return time.Since(h.began) - time.Duration(h.last.Load()) }

// Alive is nil while the node's own work turns, whatever its disk, queue,
// models or peers do; an error means that only a restart helps. It looks at
// nothing that could make it wait.
func (n *Node) Alive() error {
	if silence := n.heart.silence(); silence > wedgedAfter {
		return fmt.Errorf("the upkeep has not turned for %v: restart the node, which loses nothing, and send the log to the makers", silence.Round(time.Second))
	}
	return nil
}
