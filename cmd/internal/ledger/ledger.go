// Package ledger remembers what good peers were told of the instances that they
// sent, and holds a data folder against it.
package ledger

import (
	"crypto/sha256"
	"fmt"
	"io"
	"path/filepath"
	"sync"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// Instance is one that a good peer sends.
type Instance struct {
	Study, Series, UID string
	Data               []byte // the data set, Explicit VR Little Endian
}

// entry is what is remembered of a confirmed one.
type entry struct {
	study, series string
	sum           [32]byte
}

// Ledger is what the good peers were told. Its zero value is empty.
type Ledger struct {
	mu        sync.Mutex
	confirmed map[string]entry // by SOP Instance UID
	failed    []string
	more      int // failures not kept
}

// Confirm notes that an instance was answered with success.
func (l *Ledger) Confirm(i Instance) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.confirmed == nil {
		l.confirmed = map[string]entry{}
	}
	l.confirmed[i.UID] = entry{i.Study, i.Series, sha256.Sum256(i.Data)}
}

// Count is how many instances were confirmed.
func (l *Ledger) Count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.confirmed)
}

// Fail notes what must not happen to a good peer.
func (l *Ledger) Fail(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.failed) < 20 {
		l.failed = append(l.failed, what)
	} else {
		l.more++
	}
}

// Failures are what was noted.
func (l *Ledger) Failures() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.more > 0 {
		return append(l.failed, fmt.Sprintf("and %d more failures of good peers", l.more))
	}
	return l.failed
}

// Check holds a data folder against all that was confirmed.
func (l *Ledger) Check(data string) (confirmed int, lost []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for uid, e := range l.confirmed {
		if err := e.onDisk(filepath.Join(data, "series", e.study, e.series, "instances", uid+".dcm")); err != nil {
			lost = append(lost, fmt.Sprintf("%s was confirmed: %v", uid, err))
		}
	}
	return len(l.confirmed), lost
}

func (e entry) onDisk(path string) error {
	f, err := dataset.Open(path, dataset.Limits{})
	if err != nil {
		return err
	}
	data, err := f.DataSet()
	if err != nil {
		return err
	}
	defer data.Close()
	h := sha256.New()
	if _, err := io.Copy(h, data); err != nil {
		return err
	}
	if [32]byte(h.Sum(nil)) != e.sum {
		return fmt.Errorf("it has other bytes on disk than were sent")
	}
	return nil
}
