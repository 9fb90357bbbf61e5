package admin

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/store"
)

// view is what the files say of a series.
type view struct {
	changed     time.Time
	brought     *brought // nil while no instance can be read
	instances   int      // that are here
	closed      int      // of them in the last closing
	asClosed    bool     // they are those of the last closing
	closings    []Closing
	last        *store.Closing    // without its instances, which are many
	generations []*store.Manifest // ascending
	plans       map[int][]string  // destinations by generation
	receipts    map[int]map[string]map[string]store.Receipt
	conflicts   []string
	err         error // why the series cannot be read
}

// manifest returns the results of generation n, nil when there are none.
func (v *view) manifest(n int) *store.Manifest {
	for _, m := range v.generations {
		if m.Generation == n {
			return m
		}
	}
	return nil
}

// views reads series and remembers what it read for as long as their folders
// do not change, so that a list of a thousand series costs a look at each.
type views struct {
	store *store.Store

	mu    sync.Mutex
	known map[store.Key]remembered
}

type remembered struct {
	view *view
	read time.Time
}

// settle is how long a folder must have been left alone before what was read is
// remembered: two changes within one tick of the file system's clock leave the
// same time.
const settle = 2 * time.Second

// maxRemembered bounds the memory of the views: some 5 KiB each, 64 KiB at most.
const maxRemembered = 20000

func (vs *views) get(k store.Key) (*view, error) {
	changed, err := vs.store.Changed(k)
	if err != nil {
		return nil, err
	}
	if changed.IsZero() {
		return nil, store.ErrNotExist
	}
	vs.mu.Lock()
	old, ok := vs.known[k]
	vs.mu.Unlock()
	if ok && old.view.changed.Equal(changed) && old.read.Sub(changed) > settle {
		return old.view, nil
	}
	now := time.Now()
	var known *brought
	if ok {
		known = old.view.brought
	}
	v := vs.read(k, known)
	v.changed = changed
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if v.err != nil {
		return v, nil
	}
	if vs.known == nil {
		vs.known = make(map[store.Key]remembered)
	}
	for other := range vs.known {
		if len(vs.known) < maxRemembered {
			break
		}
		delete(vs.known, other)
	}
	vs.known[k] = remembered{v, now}
	return v, nil
}

// read reads a series of which it may be known already what its instances say.
func (vs *views) read(k store.Key, known *brought) *view {
	s := vs.store
	v := &view{plans: map[int][]string{}, receipts: map[int]map[string]map[string]store.Receipt{}}
	fail := func(err error) *view {
		v.err = err
		return v
	}
	instances, err := s.InstanceUIDs(k)
	if err != nil {
		return fail(err)
	}
	if v.instances, v.brought = len(instances), known; known == nil {
		v.brought = whatCame(s.Sample(k, instances))
	}
	closings, err := s.Closings(k)
	if err != nil {
		return fail(err)
	}
	for i, c := range closings {
		v.closings = append(v.closings, Closing{c.Generation, c.Closed.Reason, c.Closed.Time, len(c.Instances), c.Expected})
		if i == len(closings)-1 {
			v.last, v.closed, v.asClosed = &closings[i], len(c.Instances), slices.Equal(instances, c.Instances)
			v.last.Instances = nil
		}
	}
	conflicts, err := s.Conflicts(k)
	if err != nil {
		return fail(err)
	}
	for _, c := range conflicts {
		v.conflicts = append(v.conflicts, c.SOPInstanceUID)
	}
	numbers, err := s.Generations(k)
	if err != nil {
		return fail(err)
	}
	for _, n := range numbers {
		m, err := s.Generation(k, n)
		if errors.Is(err, store.ErrNotExist) {
			continue // set aside since the listing
		}
		if err != nil {
			return fail(err)
		}
		plan, err := job.Plan(s, k, n)
		if err != nil {
			return fail(err)
		}
		v.generations = append(v.generations, m)
		v.plans[n] = plan
		v.receipts[n] = map[string]map[string]store.Receipt{}
		for _, d := range plan {
			if v.receipts[n][d], err = s.Receipts(k, n, d); err != nil {
				return fail(err)
			}
		}
	}
	return v
}
