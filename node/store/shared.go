package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Several nodes share a folder when each has a name (Options.Node). They hold the
// folder's lock together, against a node that wants it alone, and each its own
// folder in incoming/, with a lock against a second process of its name.

// ErrNameTaken says that another process has this node's name.
var ErrNameTaken = errors.New("another pulmonode of this name works on the data folder: give each node its own [node] name")

// Shared reports whether several nodes may work on the folder.
func (s *Store) Shared() bool { return s.options.Node != "" }

// lockFolder takes the folder: alone, or together with others that share it.
func lockFolder(dir string, shared bool) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	f, err := lockFile(path, shared)
	if !errors.Is(err, ErrLocked) {
		return f, err
	}
	if shared {
		return nil, fmt.Errorf("%w (it keeps its queue in the folder and shares it with nobody: set the same [queue] url there)", ErrLocked)
	}
	if other, err := lockFile(path, true); err == nil {
		other.Close()
		return nil, fmt.Errorf("%w (nodes that share it through PostgreSQL: set [queue] url to theirs)", ErrLocked)
	}
	return nil, ErrLocked
}

// nameFree is how long a name may seem taken by a process that just ends, or by
// another node that tidies up after one that died.
const nameFree = 2 * time.Second

// lockName takes this node's folder in incoming/.
func (s *Store) lockName() (*os.File, error) {
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		f, err := lockFile(filepath.Join(s.incoming(), "lock"), false)
		if !errors.Is(err, ErrLocked) {
			return f, err
		}
		if time.Since(begin) > nameFree {
			return nil, fmt.Errorf("%w (%q)", ErrNameTaken, s.options.Node)
		}
	}
}

// tidyIncoming removes what nodes that died, and may never come back, left half
// received. Who holds the lock is alive, wherever it runs.
func (s *Store) tidyIncoming() error {
	if s.options.Node == "" {
		return nil
	}
	entries, err := os.ReadDir(filepath.Join(s.dir, "incoming"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || e.Name() == s.options.Node || !plainName(e.Name()) {
			continue
		}
		folder := filepath.Join(s.dir, "incoming", e.Name())
		lock, err := lockFile(filepath.Join(folder, "lock"), false)
		if errors.Is(err, ErrLocked) || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		err = s.empty(folder)
		lock.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// empty removes what is in a folder of incoming/, but its lock.
func (s *Store) empty(folder string) error {
	left, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, e := range left {
		if s.options.Node != "" && e.Name() == "lock" {
			continue
		}
		if err := s.fs.removeAll(filepath.Join(folder, e.Name())); err != nil {
			return fmt.Errorf("empty incoming/: %w", err)
		}
	}
	return nil
}

// putBack returns instances to a series that was taken away which are not among
// those that were to go: between the last look at it and that moment another node
// confirmed them, and may have closed the series with them.
// Of nodes that share nothing the locks keep that from happening.
func (s *Store) putBack(going string, k Key, toGo []string) error {
	if s.options.Node == "" {
		return nil
	}
	entries, err := os.ReadDir(filepath.Join(going, "instances"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	folder := filepath.Join(s.folder(k), "instances")
	back := 0
	for _, e := range entries {
		uid, ok := strings.CutSuffix(e.Name(), ".dcm")
		if !ok || slices.Contains(toGo, uid) {
			continue
		}
		if err := s.makeFolder(folder); err != nil {
			return err
		}
		err := s.fs.renameNew(filepath.Join(going, "instances", e.Name()), filepath.Join(folder, e.Name()))
		if err != nil && !errors.Is(err, fs.ErrExist) { // its sender was quicker
			return err
		}
		back++
	}
	if back == 0 {
		return nil
	}
	return s.syncs.sync(folder)
}

// ID is the data folder's own, by which nodes know that they share one.
func (s *Store) ID() (string, error) {
	path := filepath.Join(s.dir, "id")
	err := s.writeFileNew(path, []byte(uuid.NewString()+"\n"))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("name the data folder: %w", err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("name the data folder: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
