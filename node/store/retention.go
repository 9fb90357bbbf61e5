package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Retention says what Retain may remove. The zero value removes nothing.
type Retention struct {
	Keep time.Duration // settled series older than this go; 0: age alone removes nothing
	// FreeAtLeast is the free space in bytes that is made, if it can be, by
	// removing settled series, the oldest first; 0: no series goes for room.
	FreeAtLeast int64
}

// Retain removes series that nobody waits for any more and returns their keys.
// A series goes only when every instance of it was closed, the last closing has
// results, and settled, which is asked last and again under the lock, says that
// they were delivered. Its age is that of its last change.
func (s *Store) Retain(now time.Time, r Retention, settled func(Key) bool) ([]Key, error) {
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
		changed, err := s.Changed(k)
		if err != nil {
			return nil, err
		}
		list = append(list, aged{k, changed})
	}
	slices.SortStableFunc(list, func(a, b aged) int { return a.changed.Compare(b.changed) })
	var removed []Key
	for _, one := range list {
		old := r.Keep > 0 && now.Sub(one.changed) > r.Keep
		if !old {
			if r.FreeAtLeast <= 0 {
				break
			}
			free, err := s.Free()
			if err != nil {
				return removed, err
			}
			if free >= r.FreeAtLeast {
				break
			}
		}
		gone, err := s.removeIf(one.Key, func() bool { return s.complete(one.Key) && settled(one.Key) })
		if err != nil {
			return removed, err
		}
		if gone {
			removed = append(removed, one.Key)
		}
	}
	return removed, nil
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
	var last time.Time
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
	if err := look(s.folder(k), 3); err != nil {
		return time.Time{}, fmt.Errorf("read the folder of series %s: %w", k.Series, err)
	}
	return last, nil
}

// Remove removes a series with everything in it, whatever its state. A series
// that is not there is no error.
func (s *Store) Remove(k Key) error {
	_, err := s.removeIf(k, func() bool { return true })
	return err
}

func (s *Store) removeIf(k Key, may func() bool) (bool, error) {
	if err := k.Valid(); err != nil {
		return false, err
	}
	away, gone, err := s.takeAway(k, may)
	if err != nil {
		return false, s.full(fmt.Errorf("remove series %s: %w", k.Series, err))
	}
	if away != "" {
		if err := s.fs.removeAll(away); err != nil {
			return gone, s.full(fmt.Errorf("remove series %s: %w", k.Series, err))
		}
	}
	return gone, nil
}

// takeAway moves the series' folder into incoming/, durably, before a file of
// it is touched: after a crash it is there whole, or it is rubbish that the next
// start removes.
func (s *Store) takeAway(k Key, may func() bool) (away string, gone bool, err error) {
	defer s.locks.lock(k.Study)()
	if !may() {
		return "", false, nil
	}
	study := filepath.Join(s.seriesRoot(), k.Study)
	s.forgetFolders(study)
	away = s.temporary()
	err = s.fs.rename(s.folder(k), away)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	if err := errors.Join(s.syncs.sync(s.incoming()), s.syncs.sync(study)); err != nil {
		return "", false, err
	}
	s.fs.remove(study) // stays when it has another series
	return away, true, nil
}
