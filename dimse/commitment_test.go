package dimse

import (
	"bytes"
	"context"
	"errors"
	"io"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/dimse/pdu"
)

const (
	commitmentUID = dataset.StorageCommitmentPush
	wellKnown     = dataset.StorageCommitmentInstance
)

// committing is a node whose sessions take part in storage commitment as far as
// its functions are there. Requests and results go through its channels.
type committing struct {
	*handler
	commit func(*Association, *CommitmentRequest) Status
	hear   func(*CommitmentResult) Status
}

func (h committing) Associate(ctx context.Context, a *Association) (Session, error) {
	s, err := h.handler.Associate(ctx, a)
	if err != nil {
		return nil, err
	}
	switch c, r := (commits{a, h.commit}), (hears{h.hear}); {
	case h.commit != nil && h.hear != nil:
		return struct {
			Session
			commits
			hears
		}{s, c, r}, nil
	case h.commit != nil:
		return struct {
			Session
			commits
		}{s, c}, nil
	case h.hear != nil:
		return struct {
			Session
			hears
		}{s, r}, nil
	}
	return s, nil
}

// association is the last that was asked for.
func (h *handler) association() *Association {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asked
}

type commits struct {
	a  *Association
	do func(*Association, *CommitmentRequest) Status
}

func (c commits) Commit(_ context.Context, r *CommitmentRequest) Status { return c.do(c.a, r) }

type hears struct {
	do func(*CommitmentResult) Status
}

func (h hears) Committed(_ context.Context, r *CommitmentResult) Status { return h.do(r) }

var (
	one, two = Instance{ct, "1.2.3.1"}, Instance{ct, "1.2.3.22"}
	asked    = &CommitmentRequest{"1.2.9", []Instance{one, two}}
	all      = &CommitmentResult{"1.2.9", []Instance{one, two}, nil}
	half     = &CommitmentResult{"1.2.9", []Instance{one}, []FailedInstance{{two, NoSuchInstance}}}
	nothing  = &CommitmentResult{"1.2.9", nil, []FailedInstance{{one, ProcessingFailure}, {two, ClassInstanceConflict}}}
)

func yes(*Association, *CommitmentRequest) Status { return Success }
func kept(*CommitmentResult) Status               { return Success }

