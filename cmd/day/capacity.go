package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/pulmonode/pulmonode/cmd/internal/serve"
	"github.com/pulmonode/pulmonode/node/admin"
)

// capacity is how many series an hour a node takes, and how long they then wait.
// It was measured: a burst tells how long the node is busy with one series when it
// never rests; then series come at random at parts of that rate.
type capacity struct {
	Cores int       `json:"cores"`
	Busy  string    `json:"load_average"` // of the machine before and after: other work makes the figures worse
	Kinds []capable `json:"kinds"`
}

// capable is the capacity for one kind of series.
type capable struct {
	What    string  `json:"what"`
	Seconds float64 `json:"seconds_of_work"` // a series, in a burst
	Rates   []rate  `json:"rates"`
}

// rate is series that come at random, so many an hour.
type rate struct {
	Load     float64 `json:"load"` // of what a burst showed
	PerHour  float64 `json:"series_per_hour"`
	Measured spread  `json:"delay_s"` // from the last instance to all destinations; without N not measured
	Expected float64 `json:"mean_delay_expected_s"`
}

// wait is Pollaczek and Khinchine's mean delay of an M/D/1 queue with the time
// that passes before and after the queue.
func wait(load, work, around float64) float64 { return around + work + load*work/(2*(1-load)) }

// measure sends bursts and then series at random.
func (d *day) measure(ctx context.Context) (*capacity, error) {
	c := &capacity{Cores: runtime.NumCPU()}
	c.Busy = busy()
	next := 10000
	for _, k := range []struct {
		what  string
		whole bool
		burst int
		loads map[float64]int // series that come at that load
	}{
		{fmt.Sprintf("one lung, %d slices of %d x %d", aimedSlices, aimedColumns, aimedRows), false, 8, map[float64]int{0.5: 8, 0.8: 12}},
		{"a chest, 150 slices of 512 x 512", true, 2, nil},
	} {
		d.say("capacity: %s", k.what)
		one := capable{What: k.what}
		gaps := make([]time.Duration, k.burst)
		delays, took, err := d.come(ctx, &next, k.whole, gaps)
		if err != nil {
			return nil, err
		}
		one.Seconds = took.Seconds() / float64(k.burst)
		around := max(spreadOf(delays).Most-took.Seconds(), 0) + 1 // the quiet second
		for _, load := range []float64{0.5, 0.8, 0.9} {
			r := rate{Load: load, PerHour: 3600 * load / one.Seconds, Expected: wait(load, one.Seconds, around)}
			if n := k.loads[load]; n > 0 {
				random := rand.New(rand.NewPCG(1, uint64(n)))
				gaps := make([]time.Duration, n)
				for i := range gaps {
					gaps[i] = time.Duration(random.ExpFloat64() * one.Seconds / load * float64(time.Second))
				}
				delays, _, err := d.come(ctx, &next, k.whole, gaps)
				if err != nil {
					return nil, err
				}
				r.Measured = spreadOf(delays)
			}
			one.Rates = append(one.Rates, r)
		}
		c.Kinds = append(c.Kinds, one)
	}
	c.Busy += " to " + busy()
	return c, nil
}

// busy is the machine's load average of the last minute.
func busy() string {
	b, err := os.ReadFile("/proc/loadavg")
	if one, _, ok := strings.Cut(string(b), " "); err == nil && ok {
		return one
	}
	return "?"
}

// come sends series, each so long after the one before, and returns for each how
// long it took from its last instance to all destinations, and how long the node
// was at work on all.
func (d *day) come(ctx context.Context, next *int, whole bool, gaps []time.Duration) (delays []float64, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	var sending sync.WaitGroup
	var numbers []int
	ended := map[string]time.Time{}
	for _, gap := range gaps {
		if err := pause(ctx, gap); err != nil {
			return nil, 0, err
		}
		*next++
		p := planned{number: *next, whole: whole, anatomy: *next % len(d.anatomies)}
		numbers = append(numbers, p.number)
		sending.Go(func() { d.senderOf(oneAssociation).comes(ctx, arrival{series: []planned{p}}) })
	}
	sending.Wait()
	err = serve.Await(ctx, func() bool {
		left := 0
		for _, n := range numbers {
			uid := seriesUID(n)
			if !ended[uid].IsZero() {
				continue
			}
			left++
			var one admin.Detail
			if d.get(ctx, "/api/v1/series/"+studyUID(n)+"/"+uid, &one) == nil && one.State == admin.Delivered {
				ended[uid] = time.Now()
			}
		}
		return left == 0
	})
	if err != nil {
		return nil, 0, fmt.Errorf("%d of %d series ended: %w", len(ended), len(numbers), err)
	}
	held := make([]map[string]*object, len(d.sinks))
	for i, s := range d.sinks {
		held[i] = s.holds()
	}
	var first, last time.Time
	for _, n := range numbers {
		sent := d.last[seriesUID(n)]
		if first.IsZero() || sent.Before(first) {
			first = sent
		}
		var complete time.Time
		for _, h := range held {
			for _, o := range h {
				if o.study == studyUID(n) && o.first.After(complete) {
					complete = o.first
				}
			}
		}
		if complete.After(last) {
			last = complete
		}
		delays = append(delays, complete.Sub(sent).Seconds())
	}
	return delays, last.Sub(first) - time.Second, nil
}

func (c *capacity) print(out io.Writer) {
	fmt.Fprintf(out, "\ncapacity with %d cores, from the last instance to all destinations; load average of the machine %s\n", c.Cores, c.Busy)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "series\tseries an hour\tload\tmean expected\tp50\tp95\tmost, measured")
	for _, k := range c.Kinds {
		fmt.Fprintf(w, "%s\t%.0f at most (%.1f s of work each)\n", k.What, 3600/k.Seconds, k.Seconds)
		for _, r := range k.Rates {
			fmt.Fprintf(w, "\t%.0f\t%.0f %%\t%.1f s\t", r.PerHour, 100*r.Load, r.Expected)
			if r.Measured.N > 0 {
				fmt.Fprintf(w, "%.1f s\t%.1f s\t%.1f s\n", r.Measured.P50, r.Measured.P95, r.Measured.Most)
			} else {
				fmt.Fprintln(w, "-\t-\tnot measured")
			}
		}
	}
	w.Flush()
}
