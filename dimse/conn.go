package dimse

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/pulmonode/pulmonode/dimse/pdu"
	"github.com/pulmonode/pulmonode/dimse/ul"
)

// readBuffer holds what the peer sends ahead; fragments larger than it are read
// past it, straight to where they go.
const readBuffer = 64 << 10

// sendFragment bounds a fragment of what is sent, and with it the buffer that a
// sending association holds.
const sendFragment = 128 << 10

// transport is one association's connection: PDUs in and out, each an event of
// the state machine. One goroutine uses it; only drain and cut come from others.
type transport struct {
	net.Conn
	in       *bufio.Reader
	machine  ul.Machine
	times    Timeouts
	maxPDU   uint32 // what we offered
	peerMax  uint32 // what the peer takes; 0: anything
	pduLeft  uint32 // of the P-DATA-TF that is being read
	pdvLeft  uint32 // of its value that is being read
	pdv      pdu.PDV
	patience time.Duration // how long the peer may still keep a data set waiting
	ended    error         // why the association is over, once it is

	// Deadlines are moved by the association and by others, who want to end its
	// waiting: mu keeps the association from setting a new one over theirs.
	mu       sync.Mutex
	expires  time.Time // nothing is read after it; zero: no such time
	resting  bool      // it waits for the first byte of a request or message
	draining bool      // it shall rest no more
	isCut    bool      // it shall wait for nothing more
	closing  bool      // it says its last words, which have their own deadline
}

func newTransport(c net.Conn, times Timeouts, maxPDU uint32, buffer int) *transport {
	return &transport{Conn: c, in: bufio.NewReaderSize(quickly(c), buffer), times: times, maxPDU: maxPDU}
}

// past is a deadline that ends what waits.
var past = time.Unix(1, 0)

// drain ends a rest, now or when it would begin. A message that has begun to
// arrive finishes.
func (t *transport) drain() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.draining = true
	if t.resting {
		t.SetReadDeadline(past)
	}
}

// cut ends every wait, now and later.
func (t *transport) cut() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.isCut = true
	if !t.closing {
		t.SetDeadline(past)
	}
}

// mend takes a cut back that came when nothing waited any more.
func (t *transport) mend() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.isCut = false
}

func (t *transport) wasCut() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.isCut
}

// readUntil sets the deadline of what is read next.
func (t *transport) readUntil(by time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.isCut {
		t.SetReadDeadline(t.inTime(by))
	}
}

func (t *transport) inTime(by time.Time) time.Time {
	if !t.expires.IsZero() && by.After(t.expires) {
		return t.expires
	}
	return by
}

// rest waits for the first byte of what the peer says next. A drain ends it.
func (t *transport) rest(by time.Time, phase string) error {
	t.mu.Lock()
	draining := t.draining
	if !draining && !t.isCut {
		t.resting = true
		t.SetReadDeadline(t.inTime(by))
	}
	t.mu.Unlock()
	if draining {
		return t.broken(errDraining, phase)
	}
	_, err := t.in.Peek(1)
	t.mu.Lock()
	t.resting = false
	draining = t.draining
	t.mu.Unlock()
	if err == nil {
		return nil
	}
	if draining && errors.Is(err, os.ErrDeadlineExceeded) {
		err = errDraining
	}
	return t.broken(err, phase)
}

// Errors of an association that is over.
var (
	errReleased = errors.New("the peer released the association")
	errClosed   = errors.New("the peer closed the connection without releasing the association")
	errDraining = errors.New("the server shuts down")
	errSilent   = errors.New("the peer connected and did not ask for an association in time")
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
	t.mu.Lock()
	if !t.isCut {
		t.SetWriteDeadline(time.Now().Add(t.times.Write))
	}
	t.mu.Unlock()
	buffers := net.Buffers(b)
	_, err := buffers.WriteTo(t.Conn)
	return err
}

// fragment is how much of a command or data set goes into one PDU: what the peer
// takes, and no more than limit. An even number (PS3.8 E.1).
func (t *transport) fragment(limit int) int {
	if t.peerMax != 0 {
		limit = min(limit, int(t.peerMax)-pdu.PDVHeaderSize)
	}
	return limit &^ 1
}

// leavesNoRoom reports whether not even two bytes fit into a PDU of a maximum
// length, so that nothing can be said to the peer.
func leavesNoRoom(maxLength uint32) bool { return maxLength != 0 && maxLength < pdu.PDVHeaderSize+2 }

// appendCommand appends a command set in as many P-DATA-TF as the peer's maximum
// length makes of it.
func (t *transport) appendCommand(b []byte, contextID byte, body []byte) []byte {
	for {
		n := min(len(body), t.fragment(maxCommand))
		last := n == len(body)
		b = pdu.AppendPData(b, pdu.PDV{Length: uint32(n), ContextID: contextID, Command: true, Last: last})
		b, body = append(b, body[:n]...), body[n:]
		if last {
			return b
		}
	}
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
	t.close()
	t.Conn.Write(pdu.AAbort{Source: source, Reason: reason}.Encode()) // the association is over whether it arrives or not
	t.linger()
	return t.ended
}

