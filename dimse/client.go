package dimse

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/pulmonode/pulmonode/dimse/pdu"
	"github.com/pulmonode/pulmonode/dimse/ul"
)

// Client opens associations with one peer.
type Client struct {
	CallingAE, CalledAE string
	Address             string // host:port
	TLS                 *tls.Config
	Timeouts            Timeouts
	MaxPDU              uint32 // 0: DefaultMaxPDU
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
	case Reject{Source: 3, Reason: 1}, Reject{Source: 3, Reason: 2}:
		why = "it has too many associations at the moment"
	}
	return "the peer rejected the association: " + why
}

// Conn is an open association. It is for one goroutine.
type Conn struct {
	t        *transport
	client   Client
	contexts []PresentationContext
	peerMax  uint32
	message  uint16
	chunk    []byte
}

// Dial connects and asks for an association.
func (c Client) Dial(ctx context.Context, contexts []Context) (*Conn, error) {
	if len(contexts) == 0 || len(contexts) > 128 {
		return nil, fmt.Errorf("an association needs 1 to 128 presentation contexts, not %d", len(contexts))
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
		secure := tls.Client(raw, cfg)
		hctx, cancel := context.WithTimeout(ctx, times.Connect)
		err := secure.HandshakeContext(hctx)
		cancel()
		if err != nil {
			raw.Close()
			return nil, fmt.Errorf("TLS with %s: %w", c.Address, err)
		}
		raw = secure
	}
	if c.MaxPDU == 0 {
		c.MaxPDU = DefaultMaxPDU
	}
	k := &Conn{t: newTransport(raw, times, c.MaxPDU), client: c}
	k.t.machine.Requestor = true
	k.t.machine.Do(ul.Evt1)
	if err := k.guard(ctx, func() error { return k.associate(contexts) }); err != nil {
		return nil, err
	}
	return k, nil
}

// guard runs an operation that ctx can cut short. After an error the
// association is over: a message broken off must never be followed by another.
func (k *Conn) guard(ctx context.Context, do func() error) error {
	if k.t.ended != nil {
		return k.t.ended
	}
	var once sync.Once
	cut := func() {
		once.Do(func() { k.t.SetDeadline(time.Unix(1, 0)) })
	}
	finished := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { cut(); close(finished) })
	err := do()
	if !stop() {
		<-finished
		if err == nil || k.t.ended == nil || errors.Is(err, ctx.Err()) {
			k.t.abort(ul.Evt15, 0, "given up")
		}
		return context.Cause(ctx)
	}
	if err != nil && k.t.ended == nil {
		k.t.abort(ul.Evt15, 0, err.Error())
	}
	return err
}

