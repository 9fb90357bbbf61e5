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
}

// Dial connects and asks for an association.
func (c Client) Dial(ctx context.Context, contexts []Context) (*Conn, error) {
	if len(contexts) == 0 || len(contexts) > 128 {
		return nil, fmt.Errorf("an association needs 1 to 128 presentation contexts, not %d", len(contexts))
	}
	if c.MaxPDU == 0 {
		c.MaxPDU = DefaultMaxPDU
	}
	request, err := c.request(contexts).Encode()
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
	return c.open(ctx, raw, times, contexts, request)
}

// open asks for the association over a connection.
func (c Client) open(ctx context.Context, raw net.Conn, times Timeouts, contexts []Context, request []byte) (*Conn, error) {
	// Only responses come back: a small buffer holds them.
	k := &Conn{t: newTransport(raw, times, c.MaxPDU, 4<<10), client: c}
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
		MaxLength: c.MaxPDU, ImplementationUID: ImplementationClassUID, ImplementationVersion: ImplementationVersion}
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
		return t.broken(err, "taking the association request")
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
	ac, err := pdu.DecodeAAssociate(h.Type, body)
	if err != nil {
		return t.invalid(err)
	}
	t.machine.Do(ul.Evt3)
	if leavesNoRoom(ac.MaxLength) {
		return t.abort(ul.Evt15, 0, fmt.Sprintf("the peer takes PDUs of %d bytes, into which nothing fits", ac.MaxLength))
	}
	t.peerMax = ac.MaxLength
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

func (k *Conn) context(sopClassUID, transferSyntaxUID string) (byte, error) {
	for _, p := range k.contexts {
		if p.SOPClassUID == sopClassUID && p.Result == pdu.Acceptance && (transferSyntaxUID == "" || p.TransferSyntax == transferSyntaxUID) {
			return p.ID, nil
		}
	}
	if transferSyntaxUID == "" {
		return 0, fmt.Errorf("the peer accepted no presentation context for SOP class %s", sopClassUID)
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
		if err := k.t.write(k.t.appendCommand(nil, id, body)); err != nil {
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
// that a small object is one segment. One byte is read ahead of each fragment,
// to know which is the last: peers are not sent an empty one.
func (k *Conn) sendStore(id byte, o StoreObject) error {
	body := encodeCommand([]commandElement{{elAffectedSOPClass, o.SOPClassUID}, {elCommandField, uint16(cStoreRQ)}, {elMessageID, k.message},
		{elPriority, uint16(0)}, {elDataSetType, uint16(1)}, {elAffectedInstance, o.SOPInstanceUID}})
	head := k.t.appendCommand(make([]byte, 0, 512), id, body)
	size := k.t.fragment(sendFragment)
	if k.chunk == nil {
		k.chunk = make([]byte, size+1)
	}
	n, err := io.ReadFull(o.Data, k.chunk)
	for {
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return fmt.Errorf("reading the instance to send: %w", err)
		}
		last := err != nil
		send := min(n, size)
		head = pdu.AppendPData(head, pdu.PDV{Length: uint32(send), ContextID: id, Last: last})
		if werr := k.t.write(head, k.chunk[:send]); werr != nil {
			return k.refused(werr)
		}
		if last {
			return nil
		}
		head = head[:0]
		k.chunk[0] = k.chunk[size]
		n, err = io.ReadFull(o.Data, k.chunk[1:])
		n++
	}
}

// refused is what a failed write means: often the peer's abort is already there
// to be read, and says more.
func (k *Conn) refused(werr error) error {
	if h, err := k.t.header(time.Now().Add(k.t.times.Closing), "while it was sent an instance"); err == nil {
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
	_, cmd, err := k.t.readCommand(time.Now().Add(k.t.times.Response), "before it answered a message")
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
		by := time.Now().Add(t.times.Release)
		for {
			h, err := t.header(by, "before it answered the release")
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
