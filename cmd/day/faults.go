package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/pulmonode/pulmonode/cmd/internal/serve"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/node/admin"
)

// fault is something that goes wrong from an hour of the day on.
type fault struct {
	hour float64
	name string
	do   func(ctx context.Context, d *day) error
}

// errNotHere says that a fault can't be made on this machine.
var errNotHere = errors.New("not on this machine")

// misfortunes are the day's, in their order; one waits for the one before.
var misfortunes = []fault{
	{5, "clock an hour ahead", func(_ context.Context, d *day) error { return d.step(time.Hour) }},
	{8, "kill -9 while slices come in", killWhenReceiving},
	{8.8, "kill -9 while it analyses", killWhenAnalysing},
	{9.5, "PACS down for an hour", downForAnHour("pacs")},
	{10.8, "RIS without room, clock two hours back meanwhile", clockBack},
	{12.5, "kill -9 between SEG and SR", killAtReport},
	{13.3, "kill -9 between object and receipt", killAtReceipt},
	{14, "disk full for half an hour", diskFull},
	{15.2, "queue lost", loseQueue},
	{16, "queue damaged", damageQueue},
	{17, "model damaged for half an hour", modelDamaged},
	{19, "PACS and viewer down, node restarted", bothDown},
}

// event is a fault that happened.
type event struct {
	Hour  float64   `json:"hour"`
	Until float64   `json:"until"`
	Name  string    `json:"name"`
	Note  string    `json:"note,omitempty"` // why it did not happen
	At    time.Time `json:"-"`
	Ended time.Time `json:"-"`
}

// misfortune makes the faults.
func (d *day) misfortune(ctx context.Context) {
	all := d.faults
	if all == nil {
		all = misfortunes
	}
	for _, f := range all {
		if pause(ctx, time.Until(d.began.Add(d.hours(f.hour)))) != nil {
			return
		}
		e := event{Name: f.name, At: time.Now()}
		d.say("%s", f.name)
		if err := f.do(ctx, d); err != nil {
			e.Note = err.Error()
			d.say("%s: %v", f.name, err)
			if !errors.Is(err, errNotHere) {
				d.kept.Fail(fmt.Sprintf("the fault %q could not be made: %v", f.name, err))
			}
		}
		e.Ended = time.Now()
		e.Hour, e.Until = d.hour(e.At), d.hour(e.Ended)
		d.mu.Lock()
		d.events = append(d.events, e)
		d.mu.Unlock()
	}
}

// moment waits for a moment to do harm at, for some hours of the day.
func (d *day) moment(ctx context.Context, come func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, max(d.hours(3), 2*time.Minute), errors.New("its moment never came"))
	defer cancel()
	if serve.Await(ctx, come) != nil {
		return context.Cause(ctx)
	}
	return nil
}

// again starts the node some minutes of the day after it ended.
func (d *day) again(ctx context.Context) error {
	if err := pause(ctx, d.hours(0.1)); err != nil {
		return err
	}
	return d.start(ctx)
}

func (d *day) step(offset time.Duration) error {
	if d.stepped != nil {
		return fmt.Errorf("%w: %w", errNotHere, d.stepped)
	}
	return d.clock.set(offset)
}

// clockBack steps the clock back while a delivery waits for its next attempt, and
// leaves it there: what is to be tried again in seconds must not wait for hours.
func clockBack(ctx context.Context, d *day) error {
	ris := d.sink("ris")
	ris.room(false)
	defer ris.room(true)
	if err := d.moment(ctx, d.when(ctx, func(s admin.Series) bool {
		return s.State == admin.Delivering && strings.Contains(s.Sentence, "ris is tried again")
	})); err != nil {
		return err
	}
	return d.step(-time.Hour)
}

func (d *day) when(ctx context.Context, is func(admin.Series) bool) func() bool {
	return func() bool {
		all, err := d.list(ctx, "")
		if err != nil {
			return false
		}
		for _, s := range all {
			if is(s) {
				return true
			}
		}
		return false
	}
}

func killWhenReceiving(ctx context.Context, d *day) error {
	if err := d.moment(ctx, d.when(ctx, func(s admin.Series) bool { return s.State == admin.Receiving && s.Instances > 5 && s.Instances < 40 })); err != nil {
		return err
	}
	d.node.Kill()
	return d.again(ctx)
}

func killWhenAnalysing(ctx context.Context, d *day) error {
	if err := d.moment(ctx, d.when(ctx, func(s admin.Series) bool { return s.State == admin.Analysing })); err != nil {
		return err
	}
	d.node.Kill()
	return d.again(ctx)
}