func (k *Conn) associate(contexts []Context) error {
	t := k.t
	rq := &pdu.AAssociate{ProtocolVersion: 1, CalledAE: k.client.CalledAE, CallingAE: k.client.CallingAE, ApplicationContext: pdu.ApplicationContext,
		MaxLength: t.maxPDU, ImplementationUID: ImplementationClassUID, ImplementationVersion: ImplementationVersion}
	for i, c := range contexts {
		id := byte(2*i + 1)
		rq.Contexts = append(rq.Contexts, pdu.PresentationContext{ID: id, AbstractSyntax: c.SOPClassUID, TransferSyntaxes: c.TransferSyntaxUIDs})
		k.contexts = append(k.contexts, PresentationContext{ID: id, SOPClassUID: c.SOPClassUID, Proposed: c.TransferSyntaxUIDs, Result: pdu.NoReason})
	}
	request, err := rq.Encode()
	if err != nil {
		return err
	}
	t.machine.Do(ul.Evt2)
	if err := t.write(request); err != nil {
		return t.broken(err, "taking the association request")
	}
	h, err := t.header(t.times.Accept, "before it answered the association request")
	if err != nil {
		return err
	}
	if h.Type == pdu.TypePDataTF {
		_, err := t.take(h)
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
	ac, err := pdu.DecodeAAssociate(h.Type, body)
	if err != nil {
		return t.invalid(err)
	}
	t.machine.Do(ul.Evt3)
	k.peerMax = ac.MaxLength
	for _, p := range ac.Contexts {
		for i := range k.contexts {
			if mine := &k.contexts[i]; mine.ID == p.ID {
				mine.Result = p.Result
				if p.Result == pdu.Acceptance && len(p.TransferSyntaxes) == 1 {
					mine.TransferSyntax = p.TransferSyntaxes[0]
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

func (k *Conn) context(sopClassUID, transferSyntaxUID string) (byte, error) {
	for _, p := range k.contexts {
		if p.SOPClassUID == sopClassUID && p.Result == pdu.Acceptance && (transferSyntaxUID == "" || p.TransferSyntax == transferSyntaxUID) {
			return p.ID, nil
		}
	}
	return 0, fmt.Errorf("the peer accepted no presentation context for SOP class %s with transfer syntax %s", sopClassUID, transferSyntaxUID)
}

// verification is the SOP class of C-ECHO.
const verification = "1.2.840.10008.1.1"

// Echo sends a C-ECHO (PS3.7 9.1.5).
func (k *Conn) Echo(ctx context.Context) (status Status, err error) {
	id, err := k.context(verification, "")
	if err != nil {
		return 0, err
	}
	err = k.guard(ctx, func() error {
		k.message++
		body := encodeCommand([]commandElement{{elAffectedSOPClass, verification}, {elCommandField, uint16(cEchoRQ)}, {elMessageID, k.message}, {elDataSetType, uint16(noDataSet)}})
		b := pdu.AppendPData(nil, pdu.PDV{Length: uint32(len(body)), ContextID: id, Command: true, Last: true})
		if err := k.t.write(b, body); err != nil {
			return k.t.broken(err, "taking a C-ECHO")
		}
		status, err = k.response(cEchoRSP)
		return err
	})
	return status, err
}

// StoreObject is an instance to send. Data is its data set, without file meta
// information, in TransferSyntaxUID.
type StoreObject struct {
	SOPClassUID, SOPInstanceUID, TransferSyntaxUID string
	Data                                           io.Reader
}

// Store sends a C-STORE (PS3.7 9.1.1) and returns the peer's status. An error
// means that there was none; the association is then over, unless it says
// that no presentation context fits.
func (k *Conn) Store(ctx context.Context, o StoreObject) (status Status, err error) {
	id, err := k.context(o.SOPClassUID, o.TransferSyntaxUID)
	if err != nil {
		return 0, err
	}
	err = k.guard(ctx, func() error {
		k.message++
		if err := k.sendStore(id, o); err != nil {
			return err
		}
		status, err = k.response(cStoreRSP)
		return err
	})
	return status, err
}

// sendStore writes the command together with the first of the data set, so
// that a small object is one segment.
func (k *Conn) sendStore(id byte, o StoreObject) error {
	body := encodeCommand([]commandElement{{elAffectedSOPClass, o.SOPClassUID}, {elCommandField, uint16(cStoreRQ)}, {elMessageID, k.message},
		{elPriority, uint16(0)}, {elDataSetType, uint16(1)}, {elAffectedInstance, o.SOPInstanceUID}})
	head := append(pdu.AppendPData(make([]byte, 0, 512), pdu.PDV{Length: uint32(len(body)), ContextID: id, Command: true, Last: true}), body...)
	if k.chunk == nil {
		k.chunk = make([]byte, k.fragment())
	}
	// One fragment is read ahead, to know which is the last.
	n, err := io.ReadFull(o.Data, k.chunk)
	for more := true; more; {
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return fmt.Errorf("reading the instance to send: %w", err)
		}
		last := err != nil
		head = pdu.AppendPData(head, pdu.PDV{Length: uint32(n), ContextID: id, Last: last})
		if werr := k.t.write(head, k.chunk[:n]); werr != nil {
			return k.refused(werr)
		}
		head = head[:0]
		if more = !last; more {
			n, err = io.ReadFull(o.Data, k.chunk)
		}
	}
	return nil
}

// fragment is how much of a data set goes into one PDU: what the peer takes,
// and no more than keeps its buffers small. An even number (PS3.8 annex D.1).
func (k *Conn) fragment() uint32 {
	n := uint32(DefaultMaxPDU)
	if k.peerMax != 0 && k.peerMax < n {
		n = k.peerMax
	}
	return max(n, pdu.PDVHeaderSize+2) - pdu.PDVHeaderSize&^1
}

// refused is what a failed write means: often the peer's abort is already there
// to be read, and says more.
func (k *Conn) refused(werr error) error {
	if h, err := k.t.header(k.t.times.Closing, "while it was sent an instance"); err == nil {
		if _, err := k.t.take(h); err != nil {
			return err
		}
	} else {
		var abort *AbortError
		if errors.As(err, &abort) && abort.ByPeer {
			return err
		}
	}
	return fmt.Errorf("sending: %w", werr)
}

// response reads the response to the last message.
func (k *Conn) response(want uint16) (Status, error) {
	wait := k.t.times
	wait.Idle = wait.Response
	k.t.times, wait = wait, k.t.times
	_, cmd, err := k.t.readCommand()
	k.t.times = wait
	if err != nil {
		return 0, err
	}
	field, _ := cmd.number(elCommandField)
	id, _ := cmd.number(elMessageIDResponded)
	status, ok := cmd.number(elStatus)
	if field != want || id != k.message || !ok {
		return 0, k.t.abort(ul.Evt15, 0, fmt.Sprintf("the peer answered message %d with command %04X for message %d", k.message, field, id))
	}
	return Status(status), nil
}

// Release ends the association in order.
func (k *Conn) Release(ctx context.Context) error {
	return k.guard(ctx, func() error {
		t := k.t
		t.machine.Do(ul.Evt11)
		if err := t.write(pdu.AReleaseRQ); err != nil {
			return t.broken(err, "taking the release")
		}
		for {
			h, err := t.header(t.times.Release, "before it answered the release")
			if err != nil {
				return err
			}
			a, err := t.take(h)
			if err != nil {
				return err
			}
			if _, err := io.CopyN(io.Discard, t.in, int64(h.Length)); err != nil {
				return t.broken(err, "in its answer to the release")
			}
			switch a {
			case ul.AR8: // a collision: both asked
				t.machine.Do(ul.Evt14)
				if err := t.write(pdu.AReleaseRP); err != nil {
					return t.broken(err, "taking the release")
				}
			case ul.AR3:
				t.Conn.Close()
				t.ended = errors.New("the association was released")
				return nil
			}
		}
	})
}

// Abort ends the association at once.
func (k *Conn) Abort() {
	if k.t.ended == nil {
		k.t.abort(ul.Evt15, 0, "by this side")
	}
}
