package dimse

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
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
// the state machine. One goroutine uses it; only drain, cut and wake
// come from others.
type transport struct {
	net.Conn
	in      *bufio.Reader
	machine ul.Machine
	times   Timeouts
	limits  Limits
	peerMax uint32 // what the peer takes; 0: anything
	left    uint32 // of the PDU that is being read
	pdvLeft uint32 // of the value that is being read, when that is a P-DATA-TF
	pdv     pdu.PDV
	ended   error // why the association is over, once it is

	// Deadlines are moved by the association and by others, who want to end its
	// waiting: mu keeps the association from setting a new one over theirs.
	mu       sync.Mutex
	expires  time.Time // nothing is read after it; zero: no such time
	resting  bool      // it waits for the first byte of a request or message
	draining bool      // it shall rest no more
	woken    bool      // it shall rest once less
	isCut    bool      // it shall wait for nothing more
	closing  bool      // it says its last words, which have their own deadline
}

func newTransport(c net.Conn, times Timeouts, limits Limits, buffer int) *transport {
	return &transport{Conn: c, in: bufio.NewReaderSize(quickly(c), buffer), times: times, limits: limits}
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

// wake ends a rest, now or when it would begin, so that something can be said
// in its place.
func (t *transport) wake() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.woken = true
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

// rest waits for the first byte of what the peer says next. A drain ends it, and
// with it the association; a wake ends it with errWoken, and nothing else.
func (t *transport) rest(by time.Time, phase string) error {
	t.mu.Lock()
	draining, woken := t.draining, t.woken
	t.woken = false
	if !draining && !woken && !t.isCut {
		t.resting = true
		t.SetReadDeadline(t.inTime(by))
	}
	t.mu.Unlock()
	switch {
	case draining:
		return t.broken(errDraining, phase)
	case woken:
		return errWoken
	}
	_, err := t.in.Peek(1)
	t.mu.Lock()
	t.resting = false
	draining = t.draining
	if err != nil {
		woken, t.woken = t.woken, false
	}
	t.mu.Unlock()
	switch {
	case err == nil:
		return nil
	case draining && errors.Is(err, os.ErrDeadlineExceeded):
		err = errDraining
	case woken && errors.Is(err, os.ErrDeadlineExceeded):
		return errWoken
	}
	return t.broken(err, phase)
}

// errWoken is a rest that was ended from this side.
var errWoken = errors.New("woken")

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
	return t.appendFragments(b, contextID, true, body)
}

// appendFragments appends a command set, or a data set that is held whole.
func (t *transport) appendFragments(b []byte, contextID byte, isCommand bool, body []byte) []byte {
	for {
		n := min(len(body), t.fragment(sendFragment))
		last := n == len(body)
		b = pdu.AppendPData(b, pdu.PDV{Length: uint32(n), ContextID: contextID, Command: isCommand, Last: last})
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
		// In Sta2 the table has AA-1, as service-user; but only a provider's reason is
		// significant (PS3.8 9.3.8), and it says what was wrong with the bytes.
		source = pdu.SourceProvider
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

// close begins the last words: from here nobody else moves the deadlines. It says
// whether this side wants to be gone.
func (t *transport) close() (hurried bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closing = true
	t.SetDeadline(time.Now().Add(t.times.Closing))
	return t.draining || t.isCut
}

// crossing is how long PDUs may still arrive that the peer sent before it had read
// our last words.
const crossing = 100 * time.Millisecond

// linger gives the peer a moment to read what was sent and to close, as ARTIM
// does in Sta13; then the transport is closed. What the peer still sends is read
// past: a close with bytes unread would take our last words from it. What crossed
// them is answered as the table says; then this side of the connection is closed,
// so that also a peer that waits for us to go first goes soon. When this side is
// in a hurry nothing is answered any more.
func (t *transport) linger() {
	defer t.Conn.Close()
	hurried := t.close()
	c, ok := t.Conn.(interface{ CloseWrite() error })
	if !ok {
		return // a connection in memory takes nothing back
	}
	end := time.Now().Add(t.times.Closing)
	if !hurried {
		t.SetReadDeadline(time.Now().Add(min(crossing, t.times.Closing)))
		if t.answerCrossing() {
			return
		}
	}
	c.CloseWrite()
	t.SetReadDeadline(end)
	io.Copy(io.Discard, t.in)
}

// answerCrossing takes what comes in Sta13, and reports whether the peer is gone.
// What the table answers with another A-ABORT (AA-7) is answered so once: to answer
// every PDU of a flood would be a flood of our own.
func (t *transport) answerCrossing() (gone bool) {
	answered := false
	again := func(e ul.Event, reason byte) {
		if t.machine.Do(e) == ul.AA7 && !answered {
			answered = true
			t.Conn.Write(pdu.AAbort{Source: pdu.SourceProvider, Reason: reason}.Encode())
		}
	}
	for {
		err := t.skip()
		var h pdu.Header
		if err == nil {
			h, err = t.readHeader()
		}
		var bad *pdu.Error
		switch {
		case errors.As(err, &bad):
			again(ul.Evt19, bad.Reason)
			t.left = math.MaxUint32 // what follows is no PDU either, as far as can be known
		case errors.Is(err, os.ErrDeadlineExceeded):
			return false
		case err != nil:
			t.machine.Do(ul.Evt17)
			return true
		case h.Type == pdu.TypeAAbort:
			t.machine.Do(ul.Evt16)
			return true
		default:
			again(receivedEvents[h.Type], pdu.ReasonUnexpectedPDU)
		}
	}
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
		t.ended = closed(err)
	}
	t.Conn.Close()
	return t.ended
}

// closed is errClosed with its cause, where there is more to say than that the
// bytes ended.
func closed(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errClosed
	}
	return fmt.Errorf("%w: %w", errClosed, refusedTLS(err))
}

