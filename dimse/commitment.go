package dimse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/dimse/pdu"
)

// Storage Commitment Push Model (PS3.4 annex J). Who sent instances asks, as SCU,
// by N-ACTION whether the peer answers for them from now on; the peer, as SCP,
// says by N-EVENT-REPORT for which it does: on the association that brought the
// request, or on a new one of its own, whose requestor then has the role of SCP.

// Instance names an instance.
type Instance struct{ SOPClassUID, SOPInstanceUID string }

// CommitmentRequest asks to answer for instances (PS3.4 J.3.2).
type CommitmentRequest struct {
	TransactionUID string // the result has the same; never used twice
	Instances      []Instance
}

// CommitmentResult says what the SCP answers for (PS3.4 J.3.3). Only what stands
// in Committed is safe: an instance in neither list is not.
type CommitmentResult struct {
	TransactionUID string
	Committed      []Instance
	Failed         []FailedInstance
}

// FailedInstance is one that the SCP does not answer for. Reasons (PS3.3
// C.14.1.1): ProcessingFailure, NoSuchInstance, ResourceLimitation,
// SOPClassNotSupported, ClassInstanceConflict, DuplicateTransaction.
type FailedInstance struct {
	Instance
	Reason Status
}

// Committer is a Session that takes requests for storage commitment. Where it is
// none, and no CommitmentReceiver, the SOP class is refused. A panic is answered
// 0110H.
type Committer interface {
	// Commit takes a request, whose UIDs are valid. Success means that a result
	// follows: soon by Association.ReportCommitment, if the peer is still there, else
	// by Client.ReportCommitment to where it listens. Any other status refuses the
	// request as a whole. It must not wait for the result to be reported. A peer can
	// ask and ask, and answer no report: how many results wait is for the Committer to
	// bound, and ResourceLimitation to say.
	Commit(ctx context.Context, r *CommitmentRequest) Status
}

// CommitmentReceiver is a Session that hears results, for what this node asked
// elsewhere as SCU. A panic is answered 0110H.
type CommitmentReceiver interface {
	// Committed takes a result, whose UIDs are valid and which names no instance
	// as both committed and failed. Success must mean that it is kept: it does not
	// come again. InvalidArgument is for a transaction that is not known.
	Committed(ctx context.Context, r *CommitmentResult) Status
}

// CommitmentContext is what to propose for RequestCommitment.
var CommitmentContext = Context{dataset.StorageCommitmentPush, []string{dataset.ExplicitLE, dataset.ImplicitLE}}

// Types of the one action (PS3.4 J.3.2.1.1) and of the events (J.3.3.1.1).
const (
	actionRequestCommitment = 1
	eventAllCommitted       = 1
	eventSomeFailed         = 2
)

// dataSet is the request as its action information (PS3.4 table J.3-1).
func (r *CommitmentRequest) dataSet() *dataset.Dataset {
	d := &dataset.Dataset{}
	d.SetText(dataset.TransactionUID, "UI", r.TransactionUID)
	d.SetItems(dataset.ReferencedSOPSequence, references(r.Instances)...)
	return d
}

// dataSet is the result as its event information (PS3.4 table J.3-2).
func (r *CommitmentResult) dataSet() *dataset.Dataset {
	d := &dataset.Dataset{}
	d.SetText(dataset.TransactionUID, "UI", r.TransactionUID)
	if len(r.Failed) > 0 {
		failed := make([]*dataset.Dataset, len(r.Failed))
		for i, f := range r.Failed {
			failed[i] = f.reference()
			failed[i].SetUint16(dataset.FailureReason, uint16(f.Reason))
		}
		d.SetItems(dataset.FailedSOPSequence, failed...)
	}
	if len(r.Committed) > 0 {
		d.SetItems(dataset.ReferencedSOPSequence, references(r.Committed)...)
	}
	return d
}

