package dimse

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/dimse/pdu"
	"github.com/pulmonode/pulmonode/dimse/ul"
)

// Client opens associations with one peer.
type Client struct {
	CallingAE, CalledAE string
	Address             string // host:port
	TLS                 *tls.Config
	Timeouts            Timeouts
	Limits              Limits

	// UserIdentity is who asks, for peers that want to know (PS3.7 D.3.3.7).
	UserIdentity *pdu.UserIdentity

	// Committed, when not nil, takes the results of storage commitment that come
	// on the client's own associations, whatever is waited for there; its status is
	// the answer. It is for CommitmentReceiver's method.
	Committed func(ctx context.Context, r *CommitmentResult) Status
}

// Context is a presentation context to propose.
type Context struct {
	SOPClassUID        string
	TransferSyntaxUIDs []string
}

// RejectError says that the peer refused the association.
type RejectError struct {
	Reject
	CalledAE, CallingAE string
}

// Transient reports whether the peer may accept later.
func (e *RejectError) Transient() bool { return e.Result == 2 }

func (e *RejectError) Error() string {
	why := fmt.Sprintf("result %d, source %d, reason %d", e.Result, e.Source, e.Reason)
	switch (Reject{Source: e.Source, Reason: e.Reason}) {
	case Reject{Source: 1, Reason: 3}:
		why = fmt.Sprintf("it does not know the AE title %s: add it, with this machine's address, at the peer", e.CallingAE)
	case Reject{Source: 1, Reason: 7}:
		why = fmt.Sprintf("it is not called %s: correct the AE title", e.CalledAE)
	case Reject{Source: 3, Reason: 1}:
		why = "it is congested at the moment: try again later"
	case Reject{Source: 3, Reason: 2}:
		why = "it has too many associations at the moment: try again later, or raise its limit"
	}
	return "the peer rejected the association: " + why
}

// Conn is an open association. It is for one goroutine.
type Conn struct {
	t        *transport
	client   Client
	contexts []PresentationContext
	message  uint16
	chunk    []byte
	roles    []pdu.Role                   // as the peer answered them
	identity []byte                       // what it said of UserIdentity
	asked    map[string]*CommitmentResult // by transaction; nil: no result yet
}

// Dial connects and asks for an association.
func (c Client) Dial(ctx context.Context, contexts []Context) (*Conn, error) {
	return c.dial(ctx, contexts, nil)
}

func (c Client) dial(ctx context.Context, contexts []Context, roles []pdu.Role) (*Conn, error) {
	if most := c.Limits.withDefaults().Contexts; len(contexts) == 0 || len(contexts) > most {
		return nil, fmt.Errorf("an association needs 1 to %d presentation contexts, not %d", most, len(contexts))
	}
	rq := c.request(contexts)
	rq.Roles = roles
	request, err := rq.Encode()
	if err != nil {
		return nil, fmt.Errorf("asking for an association: %w", err)
	}
	times := c.Timeouts.withDefaults()
	dialer := net.Dialer{Timeout: times.Connect, KeepAlive: keepAlive}
	raw, err := dialer.DialContext(ctx, "tcp", c.Address)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", c.Address, err)
	}
	if c.TLS != nil {
		cfg := c.TLS.Clone()
		if cfg.ServerName == "" {
			cfg.ServerName, _, _ = net.SplitHostPort(c.Address)
		}
		secure := tls.Client(quickly(raw), cfg)
		hctx, cancel := context.WithTimeout(ctx, times.Connect)
		err := secure.HandshakeContext(hctx)
		cancel()
		if err != nil {
			raw.Close()
			return nil, fmt.Errorf("TLS with %s: %w", c.Address, refusedTLS(err))
		}
		raw = secure
	}
	return c.open(ctx, raw, times, contexts, request)
}

// open asks for the association over a connection.
func (c Client) open(ctx context.Context, raw net.Conn, times Timeouts, contexts []Context, request []byte) (*Conn, error) {
	// Only responses come back: a small buffer holds them.
	k := &Conn{t: newTransport(raw, times, c.Limits.withDefaults(), 4<<10), client: c}
	for i, p := range contexts {
		k.contexts = append(k.contexts, PresentationContext{ID: contextID(i), SOPClassUID: p.SOPClassUID, Proposed: p.TransferSyntaxUIDs, Result: pdu.NoReason})
	}
	k.t.machine.Requestor = true
	k.t.machine.Do(ul.Evt1)
	if err := k.guard(ctx, func() error { return k.associate(request) }); err != nil {
		return nil, err
	}
	return k, nil
}

