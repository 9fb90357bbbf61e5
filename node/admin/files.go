package admin

import (
	"errors"
	"sync"
	"time"

	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/store"
)

// view is what the files say of a series.
type view struct {
	changed     time.Time
	brought     *brought // nil while no instance can be read
	instances   []string
	closings    []Closing
	last        *store.Closing
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

// maxRemembered bounds the memory of the views: some 100 KiB each at most.
const maxRemembered = 5000

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
	v := vs.read(k)
	v.changed = changed
	if ok && old.view.brought != nil {
		v.brought = old.view.brought
	} else {
		v.brought = whatCame(vs.store, k, v.instances)
	}
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if vs.known == nil || len(vs.known) >= maxRemembered {
		vs.known = make(map[store.Key]remembered)
	}
	if v.err == nil {
		vs.known[k] = remembered{v, now}
	}
	return v, nil
}

func (vs *views) read(k store.Key) *view {
	s := vs.store
	v := &view{plans: map[int][]string{}, receipts: map[int]map[string]map[string]store.Receipt{}}
	fail := func(err error) *view {
		v.err = err
		return v
	}
	var err error
	if v.instances, err = s.InstanceUIDs(k); err != nil {
		return fail(err)
	}
	closings, err := s.Closings(k)
	if err != nil {
		return fail(err)
	}
	for i, c := range closings {
		v.closings = append(v.closings, Closing{c.Generation, c.Closed.Reason, c.Closed.Time, len(c.Instances), c.Expected})
		if i == len(closings)-1 {
			v.last = &closings[i]
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