// header reads the next PDU's header before a deadline, which holds for what is
// read after it as well.
func (t *transport) header(by time.Time, phase string) (pdu.Header, error) {
	if t.ended != nil {
		return pdu.Header{}, t.ended
	}
	t.readUntil(by)
	h, err := t.readHeader()
	var bad *pdu.Error
	switch {
	case errors.As(err, &bad):
		return h, t.invalid(err)
	case err != nil:
		return h, t.broken(err, phase)
	}
	return h, nil
}

// readHeader reads a PDU's header; a *pdu.Error means that it is none that can
// be taken.
func (t *transport) readHeader() (pdu.Header, error) {
	var b [pdu.HeaderSize]byte
	if n, err := io.ReadFull(t.in, b[:]); err != nil {
		if n > 0 {
			t.left = math.MaxUint32 // where the next PDU begins is not known any more
		}
		return pdu.Header{}, err
	}
	h, err := pdu.DecodeHeader(b)
	t.left, t.pdvLeft = h.Length, 0
	if err == nil && h.Type != pdu.TypePDataTF && h.Length > t.limits.Request {
		err = &pdu.Error{Reason: pdu.ReasonInvalidParameter, What: fmt.Sprintf("%v of %d bytes, of which %d are read", h.Type, h.Length, t.limits.Request)}
	}
	return h, err
}

// readFull reads a part of the PDU.
func (t *transport) readFull(b []byte) error {
	n, err := io.ReadFull(t.in, b)
	t.left -= uint32(n)
	return err
}

// skip reads past what is left of the PDU.
func (t *transport) skip() error {
	n, err := io.CopyN(io.Discard, t.in, int64(t.left))
	t.left -= uint32(n)
	return err
}

