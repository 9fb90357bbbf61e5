package series

import (
	"context"
	"time"

	"github.com/pulmonode/pulmonode/node/store"
)

// Where several nodes share a data folder, the slices of one series come in at
// all of them. Each node watches what it stores itself, tells the others of it,
// and asks them before it closes a series: the series is closed by what all know
// together, over all that lies in the folder. Who brought the last instance goes
// first; whoever else is still at it a moment later closes in its place, so that a
// node that dies keeps no series open. Two that close at once write the same
// file, of which there is one.

// Activity is what one node knows of a series that is coming in. Times are ages:
// the nodes' clocks may differ.
type Activity struct {
	store.Key
	First, Last time.Duration // since the first and the last instance
	Open        bool          // the association that brought the last one is open
	Ended       time.Duration // since it ended
	Properly    bool          // it was released
	Instances   int           // that were new
	Expected    int           // Number of Series Related Instances; 0: not said
}

// Others are the nodes that share the folder.
type Others interface {
	Tell(context.Context, []Activity) error
	Ask(context.Context, store.Key) ([]Activity, error)
	Forget(context.Context, []store.Key) error
}

const (
	// tellEvery is how often the others are told of a series at most; of a quiet
	// time that is shorter than theirs a tenth.
	tellEvery = 300 * time.Millisecond
	// afterOthers is how long a node that did not bring the last instance leaves
	// the closing to the one that did.
	afterOthers = time.Second
	// askWithin bounds a question: a database that hangs must not hold a closing up
	// for longer than until it is asked again.
	askWithin = 10 * time.Second
)

// changed notes that the others do not know yet how a series stands. t.mu is held.
func (t *Tracker) changed(k store.Key) {
	if t.settings.Others == nil {
		return
	}
	t.untold[k] = struct{}{}
	select {
	case t.tell <- struct{}{}:
	default:
	}
}

// telling tells the others what changed until ctx ends.
func (t *Tracker) telling(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return
		case <-t.tell:
		}
		wait := min(tellEvery, t.settings.Quiet/10)
		if !t.tellOthers(ctx) {
			wait = time.Second // whoever is asked meanwhile gets no answer either
		}
		pause.Reset(wait)
	}
}

// tellOthers reports whether all that changed was told.
func (t *Tracker) tellOthers(ctx context.Context) bool {
	t.mu.Lock()
	untold := t.untold
	t.untold = make(map[store.Key]struct{})
	now := time.Now()
	var list []Activity
	var gone []store.Key
	for k := range untold {
		a := t.open[k]
		switch {
		case a == nil:
			gone = append(gone, k)
		case a.stack.instances > 0 || a.association != 0: // not only taken up
			one := Activity{
				Key: k, First: now.Sub(a.first), Last: now.Sub(a.last), Open: a.ended.IsZero(), Properly: a.properly,
				Instances: a.stack.instances, Expected: a.expected,
			}
			if !one.Open {
				one.Ended = now.Sub(a.ended)
			}
			list = append(list, one)
		}
	}
	t.mu.Unlock()
	bound, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	told := true
	if len(list) > 0 && t.settings.Others.Tell(bound, list) != nil {
		told = false
	}
	if len(gone) > 0 && t.settings.Others.Forget(bound, gone) != nil {
		told = false
	}
	if !told {
		t.mu.Lock()
		for k := range untold {
			t.changed(k)
		}
		t.mu.Unlock()
	}
	return told
}

// together is a series as all nodes know it, and whether this one brought the last
// instance. t.mu is held.
func (t *Tracker) together(a *arriving, others []Activity) (all arriving, mine bool) {
	now := time.Now()
	signature, open := 0, a.ended.IsZero()
	all, mine = *a, true
	all.total = a.stack.instances
	for _, o := range others {
		signature += 2 * o.Instances
		if o.Open {
			signature++
			open = true
		}
		all.total += o.Instances
		// What was told long ago may be of a generation before.
		if first := now.Add(-o.First); first.Before(all.first) && (o.Open || o.Last < t.settings.Idle) {
			all.first = first
		}
		if last := now.Add(-o.Last); !last.Before(all.last) {
			all.last, all.properly, mine = last, o.Properly, false
		}
		if ended := now.Add(-o.Ended); !o.Open && ended.After(all.ended) {
			all.ended = ended
		}
		if all.expected == 0 {
			all.expected = o.Expected
		}
	}
	if signature != a.others { // what was found of the stack before holds no longer
		a.others = signature
		a.version++
		all.version = a.version
	}
	if open {
		all.properly = false
	}
	return all, mine
}

// askOthers asks how a series stands at the others. t.mu is held on entry and on
// return, and not in between; ok is false when the series is no longer this look's.
func (t *Tracker) askOthers(a *arriving) (others []Activity, ok bool, err error) {
	t.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.ctx, askWithin)
	others, err = t.settings.Others.Ask(ctx, a.key)
	cancel()
	t.mu.Lock()
	return others, !t.stopped && t.open[a.key] == a, err
}
