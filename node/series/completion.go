package series

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/store"
)

// Reasons for which a series counts as complete.
const (
	ReasonGeometry = result.ClosedGeometry // a closed stack, its association released, quiet
	ReasonIdle     = result.ClosedIdle     // nothing came for Settings.Idle
	ReasonMaxAge   = result.ClosedMaxAge   // it kept coming for Settings.MaxAge
)

// Settings are the [complete] section. A zero field means its default.
type Settings struct {
	Quiet  time.Duration // after the last instance and the release; 5 s
	Idle   time.Duration // 60 s
	MaxAge time.Duration // since the first instance; 30 min
	// Problem is told when a series could not be closed, for instance because
	// the disk is full. It is tried again. nil: nobody is told.
	Problem func(store.Key, error)
	// Others are the nodes that share the folder; nil: there are none.
	Others Others
}

func (s Settings) withDefaults() Settings {
	if s.Quiet <= 0 {
		s.Quiet = 5 * time.Second
	}
	if s.Idle <= 0 {
		s.Idle = time.Minute
	}
	if s.MaxAge <= 0 {
		s.MaxAge = 30 * time.Minute
	}
	if s.Problem == nil {
		s.Problem = func(store.Key, error) {}
	}
	return s
}

// A closing that failed is tried again after these delays, the last for ever.
var retryDelays = [...]time.Duration{time.Second, 5 * time.Second, 15 * time.Second, time.Minute}

// Tracker decides when series are complete. Its clock is monotonic: setting the
// system's clock neither closes a series nor keeps it open. Its methods may be
// called from any goroutine and never wait for the disk, but for Resume and Stop.
type Tracker struct {
	store    *store.Store
	settings Settings
	onClosed func(store.Closing)

	mu            sync.Mutex
	open          map[store.Key]*arriving
	closing       map[store.Key]bool // closings that are being written
	byAssociation map[uint64]map[*arriving]struct{}
	stopped       bool
	looks         sync.WaitGroup

	ctx    context.Context // of questions to Others
	quit   context.CancelFunc
	untold map[store.Key]struct{} // what Others do not know yet
	tell   chan struct{}
}

// arriving is a series that is not complete. A few hundred bytes, and eight for
// each slice.
type arriving struct {
	key         store.Key
	timer       *time.Timer
	first, last time.Time // of instances, in this process
	association uint64    // that brought the last instance
	ended       time.Time // when it ended; zero: it has not
	properly    bool      // it was released
	expected    int       // Number of Series Related Instances; 0: not said
	stack       stack
	version     int // of what is known of the series
	refuted     int // version whose geometry was found not to be closed
	failures    int // closings that failed
	notBefore   time.Time
	others      int // what the other nodes said last, in a number
	total       int // instances that were new, at all nodes; 0: there are no others
}

// Open is a series that has not been closed yet.
type Open struct {
	store.Key
	Instances int       // that came in this process
	Expected  int       // 0: not said
	First     time.Time // of them
	Last      time.Time
}

// New makes a tracker. It tells onClosed, from a goroutine of its own, of each
// closing after it is durable.
func New(s *store.Store, settings Settings, onClosed func(store.Closing)) *Tracker {
	t := &Tracker{
		store: s, settings: settings.withDefaults(), onClosed: onClosed,
		open:          make(map[store.Key]*arriving),
		closing:       make(map[store.Key]bool),
		byAssociation: make(map[uint64]map[*arriving]struct{}),
		untold:        make(map[store.Key]struct{}),
		tell:          make(chan struct{}, 1),
	}
	t.ctx, t.quit = context.WithCancel(context.Background())
	if t.settings.Others != nil {
		t.looks.Go(func() { t.telling(t.ctx) })
	}
	return t
}

// Instance says that an association brought an instance, what its header is and
// what the store made of it. Only a stored one opens a series; identical and
// different ones show that a sender is still at work on an open one.
func (t *Tracker) Instance(association uint64, k store.Key, header *dataset.Dataset, o store.Outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return
	}
	a := t.open[k]
	if a == nil {
		if o != store.Stored {
			return
		}
		a = t.adopt(k)
	}
	a.last = time.Now()
	a.version++
	if a.association != association || !a.ended.IsZero() {
		t.forget(a)
		a.association, a.ended, a.properly = association, time.Time{}, false
		of := t.byAssociation[association]
		if of == nil {
			of = make(map[*arriving]struct{})
			t.byAssociation[association] = of
		}
		of[a] = struct{}{}
	}
	if o == store.Stored {
		a.stack.add(header)
		if n, ok := expected(header); ok {
			a.expected = n
		}
	}
	t.changed(k)
	// The timer stands at an earlier time than is needed now; it looks again
	// when it fires, which is cheaper than to set it for every instance.
}

