package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func (s *Store) removing() string { return filepath.Join(s.dir, "removing") }

// going is where a series lies while it is being deleted: the name says what has
// to be known to go on after a crash.
func (s *Store) going(k Key, reason string) string {
	return filepath.Join(s.removing(), reason+"_"+k.Study+"_"+k.Series)
}

// removeIf deletes a series if it may go, and says what stays of it and how many
// bytes went. The record is nil when nothing was deleted.
func (s *Store) removeIf(k Key, now time.Time, reason string, may func() bool) (record *Removed, size int64, err error) {
	if err := k.Valid(); err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			err = s.full(fmt.Errorf("delete series %s: %w", k.Series, err))
		}
	}()
	unlock := s.locks.lock(k.Study)
	toGo, err := closedIn(s.folder(k)) // before may looks: what is closed later is not what it means
	if err != nil {
		unlock()
		return nil, 0, err
	}
	going, err := s.takeAway(k, now, reason, may)
	if err != nil || going == "" {
		unlock()
		return nil, 0, err
	}
	size = sizeOf(filepath.Join(going, "instances"))
	record, rubbish, err := s.writeRecord(going, now, toGo)
	unlock() // who comes with the series again finds the record
	if err != nil {
		return nil, size, err
	}
	return record, size, s.fs.removeAll(rubbish)
}

// takeAway moves the series' folder to where what is being deleted lies, durably,
// before a file of it is touched: after a crash it is there whole, or whoever
// opens the store next goes on with it.
func (s *Store) takeAway(k Key, now time.Time, reason string, may func() bool) (going string, err error) {
	if !may() {
		return "", nil
	}
	study := filepath.Join(s.seriesRoot(), k.Study)
	s.forgetFolders(study)
	going = s.going(k, reason)
	if _, err := os.Lstat(going); err == nil { // a removal that failed, of the series as it was before
		if err := s.finishRemoval(going, now); err != nil {
			return "", err
		}
	}
	err = s.fs.renameNew(s.folder(k), going)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if err := errors.Join(s.syncs.sync(filepath.Dir(going)), s.syncs.sync(study)); err != nil {
		return "", err
	}
	s.fs.remove(study) // stays when it has another series
	return going, nil
}

// closedIn are the instances that the last closing in a series' folder names. A
// damaged one names none: it must neither keep the series for ever nor the node
// from its start.
func closedIn(folder string) ([]string, error) {
	numbers, err := numbersIn(folder, "closed", ".json")
	if err != nil || len(numbers) == 0 {
		return nil, err
	}
	c := &Closing{}
	if readJSON(filepath.Join(folder, numbered("closed", numbers[len(numbers)-1])+".json"), c) != nil {
		return nil, nil
	}
	return c.Instances, nil
}

func sizeOf(folder string) (sum int64) {
	entries, _ := os.ReadDir(folder) // one that cannot be read counts for nothing
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			sum += info.Size()
		}
	}
	return sum
}

// lockRemoved keeps other nodes from deleting at the same time.
func (s *Store) lockRemoved() (unlock func(), err error) {
	if s.options.Node == "" {
		return func() {}, nil
	}
	f, err := lockFile(filepath.Join(s.removing(), "lock"), false)
	if err != nil {
		return nil, err
	}
	return func() { f.Close() }, nil
}

// resumeRemovals goes on with what a crash interrupted, before anybody can ask
// for the records. Where another node is deleting, that is its own.
func (s *Store) resumeRemovals() error {
	unlock, err := s.lockRemoved()
	if errors.Is(err, ErrLocked) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	err = s.finishRemovals(time.Now())
	if errors.Is(s.full(err), ErrFull) {
		return nil // a node without room starts all the same; Retain goes on with it
	}
	return err
}

// finishRemovals ends every removal that was begun. s.lockRemoved is held.
func (s *Store) finishRemovals(now time.Time) error {
	entries, err := os.ReadDir(s.removing())
	if err != nil {
		return fmt.Errorf("go on deleting: %w", err)
	}
	for _, e := range entries {
		_, name, _ := strings.Cut(e.Name(), "_")
		if _, ok := splitKey(name); !ok || !e.IsDir() {
			continue
		}
		if err := s.finishRemoval(filepath.Join(s.removing(), e.Name()), now); err != nil {
			return s.full(fmt.Errorf("go on deleting %s: %w", e.Name(), err))
		}
	}
	return nil
}

// finishRemoval ends one that was begun.
func (s *Store) finishRemoval(going string, now time.Time) error {
	toGo, err := closedIn(going)
	if err != nil {
		return err
	}
	_, rubbish, err := s.writeRecord(going, now, toGo)
	if err != nil {
		return err
	}
	return s.fs.removeAll(rubbish)
}

// writeRecord makes the record of a series that was taken away durable, and then
// moves the rest to where nobody makes a record of what is left of it. On a full
// disk the instances go first: they are what gives the record its room, and it is
// made of the other files.
func (s *Store) writeRecord(going string, now time.Time, toGo []string) (record *Removed, rubbish string, err error) {
	reason, name, _ := strings.Cut(filepath.Base(going), "_")
	k, ok := splitKey(name)
	if !ok {
		return nil, "", fmt.Errorf("%s is no series", filepath.Base(going))
	}
	if err := s.putBack(going, k, toGo); err != nil {
		return nil, "", err
	}
	record = recordOf(going, k)
	record.Time, record.Reason = now.UTC(), reason
	b, err := json.Marshal(record)
	if err != nil {
		return nil, "", err
	}
	b = append(b, '\n')
	err = s.writeFileOver(s.recordPath(k), b)
	if errors.Is(err, ErrFull) {
		for _, bulk := range []string{"conflicts", "instances"} {
			if err := s.fs.removeAll(filepath.Join(going, bulk)); err != nil {
				return nil, "", err
			}
		}
		err = s.writeFileOver(s.recordPath(k), b)
	}
	if err != nil {
		return nil, "", err
	}
	rubbish = s.temporary()
	if err := s.fs.rename(going, rubbish); err != nil {
		return nil, "", err
	}
	return record, rubbish, s.syncs.sync(s.removing())
}
