package main

import (
	"context"
	"time"

	"github.com/pulmonode/pulmonode/node/admin"
)

// sample is the node at a moment, as it says itself.
type sample struct {
	At          time.Time `json:"-"`
	Hour        float64   `json:"hour"`
	MemoryMiB   float64   `json:"memory_mib"`
	Descriptors float64   `json:"descriptors"`
	Receiving   int       `json:"receiving"` // series
	Waiting     int       `json:"waiting"`   // for their analysis, or in it
	Delivering  int       `json:"delivering"`
}

// watch samples the node until ctx ends. Where it does not answer it is down.
func (d *day) watch(ctx context.Context) {
	tick := time.NewTicker(max(d.length/400, 500*time.Millisecond))
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s, err := d.look(ctx)
		if err != nil {
			continue
		}
		d.mu.Lock()
		d.samples = append(d.samples, s)
		d.mu.Unlock()
		if n%40 == 0 {
			d.say("%d instances confirmed, %d series receiving, %d waiting for analysis, %d for delivery; %.0f MiB, %.0f descriptors",
				d.kept.Count(), s.Receiving, s.Waiting, s.Delivering, s.MemoryMiB, s.Descriptors)
		}
	}
}

func (d *day) look(ctx context.Context) (s sample, err error) {
	m, err := d.node.Metrics(ctx)
	if err != nil {
		return s, err
	}
	all, err := d.list(ctx, "")
	if err != nil {
		return s, err
	}
	s = sample{At: time.Now(), MemoryMiB: m["process_resident_memory_bytes"] / (1 << 20), Descriptors: m["process_open_fds"]}
	s.Hour = d.hour(s.At)
	for _, one := range all {
		switch one.State {
		case admin.Receiving:
			s.Receiving++
		case admin.Waiting, admin.Analysing:
			s.Waiting++
		case admin.Delivering:
			s.Delivering++
		}
	}
	return s, nil
}
