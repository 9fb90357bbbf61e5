package node

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/node/admin"
	"github.com/pulmonode/pulmonode/node/audit"
	"github.com/pulmonode/pulmonode/node/deliver"
	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/secure"
	"github.com/pulmonode/pulmonode/node/store"
)

// auditor tells the audit trail what happens at this node. Without a trail it does
// nothing.
type auditor struct {
	trail   *audit.Trail
	self    audit.Node
	named   bool // patients are
	store   *store.Store
	folder  string // of the spool and of what the configuration was
	begun   bool   // the start was told
	entries rate   // wrong passwords must not fill the trail

	mu    sync.Mutex
	shown map[view]time.Time // when it was told last
}

// view is a person who looks at a study.
type view struct{ person, from, study string }

func newAuditor(c *config.Config, s *store.Store, identity *secure.Identity, metrics *admin.Metrics, log *zap.Logger) (*auditor, error) {
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	a := &auditor{self: audit.Node{AETitle: c.Node.AETitle, Host: host}, named: c.Audit.Patient, store: s,
		folder: filepath.Join(s.Dir(), "audit"), shown: map[view]time.Time{}}
	o := audit.Options{
		Node: a.self, Site: c.Audit.Site, File: c.Audit.File, Spool: a.folder, Limit: int64(c.Audit.Spool), Log: log,
		TLS:  func() (*tls.Config, error) { return identity.Collector(c.Audit.CA) },
		Lost: func(messages int) { metrics.AuditLost.Add(float64(messages)) },
	}
	if c.Audit.Syslog != "" {
		if o.Network, o.Address, err = c.Audit.Collector(); err != nil {
			return nil, fmt.Errorf("[audit] syslog: it %w", err)
		}
	}
	if a.trail, err = audit.Open(o); err != nil {
		return nil, err
	}
	metrics.AuditWaiting(func() float64 { return float64(a.trail.Waiting()) })
	return a, nil
}

func (a *auditor) on() bool { return a != nil && a.trail != nil }

// started tells of the start, and of what the configuration has not in common
// with that of the last one.
func (a *auditor) started(c *config.Config, log *zap.Logger) {
	if !a.on() {
		return
	}
	a.begun = true
	now := time.Now()
	a.trail.Record(audit.Started(a.self, Version(), now))
	changed, err := a.changed(c)
	if err != nil {
		log.Warn("audit_configuration_unknown", zap.Error(err), zap.String("do", "look at the rights of the folder audit in [storage] data_dir: a change of the configuration is not told in the trail"))
		return
	}
	for _, kind := range changedKinds {
		if sections := changed[kind]; len(sections) > 0 {
			a.trail.Record(audit.Alert(a.self, kind, nil, now, audit.Success, "changed since the last start: "+strings.Join(sections, ", ")))
		}
	}
}

// changedKinds are what a change of a section is; those that are not named are
// changes of the software.
var (
	changedKinds = []audit.Code{audit.NetworkConfiguration, audit.SecurityConfiguration, audit.SoftwareConfiguration}
	changedKind  = map[string]audit.Code{
		"node": audit.NetworkConfiguration, "destination": audit.NetworkConfiguration,
		"tls": audit.SecurityConfiguration, "source": audit.SecurityConfiguration, "admin": audit.SecurityConfiguration, "audit": audit.SecurityConfiguration,
	}
)

// changed compares the configuration with that of the last start by the hashes of
// its sections, and keeps them. At the first start nothing has changed.
func (a *auditor) changed(c *config.Config) (map[audit.Code][]string, error) {
	plain := *c
	if u, err := url.Parse(plain.Queue.URL); err == nil {
		plain.Queue.URL = u.Redacted() // a hash would give a short password away
	}
	text, err := json.Marshal(plain)
	if err != nil {
		return nil, err
	}
	var sections map[string]json.RawMessage
	if err := json.Unmarshal(text, &sections); err != nil {
		return nil, err
	}
	now := map[string]string{"version": Version()}
	for name, section := range sections {
		sum := sha256.Sum256(section)
		now[strings.ToLower(name)] = hex.EncodeToString(sum[:])
	}
	path := filepath.Join(a.folder, "configuration-"+c.NodeName()+".json")
	before := map[string]string{}
	old, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		before = now
	case err != nil:
		return nil, err
	default:
		json.Unmarshal(old, &before) // what is damaged has changed
	}
	changed := map[audit.Code][]string{}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if before[name] == now[name] {
			continue
		}
		kind, ok := changedKind[name]
		if !ok {
			kind = audit.SoftwareConfiguration
		}
		what := "[" + name + "]"
		if name == "version" {
			what = "the version, from " + before[name] + " to " + now[name]
		}
		changed[kind] = append(changed[kind], what)
	}
	if text, err = json.Marshal(now); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(a.folder, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return nil, err
	}
	return changed, os.Rename(path+".new", path)
}

// stopped tells of the end, and by which fault unless that is nil, and closes the
// trail.
func (a *auditor) stopped(fault error) error {
	if !a.on() {
		return nil
	}
	if a.begun {
		a.trail.Record(audit.Stopped(a.self, Version(), time.Now(), fault))
	}
	return a.trail.Close()
}