// killAtObject kills the node while a destination has an object and has not
// answered for it.
func (d *day) killAtObject(ctx context.Context, s *sink, is func(*object) bool) error {
	killed := make(chan struct{})
	var once sync.Once
	s.mu.Lock()
	s.hook = func(o *object) {
		if is(o) {
			once.Do(func() {
				d.node.Kill()
				close(killed)
			})
		}
	}
	s.mu.Unlock()
	err := d.moment(ctx, func() bool {
		select {
		case <-killed:
			return true
		default:
			return false
		}
	})
	s.mu.Lock()
	s.hook = nil
	s.mu.Unlock()
	if err != nil {
		once.Do(func() {}) // it would kill later
		return err
	}
	return d.again(ctx)
}

func (d *day) sink(name string) *sink {
	for _, s := range d.sinks {
		if s.name == name {
			return s
		}
	}
	return nil
}

func killAtReport(ctx context.Context, d *day) error {
	return d.killAtObject(ctx, d.sink("viewer"), func(o *object) bool { return o.report != nil })
}

func killAtReceipt(ctx context.Context, d *day) error {
	return d.killAtObject(ctx, d.sink("pacs"), func(o *object) bool { return o.class == dataset.SecondaryCapture })
}

func downForAnHour(name string) func(context.Context, *day) error {
	return func(ctx context.Context, d *day) error {
		s := d.sink(name)
		s.down()
		if err := pause(ctx, d.hours(1)); err != nil {
			return err
		}
		return s.up(ctx)
	}
}

func bothDown(ctx context.Context, d *day) error {
	for _, name := range []string{"pacs", "viewer"} {
		d.sink(name).down()
	}
	if err := d.node.Stop(); err != nil {
		return err
	}
	if err := d.again(ctx); err != nil {
		return err
	}
	if err := pause(ctx, d.hours(0.4)); err != nil {
		return err
	}
	for _, name := range []string{"pacs", "viewer"} {
		if err := d.sink(name).up(ctx); err != nil {
			return err
		}
	}
	return nil
}

// diskFull leaves next to nothing for half an hour: less than where reception
// stops, and less than a result needs.
func diskFull(ctx context.Context, d *day) error {
	if d.disk.path == "" {
		return fmt.Errorf("%w: the node's disk is shared with others", errNotHere)
	}
	before := d.refused.Load()
	if err := d.disk.fill(256 << 10); err != nil {
		return err
	}
	err := d.moment(ctx, func() bool { return d.refused.Load() > before })
	if err == nil {
		err = pause(ctx, d.hours(0.5))
	}
	return errors.Join(err, d.disk.empty())
}

// queueFiles are the database and what SQLite keeps beside it.
func (d *day) queueFiles() []string {
	files, _ := filepath.Glob(filepath.Join(d.path("data"), "queue.db*"))
	return files
}

// loseQueue deletes the database; one on a server is killed, and comes back.
func loseQueue(ctx context.Context, d *day) error {
	if d.database != nil {
		return d.databaseDown(ctx, 0.3)
	}
	if err := d.node.Stop(); err != nil {
		return err
	}
	for _, f := range d.queueFiles() {
		if err := os.Remove(f); err != nil {
			return err
		}
	}
	return d.again(ctx)
}

// damageQueue writes over the database; one on a server is killed, and the node
// with it.
func damageQueue(ctx context.Context, d *day) error {
	d.node.Kill()
	if d.database != nil {
		return errors.Join(d.databaseDown(ctx, 0), d.again(ctx))
	}
	for _, f := range d.queueFiles() {
		if err := os.WriteFile(f, []byte("this is no database any more"), 0o600); err != nil {
			return err
		}
	}
	return d.again(ctx)
}

// databaseDown kills the database's server, which is back so many hours later.
func (d *day) databaseDown(ctx context.Context, hours float64) error {
	d.database.Kill()
	return errors.Join(pause(ctx, d.hours(hours)), d.database.Restart())
}

func modelDamaged(ctx context.Context, d *day) error {
	if err := d.node.Stop(); err != nil {
		return err
	}
	if err := d.damageModel(); err != nil {
		return err
	}
	if err := d.again(ctx); err != nil {
		return err
	}
	err := d.moment(ctx, func() bool {
		var r admin.Readiness
		return d.get(ctx, "/readyz", &r) != nil // not ready
	})
	if err == nil {
		err = pause(ctx, d.hours(0.5))
	}
	return errors.Join(err, d.mendModel())
}
