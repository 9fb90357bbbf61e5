package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// Modes of everything the store makes: patients' images are nobody else's.
const (
	fileMode   = 0o600
	folderMode = 0o700
)

// fileSystem is what the store changes on disk. Reading goes to the files
// directly. Tests put a file system in its place that fails, or stops for ever,
// after a counted step.
type fileSystem interface {
	mkdir(path string) error          // fs.ErrExist when there
	create(path string) (file, error) // fs.ErrExist when there
	rename(from, to string) error     // replaces a file
	renameNew(from, to string) error  // fs.ErrExist when there
	remove(path string) error         // a file or an empty folder
	removeAll(path string) error      // a folder with all that is in it
	syncFolder(path string) error     // makes the folder's entries durable
	free(path string) (uint64, error) // bytes that an ordinary user may still write
}

// file is a file that is being written.
type file interface {
	Write(p []byte) (int, error)
	Sync() error // data, and the metadata that is needed to read it back
	Close() error
}

// disk is the operating system's file system. It holds the only fsyncs of the
// project.
type disk struct{}

func (disk) mkdir(path string) error { return os.Mkdir(path, folderMode) }

func (disk) create(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (disk) rename(from, to string) error    { return os.Rename(from, to) }
func (disk) renameNew(from, to string) error { return renameNoReplace(from, to) }
func (disk) remove(path string) error        { return os.Remove(path) }
func (disk) removeAll(path string) error     { return os.RemoveAll(path) }

func (disk) syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

func (disk) free(path string) (uint64, error) { return freeBytes(path) }

// folderSyncs joins the fsyncs of one folder: whoever asks while one is under
// way waits for the next, which serves all that asked before it began.
type folderSyncs struct {
	fs fileSystem

	mu      sync.Mutex
	folders map[string]*folderQueue
	count   int64 // fsyncs done, for the tests and the metrics
}

type folderQueue struct {
	running bool
	next    *syncBatch
}

type syncBatch struct {
	lead chan struct{} // one token: the waiter that takes it runs the fsync
	done chan struct{}
	err  error
}

// sync returns when an fsync of folder that began after the call has ended.
func (s *folderSyncs) sync(folder string) error {
	s.mu.Lock()
	if s.folders == nil {
		s.folders = make(map[string]*folderQueue)
	}
	q := s.folders[folder]
	if q == nil {
		q = &folderQueue{}
		s.folders[folder] = q
	}
	b := q.next
	if b == nil {
		b = &syncBatch{lead: make(chan struct{}, 1), done: make(chan struct{})}
		q.next = b
		if !q.running {
			b.lead <- struct{}{}
		}
	}
	s.mu.Unlock()

	select {
	case <-b.done:
		return b.err
	case <-b.lead:
	}

	s.mu.Lock()
	q.running, q.next = true, nil
	s.count++
	s.mu.Unlock()
	b.err = s.fs.syncFolder(folder)
	close(b.done)
	s.mu.Lock()
	q.running = false
	if q.next != nil {
		q.next.lead <- struct{}{}
	} else {
		delete(s.folders, folder)
	}
	s.mu.Unlock()
	return b.err
}

// writeFile makes a file with these bytes, durable but for its folder's entry.
func (s *Store) writeFile(path string, data []byte) error {
	f, err := s.fs.create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err != nil {
		s.fs.remove(path)
	}
	return err
}

// writeFileNew makes a durable file that was not there before. The error is
// fs.ErrExist when it was.
func (s *Store) writeFileNew(path string, data []byte) error {
	return s.placeFile(path, data, s.fs.renameNew)
}

// writeFileOver makes a durable file in place of the one that may be there.
func (s *Store) writeFileOver(path string, data []byte) error {
	return s.placeFile(path, data, s.fs.rename)
}

func (s *Store) placeFile(path string, data []byte, rename func(from, to string) error) error {
	temporary := s.temporary()
	if err := s.writeFile(temporary, data); err != nil {
		return s.full(err)
	}
	if err := rename(temporary, path); err != nil {
		s.fs.remove(temporary)
		return s.full(err)
	}
	if err := s.syncs.sync(filepath.Dir(path)); err != nil {
		s.fs.remove(path)
		return s.full(err)
	}
	return nil
}

// makeFolder makes folder, and its parents up to the data folder, durable. A
// folder that an earlier process made may not have reached the disk, so each is
// fsynced once in the life of a process; the names of those are remembered.
func (s *Store) makeFolder(folder string) error {
	if s.folderKnown(folder) {
		return nil
	}
	parent := filepath.Dir(folder)
	if folder != s.seriesRoot() {
		if err := s.makeFolder(parent); err != nil {
			return err
		}
	}
	err := s.fs.mkdir(folder)
	if errors.Is(err, fs.ErrNotExist) && folder != s.seriesRoot() { // somebody removed the parent by hand
		s.forgetFolders(parent)
		if err := s.makeFolder(parent); err != nil {
			return err
		}
		err = s.fs.mkdir(folder)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := s.syncs.sync(parent); err != nil {
		return err
	}
	s.mu.Lock()
	if len(s.known) >= maxKnownFolders {
		clear(s.known)
	}
	s.known[folder] = struct{}{}
	s.mu.Unlock()
	return nil
}

// maxKnownFolders bounds the memory of makeFolder; forgetting costs an fsync.
const maxKnownFolders = 1 << 14

func (s *Store) folderKnown(folder string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.known[folder]
	return ok
}

// forgetFolders forgets folder and all below it.
func (s *Store) forgetFolders(folder string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for f := range s.known {
		if f == folder || len(f) > len(folder) && f[:len(folder)] == folder && f[len(folder)] == filepath.Separator {
			delete(s.known, f)
		}
	}
}

// ErrFull says that the disk has no room: below the watermark, or the operating
// system said so. Nothing was kept; the store recovers by itself when room is back.
var ErrFull = errors.New("no room in the data folder: free space or move data_dir to a larger disk")

// full turns the operating system's ways to say "no room" into ErrFull.
func (s *Store) full(err error) error {
	if err != nil && !errors.Is(err, ErrFull) && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)) {
		return fmt.Errorf("%w (%w)", ErrFull, err)
	}
	return err
}
