package node

import (
	"sync"
	"time"
)

// rate lets one of what the network can bring about at will be told of in a
// second, and ten at once: neither the log nor the audit trail shall be filled.
type rate struct {
	mu      sync.Mutex
	last    time.Time
	tokens  float64
	skipped int
}

// allow reports whether this one is told of, and how many before it were not.
func (r *rate) allow(now time.Time) (skipped int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last.IsZero() {
		r.tokens = 10
	} else {
		r.tokens = min(r.tokens+now.Sub(r.last).Seconds(), 10)
	}
	r.last = now
	if r.tokens < 1 {
		r.skipped++
		return 0, false
	}
	r.tokens--
	skipped, r.skipped = r.skipped, 0
	return skipped, true
}
