package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pulmonode/pulmonode/inference/result"
)

// Removed is what stays of a series that was deleted: which it was, how it
// ended, when and why it went and who has its results. Nothing in it is of the
// patient. It also says which UIDs are taken: a series that comes again must not
// give other bytes under a UID that was delivered.
type Removed struct {
	Key
	Schema     int            `json:"schema"`
	Time       time.Time      `json:"removed"`
	Reason     string         `json:"why"`     // ForAge or ForRoom
	Changed    time.Time      `json:"changed"` // when the series last changed
	Instances  int            `json:"instances"`
	Conflicts  int            `json:"conflicts,omitempty"`
	Set        string         `json:"set,omitempty"`        // SHA-256 of the SOP Instance UIDs of the last closing
	Generation int            `json:"generation,omitempty"` // the last that was closed; 0: none
	Attempt    int            `json:"attempt,omitempty"`    // of it: how many times it was set aside
	Closed     result.Closed  `json:"closed,omitzero"`
	Expected   int            `json:"expected,omitempty"`
	Outcome    result.Outcome `json:"outcome,omitempty"`
	Sentence   string         `json:"reason,omitempty"` // why it was not analysed
	Nodules    int            `json:"nodules,omitempty"`
	// Objects are those of the last generation: SHA-256 by SOP Instance UID.
	Objects    map[string]string `json:"objects,omitempty"`
	Deliveries []Delivery        `json:"deliveries,omitempty"`
}

// Delivery says what of a deleted series a destination took.
type Delivery struct {
	Destination string    `json:"destination"`
	Generation  int       `json:"generation"`
	Objects     int       `json:"objects"`
	Committed   int       `json:"committed,omitempty"` // of Objects, those it answers for
	Last        time.Time `json:"last"`                // when it took the last
}

const removedSchema = 1

// Bounds of a record, and of how many there are: 20,000 are some 80 MB on disk
// and half of it in memory.
const (
	maxRecord   = 1 << 20
	maxSentence = 1000
	maxRecords  = 20_000
)

func (s *Store) removedRoot() string { return filepath.Join(s.dir, "removed") }

func (s *Store) recordPath(k Key) string {
	return filepath.Join(s.removedRoot(), k.Study+"_"+k.Series+".json")
}

// splitKey reads the two UIDs of a name; a UID has no '_' (PS3.5 9.1).
func splitKey(name string) (Key, bool) {
	study, series, ok := strings.Cut(name, "_")
	k := Key{study, series}
	return k, ok && k.Valid() == nil
}

// recordOf reads what is worth keeping of a series from its folder. What cannot
// be read is left out: a damaged file must not keep a series for ever.
func recordOf(folder string, k Key) *Removed {
	r := &Removed{Key: k, Schema: removedSchema}
	r.Changed, _ = changed(folder)
	r.Changed = r.Changed.UTC()
	if closings, _ := numbersIn(folder, "closed", ".json"); len(closings) > 0 {
		r.Generation = closings[len(closings)-1]
		var c Closing
		if readJSON(filepath.Join(folder, numbered("closed", r.Generation)+".json"), &c) == nil {
			r.Closed, r.Expected, r.Conflicts = c.Closed, c.Expected, c.Conflicts
			r.Instances, r.Set = len(c.Instances), setOf(c.Instances)
		}
	}
	if n, _ := numbersIn(folder, numbered("set-aside", r.Generation), ""); len(n) > 0 {
		r.Attempt = n[len(n)-1]
	}
	generations, _ := numbersIn(folder, "generation", "")
	for _, n := range generations {
		at := filepath.Join(folder, numbered("generation", n))
		r.Deliveries = append(r.Deliveries, deliveriesOf(at, n)...)
		var m Manifest
		if n != r.Generation || readJSON(filepath.Join(at, "manifest.json"), &m) != nil {
			continue
		}
		r.Attempt, r.Outcome, r.Nodules = max(r.Attempt, m.Attempt), m.Outcome, m.Nodules
		r.Sentence = strings.ToValidUTF8(m.Reason[:min(len(m.Reason), maxSentence)], "")
		for _, f := range m.Files {
			if f.SOPInstanceUID == "" {
				continue
			}
			if r.Objects == nil {
				r.Objects = map[string]string{}
			}
			r.Objects[f.SOPInstanceUID] = f.SHA256
		}
	}
	return r
}