// refused tells of a peer that was turned away. The rate is bounded by the caller,
// who says how many were not told of before.
func (a *auditor) refused(by audit.Peer, o audit.Outcome, reason string, before int) {
	if !a.on() {
		return
	}
	if before > 0 {
		reason += fmt.Sprintf(" (%d refusals before this one were not reported)", before)
	}
	a.trail.Record(audit.Alert(a.self, audit.NodeAuthentication, []audit.Participant{by.Performer()}, time.Now(), o, reason))
}

// patientOf is who a header is of, and the order; both are nobody's where
// patients are not named.
func (a *auditor) patientOf(header *dataset.Dataset) (p audit.Patient, accession string) {
	if !a.named {
		return p, ""
	}
	text := func(t dataset.Tag) string { s, _ := header.UTF8(t); return s }
	return audit.Patient{ID: text(dataset.PatientID), Name: text(dataset.PatientName)}, text(dataset.AccessionNumber)
}

// whose is the patient of a series that is kept, as its first instance that can be
// read has it.
func (a *auditor) whose(k store.Key) (p audit.Patient, accession string) {
	if !a.named {
		return p, ""
	}
	uids, err := a.store.InstanceUIDs(k)
	if err != nil {
		return p, ""
	}
	for _, uid := range uids[:min(len(uids), 3)] {
		path, err := a.store.InstancePath(k, uid)
		if err != nil {
			continue
		}
		if f, err := dataset.Open(path, dataset.Limits{}); err == nil {
			return a.patientOf(f.Header)
		}
	}
	return p, ""
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

func peerOf(a *dimse.Association) audit.Peer {
	return audit.Peer{AETitle: a.CallingAE, Address: a.RemoteAddr.String()}
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
	if classes := s.classes(func(r store.Receipt, ok bool) bool { return !ok || r.Refused != "" }); try.Number == 1 && len(classes) > 0 {
		one := s.transfer
		one.Classes = classes
		a.trail.Record(audit.Sending(a.self, s.peer, one))
	}
	return s
}

// classes counts the objects of the destination by what receipt there is of them.
func (s *sending) classes(that func(r store.Receipt, ok bool) bool) []audit.Class {
	c := counts{}
	for _, f := range s.to.Objects(s.manifest) {
		if r, ok := s.had[f.SOPInstanceUID]; that(r, ok) {
			c[f.SOPClassUID]++
		}
	}
	return c.list()
}

// sent tells what of it went, and why the rest did not. An attempt that only
// waited for an answer is none.
func (s *sending) sent(ctx context.Context, err error, final bool) {
	if s == nil {
		return
	}
	before := s.had
	if now, e := s.auditor.store.Receipts(s.manifest.Key, s.manifest.Generation, s.to.Name); e == nil {
		s.had = now
	}
	taken := func(r store.Receipt, ok bool) bool { return ok && r.Refused == "" }
	s.transfer.At = time.Now()
	c := counts{}
	for _, f := range s.to.Objects(s.manifest) {
		r, ok := s.had[f.SOPInstanceUID]
		old, had := before[f.SOPInstanceUID]
		if taken(r, ok) && (!taken(old, had) || !old.Time.Equal(r.Time)) {
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

// deleted tells of a series that was removed.
func (a *auditor) deleted(k store.Key, p audit.Patient) {
	if a.on() {
		a.trail.Record(audit.Deleted(a.self, k.Study, p, time.Now()))
	}
}

// entered tells of who came in to the page or the API, and who did not.
func (a *auditor) entered(e admin.Entry) {
	if !a.on() {
		return
	}
	who, now := audit.Person{Name: e.User, From: e.Address.String()}, time.Now()
	if e.Refused == "" {
		a.trail.Record(audit.LoggedIn(a.self, who, now, ""))
		return
	}
	left, ok := a.entries.allow(now)
	if !ok {
		return
	}
	reason := e.Refused
	if left > 0 {
		reason += fmt.Sprintf(" (%d refusals before this one were not reported)", left)
	}
	by := []audit.Participant{who.Performer()}
	switch e.Refused {
	case "role":
		a.trail.Record(audit.Alert(a.self, audit.UseOfRestrictedFunction, by, now, audit.Minor, "a person who may only look tried to change something"))
	case "certificate", "tls":
		a.trail.Record(audit.Alert(a.self, audit.NodeAuthentication, by, now, audit.Serious, "a certificate was not accepted on the admin address: "+reason))
	case "too_many_tries":
		a.trail.Record(audit.Alert(a.self, audit.NodeAuthentication, by, now, audit.Serious, "wrong passwords came again and again from this address: "+reason))
	default:
		a.trail.Record(audit.LoggedIn(a.self, who, now, reason))
	}
}

// A person who looks at a study for long is told of once in shownAgain; with more
// than maxShown of them the trail has more of them, not less.
const (
	shownAgain = 10 * time.Minute
	maxShown   = 10000
)

// accessed tells who was shown the pictures or the patient of a series.
func (a *auditor) accessed(user string, from netip.Addr, k store.Key) {
	if !a.on() {
		return
	}
	v, now := view{user, from.String(), k.Study}, time.Now()
	a.mu.Lock()
	last, told := a.shown[v]
	told = told && now.Sub(last) < shownAgain && !now.Before(last)
	if !told {
		if len(a.shown) >= maxShown {
			clear(a.shown)
		}
		a.shown[v] = now
	}
	a.mu.Unlock()
	if told {
		return
	}
	p, _ := a.whose(k)
	a.trail.Record(audit.Accessed(a.self, audit.Person{Name: user, From: v.from}, k.Study, p, now))
}
