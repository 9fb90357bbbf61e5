package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// SetReceiptsAside moves a destination's receipts for generation n out of the
// way, so that what it has is to be sent again. They stay, numbered, as a record
// of what it once confirmed. The error is ErrNotExist when there are none.
func (s *Store) SetReceiptsAside(k Key, n int, destination string) error {
	if err := k.Valid(); err != nil {
		return err
	}
	defer s.locks.rlock(k.Study)()
	generation := filepath.Join(s.folder(k), numbered("generation", n))
	defer s.locks.lock(generation)()
	name := escapeName(destination)
	from, aside := filepath.Join(generation, "receipts", name), filepath.Join(generation, receiptsAside)
	if err := s.setReceiptsAside(from, aside, name); err != nil {
		return s.full(fmt.Errorf("set the receipts of series %s from %q aside: %w", k.Series, destination, err))
	}
	return nil
}

// SentAgain reports whether receipts of a destination for generation n were set
// aside: it had the results before.
func (s *Store) SentAgain(k Key, n int, destination string) (bool, error) {
	if err := k.Valid(); err != nil {
		return false, err
	}
	former, err := numbersIn(filepath.Join(s.folder(k), numbered("generation", n), receiptsAside), escapeName(destination), "")
	return len(former) > 0, err
}

const receiptsAside = "receipts-aside"

func (s *Store) setReceiptsAside(from, aside, name string) error {
	entries, err := os.ReadDir(from)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(entries) == 0 {
		return ErrNotExist
	}
	if err := s.makeFolder(aside); err != nil {
		return err
	}
	former, err := numbersIn(aside, name, "")
	if err != nil {
		return err
	}
	next := 1
	if len(former) > 0 {
		next = former[len(former)-1] + 1
	}
	s.forgetFolders(from)
	if err := s.fs.renameNew(from, filepath.Join(aside, numbered(name, next))); err != nil {
		return err
	}
	// First where they came from: were it lost, they would count again.
	return errors.Join(s.syncs.sync(filepath.Dir(from)), s.syncs.sync(aside))
}