// close begins the last words: from here nobody else moves the deadlines.
func (t *transport) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closing = true
	t.SetDeadline(time.Now().Add(t.times.Closing))
}

// linger gives the peer a moment to read what was sent and to close, as ARTIM
// does in Sta13; then the transport is closed. What the peer still sends is read
// past: a close with bytes unread would take our last words from it.
func (t *transport) linger() {
	t.close()
	if c, ok := t.Conn.(interface{ CloseWrite() error }); ok {
		c.CloseWrite()
		io.Copy(io.Discard, t.Conn)
	}
	t.Conn.Close()
}

// broken is what a failed read or write means: the peer has gone, or was silent
// for too long, or we were told to wait no longer.
func (t *transport) broken(err error, phase string) error {
	if t.ended != nil {
		return t.ended
	}
	late := errors.Is(err, os.ErrDeadlineExceeded)
	switch {
	case (late || err == errDraining) && t.machine.State() == ul.Sta2:
		// ARTIM, or as good as: the table closes without a word.
		t.machine.Do(ul.Evt18)
		t.ended = errSilent
	case err == errDraining:
		return t.abort(ul.Evt15, 0, err.Error())
	case late && t.wasCut():
		return t.abort(ul.Evt15, 0, "given up by this side")
	case late:
		return t.abort(ul.Evt15, 0, "the peer was silent too long "+phase)
	default:
		t.machine.Do(ul.Evt17)
		t.ended = errClosed
	}
	t.Conn.Close()
	return t.ended
}

// header reads the next PDU's header before a deadline, which holds for what is
// read after it as well.
func (t *transport) header(by time.Time, phase string) (pdu.Header, error) {
	if t.ended != nil {
		return pdu.Header{}, t.ended
	}
	t.readUntil(by)
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
// answered here and is errReleased. What is buffered after the end is not looked
// at: the machine has no event for it.
func (t *transport) nextPDV(by time.Time, phase string) error {
	if t.ended != nil {
		return t.ended
	}
	for t.pduLeft == 0 {
		h, err := t.header(by, phase)
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
	t.readUntil(by)
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

// readCommand reads a whole command set before a deadline, in however many
// fragments it comes.
func (t *transport) readCommand(by time.Time, phase string) (contextID byte, c command, err error) {
	var b []byte
	for {
		if err := t.nextPDV(by, phase); err != nil {
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
	}
	c, err = decodeCommand(b)
	if err != nil {
		return 0, nil, t.abort(ul.Evt19, pdu.ReasonInvalidParameter, err.Error())
	}
	return contextID, c, nil
}

// inMessage is the phase after a message's first byte.
const inMessage = "inside a message"

// dataSet is the data set of the message whose command was read, as a stream.
type dataSet struct {
	t         *transport
	contextID byte
	begun     bool
	moved     bool // something came since the peer's time was last renewed
	done      bool
}

// Read returns io.ErrUnexpectedEOF when the peer breaks off. The deadline of a
// PDU counts the time that the peer keeps us waiting, not the time between reads,
// which is the session's own; and it is renewed by data, not by empty fragments.
func (d *dataSet) Read(p []byte) (int, error) {
	t := d.t
	for !d.done && (!d.begun || t.pdvLeft == 0) {
		if d.begun && t.pdv.Last {
			d.done = true
			break
		}
		if t.pduLeft == 0 && (d.moved || !d.begun) {
			t.patience, d.moved = t.times.Message, false
		}
		start := time.Now()
		if err := t.nextPDV(start.Add(t.patience), inMessage); err != nil {
			return 0, fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err)
		}
		t.patience -= time.Since(start)
		if t.pdv.Command || t.pdv.ContextID != d.contextID {
			err := t.abort(ul.Evt19, pdu.ReasonUnexpectedParameter, "a command or another context inside a data set")
			return 0, fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err)
		}
		d.begun = true
	}
	if d.done {
		return 0, io.EOF
	}
	if t.ended != nil {
		return 0, fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, t.ended)
	}
	if uint32(min(len(p), 1<<30)) > t.pdvLeft {
		p = p[:t.pdvLeft]
	}
	var start time.Time
	waits := t.in.Buffered() == 0
	if waits {
		start = time.Now()
		t.readUntil(start.Add(t.patience))
	}
	n, err := t.in.Read(p)
	if waits {
		t.patience -= time.Since(start)
	}
	t.pdvLeft -= uint32(n)
	d.moved = d.moved || n > 0
	if err != nil {
		return n, fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, t.broken(err, inMessage))
	}
	return n, nil
}