// body reads the rest of a PDU that is no P-DATA-TF.
func (t *transport) body(h pdu.Header, phase string) ([]byte, error) {
	b := make([]byte, h.Length)
	if err := t.readFull(b); err != nil {
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
	for t.left == 0 {
		h, err := t.header(by, phase)
		if err != nil {
			return err
		}
		if h.Type == pdu.TypePDataTF && h.Length > t.limits.PDU {
			return t.abort(ul.Evt19, pdu.ReasonInvalidParameter, fmt.Sprintf("P-DATA-TF of %d bytes where %d were agreed", h.Length, t.limits.PDU))
		}
		a, err := t.take(h)
		if err != nil {
			return err
		}
		switch a {
		case ul.DT2:
		case ul.AR2:
			if _, err := t.body(h, phase); err != nil {
				return err
			}
			return t.answerRelease()
		default:
			return t.abort(ul.Evt15, 0, fmt.Sprintf("%v where data was due", h.Type))
		}
	}
	if t.left < pdu.PDVHeaderSize {
		return t.invalid(&pdu.Error{Reason: pdu.ReasonInvalidParameter, What: fmt.Sprintf("%d bytes are left where a value should be", t.left)})
	}
	t.readUntil(by)
	var b [pdu.PDVHeaderSize]byte
	left := t.left
	if err := t.readFull(b[:]); err != nil {
		return t.broken(err, phase)
	}
	v, err := pdu.DecodePDV(b, left)
	if err != nil {
		return t.invalid(err)
	}
	t.pdv, t.pdvLeft = v, v.Length
	return nil
}

// readCommand reads a whole command set before a deadline, in however many
// fragments it comes.
func (t *transport) readCommand(by time.Time, phase string) (contextID byte, c command, err error) {
	var b []byte
	for fragments := 1; ; fragments++ {
		if err := t.nextPDV(by, phase); err != nil {
			return 0, nil, err
		}
		if !t.pdv.Command || len(b) > 0 && t.pdv.ContextID != contextID {
			return 0, nil, t.abort(ul.Evt19, pdu.ReasonUnexpectedParameter, "data where a command was due")
		}
		contextID = t.pdv.ContextID
		if uint64(len(b))+uint64(t.pdvLeft) > uint64(t.limits.Command) {
			return 0, nil, t.abort(ul.Evt19, pdu.ReasonInvalidParameter, fmt.Sprintf("a command set of more than %d bytes", t.limits.Command))
		}
		if fragments > t.limits.Fragments {
			return 0, nil, t.abort(ul.Evt19, pdu.ReasonInvalidParameter, fmt.Sprintf("a command set in more than %d fragments", t.limits.Fragments))
		}
		at := len(b)
		b = append(b, make([]byte, t.pdvLeft)...)
		if err := t.readFull(b[at:]); err != nil {
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

// respond answers a request. What is left of its data set is read past, so that
// the next message begins where it should.
func (t *transport) respond(contextID byte, cmd command, field, message uint16, data *dataSet, status Status) error {
	if _, err := io.Copy(io.Discard, data); err != nil {
		return t.ended
	}
	data.done = true // who kept it gets nothing of the next message
	class, instance := cmd.text(elAffectedSOPClass), cmd.text(elAffectedInstance)
	if class == "" {
		class = cmd.text(elRequestedSOPClass)
	}
	if instance == "" {
		instance = cmd.text(elRequestedInstance)
	}
	rsp := []commandElement{
		{elAffectedSOPClass, class}, {elCommandField, field | response},
		{elMessageIDResponded, message}, {elDataSetType, uint16(noDataSet)}, {elStatus, uint16(status)},
	}
	if instance != "" {
		rsp = append(rsp, commandElement{elAffectedInstance, instance})
	}
	for _, e := range []uint16{elEventType, elActionType} {
		if v, ok := cmd.number(e); ok {
			rsp = append(rsp, commandElement{e, v})
		}
	}
	if err := t.write(t.appendCommand(make([]byte, 0, 512), contextID, encodeCommand(rsp))); err != nil {
		return t.broken(err, "taking a response")
	}
	return nil
}

// inMessage is the phase after a message's first byte.
const inMessage = "inside a message"

// dataSet is the data set of the message whose command was read, as a stream.
type dataSet struct {
	t         *transport
	contextID byte
	begun     bool
	patience  time.Duration // how long the peer may still keep it waiting
	moved     bool          // something came since the peer's time was last renewed
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
		// It may begin in the PDU of its command: some peers pack them.
		if !d.begun || t.left == 0 && d.moved {
			d.patience, d.moved = t.times.Message, false
		}
		start := time.Now()
		if err := t.nextPDV(start.Add(d.patience), inMessage); err != nil {
			return 0, fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err)
		}
		d.patience -= time.Since(start)
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
		t.readUntil(start.Add(d.patience))
	}
	n, err := t.in.Read(p)
	if waits {
		d.patience -= time.Since(start)
	}
	t.pdvLeft -= uint32(n)
	t.left -= uint32(n)
	d.moved = d.moved || n > 0
	if err != nil {
		return n, fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, t.broken(err, inMessage))
	}
	return n, nil
}
