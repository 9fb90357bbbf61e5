package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// Outcome says what Commit found.
type Outcome int

// The outcomes of Commit; all three are durable.
const (
	Stored    Outcome = iota // a new instance
	Identical                // the same SOP Instance UID with the same bytes was there
	Different                // the same UID with other bytes was there: kept in conflicts/
)

func (o Outcome) String() string {
	switch o {
	case Stored:
		return "stored"
	case Identical:
		return "identical"
	case Different:
		return "different"
	}
	return fmt.Sprintf("Outcome(%d)", int(o))
}

// Instance is one stored object.
type Instance struct {
	SOPInstanceUID string
	Path           string
	Size           int64
	Modified       time.Time
}

// watermarkEvery is how many bytes of one instance pass between two looks at
// the free space, so that an instance of gigabytes cannot run past the watermark.
const watermarkEvery = 16 << 20

// Incoming is an instance that is being received. It belongs to one goroutine
// and ends with Commit or Discard.
type Incoming struct {
	store   *Store
	f       file
	path    string
	meta    dataset.MetaInfo
	header  int64 // bytes before the data set
	written int64
	look    int64 // bytes at which to look at the free space
	err     error // the first failure: the file is not to be trusted any more
}

// Create begins an instance: a temporary Part 10 file with this file meta
// information (PS3.10 7.1), to which the data set is written as it arrives. The
// error is ErrFull when there is no room.
func (s *Store) Create(meta dataset.MetaInfo) (*Incoming, error) {
	if err := dataset.ValidUID(meta.SOPInstanceUID); err != nil {
		return nil, fmt.Errorf("SOP Instance UID: %w", err)
	}
	if err := s.roomy(); err != nil {
		return nil, err
	}
	in := &Incoming{store: s, path: s.temporary(), meta: meta, look: watermarkEvery}
	var err error
	if in.f, err = s.fs.create(in.path); err != nil {
		return nil, s.full(fmt.Errorf("begin an instance: %w", err))
	}
	head := dataset.FileMeta(meta)
	if _, err := in.f.Write(head); err != nil {
		in.Discard()
		return nil, s.full(fmt.Errorf("begin an instance: %w", err))
	}
	in.header = int64(len(head))
	return in, nil
}

// Write adds bytes of the data set. The error is ErrFull when room runs out.
func (in *Incoming) Write(p []byte) (int, error) {
	if in.err != nil {
		return 0, in.err
	}
	if in.written+int64(len(p)) > in.look {
		in.look = in.written + int64(len(p)) + watermarkEvery
		if in.err = in.store.roomy(); in.err != nil {
			return 0, in.err
		}
	}
	n, err := in.f.Write(p)
	in.written += int64(n)
	if err != nil {
		in.err = in.store.full(fmt.Errorf("write an instance: %w", err))
	}
	return n, in.err
}

// Discard forgets the instance. After Commit it does nothing.
func (in *Incoming) Discard() {
	if in.f == nil {
		return
	}
	in.f.Close()
	in.f = nil
	in.store.fs.remove(in.path)
}

// Commit makes the instance durable as this SOP Instance of this series, and
// returns only then. When it fails nothing of the instance remains, and the
// sender must be told so.
func (in *Incoming) Commit(k Key, sopInstanceUID string) (Outcome, error) {
	defer in.Discard()
	s := in.store
	if in.f == nil {
		return 0, errors.New("commit an instance: it has ended already")
	}
	if in.err != nil {
		return 0, in.err
	}
	if err := k.Valid(); err != nil {
		return 0, fmt.Errorf("commit an instance: %w", err)
	}
	if err := dataset.ValidUID(sopInstanceUID); err != nil {
		return 0, fmt.Errorf("commit an instance: SOP Instance UID: %w", err)
	}
	if sopInstanceUID != in.meta.SOPInstanceUID {
		return 0, errors.New("commit an instance: the SOP Instance UID differs from the command's")
	}
	o, err := in.commit(k, sopInstanceUID)
	if err != nil {
		return 0, s.full(fmt.Errorf("store instance %s: %w", sopInstanceUID, err))
	}
	return o, nil
}

