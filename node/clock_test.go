package node

import (
	"testing"
	"time"
)

// Only a wall clock that is set back is noticed, once, and by how much.
func TestClockSetBack(t *testing.T) {
	wall, running := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC), time.Duration(0)
	c := &wallClock{now: func() (time.Time, time.Duration) { return wall, running }}
	c.back()
	for _, step := range []struct {
		name          string
		wall, running time.Duration
		back          time.Duration
	}{
		{"a minute", time.Minute, time.Minute, 0},
		{"a time server's correction", time.Minute - time.Second, time.Minute, 0},
		{"an hour back within a minute", -59 * time.Minute, time.Minute, time.Hour},
		{"a minute after it", time.Minute, time.Minute, 0},
		{"two hours ahead", 2 * time.Hour, time.Minute, 0},
		{"a machine that slept", time.Hour, time.Minute, 0},
	} {
		wall, running = wall.Add(step.wall), running+step.running
		if got := c.back(); got != step.back {
			t.Errorf("%s: set back by %v, not %v", step.name, got, step.back)
		}
	}
}
