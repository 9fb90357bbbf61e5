package dimse

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/pulmonode/pulmonode/dimse/pdu"
	"github.com/pulmonode/pulmonode/dimse/ul"
)

// readBuffer holds what the peer sends ahead; fragments larger than it are read
// past it, straight to where they go.
const readBuffer = 64 << 10

// transport is one association's connection: PDUs in and out, each an event of
// the state machine. One goroutine uses it.
type transport struct {
	net.Conn
	in      *bufio.Reader
	machine ul.Machine
	times   Timeouts
	maxPDU  uint32 // what we offered
	pduLeft uint32 // of the P-DATA-TF that is being read
	pdvLeft uint32 // of its value that is being read
	pdv     pdu.PDV
	ended   error // why the association is over, once it is
}

func newTransport(c net.Conn, times Timeouts, maxPDU uint32) *transport {
	return &transport{Conn: c, in: bufio.NewReaderSize(quickly(c), readBuffer), times: times, maxPDU: maxPDU}
}

// Errors of an association that is over.
var (
	errReleased = errors.New("the peer released the association")
	errClosed   = errors.New("the peer closed the connection without releasing the association")
)

// AbortError says that the association was aborted, by the peer or by us.
type AbortError struct {
	ByPeer         bool
	Source, Reason byte   // PS3.8 9.3.8
	What           string // why we did; empty by the peer
}

func (e *AbortError) Error() string {
	if e.ByPeer {
		return fmt.Sprintf("the peer aborted the association (source %d, reason %d)", e.Source, e.Reason)
	}
	return "the association was aborted: " + e.What
}

// write sends whole PDUs within the write deadline.
func (t *transport) write(b ...[]byte) error {
	t.SetWriteDeadline(time.Now().Add(t.times.Write))
	buffers := net.Buffers(b)
	_, err := buffers.WriteTo(t.Conn)
	return err
}

// abort ends the association with an A-ABORT, as far as the peer still listens.
func (t *transport) abort(e ul.Event, reason byte, what string) error {
	if t.ended != nil {
		return t.ended
	}
	source := byte(pdu.SourceUser)
	if t.machine.Can(e) {
		if a := t.machine.Do(e); a == ul.AA8 {
			source = pdu.SourceProvider
		}
	}
	if source == pdu.SourceUser && e == ul.Evt19 {
		source = pdu.SourceProvider // the reason is the provider's; the table's AA-1 leaves it to us
	}
	if source == pdu.SourceUser {
		reason = 0
	}
	t.ended = &AbortError{Source: source, Reason: reason, What: what}
	t.SetWriteDeadline(time.Now().Add(t.times.Closing))
	t.Conn.Write(pdu.AAbort{Source: source, Reason: reason}.Encode()) // the association is over whether it arrives or not
	t.linger()
	return t.ended
}

// linger gives the peer a moment to read what was sent and to close, as ARTIM
// does in Sta13; then the transport is closed.
func (t *transport) linger() {
	if c, ok := t.Conn.(interface{ CloseWrite() error }); ok {
		c.CloseWrite()
		t.SetReadDeadline(time.Now().Add(t.times.Closing))
		io.CopyN(io.Discard, t.Conn, 1<<20)
	}
	t.Conn.Close()
}

// broken is what a failed read means: the peer has gone, or was silent for too long.
func (t *transport) broken(err error, phase string) error {
	if t.ended != nil {
		return t.ended
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return t.abort(ul.Evt15, 0, "the peer was silent too long "+phase)
	}
	t.machine.Do(ul.Evt17)
	t.Conn.Close()
	t.ended = errClosed
	return t.ended
}

// header reads the next PDU's header within a deadline.
func (t *transport) header(within time.Duration, phase string) (pdu.Header, error) {
	t.SetReadDeadline(time.Now().Add(within))
	var b [pdu.HeaderSize]byte
	if _, err := io.ReadFull(t.in, b[:]); err != nil {
		return pdu.Header{}, t.broken(err, phase)
	}
	h, err := pdu.DecodeHeader(b)
	if err != nil {
		return h, t.invalid(err)
	}
	return h, nil
}

// body reads the rest of a PDU that is no P-DATA-TF.
func (t *transport) body(h pdu.Header, phase string) ([]byte, error) {
	b := make([]byte, h.Length)
	if _, err := io.ReadFull(t.in, b); err != nil {
		return nil, t.broken(err, phase)
	}
	return b, nil
}

// invalid aborts for a PDU that can't be read.
func (t *transport) invalid(err error) error {
	reason := byte(pdu.ReasonInvalidParameter)
	var e *pdu.Error
	if errors.As(err, &e) {
		reason = e.Reason
	}
	return t.abort(ul.Evt19, reason, err.Error())
}

// receivedEvents are the events of PDUs that come in.
var receivedEvents = map[pdu.Type]ul.Event{
	pdu.TypeAAssociateRQ: ul.Evt6, pdu.TypeAAssociateAC: ul.Evt3, pdu.TypeAAssociateRJ: ul.Evt4, pdu.TypePDataTF: ul.Evt10,
	pdu.TypeAReleaseRQ: ul.Evt12, pdu.TypeAReleaseRP: ul.Evt13, pdu.TypeAAbort: ul.Evt16,
}

