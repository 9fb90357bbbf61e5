package node

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/pulmonode/pulmonode/node/audit"
	"github.com/pulmonode/pulmonode/node/deliver"
	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/store"
)

// sending is an attempt to deliver; nil where nothing is told of it.
type sending struct {
	auditor  *auditor
	manifest *store.Manifest
	to       deliver.Destination
	peer     audit.Peer
	transfer audit.Transfer
	had      map[string]store.Receipt
}

// sending tells that results are about to go, at the first attempt.
func (a *auditor) sending(k store.Key, generation int, to deliver.Destination, try job.Attempt) *sending {
	if !a.on() {
		return nil
	}
	m, err := a.store.Generation(k, generation)
	if err != nil {
		return nil // the delivery says so
	}
	had, err := a.store.Receipts(k, generation, to.Name)
	if err != nil {
		return nil
	}
	s := &sending{auditor: a, manifest: m, to: to, peer: audit.Peer{AETitle: to.AETitle, Address: to.Address}, had: had}
	s.transfer = audit.Transfer{Study: k.Study, Encrypted: to.TLS != nil, At: time.Now()}
	s.transfer.Patient, s.transfer.Accession = a.whose(k)
	if try.Number > 1 {
		return s
	}
	c := counts{}
	for _, f := range to.Objects(m) {
		if !taken(had, f) {
			c[f.SOPClassUID]++
		}
	}
	if len(c) > 0 {
		one := s.transfer
		one.Classes = c.list()
		a.trail.Record(audit.Sending(a.self, s.peer, one))
	}
	return s
}

// taken reports whether the destination has an object, by its receipts.
func taken(receipts map[string]store.Receipt, f store.ManifestFile) bool {
	r, ok := receipts[f.SOPInstanceUID]
	return ok && r.Refused == ""
}

// sent tells what of it went, and why the rest did not. An attempt that only
// waited for an answer is none.
func (s *sending) sent(ctx context.Context, err error, final bool) {
	if s == nil {
		return
	}
	has, e := s.auditor.store.Receipts(s.manifest.Key, s.manifest.Generation, s.to.Name)
	if e != nil {
		has = s.had // the delivery says so
	}
	s.transfer.At = time.Now()
	c := counts{}
	for _, f := range s.to.Objects(s.manifest) {
		uid := f.SOPInstanceUID
		if taken(has, f) && (!taken(s.had, f) || !s.had[uid].Time.Equal(has[uid].Time)) {
			c[f.SOPClassUID]++
		}
	}
	s.transfer.Classes = c.list()
	waits := err != nil && (job.IsWait(err) || errors.As(err, new(*deliver.UncommittedError)))
	switch {
	case (err == nil || waits || ctx.Err() != nil) && len(c) == 0:
		return
	case err == nil || waits:
	case final:
		s.transfer.Outcome, s.transfer.Reason = audit.Serious, err.Error()
	default:
		s.transfer.Outcome, s.transfer.Reason = audit.Minor, err.Error()
	}
	s.auditor.trail.Record(audit.Sent(s.auditor.self, s.peer, s.transfer))
}

// counts are instances by SOP class.
type counts map[string]int

func (c counts) list() (list []audit.Class) {
	for class, n := range c {
		list = append(list, audit.Class{UID: class, Instances: n})
	}
	slices.SortFunc(list, func(a, b audit.Class) int { return strings.Compare(a.UID, b.UID) })
	return list
}