func (i Instance) reference() *dataset.Dataset {
	d := &dataset.Dataset{}
	d.SetText(dataset.ReferencedSOPClassUID, "UI", i.SOPClassUID)
	d.SetText(dataset.ReferencedSOPInstanceUID, "UI", i.SOPInstanceUID)
	return d
}

func references(instances []Instance) []*dataset.Dataset {
	items := make([]*dataset.Dataset, len(instances))
	for i, instance := range instances {
		items[i] = instance.reference()
	}
	return items
}

// encode writes a data set in the transfer syntax that was agreed.
func encode(d *dataset.Dataset, transferSyntax string) ([]byte, error) {
	explicit, err := d.AppendExplicit(nil)
	if err != nil || transferSyntax != dataset.ImplicitLE {
		return explicit, err
	}
	var b bytes.Buffer
	err = dataset.ToImplicit(&b, bytes.NewReader(explicit))
	return b.Bytes(), err
}

// parseRequest reads action information. Any status but Success refuses it.
func parseRequest(r io.Reader, transferSyntax string, limit int) (*CommitmentRequest, Status) {
	d, status := parse(r, transferSyntax, limit)
	if status != Success {
		return nil, status
	}
	q := &CommitmentRequest{}
	if q.TransactionUID, status = uidOf(d, dataset.TransactionUID); status != Success {
		return nil, status
	}
	items, status := itemsOf(d, dataset.ReferencedSOPSequence)
	if status != Success {
		return nil, status
	}
	if items == nil {
		return nil, MissingAttribute
	}
	for _, item := range items {
		i, status := instanceOf(item)
		if status != Success {
			return nil, status
		}
		q.Instances = append(q.Instances, i)
	}
	return q, Success
}

// parseResult reads event information. A failure without its reason, which some
// peers send, or that is called a success, is a failure still; what is said both ways is nothing said.
func parseResult(r io.Reader, transferSyntax string, limit int, event uint16) (*CommitmentResult, Status) {
	d, status := parse(r, transferSyntax, limit)
	if status != Success {
		return nil, status
	}
	q := &CommitmentResult{}
	if q.TransactionUID, status = uidOf(d, dataset.TransactionUID); status != Success {
		return nil, status
	}
	failed, status := itemsOf(d, dataset.FailedSOPSequence)
	if status != Success {
		return nil, status
	}
	committed, status := itemsOf(d, dataset.ReferencedSOPSequence)
	if status != Success {
		return nil, status
	}
	if event == eventAllCommitted && committed == nil || event == eventSomeFailed && failed == nil {
		return nil, MissingAttribute
	}
	not := map[string]bool{}
	for _, item := range failed {
		i, status := instanceOf(item)
		if status != Success {
			return nil, status
		}
		value, _ := item.Int(dataset.FailureReason)
		reason := Status(value)
		if reason == Success {
			reason = ProcessingFailure
		}
		q.Failed = append(q.Failed, FailedInstance{i, reason})
		not[i.SOPInstanceUID] = true
	}
	for _, item := range committed {
		i, status := instanceOf(item)
		if status != Success {
			return nil, status
		}
		if not[i.SOPInstanceUID] {
			return nil, InvalidArgument
		}
		q.Committed = append(q.Committed, i)
	}
	return q, Success
}

// parse reads a data set to its end.
func parse(r io.Reader, transferSyntax string, limit int) (*dataset.Dataset, Status) {
	read := &counter{Reader: r}
	// An instance has four elements with its item; none that is real is as short as 64 bytes.
	elements := max(dataset.DefaultLimits().Elements, limit/16)
	d, err := dataset.ParseHeader(read, transferSyntax, dataset.Limits{HeaderBytes: int64(limit), Elements: elements})
	if _, rest := io.Copy(io.Discard, read); rest != nil {
		return nil, ProcessingFailure // it broke off: nobody will be told
	}
	switch {
	case read.n > int64(limit):
		return nil, ResourceLimitation
	case err != nil:
		return nil, InvalidArgument
	}
	return d, Success
}

