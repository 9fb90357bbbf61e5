package audit

import (
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Node is this node as a participant.
type Node struct {
	AETitle string
	Host    string
}

func (n Node) participant(role Code, requestor bool) Participant {
	return Participant{UserID: n.AETitle, AETitle: n.AETitle, Name: "pulmonode", Role: role, Requestor: requestor, Host: n.Host}
}

// Peer is a DICOM application at the other end.
type Peer struct {
	AETitle string
	Address string // host:port or host
}

func (p Peer) participant(role Code, requestor bool) Participant {
	return Participant{UserID: p.AETitle, AETitle: p.AETitle, Role: role, Requestor: requestor, Host: host(p.Address)}
}

// Performer is the peer as one by whom an alert came to be.
func (p Peer) Performer() Participant { return performer(p.participant(Code{}, false)) }

func performer(p Participant) Participant {
	if p.UserID == "" {
		p.UserID = p.Host
	}
	return p
}

// Patient is who a study is of. The zero value is a patient that is not named.
type Patient struct{ ID, Name string }

func (p Patient) object() Object {
	return Object{ID: p.ID, Name: p.Name, IDType: patientNumber, Type: "1", Role: "1"}
}

// Started reports that the application began (PS3.15 A.5.3.1).
func Started(n Node, version string, at time.Time) Event {
	return activity(n, applicationStart, version, at, Success, "")
}

// Stopped reports that it ended, and by which fault unless that is nil.
func Stopped(n Node, version string, at time.Time, fault error) Event {
	if fault != nil {
		return activity(n, applicationStop, version, at, Major, fault.Error())
	}
	return activity(n, applicationStop, version, at, Success, "")
}

func activity(n Node, kind Code, version string, at time.Time, o Outcome, description string) Event {
	p := n.participant(application, false)
	p.Name = "pulmonode " + version
	return Event{ID: applicationActivity, Type: []Code{kind}, Action: "E", Time: at, Outcome: o, Description: description, Participants: []Participant{
		p, {UserID: "system", Name: "what starts and stops services", Requestor: true, Role: launcher, Host: n.Host}}}
}

// Transfer is what went from one application to another, of one study.
type Transfer struct {
	Study     string
	Accession string
	Patient   Patient
	Classes   []Class
	Encrypted bool // it went over TLS
	Outcome   Outcome
	Reason    string // of a failure
	At        time.Time
}

func (t Transfer) objects(lifeCycle string) []Object {
	study := Object{ID: t.Study, IDType: studyInstanceUID, Type: "2", Role: "3", LifeCycle: lifeCycle, Accession: t.Accession, Classes: t.Classes, Encrypted: &t.Encrypted}
	return []Object{study, t.Patient.object()}
}

// Received reports what a source sent (A.5.3.7). All of it may have been held before.
func Received(n Node, from Peer, t Transfer, heldBefore bool) Event {
	action := "C"
	if heldBefore {
		action = "R"
	}
	return Event{ID: instancesTransferred, Action: action, Time: t.At, Outcome: t.Outcome, Description: t.Reason,
		Participants: []Participant{from.participant(sourceRole, true), n.participant(destinationRole, false)}, Objects: t.objects("1")}
}

// Sending reports that results are about to go to a destination (A.5.3.3).
func Sending(n Node, to Peer, t Transfer) Event {
	return Event{ID: beginTransferring, Action: "E", Time: t.At,
		Participants: []Participant{n.participant(sourceRole, true), to.participant(destinationRole, false)}, Objects: t.objects("10")}
}

// Sent reports what of them went (A.5.3.7). Whether the destination held it
// before is not known here, which is said as "R".
func Sent(n Node, to Peer, t Transfer) Event {
	return Event{ID: instancesTransferred, Action: "R", Time: t.At, Outcome: t.Outcome, Description: t.Reason,
		Participants: []Participant{n.participant(sourceRole, true), to.participant(destinationRole, false)}, Objects: t.objects("10")}
}

// Person is who uses the page or the API.
type Person struct {
	Name string // "": nobody asked for it
	From string // address
}

func (p Person) participant(nameless string) Participant {
	name := p.Name
	if name == "" {
		name = nameless
	}
	return Participant{UserID: name, Requestor: true, Host: host(p.From)}
}

// Performer is the person as one by whom an alert came to be.
func (p Person) Performer() Participant {
	return performer(Participant{UserID: p.Name, Host: host(p.From)})
}

// Accessed reports that a person was shown pictures or the identity of a patient
// (A.5.3.6).
func Accessed(n Node, who Person, study string, p Patient, at time.Time) Event {
	return Event{ID: instancesAccessed, Action: "R", Time: at, Participants: []Participant{who.participant("not asked"), n.participant(application, false)},
		Objects: []Object{{ID: study, IDType: studyInstanceUID, Type: "2", Role: "3", LifeCycle: "6"}, p.object()}}
}

// Deleted reports that series of a study were removed (A.5.3.8).
func Deleted(n Node, study string, p Patient, at time.Time) Event {
	return Event{ID: studyDeleted, Action: "D", Time: at, Participants: []Participant{n.participant(application, true)},
		Objects: []Object{{ID: study, IDType: studyInstanceUID, Type: "2", Role: "3", LifeCycle: "15"}, p.object()}}
}

// LoggedIn reports that a person proved who they are, or did not, and why
// (A.5.3.12). Nobody logs out: HTTP Basic and certificates know no goodbye.
func LoggedIn(n Node, who Person, at time.Time, refusal string) Event {
	e := Event{ID: userAuthentication, Type: []Code{login}, Action: "E", Time: at, Description: refusal,
		Participants: []Participant{who.participant("unknown"), n.participant(application, false)}}
	if refusal != "" {
		e.Outcome = Minor
	}
	return e
}

// Alert reports something that bears on security (A.5.3.11). Outcome Success is a
// notice; Minor and Serious say that the node kept it off.
func Alert(n Node, kind Code, by []Participant, at time.Time, o Outcome, what string) Event {
	e := Event{ID: securityAlert, Type: []Code{kind}, Action: "E", Time: at, Outcome: o, Participants: append([]Participant{n.participant(application, true)}, by...)}
	if o != Success {
		e.Description = what
	}
	e.Objects = []Object{{ID: n.AETitle, IDType: nodeID, Type: "2", Role: "13", Alert: what}}
	return e
}

// lost reports that messages could not be kept.
func lost(n Node, messages uint64, at time.Time) Event {
	return Alert(n, recordingStopped, nil, at, Serious, fmt.Sprintf("%d audit messages could not be kept", messages))
}

// host is what of an address names the machine.
func host(address string) string {
	if h, _, err := net.SplitHostPort(address); err == nil {
		address = h
	}
	return address
}

// accessPoint is a host as a Network Access Point: 2 for an address, 1 for a name.
func accessPoint(h string) (id, kind string) {
	h = clean(h, maxText)
	if h == "" {
		return "", ""
	}
	if a, err := netip.ParseAddr(h); err == nil {
		return a.Unmap().String(), "2"
	}
	return h, "1"
}
