package audit

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// spool keeps on the disk what the collector has not had for certain. It is a
// folder of segments, numbered files of frames as they are sent. New frames go to
// the last; the oldest segment goes when it was delivered, or when there is no
// room, and then what was in it is lost. A segment of an earlier run is never
// written to, so what a crash cut off is at the end of one.
type spool struct {
	dir   string
	limit int64
	lost  func(messages int)
	lock  *os.File

	arrived chan struct{} // has one while there may be something new

	mu       sync.Mutex
	segments []segment // the oldest first
	from     position  // what comes before was delivered
	out      *os.File  // the last segment, nil before the first frame
}

type segment struct {
	number   uint64
	size     int64 // of whole frames
	messages int
}

// position is a place between two frames. The zero value is before all.
type position struct {
	segment uint64
	offset  int64
	before  int // messages of the segment
}

// segments in which a full spool is let go.
const segmentsOfLimit = 8

// spoolsPerFolder bounds the nodes that may share a folder.
const spoolsPerFolder = 64

// openSpool opens the first spool below a folder that no other process has: nodes
// that share a data folder have one each.
func openSpool(below string, limit int64, lost func(int)) (*spool, error) {
	for i := range spoolsPerFolder {
		s := &spool{dir: filepath.Join(below, "spool-"+strconv.Itoa(i)), limit: limit, lost: lost, arrived: make(chan struct{}, 1)}
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return nil, err
		}
		var err error
		if s.lock, err = os.OpenFile(filepath.Join(s.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
			return nil, err
		}
		err = unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			if err = errors.Join(s.load(), s.adopt(below)); err == nil {
				return s, nil
			}
		}
		s.lock.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%d processes have a spool in %s", spoolsPerFolder, below)
}

// adopt takes over what other spools hold that no process has any more.
func (s *spool) adopt(below string) error {
	others, err := filepath.Glob(filepath.Join(below, "spool-*"))
	if err != nil {
		return err
	}
	for _, dir := range others {
		if dir == s.dir {
			continue
		}
		lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			continue // it is none
		}
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			other := &spool{dir: dir, lost: s.lost, arrived: s.arrived}
			if err = other.load(); err == nil {
				err = s.take(other)
			}
		}
		if err = errors.Join(err, lock.Close()); err != nil {
			return err
		}
	}
	return nil
}

// take moves the segments of another spool behind those that are here.
func (s *spool) take(other *spool) error {
	for _, one := range other.segments {
		next := s.nextLocked()
		if err := os.Rename(other.path(one.number), s.path(next)); err != nil {
			return err
		}
		one.number = next
		s.segments = append(s.segments, one)
	}
	return nil
}

// nextLocked is a number that no segment has had.
func (s *spool) nextLocked() uint64 {
	next := s.from.segment + 1
	if len(s.segments) > 0 {
		next = max(next, s.segments[len(s.segments)-1].number+1)
	}
	return next
}

const segmentSuffix = ".syslog"

func (s *spool) path(number uint64) string {
	return filepath.Join(s.dir, fmt.Sprintf("%010d%s", number, segmentSuffix))
}

// load finds what an earlier run left.
func (s *spool) load() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), segmentSuffix)
		if !ok {
			continue
		}
		number, err := strconv.ParseUint(name, 10, 63)
		if err != nil {
			continue
		}
		one, torn, err := s.scan(number)
		if err != nil {
			return err
		}
		if torn {
			s.lost(1)
		}
		s.segments = append(s.segments, one)
	}
	slices.SortFunc(s.segments, func(a, b segment) int { return cmp.Compare(a.number, b.number) })
	s.from = s.readPosition()
	s.sweepLocked()
	s.notify()
	return nil
}

// scan counts the whole frames of a segment.
func (s *spool) scan(number uint64) (one segment, torn bool, err error) {
	f, err := os.Open(s.path(number))
	if err != nil {
		return one, false, err
	}
	defer f.Close()
	one.number = number
	info, err := f.Stat()
	if err != nil {
		return one, false, err
	}
	for {
		frames, n, err := readFrames(f, one.size, info.Size())
		if err != nil {
			return one, false, err
		}
		if n == 0 {
			return one, one.size < info.Size(), nil
		}
		one.size += int64(len(frames))
		one.messages += n
	}
}

// readFrames reads whole frames from an offset on, at least one if there is one,
// and no more than 64 KiB besides.
func readFrames(f io.ReaderAt, at, end int64) (frames []byte, n int, err error) {
	b := make([]byte, min(end-at, 2*maxMessage))
	if _, err := f.ReadAt(b, at); err != nil && err != io.EOF {
		return nil, 0, err
	}
	rest, ok := b, true
	for {
		if _, rest, ok = unframe(rest); !ok {
			return b[:len(b)-len(rest)], n, nil
		}
		n++
	}
}

