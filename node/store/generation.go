package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
)

// File is one result of a generation, to be written.
type File struct {
	Name           string // "result.json", "sr.dcm", "key-1.png": letters, digits, '-', '_' and dots
	Kind           string // "sr", "seg", "keyimage", "kos", "pdf", "png", "json", "document"
	SOPClassUID    string // of DICOM objects
	SOPInstanceUID string // of DICOM objects
	Bytes          []byte
	// Make gives the bytes when the file is written, in place of Bytes, so that
	// of many large files one is held at a time.
	Make func() ([]byte, error)
}

// Content is the file's bytes.
func (f File) Content() ([]byte, error) {
	if f.Make == nil {
		return f.Bytes, nil
	}
	b, err := f.Make()
	if err != nil {
		return nil, fmt.Errorf("making %s: %w", f.Name, err)
	}
	return b, nil
}

// ManifestFile is one result of a generation, as written.
type ManifestFile struct {
	Name           string `json:"name"`
	Kind           string `json:"kind"`
	SOPClassUID    string `json:"sop_class_uid,omitempty"`
	SOPInstanceUID string `json:"sop_instance_uid,omitempty"`
	Size           int64  `json:"size"`
	SHA256         string `json:"sha256"`
}

// Manifest says what a generation consists of. WriteGeneration fills Key,
// Generation and Files.
type Manifest struct {
	Key
	Schema     int            `json:"schema"`
	Generation int            `json:"generation"`
	Attempt    int            `json:"attempt"` // how many times it was set aside before
	Closed     result.Closed  `json:"closed"`
	Outcome    result.Outcome `json:"outcome"`
	Reason     string         `json:"reason,omitempty"` // a sentence; empty when analysed
	Nodules    int            `json:"nodules"`
	Warnings   []string       `json:"warnings,omitempty"` // that stand in the report too
	Files      []ManifestFile `json:"files"`

	Written time.Time `json:"-"` // when the folder's manifest was written, as the disk has it
}

// manifestSchema is the version of manifest.json.
const manifestSchema = 1

// WriteGeneration makes generation n of the series with all its files durable,
// completely or not at all. The error is ErrExist when it is there already, and
// ErrFull when there is no room: nothing remains, the work can be tried again.
func (s *Store) WriteGeneration(k Key, n int, files []File, m Manifest) error {
	if err := s.writeGeneration(k, n, files, m); err != nil {
		return s.full(fmt.Errorf("write generation %d of series %s: %w", n, k.Series, err))
	}
	return nil
}

func (s *Store) writeGeneration(k Key, n int, files []File, m Manifest) (err error) {
	if err := k.Valid(); err != nil {
		return err
	}
	if n < 1 {
		return errors.New("generations count from 1")
	}
	defer s.locks.rlock(k.Study)()
	final := filepath.Join(s.folder(k), numbered("generation", n))
	defer s.locks.lock(final)()
	if _, err := os.Lstat(final); err == nil {
		return ErrExist
	}
	m.Key, m.Generation, m.Schema, m.Files = k, n, manifestSchema, nil
	if m.Attempt, err = s.Attempts(k, n); err != nil {
		return err
	}
	seen := map[string]bool{"manifest.json": true, "receipts": true, receiptsAside: true}
	for _, f := range files {
		if !plainFileName(f.Name) || seen[f.Name] {
			return fmt.Errorf("file name %q cannot be used", f.Name)
		}
		seen[f.Name] = true
	}
	temporary := s.temporary()
	if err := s.fs.mkdir(temporary); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.fs.removeAll(temporary)
		}
	}()
	for _, f := range files {
		b, err := f.Content()
		if err != nil {
			return err
		}
		sum := sha256.Sum256(b)
		m.Files = append(m.Files, ManifestFile{
			Name: f.Name, Kind: f.Kind, SOPClassUID: f.SOPClassUID, SOPInstanceUID: f.SOPInstanceUID,
			Size: int64(len(b)), SHA256: hex.EncodeToString(sum[:]),
		})
		if err := s.writeFile(filepath.Join(temporary, f.Name), b); err != nil {
			return err
		}
	}
	manifest, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		return err
	}
	if err := s.writeFile(filepath.Join(temporary, "manifest.json"), append(manifest, '\n')); err != nil {
		return err
	}
	if err := s.unlikeDeleted(k, n, m.Files); err != nil {
		return err
	}
	if err := s.syncs.sync(temporary); err != nil {
		return err
	}
	if err := s.fs.renameNew(temporary, final); err != nil {
		return err
	}
	if err := s.syncs.sync(s.folder(k)); err != nil {
		s.fs.removeAll(final)
		return err
	}
	return nil
}

// plainFileName reports whether a result's name can be a path part: plain words
// with dots between them.
func plainFileName(name string) bool {
	if len(name) > 64 {
		return false
	}
	for part := range strings.SplitSeq(name, ".") {
		if !plainName(part) {
			return false
		}
	}
	return true
}

// Generation reads the manifest of generation n. The error is ErrNotExist when
// it is not there.
func (s *Store) Generation(k Key, n int) (*Manifest, error) {
	if err := k.Valid(); err != nil {
		return nil, err
	}
	path := filepath.Join(s.folder(k), numbered("generation", n), "manifest.json")
	m := &Manifest{}
	if err := readJSON(path, m); err != nil {
		return nil, fmt.Errorf("read generation %d of series %s: %w", n, k.Series, err)
	}
	if m.Key != k || m.Generation != n {
		return nil, fmt.Errorf("read generation %d of series %s: the manifest names another", n, k.Series)
	}
	if info, err := os.Lstat(path); err == nil {
		m.Written = info.ModTime()
	}
	return m, nil
}

