package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pulmonode/pulmonode/cmd/internal/ledger"
	"github.com/pulmonode/pulmonode/cmd/internal/serve"
	"github.com/pulmonode/pulmonode/node/admin"
	"github.com/pulmonode/pulmonode/node/job/postgrestest"
)

// day is one run.
type day struct {
	binary, dir, picture, json string
	length, drain              time.Duration
	count, whole               int // series; those of the usual size
	capacity, postgres         bool
	faults                     []fault // nil: all of them
	out                        io.Writer

	began     time.Time
	anatomies []*anatomy
	chest     *anatomy // of the usual size
	node      *serve.Node
	clock     clock
	stepped   error // why the clock can't be
	disk      disk
	database  *postgrestest.Server // nil: the queue is SQLite's
	sinks     []*sink
	kept      ledger.Ledger
	plan      []arrival

	refused, wrongs atomic.Int64 // answers "out of resources", things that must be refused
	mu              sync.Mutex
	last            map[string]time.Time       // when a series' last instance was confirmed
	confirmed       map[string]map[string]bool // its instances
	stores          []stored
	samples         []sample
	events          []event
}

// stored is a C-STORE that was answered.
type stored struct {
	at   time.Time
	took time.Duration
}

// hours is a time of the day in the run's.
func (d *day) hours(h float64) time.Duration { return time.Duration(h / 24 * float64(d.length)) }

func (d *day) hour(t time.Time) float64 { return t.Sub(d.began).Seconds() / d.length.Seconds() * 24 }

func (d *day) say(format string, args ...any) {
	at := ""
	if !d.began.IsZero() {
		h := d.hour(time.Now())
		at = fmt.Sprintf("%02d:%02d  ", int(h), int(h*60)%60)
	}
	fmt.Fprintf(d.out, at+format+"\n", args...)
}

// run lives the day and says what it broke.
func (d *day) run(ctx context.Context) (broken []string, err error) {
	if d.dir == "" {
		if d.dir, err = os.MkdirTemp("", "pulmonode-day-"); err != nil {
			return nil, err
		}
		defer os.RemoveAll(d.dir)
	} else if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return nil, err
	}
	d.clock.sqlite = true
	d.last, d.confirmed = map[string]time.Time{}, map[string]map[string]bool{}
	if err := d.prepare(ctx); err != nil {
		return nil, err
	}
	defer d.disk.free()
	if d.postgres {
		if d.database, err = postgrestest.Start(); err != nil {
			return nil, err
		}
		defer d.database.Stop()
	}
	d.say("%d series from %d senders to a node with %d destinations; 24 hours last %v", d.count, habits, len(d.sinks), d.length)
	for _, s := range d.sinks {
		if err := s.up(ctx); err != nil {
			return nil, err
		}
		defer s.down()
	}
	if err := d.configure(); err != nil {
		return nil, err
	}
	if err := d.start(ctx); err != nil {
		return nil, err
	}
	defer d.node.Kill()
	d.began = time.Now()
	d.live(ctx)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := d.judge(ctx)
	if d.capacity {
		if r.Capacity, err = d.measure(ctx); err != nil {
			return nil, fmt.Errorf("measuring the capacity: %w", err)
		}
	}
	if err := d.node.Stop(); err != nil {
		r.Broken = append(r.Broken, err.Error())
	}
	r.print(d.out)
	if len(r.Broken) > 0 {
		fmt.Fprintf(d.out, "the node's log ends with\n%s\n", d.node.LastWords())
	}
	if d.json != "" {
		text, err := json.MarshalIndent(r, "", "  ")
		if err == nil {
			err = os.WriteFile(d.json, append(text, '\n'), 0o644)
		}
		if err != nil {
			return r.Broken, err
		}
	}
	if d.picture != "" {
		if err := d.draw(d.picture, r); err != nil {
			return r.Broken, err
		}
	}
	return r.Broken, nil
}