// A request, and its result on the same association and on a new one, between two
// nodes of this package, in both transfer syntaxes.
func TestCommitmentBothEnds(t *testing.T) {
	for _, syntaxes := range [][]string{{explicit, implicit}, {implicit}} {
		for name, result := range map[string]*CommitmentResult{"all": all, "some": half, "none": nothing} {
			heard := make(chan *CommitmentResult, 1)
			sender := committing{handler: newHandler(), hear: func(r *CommitmentResult) Status { heard <- r; return Success }}
			back := Client{CallingAE: "ARCHIVE", CalledAE: "CASE", Address: start(t, &Server{Handler: sender})}
			got := make(chan *CommitmentRequest, 1)
			reported := make(chan error, 2)
			archive := committing{handler: newHandler(), commit: func(a *Association, r *CommitmentRequest) Status {
				got <- r
				go func() {
					status, err := a.ReportCommitment(context.Background(), result)
					reported <- errors.Join(err, statusError(status))
					status, err = back.ReportCommitment(context.Background(), result)
					reported <- errors.Join(err, statusError(status))
				}()
				return Success
			}}
			client := Client{CallingAE: "CASE", CalledAE: "ARCHIVE", Address: start(t, &Server{Handler: archive, AbstractSyntaxes: []string{ct, commitmentUID}})}
			conn, err := client.Dial(t.Context(), []Context{{commitmentUID, syntaxes}, {ct, []string{explicit}}})
			if err != nil {
				t.Fatal(err)
			}
			if status, err := conn.RequestCommitment(t.Context(), asked); status != Success || err != nil {
				t.Errorf("%v, %v", status, err)
			}
			if r := <-got; !reflect.DeepEqual(r, asked) {
				t.Errorf("the SCP was asked for %+v", r)
			}
			if r, err := conn.AwaitCommitment(t.Context(), asked.TransactionUID); err != nil || !reflect.DeepEqual(r, result) {
				t.Errorf("%s, on the same association: %+v, %v", name, r, err)
			}
			if r := <-heard; !reflect.DeepEqual(r, result) {
				t.Errorf("%s, on a new association: %+v", name, r)
			}
			for range 2 {
				if err := <-reported; err != nil {
					t.Error(err)
				}
			}
			if err := conn.Release(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
}

func statusError(s Status) error {
	if s == Success {
		return nil
	}
	return errors.New(s.String())
}

// commitmentRQ is a request of CASE that proposes storage commitment in context 5.
func commitmentRQ(t testing.TB, roles ...pdu.Role) []byte {
	return associateRQ(t, func(a *pdu.AAssociate) {
		a.Contexts = append(a.Contexts, pdu.PresentationContext{ID: 5, AbstractSyntax: commitmentUID, TransferSyntaxes: []string{explicit}})
		a.Roles = roles
	})
}

func commitmentAC(t testing.TB, result byte, roles ...pdu.Role) []byte {
	return associateAC(t, func(a *pdu.AAssociate) {
		a.Contexts = append(a.Contexts, pdu.PresentationContext{ID: 5, Result: result, TransferSyntaxes: []string{explicit}})
		a.Roles = roles
	})
}

// Roles (PS3.7 D.3.3.4): what is proposed, what the session is, what is agreed,
// and which operation then works.
func TestCommitmentRoles(t *testing.T) {
	type roles = []pdu.Role
	role := func(scu, scp bool) roles { return roles{{SOPClassUID: commitmentUID, SCU: scu, SCP: scp}} }
	none := roles(nil)
	for _, test := range []struct {
		proposed      roles
		commit, hear  bool // what the session is
		result        byte
		answered      roles
		action, event Status
	}{
		{none, false, false, 3, none, 0, 0},
		{none, true, false, 0, none, Success, UnrecognizedOperation},
		{none, false, true, 0, none, UnrecognizedOperation, Success}, // a result from who knows nothing of roles
		{none, true, true, 0, none, Success, Success},
		{role(true, false), true, true, 0, role(true, false), Success, UnrecognizedOperation},
		{role(false, true), true, true, 0, role(false, true), UnrecognizedOperation, Success},
		{role(true, true), true, true, 0, role(true, true), Success, Success},
		{role(true, true), true, false, 0, role(true, false), Success, UnrecognizedOperation},
		{role(true, true), false, true, 0, role(false, true), UnrecognizedOperation, Success},
		{role(false, true), true, false, 3, none, 0, 0},
		{role(true, false), false, true, 3, none, 0, 0},
		{role(false, false), true, true, 3, none, 0, 0},
		{role(true, false), false, false, 3, none, 0, 0},
		{roles{{SOPClassUID: ct, SCP: true}}, true, true, 0, none, Success, Success}, // another class's affair
	} {
		h := committing{handler: newHandler()}
		if test.commit {
			h.commit = yes
		}
		if test.hear {
			h.hear = kept
		}
		p := connect(t, start(t, &Server{Handler: h}))
		p.send(commitmentRQ(t, test.proposed...))
		p.expect("the acceptance", commitmentAC(t, test.result, test.answered...))
		if test.result == 0 {
			p.send(action(1, actionRequestCommitment, encoded(t, asked.dataSet())))
			p.expect("the response to N-ACTION", actionRSP(1, actionRequestCommitment, test.action))
			p.send(event(2, eventAllCommitted, encoded(t, all.dataSet())))
			p.expect("the response to N-EVENT-REPORT", eventRSP(2, eventAllCommitted, test.event))
		}
		p.send(pdu.AReleaseRQ)
		p.expectEnd("the release", pdu.AReleaseRP)
		h.ended(t, Released)
		if got := h.association().Contexts[2].Result; got != test.result {
			t.Errorf("%+v: the handler's association says result %d", test, got)
		}
	}
}

// Where the server does not list the class, no session is asked.
func TestCommitmentIsNotServed(t *testing.T) {
	p := connect(t, start(t, &Server{Handler: committing{newHandler(), yes, kept}, AbstractSyntaxes: []string{ct}}))
	p.send(commitmentRQ(t))
	p.expect("the acceptance", commitmentAC(t, 3))
	p.send(pData(value(5, commandLast, nil)))
	p.expectEnd("an operation in it", aborted(2, 6))
}

func encoded(t testing.TB, d *dataset.Dataset) []byte {
	t.Helper()
	b, err := encode(d, explicit)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// inOne is a command with its data set, nil for none, in context 5.
func inOne(data []byte, elements ...commandElement) []byte {
	b := message(5, elements...)
	if data != nil {
		b = join(b, pData(value(5, dataLast, data)))
	}
	return b
}

func dataSetType(data []byte) commandElement {
	if data == nil {
		return commandElement{elDataSetType, uint16(noDataSet)}
	}
	return commandElement{elDataSetType, uint16(1)}
}

func action(id, kind uint16, data []byte) []byte {
	return inOne(data, commandElement{elRequestedSOPClass, commitmentUID}, commandElement{elCommandField, uint16(nActionRQ)}, commandElement{elMessageID, id},
		dataSetType(data), commandElement{elRequestedInstance, wellKnown}, commandElement{elActionType, kind})
}

func actionRSP(id, kind uint16, status Status) []byte {
	return message(5, commandElement{elAffectedSOPClass, commitmentUID}, commandElement{elCommandField, uint16(nActionRSP)}, commandElement{elMessageIDResponded, id},
		dataSetType(nil), commandElement{elStatus, uint16(status)}, commandElement{elAffectedInstance, wellKnown}, commandElement{elActionType, kind})
}

func event(id, kind uint16, data []byte) []byte {
	return inOne(data, commandElement{elAffectedSOPClass, commitmentUID}, commandElement{elCommandField, uint16(nEventReportRQ)}, commandElement{elMessageID, id},
		dataSetType(data), commandElement{elAffectedInstance, wellKnown}, commandElement{elEventType, kind})
}

func eventRSP(id, kind uint16, status Status) []byte {
	return message(5, commandElement{elAffectedSOPClass, commitmentUID}, commandElement{elCommandField, uint16(nEventReportRSP)}, commandElement{elMessageIDResponded, id},
		dataSetType(nil), commandElement{elStatus, uint16(status)}, commandElement{elAffectedInstance, wellKnown}, commandElement{elEventType, kind})
}

// statusOf reads one response, and its status.
func (p *peer) statusOf() Status {
	p.t.Helper()
	_, b := p.pdu()
	if len(b) < 6 {
		p.t.Error("no response")
		return 0xFFFF
	}
	c, err := decodeCommand(b[6:])
	status, ok := c.number(elStatus)
	if err != nil || !ok {
		p.t.Errorf("a response without status: % X", b)
	}
	return Status(status)
}

// Whatever is asked or reported, the answer is the standard's status, the session
// hears nothing of what is not valid, and the association goes on.
func TestCommitmentRefusals(t *testing.T) {
	request := func(change func(*dataset.Dataset)) []byte {
		d := asked.dataSet()
		change(d)
		return action(1, actionRequestCommitment, encoded(t, d))
	}
	result := func(kind uint16, r *CommitmentResult, change func(*dataset.Dataset)) []byte {
		d := r.dataSet()
		change(d)
		return event(1, kind, encoded(t, d))
	}
	drop := func(tag dataset.Tag) func(*dataset.Dataset) {
		return func(d *dataset.Dataset) {
			for i := range d.Elements {
				if d.Elements[i].Tag == tag {
					d.Elements = append(d.Elements[:i:i], d.Elements[i+1:]...)
					return
				}
			}
		}
	}
	put := func(tag dataset.Tag, uid string) func(*dataset.Dataset) {
		return func(d *dataset.Dataset) { d.SetText(tag, "UI", uid) }
	}
	item := func(seq dataset.Tag, change func(*dataset.Dataset)) func(*dataset.Dataset) {
		return func(d *dataset.Dataset) { change(d.Items(seq)[1]) }
	}
	command := func(elements ...commandElement) []byte { return inOne([]byte{}, elements...) }
	whole, outcome := encoded(t, asked.dataSet()), encoded(t, half.dataSet())
	const refs, failed = dataset.ReferencedSOPSequence, dataset.FailedSOPSequence
	for _, test := range []struct {
		name string
		sent []byte
		want Status
	}{
		// N-ACTION (PS3.7 10.1.4.1.10, PS3.4 J.3.2).
		{"a request", action(1, 1, whole), Success},
		{"another action", action(1, 2, whole), NoSuchAction},
		{"no action information", action(1, 1, nil), MissingAttribute},
		{"empty action information", action(1, 1, []byte{}), MissingAttribute},
		{"another class", command(commandElement{elRequestedSOPClass, ct}, commandElement{elCommandField, uint16(nActionRQ)}, commandElement{elMessageID, uint16(1)},
			commandElement{elDataSetType, uint16(1)}, commandElement{elRequestedInstance, wellKnown}, commandElement{elActionType, uint16(1)}), NoSuchSOPClass},
		{"another instance", command(commandElement{elRequestedSOPClass, commitmentUID}, commandElement{elCommandField, uint16(nActionRQ)}, commandElement{elMessageID, uint16(1)},
			commandElement{elDataSetType, uint16(1)}, commandElement{elRequestedInstance, "1.2.3"}, commandElement{elActionType, uint16(1)}), NoSuchInstance},
		{"no action type", command(commandElement{elRequestedSOPClass, commitmentUID}, commandElement{elCommandField, uint16(nActionRQ)}, commandElement{elMessageID, uint16(1)},
			commandElement{elDataSetType, uint16(1)}, commandElement{elRequestedInstance, wellKnown}), MistypedArgument},
		{"no transaction", request(drop(dataset.TransactionUID)), MissingAttribute},
		{"an empty transaction", request(put(dataset.TransactionUID, "")), MissingValue},
		{"a transaction that is a path", request(put(dataset.TransactionUID, "../../etc")), InvalidArgument},
		{"two transactions", request(put(dataset.TransactionUID, `1.2\1.3`)), InvalidArgument},
		{"no references", request(drop(refs)), MissingAttribute},
		{"empty references", request(func(d *dataset.Dataset) { d.SetItems(refs) }), MissingValue},
		{"references that are bytes", request(func(d *dataset.Dataset) { d.Set(refs, "OB", []byte("1.2.3.4.")) }), InvalidArgument},
		{"a reference without class", request(item(refs, drop(dataset.ReferencedSOPClassUID))), MissingAttribute},
		{"a reference without instance", request(item(refs, drop(dataset.ReferencedSOPInstanceUID))), MissingAttribute},
		{"a reference to an empty instance", request(item(refs, put(dataset.ReferencedSOPInstanceUID, ""))), MissingValue},
		{"a reference to what is no UID", request(item(refs, put(dataset.ReferencedSOPInstanceUID, "1.2.x"))), InvalidArgument},
		{"a reference of 65 characters", request(item(refs, put(dataset.ReferencedSOPInstanceUID, strings.Repeat("1", 65)))), InvalidArgument},
		{"attributes beside", request(func(d *dataset.Dataset) { d.SetText(dataset.StorageMediaFileSetID, "SH", "DISC") }), Success},
		{"a data set that is none", action(1, 1, []byte("no data set at all")), InvalidArgument},
		{"a data set that is cut", action(1, 1, whole[:len(whole)-3]), InvalidArgument},
		{"a transaction of 4 GiB", action(1, 1, []byte("\x08\x00\x95\x11UN\x00\x00\xFF\xFF\xFF\xF0")), InvalidArgument},
		{"more than is held", action(1, 1, make([]byte, 5000)), ResourceLimitation},
		// N-EVENT-REPORT (PS3.7 10.1.1.1.8, PS3.4 J.3.3).
		{"all committed", event(1, 1, encoded(t, all.dataSet())), Success},
		{"some failed", event(1, 2, outcome), Success},
		{"none committed", event(1, 2, encoded(t, nothing.dataSet())), Success},
		{"all committed, and failures", event(1, 1, outcome), Success}, // the failures count
		{"some failed, and no failure", event(1, 2, encoded(t, all.dataSet())), MissingAttribute},
		{"all committed, and none", event(1, 1, encoded(t, nothing.dataSet())), MissingAttribute},
		{"another event", event(1, 3, outcome), NoSuchEventType},
		{"no event information", event(1, 1, nil), MissingAttribute},
		{"an event of another class", command(commandElement{elAffectedSOPClass, ct}, commandElement{elCommandField, uint16(nEventReportRQ)}, commandElement{elMessageID, uint16(1)},
			commandElement{elDataSetType, uint16(1)}, commandElement{elAffectedInstance, wellKnown}, commandElement{elEventType, uint16(1)}), NoSuchSOPClass},
		{"an event of another instance", command(commandElement{elAffectedSOPClass, commitmentUID}, commandElement{elCommandField, uint16(nEventReportRQ)}, commandElement{elMessageID, uint16(1)},
			commandElement{elDataSetType, uint16(1)}, commandElement{elAffectedInstance, "1.2.3"}, commandElement{elEventType, uint16(1)}), NoSuchInstance},
		{"an event without its type", command(commandElement{elAffectedSOPClass, commitmentUID}, commandElement{elCommandField, uint16(nEventReportRQ)}, commandElement{elMessageID, uint16(1)},
			commandElement{elDataSetType, uint16(1)}, commandElement{elAffectedInstance, wellKnown}), MistypedArgument},
		{"a result of no transaction", result(2, half, drop(dataset.TransactionUID)), MissingAttribute},
		{"a result with empty failures", result(1, all, func(d *dataset.Dataset) { d.SetItems(failed) }), MissingValue},
		{"a failure without its reason", result(2, nothing, item(failed, drop(dataset.FailureReason))), Success},
		{"a failure of what is no UID", result(2, nothing, item(failed, put(dataset.ReferencedSOPInstanceUID, "x"))), InvalidArgument},
		{"committed, of what is no UID", result(1, all, item(refs, put(dataset.ReferencedSOPInstanceUID, "x"))), InvalidArgument},
		{"both committed and failed", result(2, half, func(d *dataset.Dataset) { d.SetItems(refs, two.reference()) }), InvalidArgument},
		{"a result that is none", event(1, 1, []byte("no data set at all")), InvalidArgument},
		{"a result longer than is held", event(1, 1, make([]byte, 5000)), ResourceLimitation},
		// Anything else in this context.
		{"C-STORE", command(commandElement{elAffectedSOPClass, commitmentUID}, commandElement{elCommandField, uint16(cStoreRQ)}, commandElement{elMessageID, uint16(1)},
			commandElement{elDataSetType, uint16(1)}, commandElement{elAffectedInstance, "1.2.3"}), UnrecognizedOperation},
		{"N-GET", inOne(nil, commandElement{elRequestedSOPClass, commitmentUID}, commandElement{elCommandField, uint16(0x0110)}, commandElement{elMessageID, uint16(1)},
			dataSetType(nil), commandElement{elRequestedInstance, wellKnown}), UnrecognizedOperation},
	} {
		t.Run(test.name, func(t *testing.T) {
			calls := 0
			h := committing{newHandler(), func(*Association, *CommitmentRequest) Status { calls++; return Success }, func(*CommitmentResult) Status { calls++; return Success }}
			p := connect(t, start(t, &Server{Handler: h, Limits: Limits{DataSet: 4096}}))
			p.send(commitmentRQ(t))
			p.expect("the acceptance", commitmentAC(t, 0))
			p.send(test.sent)
			if got := p.statusOf(); got != test.want {
				t.Errorf("answered %v, want %v", got, test.want)
			}
			p.send(echoRQ(2))
			p.expect("an echo", echoRSP(2))
			p.send(pdu.AReleaseRQ)
			p.expectEnd("the release", pdu.AReleaseRP)
			h.ended(t, Released)
			if want := map[bool]int{true: 1}[test.want == Success]; calls != want {
				t.Errorf("the session was called %d times", calls)
			}
		})
	}
}

// A session's own status is the answer, and its panic 0110H.
func TestCommitmentSessionsStatus(t *testing.T) {
	status := ResourceLimitation
	h := committing{newHandler(), func(*Association, *CommitmentRequest) Status { return status }, func(*CommitmentResult) Status { panic("a session's fault") }}
	p := connect(t, start(t, &Server{Handler: h}))
	p.send(commitmentRQ(t), action(1, 1, encoded(t, asked.dataSet())), event(2, 1, encoded(t, all.dataSet())), pdu.AReleaseRQ)
	p.expectEnd("the answers", commitmentAC(t, 0), actionRSP(1, 1, ResourceLimitation), eventRSP(2, 1, ProcessingFailure), pdu.AReleaseRP)
}

// A data set that breaks off asks for nothing.
func TestCommitmentBreaksOff(t *testing.T) {
	h := committing{newHandler(), func(*Association, *CommitmentRequest) Status { t.Error("asked"); return Success }, nil}
	p := connect(t, start(t, &Server{Handler: h}))
	whole := encoded(t, asked.dataSet())
	p.send(commitmentRQ(t), action(1, 1, nil)[:12])
	p.expect("the acceptance", commitmentAC(t, 0))
	p.Close()
	h.ended(t, Broken)

	p = connect(t, start(t, &Server{Handler: h}))
	b := action(1, 1, whole)
	p.send(commitmentRQ(t), b[:len(b)-len(whole)-12], pData(value(5, dataMore, whole))) // whole, but not the last fragment
	p.expect("the acceptance", commitmentAC(t, 0))
	p.hangUp()
	p.expectEnd("what follows")
	h.ended(t, Broken)
}

// acceptCommitment is the scripted peer's acceptance of CommitmentContext as the
// first context, with an answer to roles.
func (p *peer) acceptCommitment(roles ...pdu.Role) {
	p.pdu()
	b, err := (&pdu.AAssociate{Accept: true, ProtocolVersion: 1, CalledAE: "PULMONODE", CallingAE: "CASE", ApplicationContext: pdu.ApplicationContext,
		Contexts: []pdu.PresentationContext{{ID: 5, TransferSyntaxes: []string{explicit}}, {ID: 1, TransferSyntaxes: []string{implicit}}}, Roles: roles}).Encode()
	if err != nil {
		p.t.Error(err)
	}
	p.send(b)
}

// withCommitment proposes storage commitment as context 5.
var withCommitment = []Context{{verificationUID, []string{implicit}}, {ct, []string{explicit}}, CommitmentContext}

// A result comes whenever the peer likes: before the response to the request,
// before another response, and when nothing is waited for.
func TestResultsCrossResponses(t *testing.T) {
	result := func(id uint16, r *CommitmentResult) []byte { return event(id, 2, encoded(t, r.dataSet())) }
	for name, test := range map[string]struct {
		script func(*peer)
		hook   func(context.Context, *CommitmentResult) Status
	}{
		"before the response to the request": {script: func(p *peer) {
			p.requestMessage()
			p.send(result(7, half), actionRSP(1, 1, Success))
			p.expect("the answer", eventRSP(7, 2, Success))
			p.expect("the echo", echoRQ(2))
			p.send(echoRSP(2))
		}},
		"after a response with an action reply": {script: func(p *peer) {
			p.requestMessage()
			p.send(inOne([]byte("of whatever kind"), commandElement{elCommandField, uint16(nActionRSP)}, commandElement{elMessageIDResponded, uint16(1)},
				commandElement{elDataSetType, uint16(1)}, commandElement{elStatus, uint16(Success)}))
			p.expect("the echo", echoRQ(2))
			p.send(echoRSP(2), result(7, half))
			p.expect("the answer", eventRSP(7, 2, Success))
		}},
		"before the response to an echo": {script: func(p *peer) {
			p.requestMessage()
			p.send(actionRSP(1, 1, Success))
			p.expect("the echo", echoRQ(2))
			p.send(result(7, half), echoRSP(2))
			p.expect("the answer", eventRSP(7, 2, Success))
		}},
		"after all": {script: func(p *peer) {
			p.requestMessage()
			p.send(actionRSP(1, 1, Success))
			p.expect("the echo", echoRQ(2))
			p.send(echoRSP(2), result(7, half))
			p.expect("the answer", eventRSP(7, 2, Success))
		}},
		"to a hook that can't keep it at first": {hook: refuseOnce(), script: func(p *peer) {
			p.requestMessage()
			p.send(result(7, half), actionRSP(1, 1, Success))
			p.expect("the answer", eventRSP(7, 2, ProcessingFailure))
			p.expect("the echo", echoRQ(2))
			p.send(echoRSP(2), result(8, half))
			p.expect("the second answer", eventRSP(8, 2, Success))
		}},
		"and one of another transaction": {script: func(p *peer) {
			p.requestMessage()
			other := *half
			other.TransactionUID = "1.2.10"
			p.send(result(7, &other), actionRSP(1, 1, Success))
			p.expect("the answer", eventRSP(7, 2, InvalidArgument))
			p.expect("the echo", echoRQ(2))
			p.send(echoRSP(2), result(8, half))
			p.expect("the second answer", eventRSP(8, 2, Success))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			client := scripted(t, func(p *peer) {
				p.acceptCommitment()
				test.script(p)
				p.expect("the release", pdu.AReleaseRQ)
				p.send(pdu.AReleaseRP)
			})
			client.Committed = test.hook
			conn, err := client.Dial(t.Context(), withCommitment)
			if err != nil {
				t.Fatal(err)
			}
			if status, err := conn.RequestCommitment(t.Context(), asked); status != Success || err != nil {
				t.Fatalf("%v, %v", status, err)
			}
			if status, err := conn.Echo(t.Context()); status != Success || err != nil {
				t.Fatalf("%v, %v", status, err)
			}
			if r, err := conn.AwaitCommitment(t.Context(), "1.2.9"); err != nil || !reflect.DeepEqual(r, half) {
				t.Errorf("%+v, %v", r, err)
			}
			if _, err := conn.AwaitCommitment(t.Context(), "1.2.9"); err == nil || !strings.Contains(err.Error(), "nothing to wait for") {
				t.Errorf("once more: %v", err)
			}
			if err := conn.Release(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// refuseOnce is a hook that can't keep the first result.
func refuseOnce() func(context.Context, *CommitmentResult) Status {
	calls := 0
	return func(context.Context, *CommitmentResult) Status {
		if calls++; calls == 1 {
			return ProcessingFailure
		}
		return Success
	}
}

// requestMessage reads an N-ACTION-RQ with its data set.
func (p *peer) requestMessage() {
	p.t.Helper()
	p.expect("the request", action(1, 1, encoded(p.t, asked.dataSet())))
}

// A wait that is given up leaves the association as it was.
func TestAwaitIsGivenUp(t *testing.T) {
	client := scripted(t, func(p *peer) {
		p.acceptCommitment()
		p.requestMessage()
		p.send(actionRSP(1, 1, Success))
		p.expect("an echo", echoRQ(2))
		p.send(echoRSP(2), event(9, 1, encoded(t, all.dataSet())))
		p.expect("the answer", eventRSP(9, 1, Success))
		p.expect("the release", pdu.AReleaseRQ)
		p.send(pdu.AReleaseRP)
	})
	conn, err := client.Dial(t.Context(), withCommitment)
	if err != nil {
		t.Fatal(err)
	}
	if status, err := conn.RequestCommitment(t.Context(), asked); status != Success || err != nil {
		t.Fatalf("%v, %v", status, err)
	}
	cause := errors.New("long enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(time.Millisecond, func() { cancel(cause) })
	if _, err := conn.AwaitCommitment(ctx, "1.2.9"); err != cause {
		t.Errorf("%v", err)
	}
	if _, err := conn.AwaitCommitment(ctx, "1.2.9"); err != cause {
		t.Errorf("at once: %v", err)
	}
	if status, err := conn.Echo(t.Context()); status != Success || err != nil {
		t.Errorf("%v, %v", status, err)
	}
	if r, err := conn.AwaitCommitment(t.Context(), "1.2.9"); err != nil || !reflect.DeepEqual(r, all) {
		t.Errorf("%+v, %v", r, err)
	}
	if err := conn.Release(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := conn.AwaitCommitment(t.Context(), "1.2.9"); err == nil {
		t.Error("after the release")
	}
}

// What ends an association while a result is awaited, and what the peer gets.
func TestAwaitFails(t *testing.T) {
	for name, test := range map[string]struct {
		sent []byte
		want string
		gets []byte
	}{
		"releases":                     {pdu.AReleaseRQ, "the peer released", pdu.AReleaseRP},
		"aborts":                       {aborted(0, 0), "the peer aborted", nil},
		"asks for a C-ECHO":            {echoRQ(1), "the peer sent command 0030", aborted(0, 0)},
		"reports in another context":   {message(1, commandElement{elCommandField, uint16(nEventReportRQ)}, commandElement{elMessageID, uint16(1)}), "the peer sent command 0100", aborted(0, 0)},
		"reports without a message ID": {message(5, commandElement{elCommandField, uint16(nEventReportRQ)}), "the peer sent command 0100", aborted(0, 0)},
	} {
		client := scripted(t, func(p *peer) {
			p.acceptCommitment()
			p.requestMessage()
			p.send(actionRSP(1, 1, Success), test.sent)
			p.expectEnd(name, test.gets)
		})
		conn, err := client.Dial(t.Context(), withCommitment)
		if err != nil {
			t.Fatal(err)
		}
		if status, err := conn.RequestCommitment(t.Context(), asked); status != Success || err != nil {
			t.Fatalf("%v, %v", status, err)
		}
		if _, err := conn.AwaitCommitment(t.Context(), "1.2.9"); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What can't be asked or reported is refused before anything is sent, and the
// association goes on.
func TestCommitmentRefusesItself(t *testing.T) {
	client := scripted(t, func(p *peer) {
		p.acceptCommitment()
		p.expect("the release", pdu.AReleaseRQ)
		p.send(pdu.AReleaseRP)
	})
	client.Limits.DataSet = 4096
	conn, err := client.Dial(t.Context(), withCommitment)
	if err != nil {
		t.Fatal(err)
	}
	many := make([]Instance, 1000)
	for i := range many {
		many[i] = one
	}
	for want, r := range map[string]*CommitmentRequest{
		"at least one":            {"1.2.9", nil},
		"transaction":             {"", []Instance{one}},
		"instance \"\"":           {"1.2.9", []Instance{{ct, ""}}},
		"class \"CT\"":            {"1.2.9", []Instance{{"CT", "1.2.3"}}},
		"ask for fewer at a time": {"1.2.9", many},
	} {
		if _, err := conn.RequestCommitment(t.Context(), r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	if err := conn.Release(t.Context()); err != nil {
		t.Error(err)
	}
	for _, r := range []*CommitmentResult{{"1.2.9", nil, nil}, {"x", []Instance{one}, nil}, {"1.2.9", nil, []FailedInstance{{Instance{}, 0x112}}}} {
		if _, err := (&Association{}).ReportCommitment(t.Context(), r); err == nil {
			t.Errorf("%+v", r)
		}
		if _, err := (Client{Address: "127.0.0.1:1"}).ReportCommitment(t.Context(), r); err == nil || strings.Contains(err.Error(), "connecting") {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if _, err := conn.RequestCommitment(t.Context(), asked); err == nil {
		t.Error("after the release")
	}
}

// A result on a new association: the roles as they go over the wire, and what
// peers make of them.
func TestReportOnANewAssociation(t *testing.T) {
	scp := pdu.Role{SOPClassUID: commitmentUID, SCP: true}
	for name, test := range map[string]struct {
		script func(*peer)
		status Status
		want   string
	}{
		"accepts the role": {func(p *peer) {
			p.acceptFirst(scp)
			p.expect("the report", inContext1(event(1, 2, encoded(t, half.dataSet()))))
			p.send(inContext1(eventRSP(1, 2, Success)))
			p.expect("the release", pdu.AReleaseRQ)
			p.send(pdu.AReleaseRP)
		}, Success, ""},
		"knows no roles": {func(p *peer) {
			p.acceptFirst()
			p.expect("the report", inContext1(event(1, 2, encoded(t, half.dataSet()))))
			p.send(inContext1(eventRSP(1, 2, NoSuchEventType)))
			p.expect("the release", pdu.AReleaseRQ)
			p.hangUp() // rudely, but it has answered
		}, NoSuchEventType, ""},
		"refuses the role": {func(p *peer) {
			p.acceptFirst(pdu.Role{SOPClassUID: commitmentUID})
			p.expectEnd("the abort", aborted(0, 0))
		}, 0, "let it accept this side as SCP"},
		"refuses the class": {func(p *peer) {
			p.pdu()
			p.send(associateAC(t, func(a *pdu.AAssociate) {
				a.Contexts = []pdu.PresentationContext{{ID: 1, Result: 3, TransferSyntaxes: []string{explicit}}}
			}))
			p.expectEnd("the abort", aborted(0, 0))
		}, 0, "accepted no presentation context for SOP class " + commitmentUID},
		"aborts": {func(p *peer) { p.acceptFirst(scp); p.storeMessage(); p.send(aborted(0, 0)) }, 0, "the peer aborted"},
	} {
		t.Run(name, func(t *testing.T) {
			status, err := scripted(t, test.script).ReportCommitment(t.Context(), half)
			if status != test.status || (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, %v", status, err)
			}
		})
	}
}

// acceptFirst checks the roles of a report's request and accepts it.
func (p *peer) acceptFirst(roles ...pdu.Role) {
	p.t.Helper()
	kind, b := p.pdu()
	rq, err := pdu.DecodeAAssociate(kind, b)
	if err != nil || !reflect.DeepEqual(rq.Roles, []pdu.Role{{SOPClassUID: commitmentUID, SCU: false, SCP: true}}) {
		p.t.Errorf("%+v, %v", rq, err)
	}
	p.send(associateAC(p.t, func(a *pdu.AAssociate) {
		a.Contexts = []pdu.PresentationContext{{ID: 1, TransferSyntaxes: []string{explicit}}}
		a.Roles = roles
	}))
}

// inContext1 is a message of context 5 as one of context 1.
func inContext1(b []byte) []byte {
	b = bytes.Clone(b)
	for at := 0; at < len(b); at += 6 + int(b[at+4])<<8 + int(b[at+5]) {
		b[at+10] = 1
	}
	return b
}

// begun is a server's association with a peer that asked for a commitment.
func begun(t *testing.T, p *peer, associations chan *Association) *Association {
	t.Helper()
	p.send(commitmentRQ(t))
	p.expect("the acceptance", commitmentAC(t, 0))
	p.send(action(1, 1, encoded(t, asked.dataSet())))
	p.expect("the response", actionRSP(1, 1, Success))
	return <-associations
}

type reported struct {
	Status
	error
}

// report reports in the background.
func report(ctx context.Context, a *Association, r *CommitmentResult) chan reported {
	done := make(chan reported, 1)
	go func() {
		status, err := a.ReportCommitment(ctx, r)
		done <- reported{status, err}
	}()
	return done
}

// inBubble runs a server that commits and one peer of it, in a bubble.
func inBubble(t *testing.T, run func(*testing.T, *peer, *Association)) {
	associations := make(chan *Association, 1)
	h := committing{newHandler(), func(a *Association, _ *CommitmentRequest) Status { associations <- a; return Success }, nil}
	bubble(t, &Server{Handler: h}, func(t *testing.T, dial func() *peer) {
		p := dial()
		run(t, p, begun(t, p, associations))
		p.Close()
	})
}

// A report goes out between two messages, whatever the peer does meanwhile, and
// one at a time.
func TestReportOnTheSameAssociation(t *testing.T) {
	inBubble(t, func(t *testing.T, p *peer, a *Association) {
		first := report(t.Context(), a, half)
		p.expect("the report", event(1, 2, encoded(t, half.dataSet())))
		second := report(t.Context(), a, all)
		synctest.Wait()
		// The peer goes on storing before it answers.
		p.send(storeRQ(2), pData(value(3, dataLast, []byte("data"))))
		p.expect("the response to a C-STORE", storeRSP(2, Success))
		p.send(eventRSP(1, 2, Success))
		p.expect("the second report", event(2, 1, encoded(t, all.dataSet())))
		p.send(eventRSP(2, 1, ProcessingFailure))
		if r := <-first; r != (reported{Success, nil}) {
			t.Errorf("%+v", r)
		}
		if r := <-second; r != (reported{ProcessingFailure, nil}) {
			t.Errorf("%+v", r)
		}
		p.send(pdu.AReleaseRQ)
		p.expect("the release", pdu.AReleaseRP)
		synctest.Wait()
		if _, err := a.ReportCommitment(t.Context(), half); err != ErrAssociationOver {
			t.Errorf("after the release: %v", err)
		}
	})
}

// A peer that answers a report too late, or never, or is gone, or whose report is
// taken back. The association goes on where the peer does.
func TestReportIsNotAnswered(t *testing.T) {
	t.Run("in time", func(t *testing.T) {
		inBubble(t, func(t *testing.T, p *peer, a *Association) {
			began := time.Now()
			done := report(t.Context(), a, half)
			p.expect("the report", event(1, 2, encoded(t, half.dataSet())))
			if r := <-done; r.error == nil || !strings.Contains(r.Error(), "no answer in time") {
				t.Errorf("%+v", r)
			}
			took(t, began, 2*time.Minute)
			next := report(t.Context(), a, all)
			p.expect("the next", event(2, 1, encoded(t, all.dataSet())))
			p.send(eventRSP(1, 2, Success), echoRQ(5)) // to the first
			p.expect("an echo", echoRSP(5))
			p.send(eventRSP(2, 1, Success))
			if r := <-next; r != (reported{Success, nil}) {
				t.Errorf("%+v", r)
			}
			p.send(eventRSP(2, 1, Success), pdu.AReleaseRQ) // once more, to nothing
			p.expect("the release", pdu.AReleaseRP)
		})
	})
	t.Run("without a status", func(t *testing.T) {
		inBubble(t, func(t *testing.T, p *peer, a *Association) {
			done := report(t.Context(), a, half)
			p.expect("the report", event(1, 2, encoded(t, half.dataSet())))
			p.send(message(5, commandElement{elCommandField, uint16(nEventReportRSP)}, commandElement{elMessageIDResponded, uint16(1)}, commandElement{elDataSetType, uint16(noDataSet)}))
			if r := <-done; r.error == nil {
				t.Errorf("%+v", r)
			}
			p.send(pdu.AReleaseRQ)
			p.expect("the release", pdu.AReleaseRP)
		})
	})
	t.Run("released instead", func(t *testing.T) {
		inBubble(t, func(t *testing.T, p *peer, a *Association) {
			done, waiting := report(t.Context(), a, half), make(chan reported)
			p.expect("the report", event(1, 2, encoded(t, half.dataSet())))
			go func() { r := <-report(t.Context(), a, all); waiting <- r }()
			synctest.Wait()
			p.send(pdu.AReleaseRQ)
			p.expect("the release", pdu.AReleaseRP)
			if r, w := <-done, <-waiting; r.error != ErrAssociationOver || w.error != ErrAssociationOver {
				t.Errorf("%+v, %+v", r, w)
			}
		})
	})
	t.Run("taken back", func(t *testing.T) {
		inBubble(t, func(t *testing.T, p *peer, a *Association) {
			cause := errors.New("enough")
			ctx, cancel := context.WithCancelCause(t.Context())
			first := report(ctx, a, half)
			p.expect("the report", event(1, 2, encoded(t, half.dataSet())))
			second := report(ctx, a, all) // not sent, and never
			synctest.Wait()
			cancel(cause)
			if r, w := <-first, <-second; r.error != cause || w.error != cause {
				t.Errorf("%+v, %+v", r, w)
			}
			p.send(eventRSP(1, 2, Success), echoRQ(5))
			p.expect("an echo", echoRSP(5))
			p.send(pdu.AReleaseRQ)
			p.expect("the release", pdu.AReleaseRP)
		})
	})
}

// awaits is a session whose End waits for its reports.
type awaits struct {
	Session
	Committer
	reports *sync.WaitGroup
}

func (s awaits) End(e End) { s.reports.Wait(); s.Session.End(e) }

type awaiting struct {
	committing
	reports *sync.WaitGroup
}

func (h awaiting) Associate(ctx context.Context, a *Association) (Session, error) {
	s, err := h.committing.Associate(ctx, a)
	return awaits{s, s.(Committer), h.reports}, err
}

// End may wait for the session's reports: what is not answered by then is over.
func TestEndWaitsForReports(t *testing.T) {
	var reports sync.WaitGroup
	h := awaiting{committing{newHandler(), func(a *Association, _ *CommitmentRequest) Status {
		for range 2 {
			reports.Go(func() {
				if _, err := a.ReportCommitment(context.Background(), half); err != ErrAssociationOver {
					t.Errorf("the report: %v", err)
				}
			})
		}
		return Success
	}, nil}, &reports}
	bubble(t, &Server{Handler: h}, func(t *testing.T, dial func() *peer) {
		p := dial()
		p.send(commitmentRQ(t))
		p.expect("the acceptance", commitmentAC(t, 0))
		p.send(action(1, 1, encoded(t, asked.dataSet())))
		p.expect("the response", actionRSP(1, 1, Success))
		p.expect("the first report", event(1, 2, encoded(t, half.dataSet())))
		p.send(pdu.AReleaseRQ)
		p.expect("the release", pdu.AReleaseRP)
		p.Close()
		synctest.Wait()
		if len(h.ends) != 1 {
			t.Error("the session has not ended")
		}
	})
}

// To who can't be SCU nothing is reported; an answer to nothing is a fault.
func TestReportWhereNobodyAsked(t *testing.T) {
	h := committing{newHandler(), nil, kept}
	p := connect(t, start(t, &Server{Handler: h}))
	p.send(commitmentRQ(t))
	p.expect("the acceptance", commitmentAC(t, 0))
	if _, err := h.association().ReportCommitment(t.Context(), half); err == nil || !strings.Contains(err.Error(), "not accepted as SCU") {
		t.Error(err)
	}
	p.send(eventRSP(1, 1, Success))
	p.expectEnd("an answer to nothing", aborted(2, 6))
}

// What is read of any bytes is valid, names nothing twice over, and reads back the
// same in both transfer syntaxes.
func FuzzCommitment(f *testing.F) {
	for _, d := range []*dataset.Dataset{asked.dataSet(), all.dataSet(), half.dataSet(), nothing.dataSet()} {
		for i, syntax := range []string{explicit, implicit} {
			b, err := encode(d, syntax)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(i == 1, d.Get(dataset.FailedSOPSequence) != nil, b)
		}
	}
	const limit = 64 << 10
	f.Fuzz(func(t *testing.T, isImplicit, some bool, b []byte) {
		kind := uint16(eventAllCommitted)
		if some {
			kind = eventSomeFailed
		}
		syntax := explicit
		if isImplicit {
			syntax = implicit
		}
		if r, status := parseRequest(bytes.NewReader(b), syntax, limit); status == Success {
			if err := check(r.TransactionUID, r.Instances, nil); err != nil {
				t.Fatal(err)
			}
			again, err := encode(r.dataSet(), syntax)
			if err != nil {
				t.Fatal(err)
			}
			if q, status := parseRequest(bytes.NewReader(again), syntax, 2*limit); status != Success || !reflect.DeepEqual(q, r) {
				t.Fatalf("%+v became %+v, %v", r, q, status)
			}
		} else if r != nil {
			t.Fatalf("%v, and %+v", status, r)
		}
		if r, status := parseResult(bytes.NewReader(b), syntax, limit, kind); status == Success {
			if err := check(r.TransactionUID, r.Committed, r.Failed); err != nil {
				t.Fatal(err)
			}
			for _, f := range r.Failed {
				for _, c := range r.Committed {
					if f.SOPInstanceUID == c.SOPInstanceUID {
						t.Fatalf("%s is both", c.SOPInstanceUID)
					}
				}
			}
			again, err := encode(r.dataSet(), syntax)
			if err != nil {
				t.Fatal(err)
			}
			if q, status := parseResult(bytes.NewReader(again), syntax, 2*limit, kind); status != Success || !reflect.DeepEqual(q, r) {
				t.Fatalf("%+v became %+v, %v", r, q, status)
			}
		} else if r != nil {
			t.Fatalf("%v, and %+v", status, r)
		}
	})
}

// The limit is that of bytes: who raises it gets as many instances more.
func TestManyInstances(t *testing.T) {
	request := &CommitmentRequest{TransactionUID: "1.2.9"}
	result := &CommitmentResult{TransactionUID: "1.2.9"}
	for i := range 40000 {
		instance := Instance{ct, "2.25." + strconv.Itoa(1e9+i)}
		request.Instances = append(request.Instances, instance)
		result.Failed = append(result.Failed, FailedInstance{instance, NoSuchInstance})
	}
	const limit = 4 << 20
	if r, status := parseRequest(bytes.NewReader(encoded(t, request.dataSet())), explicit, limit); status != Success || !reflect.DeepEqual(r, request) {
		t.Errorf("the request: %v", status)
	}
	if r, status := parseResult(bytes.NewReader(encoded(t, result.dataSet())), explicit, limit, eventSomeFailed); status != Success || !reflect.DeepEqual(r, result) {
		t.Errorf("the result: %v", status)
	}
	before := allocated()
	if err := check("1.2.9", request.Instances, result.Failed); err != nil {
		t.Error(err)
	}
	if cost := allocated() - before; cost > 1<<20 {
		t.Errorf("to check it costs %d bytes", cost)
	}
}

// A failure has a reason, and success is none.
func TestFailureReasons(t *testing.T) {
	for reason, want := range map[Status]Status{NoSuchInstance: NoSuchInstance, 0x1234: 0x1234, Success: ProcessingFailure} {
		r := &CommitmentResult{"1.2.9", nil, []FailedInstance{{one, reason}}}
		got, status := parseResult(bytes.NewReader(encoded(t, r.dataSet())), explicit, 4096, eventSomeFailed)
		if status != Success || len(got.Failed) != 1 || got.Failed[0].Reason != want {
			t.Errorf("%v: %+v, %v", reason, got, status)
		}
	}
}

// What is read counts to the limit, also where nothing of it is kept.
func TestCommitmentIsBounded(t *testing.T) {
	read := &counter{Reader: io.LimitReader(zeros{}, 10<<20)}
	before := allocated()
	if _, status := parseRequest(read, explicit, 4096); status != ResourceLimitation {
		t.Error(status)
	}
	if cost := allocated() - before; read.n != 10<<20 || cost > 256<<10 {
		t.Errorf("%d bytes were read, and cost %d", read.n, cost)
	}
}