// Generations lists the numbers of the generations that have results, ascending.
func (s *Store) Generations(k Key) ([]int, error) { return s.numbers(k, "generation", "") }

// GenerationFolder returns the path of the folder with the generation's files.
func (s *Store) GenerationFolder(k Key, n int) (string, error) {
	if err := k.Valid(); err != nil {
		return "", err
	}
	return filepath.Join(s.folder(k), numbered("generation", n)), nil
}

// SetAside moves the results of generation n, with their receipts, out of the
// way of a new attempt. They stay in the series' folder for a person to look
// at. The error is ErrNotExist when there are none.
func (s *Store) SetAside(k Key, n int) error {
	if err := k.Valid(); err != nil {
		return err
	}
	defer s.locks.rlock(k.Study)()
	from := filepath.Join(s.folder(k), numbered("generation", n))
	defer s.locks.lock(from)()
	attempts, err := s.Attempts(k, n)
	if err != nil {
		return err
	}
	to := filepath.Join(s.folder(k), numbered(numbered("set-aside", n), attempts+1))
	s.forgetFolders(from)
	err = s.fs.renameNew(from, to)
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNotExist
	}
	if err == nil {
		err = s.syncs.sync(s.folder(k))
	}
	if err != nil {
		return s.full(fmt.Errorf("set generation %d of series %s aside: %w", n, k.Series, err))
	}
	return nil
}

// Attempts counts how many times generation n was set aside, before the series
// was deleted and came again too. A new attempt's
// documents are other objects than those that may have been delivered: their
// kinds are AttemptKind(kind, attempts).
func (s *Store) Attempts(k Key, n int) (int, error) {
	numbers, err := s.numbers(k, numbered("set-aside", n), "")
	if err != nil {
		return 0, err
	}
	deleted, err := s.deletedAttempt(k, n)
	if err != nil || len(numbers) == 0 {
		return deleted, err
	}
	return max(deleted, numbers[len(numbers)-1]), nil
}

// AttemptKind is the kind for UIDs of a document of a repeated attempt: the
// kind itself at first.
func AttemptKind(kind string, attempt int) string {
	if attempt == 0 {
		return kind
	}
	return fmt.Sprintf("%s, attempt %d", kind, attempt+1)
}

// Receipt says that a destination took an object, and what came of it where the
// destination is asked to answer for it from then on (storage commitment).
type Receipt struct {
	Destination    string    `json:"destination"`
	SOPInstanceUID string    `json:"sop_instance_uid"`
	Status         uint16    `json:"status"` // of the C-STORE response
	Note           string    `json:"note,omitempty"`
	Time           time.Time `json:"time"`

	Asked      time.Time `json:"commitment_asked,omitzero"`       // first
	AskedLast  time.Time `json:"commitment_asked_last,omitzero"`  // where nodes share the folder
	Committed  bool      `json:"committed"`                       // it answers for the object
	Unanswered bool      `json:"commitment_unanswered,omitempty"` // nobody asks any more
	Refused    string    `json:"commitment_refused,omitempty"`    // why it does not: the object is sent again
	Refusals   int       `json:"commitment_refusals,omitempty"`   // how often it did not
}

// WriteReceipt makes a receipt durable, in place of an earlier one for the same
// object. The generation must be there.
func (s *Store) WriteReceipt(k Key, n int, destination, sopInstanceUID string, r Receipt) error {
	if err := s.writeReceipt(k, n, destination, sopInstanceUID, r); err != nil {
		return s.full(fmt.Errorf("write the receipt of %s from %q: %w", sopInstanceUID, destination, err))
	}
	return nil
}

func (s *Store) writeReceipt(k Key, n int, destination, sop string, r Receipt) error {
	if err := k.Valid(); err != nil {
		return err
	}
	if err := dataset.ValidUID(sop); err != nil {
		return err
	}
	r.Destination, r.SOPInstanceUID = destination, sop
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	defer s.locks.rlock(k.Study)()
	generation := filepath.Join(s.folder(k), numbered("generation", n))
	defer s.locks.rlock(generation)()
	if _, err := os.Lstat(generation); err != nil {
		return ErrNotExist
	}
	folder := filepath.Join(generation, "receipts", escapeName(destination))
	if err := s.makeFolder(folder); err != nil {
		return err
	}
	return s.writeFileOver(filepath.Join(folder, sop+".json"), append(b, '\n'))
}

// Receipts returns a destination's receipts for generation n by SOP Instance UID.
func (s *Store) Receipts(k Key, n int, destination string) (map[string]Receipt, error) {
	if err := k.Valid(); err != nil {
		return nil, err
	}
	folder := filepath.Join(s.folder(k), numbered("generation", n), "receipts", escapeName(destination))
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the receipts of series %s from %q: %w", k.Series, destination, err)
	}
	receipts := make(map[string]Receipt, len(entries))
	for _, e := range entries {
		uid, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || dataset.ValidUID(uid) != nil {
			continue
		}
		var r Receipt
		if err := readJSON(filepath.Join(folder, e.Name()), &r); err != nil {
			return nil, fmt.Errorf("read the receipts of series %s from %q: %w", k.Series, destination, err)
		}
		receipts[uid] = r
	}
	return receipts, nil
}

// escapeName makes a path part of a destination's name; no two names share one.
func escapeName(name string) string {
	if plainName(name) {
		return name
	}
	if len(name) > 64 {
		sum := sha256.Sum256([]byte(name))
		return "%" + hex.EncodeToString(sum[:])
	}
	var b strings.Builder
	for _, c := range []byte(name) {
		if plainByte(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	if b.Len() == 0 {
		return "%"
	}
	return b.String()
}