// prepare makes what is sent and what receives.
func (d *day) prepare(ctx context.Context) error {
	d.say("making phantoms")
	// With nodules and without.
	for i, nodules := range []int{5, 0, 3, 4}[:min(max(d.count/5, 1), 4)] {
		a, err := aimedAnatomy(ctx, uint64(i+1), nodules)
		if err != nil {
			return err
		}
		d.anatomies = append(d.anatomies, a)
	}
	if d.whole > 0 || d.capacity {
		var err error
		if d.chest, err = wholeAnatomy(ctx, 1, 5, 512); err != nil {
			return err
		}
	}
	d.plan = plan(d.count, d.whole, len(d.anatomies))
	d.sinks = []*sink{
		{name: "pacs", title: "PACS", send: `["seg", "sr", "keyimage", "kos"]`, commit: true},
		{name: "viewer", title: "VIEWER", send: `["seg", "sr", "keyimage"]`, slow: 150 * time.Millisecond},
		{name: "ris", title: "RIS", send: `["sr"]`, odd: true},
	}
	for _, s := range d.sinks {
		s.day, s.objects, s.sums = d, map[string]*object{}, map[string][32]byte{}
	}
	return nil
}

// make makes the slices of a planned series.
func (d *day) make(p planned) ([]ledger.Instance, error) {
	if p.whole {
		return instances(d.chest, p.number, p.flaw)
	}
	return instances(d.anatomies[p.anatomy], p.number, p.flaw)
}

// live is the day itself, until everything has ended or drain is over.
func (d *day) live(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(ctx, d.length+d.drain, errors.New("the day is over and the night after it too"))
	defer cancel()
	watching, stop := context.WithCancel(ctx)
	var watch, work sync.WaitGroup
	watch.Go(func() { d.watch(watching) })
	work.Go(func() { d.misfortune(ctx) })
	for _, a := range d.plan {
		work.Go(func() {
			if pause(ctx, time.Until(d.began.Add(d.hours(a.hour)))) != nil {
				return
			}
			if err := d.senderOf(a.habit).comes(ctx, a); err != nil {
				d.kept.Fail(err.Error())
			}
		})
	}
	work.Wait()
	d.say("all is sent; what waits is waited for")
	d.settle(ctx)
	d.say("all has ended")
	stop()
	watch.Wait()
}

// settle waits until every series has ended, and the destinations have been asked
// for the last time.
func (d *day) settle(ctx context.Context) {
	serve.Await(ctx, func() bool {
		pause(ctx, 500*time.Millisecond)
		all, err := d.list(ctx, "")
		return err == nil && len(all) >= d.count && open(all) == 0
	})
	for _, s := range d.sinks {
		s.answered.Wait()
	}
}

// open counts the series that have not ended.
func open(all []admin.Series) (n int) {
	for _, s := range all {
		switch s.State {
		case admin.Delivered, admin.Skipped, admin.Failed, admin.Deleted:
		default:
			n++
		}
	}
	return n
}

// list asks the node for its series.
func (d *day) list(ctx context.Context, series string) ([]admin.Series, error) {
	var l admin.List
	err := d.get(ctx, "/api/v1/series?limit=10000&series="+series, &l)
	return l.Series, err
}

// get asks the node over HTTP; into is a *[]byte or what JSON is read into.
func (d *day) get(ctx context.Context, path string, into any) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.node.Admin+path, nil)
	if err != nil {
		return err
	}
	q.Close = true
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	b, err := io.ReadAll(io.LimitReader(a.Body, 64<<20))
	if err != nil {
		return err
	}
	if a.StatusCode != http.StatusOK {
		return fmt.Errorf("%s was answered %s: %s", path, a.Status, b)
	}
	if text, ok := into.(*[]byte); ok {
		*text = b
		return nil
	}
	return json.Unmarshal(b, into)
}

// closings is how often a series was closed, as the node says.
func (d *day) closings(of ledger.Instance) int {
	all, err := d.list(context.Background(), of.Series)
	if err != nil {
		return 0
	}
	for _, s := range all {
		if s.Series == of.Series {
			return s.Generation
		}
	}
	return 0
}

// confirm notes what the node promised to keep.
func (d *day) confirm(i ledger.Instance) {
	d.kept.Confirm(i)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.confirmed[i.Series] == nil {
		d.confirmed[i.Series] = map[string]bool{}
	}
	if !d.confirmed[i.Series][i.UID] { // a repetition is nothing that results wait for
		d.confirmed[i.Series][i.UID] = true
		d.last[i.Series] = time.Now()
	}
}

func (d *day) waited(at time.Time, took time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stores = append(d.stores, stored{at, took})
}

func (d *day) path(name string) string { return filepath.Join(d.dir, name) }