func (in *Incoming) commit(k Key, sop string) (Outcome, error) {
	s := in.store
	if err := in.f.Sync(); err != nil {
		return 0, err
	}
	folder := filepath.Join(s.folder(k), "instances")
	final := filepath.Join(folder, sop+".dcm")

	defer s.locks.rlock(k.Study)()
	// Two associations may bring the same instance: the second must not be told
	// "identical" before the first's folder fsync has ended, and not at all if
	// that fails.
	defer s.locks.lock(final)()
	if err := s.makeFolder(folder); err != nil {
		return 0, err
	}
	err := s.fs.renameNew(in.path, final)
	if errors.Is(err, fs.ErrNotExist) { // somebody removed the series by hand
		s.forgetFolders(s.folder(k))
		if err := s.makeFolder(folder); err != nil {
			return 0, err
		}
		err = s.fs.renameNew(in.path, final)
	}
	if err == nil {
		if err := s.syncs.sync(folder); err != nil {
			s.fs.remove(final)
			return 0, err
		}
		return Stored, in.end()
	}
	if !errors.Is(err, fs.ErrExist) {
		return 0, err
	}
	same, sum, err := compare(in.path, final)
	if err != nil {
		return 0, err
	}
	if same {
		// The file may be that of a process that died before its folder fsync.
		return Identical, s.syncs.sync(folder)
	}
	folder = filepath.Join(s.folder(k), "conflicts", sop)
	if err := s.makeFolder(folder); err != nil {
		return 0, err
	}
	final = filepath.Join(folder, sum+".dcm")
	err = s.fs.renameNew(in.path, final)
	if errors.Is(err, fs.ErrExist) {
		return Different, s.syncs.sync(folder)
	}
	if err != nil {
		return 0, err
	}
	if err := s.syncs.sync(folder); err != nil {
		s.fs.remove(final)
		return 0, err
	}
	return Different, in.end()
}

// end closes the file that has moved to its place. Its data is durable, so what
// close says no longer matters.
func (in *Incoming) end() error {
	in.f.Close()
	in.f = nil
	return nil
}

// compare reports whether two Part 10 files hold the same data set in the same
// transfer syntax, and the SHA-256 of the first's. The rest of the file meta
// information may differ: it names who sent the file.
func compare(path, other string) (same bool, sum string, err error) {
	a, syntaxA, err := openDataSet(path)
	if err != nil {
		return false, "", err
	}
	defer a.Close()
	b, syntaxB, err := openDataSet(other)
	if err != nil {
		return false, "", err
	}
	defer b.Close()
	hashA, hashB := sha256.New(), sha256.New()
	fmt.Fprintf(hashA, "%s\x00", syntaxA)
	fmt.Fprintf(hashB, "%s\x00", syntaxB)
	if _, err := io.Copy(hashA, a); err != nil {
		return false, "", fmt.Errorf("compare instances: %w", err)
	}
	if _, err := io.Copy(hashB, b); err != nil {
		return false, "", fmt.Errorf("compare instances: %w", err)
	}
	sumA := hashA.Sum(nil)
	return bytes.Equal(sumA, hashB.Sum(nil)), hex.EncodeToString(sumA), nil
}

// openDataSet opens a file that Create wrote and seeks to its data set. The
// meta information is ours: Explicit VR Little Endian, its length first.
func openDataSet(path string) (f *os.File, transferSyntax string, err error) {
	f, err = os.Open(path)
	if err != nil {
		return nil, "", err
	}
	defer func() {
		if err != nil {
			f.Close()
			err = fmt.Errorf("read the file meta information of %s: %w", filepath.Base(path), err)
		}
	}()
	var start [144]byte // preamble, "DICM", (0002,0000) UL 4
	if _, err := io.ReadFull(f, start[:]); err != nil {
		return nil, "", err
	}
	length := binary.LittleEndian.Uint32(start[140:])
	if string(start[128:132]) != "DICM" || length > 64<<10 {
		return nil, "", errors.New("not a file of this store")
	}
	group := make([]byte, length)
	if _, err := io.ReadFull(f, group); err != nil {
		return nil, "", err
	}
	for len(group) >= 8 {
		element, vr, n, head := binary.LittleEndian.Uint16(group[2:]), string(group[4:6]), int(binary.LittleEndian.Uint16(group[6:])), 8
		switch vr { // PS3.5 7.1.2: these have a 32-bit length after two reserved bytes
		case "OB", "OW", "UN":
			if len(group) < 12 {
				return nil, "", errors.New("cut short")
			}
			n, head = int(binary.LittleEndian.Uint32(group[8:])), 12
		}
		if n < 0 || n > len(group)-head {
			return nil, "", errors.New("cut short")
		}
		if element == 0x0010 { // Transfer Syntax UID
			return f, strings.TrimRight(string(group[head:head+n]), "\x00 "), nil
		}
		group = group[head+n:]
	}
	return nil, "", errors.New("no Transfer Syntax UID")
}
