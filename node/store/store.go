package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// Options are what the configuration says of the store. The zero value works.
type Options struct {
	// StopReceivingBelow is the watermark in bytes: with less free space than
	// this, instances are refused with ErrFull. 0: only when the disk is full.
	// Results are written below the watermark too.
	StopReceivingBelow int64
	// Installation enters the UIDs of results.
	Installation string
	// Node names this node where several share one data folder (their queue is
	// then a database that they share). Empty: this node alone owns the folder.
	Node string
	// Version names this program in layout.json.
	Version string
	// Before, when set, is asked before every change of the disk ("mkdir",
	// "create", "write", "fsync", "rename", "remove", "remove all", "fsync
	// folder") and can refuse it. Tests walk the steps of a node's life with it.
	Before func(step, path string) error
}

// InUse reports whether a node works on the data folder.
func InUse(dir string) bool {
	path := filepath.Join(dir, "lock")
	if _, err := os.Stat(path); err != nil {
		return false
	}
	f, err := lockFile(path, false)
	if err == nil {
		f.Close()
	}
	return errors.Is(err, ErrLocked)
}

// ErrLocked says that another node works on the data folder.
var ErrLocked = errors.New("another pulmonode works on this data folder: stop it, or give this node its own [storage] data_dir")

// ErrExist says that a closing or a generation of that number is there already.
var ErrExist = errors.New("there already")

// ErrNotExist says that the series, closing or generation is not there.
var ErrNotExist = errors.New("not in the store")

// Store is a data folder that this process has locked. Its methods may be
// called from any goroutine.
type Store struct {
	dir     string
	options Options
	uids    UIDs
	locks   locks // by study: shared by writers, alone for removal; by instance
	held    []*os.File
	counter atomic.Uint64

	fs    fileSystem
	syncs folderSyncs

	mu    sync.Mutex
	known map[string]struct{} // folders whose entries are durable

	records records
}

// Key names a series: Study Instance UID and Series Instance UID.
type Key struct {
	Study  string `json:"study_instance_uid"`
	Series string `json:"series_instance_uid"`
}

// Valid says what is wrong with the key's UIDs, nil if nothing is.
func (k Key) Valid() error {
	if err := dataset.ValidUID(k.Study); err != nil {
		return fmt.Errorf("the Study Instance UID: %w", err)
	}
	if err := dataset.ValidUID(k.Series); err != nil {
		return fmt.Errorf("the Series Instance UID: %w", err)
	}
	return nil
}

func (k Key) String() string { return k.Study + "/" + k.Series }

// Open locks the data folder, makes its layout, and removes what a crash left
// in incoming/. The error is ErrLocked when another node works on it.
func Open(dir string, o Options) (*Store, error) {
	if o.Before != nil {
		return open(dir, o, watchedDisk{disk{}, o.Before})
	}
	return open(dir, o, disk{})
}

func open(dir string, o Options, files fileSystem) (_ *Store, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if o.Node != "" && !plainName(o.Node) {
		return nil, fmt.Errorf("node name %q: use up to 64 letters, digits, '-' and '_'", o.Node)
	}
	s := &Store{
		dir: dir, options: o, uids: UIDs{o.Installation},
		fs: files, syncs: folderSyncs{fs: files}, known: make(map[string]struct{}),
	}
	defer func() {
		if err != nil {
			s.Close()
			err = fmt.Errorf("open the data folder %s: %w", dir, err)
		}
	}()
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, folderMode); err != nil {
			return nil, err
		}
		if err := s.syncs.sync(filepath.Dir(dir)); err != nil {
			return nil, err
		}
	}
	lock, err := lockFolder(dir, o.Node != "")
	if err != nil {
		return nil, err
	}
	s.held = append(s.held, lock)
	found, err := readLayout(dir)
	if err != nil {
		return nil, err
	}
	for _, folder := range []string{filepath.Join(dir, "incoming"), s.incoming(), s.seriesRoot(), s.removedRoot(), s.removing()} {
		if err := s.fs.mkdir(folder); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	if o.Node != "" {
		lock, err := s.lockName()
		if err != nil {
			return nil, err
		}
		s.held = append(s.held, lock)
	}
	if err := errors.Join(s.empty(s.incoming()), s.tidyIncoming()); err != nil {
		return nil, err
	}
	if err := s.syncs.sync(dir); err != nil {
		return nil, err
	}
	if err := s.settleLayout(found); err != nil {
		return nil, err
	}
	if err := s.resumeRemovals(); err != nil {
		return nil, err
	}
	return s, nil
}

// Close gives the lock back. What is written afterwards may meet another node.
func (s *Store) Close() error {
	var err error
	for i := len(s.held) - 1; i >= 0; i-- {
		err = errors.Join(err, s.held[i].Close())
	}
	s.held = nil
	return err
}

// Dir is the data folder's absolute path.
func (s *Store) Dir() string { return s.dir }

// Free returns the bytes that may still be written to the data folder's disk.
func (s *Store) Free() (int64, error) {
	n, err := s.fs.free(s.dir)
	return int64(min(n, 1<<62)), err
}

// Total returns the size of the data folder's disk.
func (s *Store) Total() (int64, error) {
	n, err := totalBytes(s.dir)
	return int64(min(n, 1<<62)), err
}

// trial is what Ready writes: one block, which a disk without room has none of.
var trial = make([]byte, 4096)

// Ready says why the store would not take an instance now, nil if it would:
// ErrFull below the watermark, else what the file system says to a trial file of
// one block that is made durable.
func (s *Store) Ready() error {
	if err := s.roomy(); err != nil {
		return err
	}
	path := s.temporary()
	f, err := s.fs.create(path)
	if err != nil {
		return s.full(fmt.Errorf("write to the data folder: %w", err))
	}
	_, err = f.Write(trial)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close(), s.fs.remove(path)); err != nil {
		return s.full(fmt.Errorf("write to the data folder: %w", err))
	}
	return nil
}

// roomy is nil above the watermark.
func (s *Store) roomy() error {
	if s.options.StopReceivingBelow <= 0 {
		return nil
	}
	free, err := s.Free()
	if err != nil {
		return err
	}
	if free < s.options.StopReceivingBelow {
		return fmt.Errorf("%w (%d MiB are free, stop_receiving_below is %d MiB)", ErrFull, free>>20, s.options.StopReceivingBelow>>20)
	}
	return nil
}

func (s *Store) incoming() string {
	return filepath.Join(s.dir, "incoming", s.options.Node)
}

func (s *Store) seriesRoot() string { return filepath.Join(s.dir, "series") }

// temporary names a file or folder in incoming/ that nobody else uses.
func (s *Store) temporary() string {
	return filepath.Join(s.incoming(), strconv.FormatUint(s.counter.Add(1), 10))
}

// folder is the series' folder. The key is valid.
func (s *Store) folder(k Key) string {
	return filepath.Join(s.seriesRoot(), k.Study, k.Series)
}

// Folder returns the path of the series' folder, whether or not it is there.
func (s *Store) Folder(k Key) (string, error) {
	if err := k.Valid(); err != nil {
		return "", err
	}
	return s.folder(k), nil
}

// plainName reports whether a name can be a path part as it is.
func plainName(name string) bool {
	if name == "" || len(name) > 64 {
		return false
	}
	for _, c := range []byte(name) {
		if !plainByte(c) {
			return false
		}
	}
	return true
}

func plainByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}
