package node

import (
	"net/netip"
	"time"

	"github.com/pulmonode/pulmonode/node/admin"
	"github.com/pulmonode/pulmonode/node/audit"
	"github.com/pulmonode/pulmonode/node/store"
)

// view is a person who looks at a study.
type view struct{ person, from, study string }

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
	before, ok := a.entries.allow(now)
	if !ok {
		return
	}
	reason := withUntold(e.Refused, before)
	by := []audit.Participant{who.Performer()}
	switch e.Refused {
	case "role":
		a.trail.Record(audit.Alert(a.self, audit.UseOfRestrictedFunction, by, now, audit.Minor, withUntold("a person who may only look tried to change something", before)))
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