// add keeps frames, durably. Nothing of them is kept where it fails.
func (s *spool) add(frames []byte, messages int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.makeRoomLocked(int64(len(frames))); err != nil {
		return err
	}
	last := &s.segments[len(s.segments)-1]
	_, err := s.out.Write(frames)
	if err == nil {
		err = s.out.Sync()
	}
	if err != nil {
		// A frame that is there by half would hide what comes behind it.
		return errors.Join(err, s.out.Truncate(last.size))
	}
	last.size += int64(len(frames))
	last.messages += messages
	s.notify()
	return nil
}

func (s *spool) makeRoomLocked(more int64) error {
	if s.out == nil || s.segments[len(s.segments)-1].size+more > s.limit/segmentsOfLimit {
		next := s.nextLocked()
		f, err := os.OpenFile(s.path(next), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		if s.out != nil {
			s.out.Close()
		}
		s.out = f
		s.segments = append(s.segments, segment{number: next})
	}
	for s.sizeLocked()+more > s.limit && len(s.segments) > 1 {
		oldest := s.segments[0]
		if err := os.Remove(s.path(oldest.number)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		s.segments = s.segments[1:]
		gone := oldest.messages
		if oldest.number == s.from.segment {
			gone -= s.from.before
		}
		if gone > 0 {
			s.lost(gone)
		}
	}
	return nil
}

func (s *spool) sizeLocked() (n int64) {
	for _, one := range s.segments {
		n += one.size
	}
	return n
}

// waiting is how many bytes the collector has not had for certain.
func (s *spool) waiting() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.sizeLocked()
	if len(s.segments) > 0 && s.segments[0].number == s.from.segment {
		n -= s.from.offset
	}
	return n
}

// delivered is the place up to which the collector has everything.
func (s *spool) delivered() position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.from
}

// read returns frames that come at a place or behind it, and the place behind
// them. There are none at the end.
func (s *spool) read(at position) (frames []byte, next position, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.segments {
		if one.number < at.segment {
			continue
		}
		if one.number > at.segment {
			at = position{segment: one.number}
		}
		if at.offset >= one.size {
			continue
		}
		f, err := os.Open(s.path(one.number))
		if err != nil {
			return nil, at, err
		}
		frames, n, err := readFrames(f, at.offset, one.size)
		f.Close()
		if err == nil && n == 0 {
			err = fmt.Errorf("segment %d is damaged at byte %d", one.number, at.offset)
		}
		return frames, position{one.number, at.offset + int64(len(frames)), at.before + n}, err
	}
	return nil, at, nil
}

// skip gives the rest of a segment up that cannot be read.
func (s *spool) skip(at position) position {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.segments {
		if one.number < at.segment || one.number == at.segment && at.offset >= one.size {
			continue
		}
		if one.number > at.segment {
			at = position{segment: one.number}
		}
		s.lost(max(one.messages-at.before, 1))
		return position{one.number, one.size, one.messages}
	}
	return at
}

// confirm says that the collector has what comes before a place.
func (s *spool) confirm(to position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.from = to
	s.sweepLocked()
	// A position that could not be kept has messages sent twice, no more.
	text := fmt.Appendf(nil, "%d %d %d\n", to.segment, to.offset, to.before)
	name := filepath.Join(s.dir, "delivered")
	if os.WriteFile(name+".new", text, 0o600) == nil {
		os.Rename(name+".new", name)
	}
}

// sweepLocked removes segments that were delivered, all but the one that is
// written to.
func (s *spool) sweepLocked() {
	for len(s.segments) > 0 {
		one := s.segments[0]
		done := one.number < s.from.segment || one.number == s.from.segment && s.from.offset >= one.size
		if !done || s.out != nil && len(s.segments) == 1 || os.Remove(s.path(one.number)) != nil {
			return
		}
		s.segments = s.segments[1:]
	}
}

func (s *spool) readPosition() (p position) {
	text, err := os.ReadFile(filepath.Join(s.dir, "delivered"))
	if err != nil {
		return position{}
	}
	if n, _ := fmt.Sscanf(string(text), "%d %d %d\n", &p.segment, &p.offset, &p.before); n != 3 || p.offset < 0 || p.before < 0 {
		return position{}
	}
	for _, one := range s.segments {
		// A power cut may have kept the position and not what it points behind.
		if one.number == p.segment && (p.offset > one.size || p.before > one.messages) {
			p.offset, p.before = one.size, one.messages
		}
	}
	return p
}

func (s *spool) notify() {
	select {
	case s.arrived <- struct{}{}:
	default:
	}
}

func (s *spool) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.out != nil {
		err = s.out.Close()
	}
	return errors.Join(err, s.lock.Close())
}