// contextID is the ID of the i-th context: an odd number (PS3.8 9.3.2.2).
func contextID(i int) byte { return byte(2*i + 1) }

func (c Client) request(contexts []Context) *pdu.AAssociate {
	rq := &pdu.AAssociate{ProtocolVersion: 1, CalledAE: c.CalledAE, CallingAE: c.CallingAE, ApplicationContext: pdu.ApplicationContext,
		MaxLength: c.Limits.withDefaults().PDU, UserIdentity: c.UserIdentity, ImplementationUID: ImplementationClassUID, ImplementationVersion: ImplementationVersion}
	for i, p := range contexts {
		rq.Contexts = append(rq.Contexts, pdu.PresentationContext{ID: contextID(i), AbstractSyntax: p.SOPClassUID, TransferSyntaxes: p.TransferSyntaxUIDs})
	}
	return rq
}

// guard runs an operation that ctx can cut short. After an error the
// association is over: a message broken off must never be followed by another.
// An operation that was complete when ctx ended is complete.
func (k *Conn) guard(ctx context.Context, do func() error) error {
	if k.t.ended != nil {
		return k.t.ended
	}
	finished := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { k.t.cut(); close(finished) })
	err := do()
	stopped := stop()
	if !stopped {
		<-finished
	}
	switch {
	case err == nil:
		k.t.mend()
		return nil
	case k.t.ended == nil:
		k.t.abort(ul.Evt15, 0, err.Error())
	}
	if !stopped {
		return context.Cause(ctx)
	}
	return err
}

func (k *Conn) associate(request []byte) error {
	t := k.t
	t.machine.Do(ul.Evt2)
	if err := t.write(request); err != nil {
		return k.unsent(err)
	}
	h, err := t.header(time.Now().Add(t.times.Accept), "before it answered the association request")
	if err != nil {
		return err
	}
	switch h.Type {
	case pdu.TypeAAssociateRJ:
		body, err := t.body(h, "in its rejection")
		if err != nil {
			return err
		}
		rj, err := pdu.DecodeAAssociateRJ(body)
		if err != nil {
			return t.invalid(err)
		}
		t.machine.Do(ul.Evt4)
		t.Conn.Close()
		t.ended = &RejectError{Reject{rj.Result, rj.Source, rj.Reason}, k.client.CalledAE, k.client.CallingAE}
		return t.ended
	case pdu.TypeAAssociateAC:
	default:
		_, err := t.take(h)
		return err
	}
	body, err := t.body(h, "in its answer to the association request")
	if err != nil {
		return err
	}
	ac, err := t.limits.bounds().DecodeAAssociate(h.Type, body)
	if err != nil {
		return t.invalid(err)
	}
	t.machine.Do(ul.Evt3)
	if leavesNoRoom(ac.MaxLength) {
		return t.abort(ul.Evt15, 0, fmt.Sprintf("the peer takes PDUs of %d bytes, into which nothing fits", ac.MaxLength))
	}
	t.peerMax, k.roles, k.identity = ac.MaxLength, ac.Roles, ac.IdentityResponse
	for _, p := range ac.Contexts {
		for i := range k.contexts {
			if mine := &k.contexts[i]; mine.ID == p.ID {
				mine.Result = p.Result
				if p.Result != pdu.Acceptance {
					continue
				}
				// Accepted in a transfer syntax that was not proposed is not accepted.
				if len(p.TransferSyntaxes) == 1 && slices.Contains(mine.Proposed, p.TransferSyntaxes[0]) {
					mine.TransferSyntax = p.TransferSyntaxes[0]
				} else {
					mine.Result = pdu.NoReason
				}
			}
		}
	}
	return nil
}

// Accepted lists the transfer syntaxes that the peer accepted for a SOP class.
func (k *Conn) Accepted(sopClassUID string) []string {
	var out []string
	for _, p := range k.contexts {
		if p.SOPClassUID == sopClassUID && p.Result == pdu.Acceptance {
			out = append(out, p.TransferSyntax)
		}
	}
	return out
}