// take makes a PDU an event. What the table answers with an abort ends the
// association here; any other action is returned.
func (t *transport) take(h pdu.Header) (ul.Action, error) {
	e := receivedEvents[h.Type]
	if e == ul.Evt16 {
		b, err := t.body(h, "in an A-ABORT")
		if err != nil {
			return 0, err
		}
		a := pdu.DecodeAAbort(b)
		t.machine.Do(e)
		t.Conn.Close()
		t.ended = &AbortError{ByPeer: true, Source: a.Source, Reason: a.Reason}
		return 0, t.ended
	}
	before := t.machine
	switch a := t.machine.Do(e); a {
	case ul.AA1, ul.AA7, ul.AA8:
		t.machine = before // abort takes the event itself
		return 0, t.abort(e, pdu.ReasonUnexpectedPDU, fmt.Sprintf("%v in %v", h.Type, before.State()))
	default:
		return a, nil
	}
}

// nextPDV goes to the next presentation data value. A release by the peer is
// answered here and is errReleased.
func (t *transport) nextPDV(within time.Duration, phase string) error {
	for t.pduLeft == 0 {
		h, err := t.header(within, phase)
		if err != nil {
			return err
		}
		if h.Type == pdu.TypePDataTF && h.Length > t.maxPDU {
			return t.abort(ul.Evt19, pdu.ReasonInvalidParameter, fmt.Sprintf("P-DATA-TF of %d bytes where %d were agreed", h.Length, t.maxPDU))
		}
		a, err := t.take(h)
		if err != nil {
			return err
		}
		switch a {
		case ul.DT2, ul.AR6:
			t.pduLeft = h.Length
		case ul.AR2:
			if _, err := t.body(h, phase); err != nil {
				return err
			}
			return t.answerRelease()
		default:
			return t.abort(ul.Evt15, 0, fmt.Sprintf("%v where data was due", h.Type))
		}
	}
	if t.pduLeft < pdu.PDVHeaderSize {
		return t.invalid(&pdu.Error{Reason: pdu.ReasonInvalidParameter, What: fmt.Sprintf("%d bytes are left where a value should be", t.pduLeft)})
	}
	var b [pdu.PDVHeaderSize]byte
	if _, err := io.ReadFull(t.in, b[:]); err != nil {
		return t.broken(err, phase)
	}
	v, err := pdu.DecodePDV(b, t.pduLeft)
	if err != nil {
		return t.invalid(err)
	}
	t.pdv, t.pdvLeft = v, v.Length
	t.pduLeft -= pdu.PDVHeaderSize + v.Length
	return nil
}

func (t *transport) answerRelease() error {
	t.machine.Do(ul.Evt14)
	err := t.write(pdu.AReleaseRP)
	t.ended = errReleased
	if err == nil {
		t.linger()
	} else {
		t.Conn.Close()
	}
	return t.ended
}

// readCommand reads a whole command set. It waits as long as an association
// may be idle for the first byte, and as long as a message may pause after.
func (t *transport) readCommand() (contextID byte, c command, err error) {
	within, phase := t.times.Idle, "between messages"
	var b []byte
	for {
		if err := t.nextPDV(within, phase); err != nil {
			return 0, nil, err
		}
		if !t.pdv.Command || len(b) > 0 && t.pdv.ContextID != contextID {
			return 0, nil, t.abort(ul.Evt19, pdu.ReasonUnexpectedParameter, "data where a command was due")
		}
		contextID = t.pdv.ContextID
		if len(b)+int(t.pdvLeft) > maxCommand {
			return 0, nil, t.abort(ul.Evt19, pdu.ReasonInvalidParameter, fmt.Sprintf("a command set of more than %d bytes", maxCommand))
		}
		at := len(b)
		b = append(b, make([]byte, t.pdvLeft)...)
		if _, err := io.ReadFull(t.in, b[at:]); err != nil {
			return 0, nil, t.broken(err, phase)
		}
		t.pdvLeft = 0
		if t.pdv.Last {
			break
		}
		within, phase = t.times.Message, "inside a message"
	}
	c, err = decodeCommand(b)
	if err != nil {
		return 0, nil, t.abort(ul.Evt19, pdu.ReasonInvalidParameter, err.Error())
	}
	return contextID, c, nil
}

// dataSet is the data set of the message whose command was read, as a stream.
type dataSet struct {
	t         *transport
	contextID byte
	begun     bool
	done      bool
}

// Read returns io.ErrUnexpectedEOF when the peer breaks off.
func (d *dataSet) Read(p []byte) (int, error) {
	for !d.done && (!d.begun || d.t.pdvLeft == 0) {
		if d.begun && d.t.pdv.Last {
			d.done = true
			break
		}
		if err := d.t.nextPDV(d.t.times.Message, "inside a message"); err != nil {
			return 0, fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err)
		}
		if d.t.pdv.Command || d.t.pdv.ContextID != d.contextID {
			err := d.t.abort(ul.Evt19, pdu.ReasonUnexpectedParameter, "a command or another context inside a data set")
			return 0, fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err)
		}
		d.begun = true
	}
	if d.done {
		return 0, io.EOF
	}
	if d.t.ended != nil {
		return 0, fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, d.t.ended)
	}
	if uint32(len(p)) > d.t.pdvLeft {
		p = p[:d.t.pdvLeft]
	}
	n, err := d.t.in.Read(p)
	d.t.pdvLeft -= uint32(n)
	if err != nil {
		return n, fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, d.t.broken(err, "inside a message"))
	}
	return n, nil
}
