package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Retention says what Retain may delete. The zero value deletes nothing.
type Retention struct {
	Keep time.Duration // settled series older than this go; 0: age alone deletes nothing
	// RoomBelow is the free space in bytes under which settled series go before
	// their time, the oldest first, until RoomUntil is free; 0: none goes for room.
	RoomBelow, RoomUntil int64
	AtMost               int // series in one call; 0: any number
}

// Why retention deleted a series.
const (
	ForAge  = "age"  // it was kept for [storage] keep
	ForRoom = "room" // the disk was filling
)

// Retain deletes series that nobody waits for any more and returns what stays
// of them, the record that says what was deleted. A series goes only when every
// instance of it was closed, the last closing has results, and may, which is
// asked last, and again under the lock, says that it can go for this reason. Its
// age is that of its last change. Of several nodes on one folder one does it at a
// time; the others delete nothing.
func (s *Store) Retain(ctx context.Context, now time.Time, r Retention, may func(k Key, reason string) bool) ([]Removed, error) {
	unlock, err := s.lockRemoved()
	if errors.Is(err, ErrLocked) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := s.finishRemovals(now); err != nil {
		return nil, err
	}
	keys, err := s.Series()
	if err != nil {
		return nil, err
	}
	type aged struct {
		Key
		changed time.Time
	}
	var list []aged
	for _, k := range keys {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		changed, err := s.Changed(k)
		if err != nil {
			return nil, err
		}
		list = append(list, aged{k, changed})
	}
	slices.SortStableFunc(list, func(a, b aged) int { return a.changed.Compare(b.changed) })
	room := room{store: s, below: r.RoomBelow, until: max(r.RoomBelow, r.RoomUntil)}
	var removed []Removed
	for _, one := range list {
		if err := ctx.Err(); err != nil || r.AtMost > 0 && len(removed) >= r.AtMost {
			return removed, err
		}
		reason := ForAge
		if r.Keep <= 0 || now.Sub(one.changed) <= r.Keep {
			short, err := room.short()
			if err != nil {
				return removed, err
			}
			if !short {
				break // who follows is younger still
			}
			reason = ForRoom
		}
		idle := func() bool { return s.complete(one.Key) && may(one.Key, reason) }
		if !idle() {
			continue // without the lock, for which reception would wait
		}
		record, size, err := s.removeIf(one.Key, now, reason, idle)
		if err != nil {
			return removed, err
		}
		if record != nil {
			removed = append(removed, *record)
			room.freed += size
		}
	}
	return removed, nil
}

// room says whether space must be made. What was deleted counts at once: some
// file systems give it back later, and without that the whole store would go.
type room struct {
	store        *Store
	below, until int64
	begin, freed int64
	making       bool
}

func (r *room) short() (bool, error) {
	if r.below <= 0 {
		return false, nil
	}
	free, err := r.store.Free()
	if err != nil {
		return false, err
	}
	if !r.making {
		r.making, r.begin, r.freed = free < r.below, free, 0
		return r.making, nil
	}
	return max(free, r.begin+r.freed) < r.until, nil
}

// complete reports whether the last closing covers every instance and has
// results.
func (s *Store) complete(k Key) bool {
	c, err := s.LastClosing(k)
	if err != nil || c == nil {
		return false
	}
	uids, err := s.InstanceUIDs(k)
	if err != nil || !slices.Equal(uids, c.Instances) {
		return false
	}
	_, err = s.Generation(k, c.Generation)
	return err == nil
}

// Changed returns when the series last changed: an instance, a closing, results
// or a receipt came.
func (s *Store) Changed(k Key) (time.Time, error) {
	if err := k.Valid(); err != nil {
		return time.Time{}, err
	}
	last, err := changed(s.folder(k))
	if err != nil {
		return time.Time{}, fmt.Errorf("read the folder of series %s: %w", k.Series, err)
	}
	return last, nil
}

func changed(folder string) (last time.Time, err error) {
	var look func(path string, depth int) error
	look = func(path string, depth int) error {
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if info.ModTime().After(last) {
			last = info.ModTime()
		}
		if depth == 0 || !info.IsDir() {
			return nil
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.IsDir() {
				if err := look(filepath.Join(path, e.Name()), depth-1); err != nil {
					return err
				}
			}
		}
		return nil
	}
	// A folder's time changes with its entries: series, generation-N, receipts,
	// destination.
	err = look(folder, 3)
	return last, err
}
