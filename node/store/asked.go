package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// Question is what a destination was asked to answer for (storage commitment). It
// is a file where several nodes share the folder: the answer comes in at any of them.
type Question struct {
	Key
	Generation  int            `json:"generation"`
	Destination string         `json:"destination"`
	Files       []ManifestFile `json:"files"`
	Time        time.Time      `json:"time"`
}

func (s *Store) askedPath(transactionUID string) string {
	return filepath.Join(s.dir, "asked", transactionUID+".json")
}

// WriteQuestion makes a question durable, and forgets those that are older than
// keep: nobody will answer them any more.
func (s *Store) WriteQuestion(transactionUID string, q Question, keep time.Duration) error {
	if err := dataset.ValidUID(transactionUID); err != nil {
		return err
	}
	b, err := json.MarshalIndent(q, "", "\t")
	if err != nil {
		return err
	}
	path := s.askedPath(transactionUID)
	folder := filepath.Dir(path)
	if err := s.fs.mkdir(folder); err != nil && !errors.Is(err, fs.ErrExist) {
		return s.full(fmt.Errorf("note what was asked: %w", err))
	}
	if err := s.writeFileNew(path, append(b, '\n')); err != nil {
		return s.full(fmt.Errorf("note what was asked: %w", err))
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("note what was asked: %w", err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && q.Time.Sub(info.ModTime()) > keep {
			s.fs.remove(filepath.Join(folder, e.Name()))
		}
	}
	return nil
}

// Question reads what was asked; ErrNotExist when nothing was, or it was answered.
func (s *Store) Question(transactionUID string) (*Question, error) {
	if err := dataset.ValidUID(transactionUID); err != nil {
		return nil, err
	}
	q := &Question{}
	if err := readJSON(s.askedPath(transactionUID), q); err != nil {
		return nil, err
	}
	if err := q.Key.Valid(); err != nil {
		return nil, fmt.Errorf("%s.json is damaged: %w", transactionUID, err)
	}
	return q, nil
}

// ForgetQuestion forgets one that was answered, or never put.
func (s *Store) ForgetQuestion(transactionUID string) {
	if dataset.ValidUID(transactionUID) == nil {
		s.fs.remove(s.askedPath(transactionUID)) // one that stays is forgotten in time
	}
}
