package node

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/node/admin"
	"github.com/pulmonode/pulmonode/node/audit"
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
	a.trail.Record(audit.Alert(a.self, audit.NodeAuthentication, []audit.Participant{by.Performer()}, time.Now(), o, withUntold(reason, before)))
}

// withUntold adds to a reason how many refusals were not told of before it.
func withUntold(reason string, before int) string {
	if before > 0 {
		reason += fmt.Sprintf(" (%d refusals before this one were not reported)", before)
	}
	return reason
}

func peerOf(a *dimse.Association) audit.Peer {
	return audit.Peer{AETitle: a.CallingAE, Address: a.RemoteAddr.String()}
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

// whose is the patient of a series that is kept.
func (a *auditor) whose(k store.Key) (p audit.Patient, accession string) {
	if !a.named {
		return p, ""
	}
	uids, err := a.store.InstanceUIDs(k)
	if err != nil {
		return p, ""
	}
	if one := a.store.Sample(k, uids); one != nil {
		return a.patientOf(one.Header)
	}
	return p, ""
}

// deleted tells of a series that was removed.
func (a *auditor) deleted(k store.Key, p audit.Patient) {
	if a.on() {
		a.trail.Record(audit.Deleted(a.self, k.Study, p, time.Now()))
	}
}
