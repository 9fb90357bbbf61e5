package store

import (
	"encoding/json"
	"errors"
)

// Continue gives the first closing of a series that was deleted before, and came
// again, its number: with the same instances it is the generation that it was,
// closed when it was, so that the same results get the same UIDs and bytes; with
// others it is the next.
func (s *Store) Continue(c *Closing) error {
	r, err := s.Removed(c.Key)
	if errors.Is(err, ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if r.Generation > 0 && r.Set == setOf(c.Instances) {
		c.Generation, c.Closed, c.Expected = r.Generation, r.Closed, r.Expected
		return nil
	}
	c.Generation = r.Generation + 1
	return nil
}

// deletedAttempt is the attempt that a generation had when it was deleted.
func (s *Store) deletedAttempt(k Key, n int) (int, error) {
	r, err := s.Removed(k)
	if errors.Is(err, ErrNotExist) || err == nil && r.Generation != n {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return r.Attempt, nil
}

// ErrOther says that a generation which was deleted and made again has other
// bytes under a UID that was delivered. It is another attempt from now on: the
// next try gives other UIDs.
var ErrOther = errors.New("the results differ from those that were delivered before the series was deleted, as after another model or setting; the next attempt gives them identifiers of their own")

// unlikeDeleted is ErrOther for such files, and makes the next attempt another.
func (s *Store) unlikeDeleted(k Key, n int, files []ManifestFile) error {
	r, err := s.Removed(k)
	if errors.Is(err, ErrNotExist) || err == nil && r.Generation != n {
		return nil
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		before, ok := r.Objects[f.SOPInstanceUID]
		if !ok || before == f.SHA256 {
			continue
		}
		next := *r
		next.Attempt++
		b, err := json.Marshal(next)
		if err != nil {
			return err
		}
		if err := s.writeFileOver(s.recordPath(k), append(b, '\n')); err != nil {
			return err
		}
		return ErrOther
	}
	return nil
}