func deliveriesOf(generation string, n int) []Delivery {
	root := filepath.Join(generation, "receipts")
	destinations, _ := os.ReadDir(root)
	var list []Delivery
	for _, d := range destinations {
		receipts, _ := os.ReadDir(filepath.Join(root, d.Name()))
		one := Delivery{Generation: n}
		for _, e := range receipts {
			var r Receipt
			if readJSON(filepath.Join(root, d.Name(), e.Name()), &r) != nil || r.Refused != "" {
				continue
			}
			one.Destination = r.Destination
			one.Objects++
			if r.Committed {
				one.Committed++
			}
			if r.Time.After(one.Last) {
				one.Last = r.Time
			}
		}
		if one.Objects > 0 {
			list = append(list, one)
		}
	}
	return list
}

// setOf tells sets of instances apart. The UIDs are in ascending order.
func setOf(uids []string) string {
	sum := sha256.Sum256([]byte(strings.Join(uids, "\n")))
	return hex.EncodeToString(sum[:])
}

// Removed returns the record of a series that was deleted before. The error is
// ErrNotExist when there is none. The series itself may have come again.
func (s *Store) Removed(k Key) (*Removed, error) {
	if err := k.Valid(); err != nil {
		return nil, err
	}
	r, err := readRecord(s.recordPath(k), k)
	if err != nil {
		return nil, fmt.Errorf("read the record of deleted series %s: %w (if it is damaged, remove %s)", k.Series, err, s.recordPath(k))
	}
	return r, nil
}

func readRecord(path string, k Key) (*Removed, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > maxRecord {
		return nil, fmt.Errorf("%s has %d bytes", filepath.Base(path), info.Size())
	}
	r := &Removed{}
	if err := readJSON(path, r); err != nil {
		return nil, err
	}
	if r.Key != k || r.Generation < 0 || r.Attempt < 0 {
		return nil, fmt.Errorf("%s is of another series", filepath.Base(path))
	}
	return r, nil
}

// records remembers what was read of the records: they are thousands, and each
// is written once.
type records struct {
	mu    sync.Mutex
	known map[Key]knownRecord
}

type knownRecord struct {
	written time.Time
	record  Removed
}

// AllRemoved lists the records of the series that were deleted and did not come
// again, by key. A record that cannot be read is left out.
func (s *Store) AllRemoved() ([]Removed, error) {
	entries, err := os.ReadDir(s.removedRoot())
	if err != nil {
		return nil, fmt.Errorf("list the deleted series: %w", err)
	}
	s.records.mu.Lock()
	defer s.records.mu.Unlock()
	old, known := s.records.known, make(map[Key]knownRecord, len(entries))
	s.records.known = known
	list := make([]Removed, 0, len(entries))
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		k, valid := splitKey(name)
		if !ok || !valid || len(known) >= 2*maxRecords {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue // forgotten since the listing
		}
		one, ok := old[k]
		if !ok || !one.written.Equal(info.ModTime()) {
			r, err := readRecord(filepath.Join(s.removedRoot(), e.Name()), k)
			if err != nil {
				continue
			}
			one = knownRecord{info.ModTime(), *r}
		}
		known[k] = one
		if _, err := os.Lstat(s.folder(k)); errors.Is(err, fs.ErrNotExist) {
			list = append(list, one.record)
		}
	}
	return list, nil
}

// ForgetRemoved deletes the records that are older than keep, and the oldest of
// those that are too many. A record stays while its series is here again.
func (s *Store) ForgetRemoved(now time.Time, keep time.Duration) (n int, err error) {
	list, err := s.AllRemoved()
	if err != nil {
		return 0, err
	}
	slices.SortFunc(list, func(a, b Removed) int { return b.Time.Compare(a.Time) })
	for i, r := range list {
		if i < maxRecords && now.Sub(r.Time) <= keep {
			continue
		}
		unlock := s.locks.lock(r.Study)
		if _, err := os.Lstat(s.folder(r.Key)); errors.Is(err, fs.ErrNotExist) {
			if err := s.fs.remove(s.recordPath(r.Key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				unlock()
				return n, fmt.Errorf("forget deleted series %s: %w", r.Series, err)
			}
			n++
		}
		unlock()
	}
	return n, nil
}