// IdentityResponse is what the peer answered to Client.UserIdentity when a
// response was requested; nil: nothing, so it may not have looked at it.
func (k *Conn) IdentityResponse() []byte { return k.identity }

// ErrNoContext is in the chain of errors that say that the peer accepted no
// presentation context for what was to be sent. Nothing was, and the association
// goes on.
var ErrNoContext = errors.New("the peer accepted no presentation context")

// context is an accepted one; without a transfer syntax the first of the class.
func (k *Conn) context(sopClassUID, transferSyntaxUID string) (*PresentationContext, error) {
	for i := range k.contexts {
		p := &k.contexts[i]
		if p.SOPClassUID == sopClassUID && p.Result == pdu.Acceptance && (transferSyntaxUID == "" || p.TransferSyntax == transferSyntaxUID) {
			return p, nil
		}
	}
	if transferSyntaxUID == "" {
		return nil, fmt.Errorf("%w for SOP class %s", ErrNoContext, sopClassUID)
	}
	return nil, fmt.Errorf("%w for SOP class %s with transfer syntax %s", ErrNoContext, sopClassUID, transferSyntaxUID)
}

// unsent is what a failed write means: often the peer's abort, or what TLS has
// against us, is already there to be read, and says more.
func (k *Conn) unsent(werr error) error {
	h, err := k.t.header(time.Now().Add(k.t.times.Closing), "while it was sent a message")
	if err == nil && h.Type == pdu.TypeAAbort { // nothing else matters any more; a rejection would end what is aborted next
		_, err = k.t.take(h)
	}
	var (
		abort  *AbortError
		remote *net.OpError
	)
	if errors.As(err, &abort) && abort.ByPeer || errors.As(err, &remote) && remote.Op == "remote error" {
		return err
	}
	return fmt.Errorf("sending: %w", werr)
}

// response reads the response to the last message. The result of a storage
// commitment may come before it.
func (k *Conn) response(ctx context.Context, want uint16) (Status, error) {
	by := time.Now().Add(k.t.times.Response)
	for {
		context, cmd, err := k.t.readCommand(by, "before it answered a message")
		if err != nil {
			return 0, err
		}
		if field, _ := cmd.number(elCommandField); field == nEventReportRQ {
			if err := k.answer(ctx, context, cmd); err != nil {
				return 0, err
			}
			continue
		}
		field, _ := cmd.number(elCommandField)
		id, _ := cmd.number(elMessageIDResponded)
		status, ok := cmd.number(elStatus)
		if field != want || id != k.message || !ok {
			return 0, k.t.abort(ul.Evt15, 0, fmt.Sprintf("the peer answered message %d with command %04X for message %d", k.message, field, id))
		}
		// The replies of N-operations may have a data set (PS3.7 10.1), of which nothing
		// is defined here. That of another response would be the peer's slip.
		if want == nActionRSP || want == nEventReportRSP {
			data := &dataSet{t: k.t, contextID: context, done: !cmd.hasDataSet()}
			if _, err := io.Copy(io.Discard, data); err != nil {
				return 0, k.t.ended
			}
		}
		return Status(status), nil
	}
}

// answer answers what the peer asks on the client's association: the result of
// a storage commitment is taken, and nothing else expected.
func (k *Conn) answer(ctx context.Context, id byte, cmd command) error {
	t := k.t
	i := slices.IndexFunc(k.contexts, func(p PresentationContext) bool { return p.ID == id && p.Result == pdu.Acceptance })
	field, _ := cmd.number(elCommandField)
	message, ok := cmd.number(elMessageID)
	if field != nEventReportRQ || !ok || i < 0 || k.contexts[i].SOPClassUID != dataset.StorageCommitmentPush {
		return t.abort(ul.Evt15, 0, fmt.Sprintf("the peer sent command %04X where nothing of the kind was agreed", field))
	}
	data := &dataSet{t: t, contextID: id, done: !cmd.hasDataSet()}
	status := t.result(&k.contexts[i], cmd, data, func(r *CommitmentResult) Status { return k.hear(ctx, r) })
	return t.respond(id, cmd, field, message, data, status)
}

// Abort ends the association without an answer. The peer has Timeouts.Closing to
// close the connection.
func (k *Conn) Abort() {
	if k.t.ended == nil {
		k.t.abort(ul.Evt15, 0, "by this side")
	}
}