// expected reads Number of Series Related Instances (PS3.4 C.3.4), which some
// senders put into the instances.
func expected(h *dataset.Dataset) (int, bool) {
	if h == nil {
		return 0, false
	}
	n, ok := h.Int(dataset.NumberOfSeriesRelatedInstances)
	return n, ok && n > 0
}

// AssociationEnded says that an association ended: released, or else aborted or
// broken.
func (t *Tracker) AssociationEnded(association uint64, properly bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for a := range t.byAssociation[association] {
		a.ended, a.properly = now, properly
		a.version++
		t.setTimer(a)
		t.changed(a.key)
	}
	delete(t.byAssociation, association)
}

// Resume takes up the series that were open when the node stopped: those with
// instances that no closing names. They close when nothing comes for
// Settings.Idle. It returns how many there are.
func (t *Tracker) Resume() (int, error) {
	keys, err := t.store.Series()
	if err != nil {
		return 0, fmt.Errorf("take up open series: %w", err)
	}
	n := 0
	for _, k := range keys {
		uids, closing, err := t.contents(k)
		if err != nil {
			return n, fmt.Errorf("take up open series: %w", err)
		}
		if len(uids) == 0 || closing != nil && slices.Equal(uids, closing.Instances) {
			continue
		}
		t.mu.Lock()
		if t.open[k] == nil && !t.stopped {
			a := t.adopt(k)
			a.ended = a.last
			t.setTimer(a)
			n++
		}
		t.mu.Unlock()
	}
	return n, nil
}

// Stop ends the tracker and waits for closings that are being written. Open
// series stay open; Resume of the next process finds them.
func (t *Tracker) Stop() {
	t.mu.Lock()
	t.stopped = true
	for _, a := range t.open {
		a.timer.Stop()
	}
	clear(t.open)
	clear(t.byAssociation)
	t.mu.Unlock()
	t.quit()
	t.looks.Wait()
}

// Open lists the series that are not complete, by key.
func (t *Tracker) Open() []Open {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]Open, 0, len(t.open))
	for _, a := range t.open {
		list = append(list, Open{a.key, a.stack.instances, a.expected, a.first, a.last})
	}
	slices.SortFunc(list, func(a, b Open) int {
		if a.Study != b.Study {
			if a.Study < b.Study {
				return -1
			}
			return 1
		}
		if a.Series < b.Series {
			return -1
		}
		return 1
	})
	return list
}

// adopt opens a series. t.mu is held, here and below where it says so.
func (t *Tracker) adopt(k store.Key) *arriving {
	now := time.Now()
	a := &arriving{key: k, first: now, last: now, refuted: -1}
	a.timer = time.AfterFunc(min(t.settings.Idle, t.settings.MaxAge), func() { t.look(a) })
	t.open[k] = a
	return a
}

// forget takes the series off its association's list. t.mu is held.
func (t *Tracker) forget(a *arriving) {
	of := t.byAssociation[a.association]
	delete(of, a)
	if len(of) == 0 {
		delete(t.byAssociation, a.association)
	}
}

// due returns when to look at the series next, and for which reason it would be
// closed then.
func (t *Tracker) due(a *arriving) (time.Time, string) {
	when, reason := a.last.Add(t.settings.Idle), ReasonIdle
	if a.properly && a.refuted != a.version {
		quiet := a.ended // never before the last instance
		if quiet = quiet.Add(t.settings.Quiet); quiet.Before(when) {
			when, reason = quiet, ReasonGeometry
		}
	}
	if old := a.first.Add(t.settings.MaxAge); old.Before(when) {
		when, reason = old, ReasonMaxAge
	}
	if when.Before(a.notBefore) {
		when = a.notBefore
	}
	return when, reason
}

// setTimer sets the timer for when the series is due. t.mu is held.
func (t *Tracker) setTimer(a *arriving) {
	when, _ := t.due(a)
	a.timer.Reset(max(time.Until(when), 0))
}