// counter counts what is read.
type counter struct {
	io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

func uidOf(d *dataset.Dataset, t dataset.Tag) (string, Status) {
	uid := d.Raw(t)
	switch {
	case d.Get(t) == nil:
		return "", MissingAttribute
	case uid == "":
		return "", MissingValue
	case dataset.ValidUID(uid) != nil:
		return "", InvalidArgument
	}
	return uid, Success
}

// itemsOf are the items of a sequence, which may be absent, but not empty.
func itemsOf(d *dataset.Dataset, t dataset.Tag) ([]*dataset.Dataset, Status) {
	e := d.Get(t)
	switch {
	case e == nil:
		return nil, Success
	case e.VR != "SQ":
		return nil, InvalidArgument
	case len(e.Items) == 0:
		return nil, MissingValue
	}
	return e.Items, Success
}

func instanceOf(item *dataset.Dataset) (i Instance, status Status) {
	if i.SOPClassUID, status = uidOf(item, dataset.ReferencedSOPClassUID); status != Success {
		return i, status
	}
	i.SOPInstanceUID, status = uidOf(item, dataset.ReferencedSOPInstanceUID)
	return i, status
}

// agreeCommitment settles who is what in storage commitment (PS3.7 D.3.3.4): the
// peer SCU where the session is a Committer, SCP where it is a CommitmentReceiver.
// A peer that proposes no roles may be both: some send results so. Where it can be
// neither the contexts are refused after all.
func (c *serverConn) agreeCommitment(rq *pdu.AAssociate, a *Association) (answer []pdu.Role) {
	c.orders.mu.Lock() // somebody may ask already whether to report is possible
	defer c.orders.mu.Unlock()
	c.committer, _ = c.session.(Committer)
	c.receiver, _ = c.session.(CommitmentReceiver)
	for _, role := range rq.Roles {
		if role.SOPClassUID != dataset.StorageCommitmentPush {
			continue
		}
		if !role.SCU {
			c.committer = nil
		}
		if !role.SCP {
			c.receiver = nil
		}
		answer = []pdu.Role{{SOPClassUID: role.SOPClassUID, SCU: c.committer != nil, SCP: c.receiver != nil}}
	}
	for i := range a.Contexts {
		p := &a.Contexts[i]
		if p.SOPClassUID != dataset.StorageCommitmentPush || p.Result != pdu.Acceptance {
			continue
		}
		if c.committer == nil && c.receiver == nil {
			p.Result = pdu.AbstractSyntaxNotSupported
		} else if c.commitment == nil {
			c.commitment = p
		}
	}
	if c.commitment == nil {
		c.committer, c.receiver, answer = nil, nil, nil
	}
	return answer
}

// commit takes an N-ACTION-RQ as SCP.
func (c *serverConn) commit(p *PresentationContext, cmd command, data io.Reader) Status {
	action, ok := cmd.number(elActionType)
	switch {
	case cmd.text(elRequestedSOPClass) != dataset.StorageCommitmentPush:
		return NoSuchSOPClass
	case cmd.text(elRequestedInstance) != dataset.StorageCommitmentInstance:
		return NoSuchInstance
	case !ok:
		return MistypedArgument
	case action != actionRequestCommitment:
		return NoSuchAction
	case !cmd.hasDataSet():
		return MissingAttribute
	}
	r, status := parseRequest(data, p.TransferSyntax, c.t.limits.DataSet)
	if status != Success {
		return status
	}
	return c.guarded(func() Status { return c.committer.Commit(c.ctx, r) })
}

func (c *serverConn) committed(r *CommitmentResult) Status {
	return c.guarded(func() Status { return c.receiver.Committed(c.ctx, r) })
}

// result takes an N-EVENT-REPORT-RQ as SCU, on whichever side's association.
func (t *transport) result(p *PresentationContext, cmd command, data io.Reader, take func(*CommitmentResult) Status) Status {
	event, ok := cmd.number(elEventType)
	switch {
	case cmd.text(elAffectedSOPClass) != dataset.StorageCommitmentPush:
		return NoSuchSOPClass
	case cmd.text(elAffectedInstance) != dataset.StorageCommitmentInstance:
		return NoSuchInstance
	case !ok:
		return MistypedArgument
	case event != eventAllCommitted && event != eventSomeFailed:
		return NoSuchEventType
	case !cmd.hasDataSet():
		return MissingAttribute
	}
	r, status := parseResult(data, p.TransferSyntax, t.limits.DataSet, event)
	if status != Success {
		return status
	}
	return take(r)
}

// check says what of a request or result can't be sent.
func check(transactionUID string, instances []Instance, failed []FailedInstance) error {
	if err := dataset.ValidUID(transactionUID); err != nil {
		return fmt.Errorf("transaction %.64q: %w", transactionUID, err)
	}
	if len(instances)+len(failed) == 0 {
		return errors.New("storage commitment of no instance: name at least one")
	}
	for _, i := range instances {
		if err := i.check(); err != nil {
			return err
		}
	}
	for _, f := range failed {
		if err := f.check(); err != nil {
			return err
		}
	}
	return nil
}

func (i Instance) check() error {
	for _, uid := range []string{i.SOPClassUID, i.SOPInstanceUID} {
		if err := dataset.ValidUID(uid); err != nil {
			return fmt.Errorf("instance %.64q of class %.64q: %w", i.SOPInstanceUID, i.SOPClassUID, err)
		}
	}
	return nil
}

// failureBytes is what a failed instance has more than one that was asked for.
const failureBytes = 10

// RequestCommitment asks the peer to answer for instances that it was sent, on
// this association or another (N-ACTION, PS3.4 J.3.2); CommitmentContext must have
// been proposed. Success means that a result will follow: on this association to
// Client.Committed or AwaitCommitment, or on one of the peer's own, to a Server
// whose Session is a CommitmentReceiver. It may take hours, and never come. An
// error means as with Store that there was no status.
func (k *Conn) RequestCommitment(ctx context.Context, r *CommitmentRequest) (status Status, err error) {
	p, err := k.context(dataset.StorageCommitmentPush, "")
	if err != nil {
		return 0, err
	}
	if err := check(r.TransactionUID, r.Instances, nil); err != nil {
		return 0, err
	}
	body, err := encode(r.dataSet(), p.TransferSyntax)
	if err != nil {
		return 0, err
	}
	if limit := k.t.limits.DataSet; len(body)+failureBytes*len(r.Instances) > limit {
		return 0, fmt.Errorf("the result for %d instances might have more than the %d bytes of Limits.DataSet: ask for fewer at a time", len(r.Instances), limit)
	}
	err = k.guard(ctx, func() error {
		k.message++
		command := encodeCommand([]commandElement{{elRequestedSOPClass, dataset.StorageCommitmentPush}, {elCommandField, uint16(nActionRQ)}, {elMessageID, k.message},
			{elDataSetType, uint16(1)}, {elRequestedInstance, dataset.StorageCommitmentInstance}, {elActionType, uint16(actionRequestCommitment)}})
		if k.asked == nil {
			k.asked = map[string]*CommitmentResult{}
		}
		k.asked[r.TransactionUID] = nil // the result may come before the response
		b := k.t.appendFragments(k.t.appendCommand(nil, p.ID, command), p.ID, false, body)
		if err := k.t.write(b); err != nil {
			return k.unsent(err)
		}
		status, err = k.response(ctx, nActionRSP)
		if err == nil && status != Success && k.asked[r.TransactionUID] == nil {
			delete(k.asked, r.TransactionUID)
		}
		return err
	})
	return status, err
}

// AwaitCommitment waits for the result of a request of this association, which
// may have come already. Where Client.Committed is nil the peer is answered
// success; where it is not, only a result for which it said so is returned here.
// When ctx ends first its cause is the error and the association goes on, unlike
// elsewhere: the result may still come, here or on another association.
func (k *Conn) AwaitCommitment(ctx context.Context, transactionUID string) (*CommitmentResult, error) {
	defer context.AfterFunc(ctx, k.t.wake)()
	for {
		r, ok := k.asked[transactionUID]
		switch {
		case !ok:
			return nil, fmt.Errorf("transaction %s was not accepted on this association: there is nothing to wait for", transactionUID)
		case r != nil:
			delete(k.asked, transactionUID)
			return r, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case k.t.ended != nil:
			return nil, k.t.ended
		}
		err := k.t.rest(time.Now().Add(k.t.times.Idle), "before it reported a storage commitment")
		if err == errWoken {
			continue
		}
		if err != nil {
			return nil, err
		}
		id, cmd, err := k.t.readCommand(time.Now().Add(k.t.times.Message), inMessage)
		if err != nil {
			return nil, err
		}
		if err := k.answer(ctx, id, cmd); err != nil {
			return nil, err
		}
	}
}

// hear takes a result that came on the client's association.
func (k *Conn) hear(ctx context.Context, r *CommitmentResult) Status {
	_, asked := k.asked[r.TransactionUID]
	status := Success
	switch {
	case k.client.Committed != nil:
		status = k.client.Committed(ctx, r)
	case !asked:
		status = InvalidArgument
	}
	if asked && status == Success {
		k.asked[r.TransactionUID] = r
	}
	return status
}

// reportBytes is an N-EVENT-REPORT-RQ whole.
func (t *transport) reportBytes(p *PresentationContext, message uint16, r *CommitmentResult) ([]byte, error) {
	body, err := encode(r.dataSet(), p.TransferSyntax)
	if err != nil {
		return nil, err
	}
	event := uint16(eventAllCommitted)
	if len(r.Failed) > 0 {
		event = eventSomeFailed
	}
	command := encodeCommand([]commandElement{{elAffectedSOPClass, dataset.StorageCommitmentPush}, {elCommandField, uint16(nEventReportRQ)}, {elMessageID, message},
		{elDataSetType, uint16(1)}, {elAffectedInstance, dataset.StorageCommitmentInstance}, {elEventType, event}})
	return t.appendFragments(t.appendCommand(nil, p.ID, command), p.ID, false, body), nil
}

// ReportCommitment tells a peer, on a new association, what became of its request
// (N-EVENT-REPORT, PS3.4 J.3.3): CalledAE and Address are where the peer listens.
// This side proposes the role of SCP (PS3.7 D.3.3.4). Success means that the peer
// has it; any other status, or an error, that it should be told again later.
func (c Client) ReportCommitment(ctx context.Context, r *CommitmentResult) (status Status, err error) {
	if err := check(r.TransactionUID, r.Committed, r.Failed); err != nil {
		return 0, err
	}
	k, err := c.dial(ctx, []Context{CommitmentContext}, []pdu.Role{{SOPClassUID: dataset.StorageCommitmentPush, SCP: true}})
	if err != nil {
		return 0, err
	}
	if status, err = k.report(ctx, r); err != nil {
		k.Abort()
		return 0, err
	}
	k.Release(ctx) // the peer has answered, however it parts
	return status, nil
}

func (k *Conn) report(ctx context.Context, r *CommitmentResult) (status Status, err error) {
	p, err := k.context(dataset.StorageCommitmentPush, "")
	if err != nil {
		return 0, err
	}
	// A peer that does not answer the proposal of roles may not know it, and take
	// results all the same; one that answers no means it.
	for _, role := range k.roles {
		if role.SOPClassUID == dataset.StorageCommitmentPush && !role.SCP {
			return 0, errors.New("the peer takes no results of storage commitment: let it accept this side as SCP of the Storage Commitment Push Model")
		}
	}
	err = k.guard(ctx, func() error {
		k.message++
		b, err := k.t.reportBytes(p, k.message, r)
		if err != nil {
			return err
		}
		if err := k.t.write(b); err != nil {
			return k.unsent(err)
		}
		status, err = k.response(ctx, nEventReportRSP)
		return err
	})
	return status, err
}
