package node

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/node/audit"
	"github.com/pulmonode/pulmonode/node/store"
)

// maxTallied bounds the studies that one association is remembered with; with
// more, it has several messages for one.
const maxTallied = 64

// tally is what an association brought of each study.
type tally struct {
	auditor *auditor
	from    audit.Peer
	secure  bool
	studies map[string]*studyTally
}

type studyTally struct {
	patient    audit.Patient
	accession  string
	classes    counts
	new, other int // of the instances: not held before; held with other bytes
}

// tally begins one; nil without a trail.
func (a *auditor) tally(of *dimse.Association) *tally {
	if !a.on() {
		return nil
	}
	return &tally{auditor: a, from: peerOf(of), secure: of.TLS != nil, studies: map[string]*studyTally{}}
}

// stored counts an instance that was taken.
func (t *tally) stored(k store.Key, class string, header *dataset.Dataset, o store.Outcome) {
	if t == nil {
		return
	}
	s := t.studies[k.Study]
	if s == nil {
		if len(t.studies) == maxTallied {
			t.tell(audit.Success, "")
		}
		s = &studyTally{classes: counts{}}
		s.patient, s.accession = t.auditor.patientOf(header)
		t.studies[k.Study] = s
	}
	s.classes[class]++
	switch o {
	case store.Stored:
		s.new++
	case store.Different:
		s.other++
	}
}

// ended tells of the studies of an association, with what was not taken of it.
func (t *tally) ended(released bool, refused int) {
	if t == nil {
		return
	}
	o, reason := audit.Success, ""
	if refused > 0 {
		o, reason = audit.Minor, fmt.Sprintf("%d instances of the association were refused", refused)
		if len(t.studies) == 0 {
			o = audit.Serious
			t.studies[""] = &studyTally{} // of which study they were is not known
		}
	}
	if !released {
		o, reason = max(o, audit.Minor), strings.TrimPrefix(reason+"; the association was broken off", "; ")
	}
	t.tell(o, reason)
}

func (t *tally) tell(o audit.Outcome, reason string) {
	now := time.Now()
	for _, study := range slices.Sorted(maps.Keys(t.studies)) {
		s := t.studies[study]
		one := audit.Transfer{Study: study, Accession: s.accession, Patient: s.patient, Classes: s.classes.list(), Encrypted: t.secure, Outcome: o, Reason: reason, At: now}
		if s.other > 0 {
			one.Outcome = max(o, audit.Minor)
			one.Reason = strings.TrimPrefix(fmt.Sprintf("%s; %d instances were held with other bytes before, which stay", reason, s.other), "; ")
		}
		t.auditor.trail.Record(audit.Received(t.auditor.self, t.from, one, s.new == 0 && s.other == 0))
	}
	clear(t.studies)
}