// look closes the series if it is due.
func (t *Tracker) look(a *arriving) {
	t.mu.Lock()
	if t.stopped || t.open[a.key] != a {
		t.mu.Unlock()
		return
	}
	t.looks.Add(1)
	defer t.looks.Done()
	if t.closing[a.key] { // the closing before this one is still being written
		a.timer.Reset(time.Second)
		t.mu.Unlock()
		return
	}
	when, reason := t.due(a)
	if time.Now().Before(when) {
		t.setTimer(a)
		t.mu.Unlock()
		return
	}
	all := *a
	if t.settings.Others != nil {
		others, still, err := t.askOthers(a)
		if !still {
			t.mu.Unlock()
			return
		}
		if err != nil { // what they bring must not be left out
			a.notBefore = time.Now().Add(retryDelays[min(a.failures, len(retryDelays)-1)])
			a.failures++
			t.setTimer(a)
			t.mu.Unlock()
			t.settings.Problem(a.key, err)
			return
		}
		var mine bool
		all, mine = t.together(a, others)
		if when, reason = t.due(&all); !mine {
			when = when.Add(afterOthers)
		}
		if wait := time.Until(when); wait > 0 {
			a.timer.Reset(wait)
			t.mu.Unlock()
			return
		}
	}
	if reason == ReasonGeometry {
		version, known := a.version, a.stack
		known.positions = slices.Clone(known.positions)
		t.mu.Unlock()
		closed, rebuilt := t.geometryClosed(a.key, known, all.expected, all.total)
		t.mu.Lock()
		if t.stopped || t.open[a.key] != a {
			t.mu.Unlock()
			return
		}
		if a.version == version && rebuilt != nil {
			a.stack = *rebuilt
		}
		if a.version != version || !closed {
			if a.version == version {
				a.refuted = version
			}
			t.setTimer(a) // with others: for another look, which asks them again
			t.mu.Unlock()
			return
		}
	}
	delete(t.open, a.key)
	t.forget(a)
	t.closing[a.key] = true
	t.mu.Unlock()

	all.expected = max(all.expected, a.expected)
	c, err := t.close(&all, reason)

	t.mu.Lock()
	delete(t.closing, a.key)
	t.changed(a.key)
	if err != nil && !t.stopped {
		t.reopen(a)
	}
	t.mu.Unlock()
	if err != nil {
		t.settings.Problem(a.key, err)
		return
	}
	if c != nil {
		t.onClosed(*c)
	}
}

// reopen puts a series back whose closing failed. t.mu is held.
func (t *Tracker) reopen(a *arriving) {
	if later := t.open[a.key]; later != nil { // it went on meanwhile
		later.first = a.first
		return
	}
	a.notBefore = time.Now().Add(retryDelays[min(a.failures, len(retryDelays)-1)])
	a.failures++
	a.association = 0
	t.open[a.key] = a
	t.setTimer(a)
}

// close writes the closing, and returns it; nil when there was nothing new.
func (t *Tracker) close(a *arriving, reason string) (*store.Closing, error) {
	uids, last, err := t.contents(a.key)
	if err != nil {
		return nil, err
	}
	c := store.Closing{
		Key: a.key, Generation: 1, Instances: uids, Expected: a.expected,
		// The wall clock's time goes into documents, to the second.
		Closed: result.Closed{Reason: reason, Time: time.Now().UTC().Truncate(time.Second)},
	}
	if last != nil {
		if slices.Equal(uids, last.Instances) {
			return nil, nil
		}
		c.Generation = last.Generation + 1
	} else if err := t.store.Continue(&c); err != nil {
		return nil, err
	}
	conflicts, err := t.store.Conflicts(a.key)
	if err != nil {
		return nil, err
	}
	c.Conflicts = len(conflicts)
	if len(uids) == 0 { // removed meanwhile
		return nil, nil
	}
	err = t.store.WriteClosing(c)
	if errors.Is(err, store.ErrExist) { // another node closed at the same moment
		return t.close(a, reason)
	}
	if err != nil {
		return nil, err
	}
	return &c, nil
}

// contents reads what a series consists of and what its last closing says. The
// closing first: another node may write one meanwhile, and what it names and is
// not among the instances would be missing from the next.
func (t *Tracker) contents(k store.Key) ([]string, *store.Closing, error) {
	last, err := t.store.LastClosing(k)
	if err != nil {
		return nil, nil, err
	}
	uids, err := t.store.InstanceUIDs(k)
	return uids, last, err
}

// geometryClosed reports whether the series is one closed stack with as many
// instances as were announced. When not all of the instances came in this
// process and since the last closing, the stack is built anew from the files,
// and returned.
// Fewer files than came as new are not all that there are: a shared file system
// shows a node what another wrote a moment later.
func (t *Tracker) geometryClosed(k store.Key, known stack, expected, total int) (bool, *stack) {
	instances, err := t.store.Instances(k)
	if err != nil || len(instances) < total {
		return false, nil
	}
	if expected > 0 && expected != len(instances) {
		return false, nil
	}
	if known.instances == len(instances) {
		return known.closed(), nil
	}
	fresh := &stack{}
	for _, i := range instances {
		f, err := dataset.Open(i.Path, dataset.Limits{})
		if err != nil {
			fresh.instances++
			fresh.odd = true
			continue
		}
		fresh.add(f.Header)
	}
	return fresh.closed(), fresh
}
