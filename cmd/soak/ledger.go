package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"path/filepath"
	"sync"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// instance is one that a good peer sends.
type instance struct {
	study, series, uid string
	data               []byte // the data set, Explicit VR Little Endian
}

// entry is what is remembered of a confirmed one.
type entry struct {
	study, series string
	sum           [32]byte
}

// ledger is what the good peers were told.
type ledger struct {
	mu        sync.Mutex
	confirmed map[string]entry // by SOP Instance UID
	failed    []string
	more      int // failures not kept
}

func (l *ledger) confirm(i instance) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.confirmed == nil {
		l.confirmed = map[string]entry{}
	}
	l.confirmed[i.uid] = entry{i.study, i.series, sha256.Sum256(i.data)}
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.confirmed)
}

func (l *ledger) fail(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.failed) < 20 {
		l.failed = append(l.failed, what)
	} else {
		l.more++
	}
}

func (l *ledger) failures() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.more > 0 {
		return append(l.failed, fmt.Sprintf("and %d more failures of good peers", l.more))
	}
	return l.failed
}

// check holds a data folder against all that was confirmed.
func (l *ledger) check(data string) (confirmed int, lost []string) {
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
