package node

import (
	"testing"
	"time"
)

// A wall clock that is set is noticed once, and by how much.
func TestWallClockIsSet(t *testing.T) {
	wall, running := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC), time.Duration(0)
	var c wallClock
	if by := c.set(wall, running); by != 0 {
		t.Errorf("the first look: set by %v", by)
	}
	for _, step := range []struct {
		name          string
		wall, running time.Duration
		by            time.Duration
	}{
		{"a minute", time.Minute, time.Minute, 0},
		{"a time server's correction", time.Minute - time.Second, time.Minute, -time.Second},
		{"an hour back within a minute", -59 * time.Minute, time.Minute, -time.Hour},
		{"a minute after it", time.Minute, time.Minute, 0},
		{"two hours ahead", 2 * time.Hour, time.Minute, 119 * time.Minute},
		{"a machine that slept", time.Hour, time.Minute, 59 * time.Minute},
	} {
		wall, running = wall.Add(step.wall), running+step.running
		if got := c.set(wall, running); got != step.by {
			t.Errorf("%s: set by %v, not %v", step.name, got, step.by)
		}
	}
}
