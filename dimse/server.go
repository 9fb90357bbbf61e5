package dimse

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/dimse/pdu"
	"github.com/pulmonode/pulmonode/dimse/ul"
)

// Handler decides on associations. Its Session gets what comes in.
type Handler interface {
	// Associate is called for each acceptable request. An error refuses: a
	// *Reject as it says, any other permanently without a reason.
	Associate(ctx context.Context, a *Association) (Session, error)
}

// Session is one association's receiver. Its methods are called one at a time. It
// may be a Committer and a CommitmentReceiver besides. Their context ends with the
// association, so it is not for what goes on after that, nor does a peer that
// breaks off end it: reading Data fails.
type Session interface {
	// Store takes one instance. The status it returns is the answer, so what it
	// calls a success must be kept by then. A panic is answered 0110H, and said to
	// nobody else: a Session logs its own faults.
	Store(ctx context.Context, r *StoreRequest) Status
	// End is called once, last.
	End(e End)
}

// Association is what is known of a peer and its request.
type Association struct {
	ID                  uint64 // counts from 1
	CallingAE, CalledAE string
	RemoteAddr          net.Addr
	TLS                 *tls.ConnectionState  // nil without TLS
	Contexts            []PresentationContext // what is answered; of storage commitment, once the Session is there and takes part in it
	UserIdentity        *pdu.UserIdentity     // who the peer says asks; nil: it does not say

	// IdentityResponse is for a Handler that verified UserIdentity to set: not nil,
	// it is the positive response where one was requested (PS3.7 D.3.3.7.2), empty for
	// types 1 and 2, else a Kerberos ticket, SAML response or JSON web token.
	IdentityResponse []byte

	conn *serverConn
}

// PresentationContext is one that was proposed, and what became of it.
type PresentationContext struct {
	ID             byte
	SOPClassUID    string
	Proposed       []string
	Result         byte   // PS3.8 9.3.3.2: 0 accepted, 3 abstract syntax, 4 transfer syntaxes
	TransferSyntax string // when accepted
}

// End says how an association ended.
type End struct {
	How How
	Err error // nil when released
}

// How an association ended.
type How int

func (h How) String() string {
	if h < Released || h > Broken {
		return "ended"
	}
	return [...]string{"released", "aborted", "broken"}[h]
}

// The ways to end.
const (
	Released How = iota // by A-RELEASE
	Aborted             // by A-ABORT, from either side: also when a deadline passed or the server shut down
	Broken              // the transport closed
)

// Reject refuses an association (PS3.8 9.3.4).
type Reject struct{ Result, Source, Reason byte }

func (r *Reject) Error() string {
	return fmt.Sprintf("association rejected (result %d, source %d, reason %d)", r.Result, r.Source, r.Reason)
}

// Rejections that the server gives by itself.
var (
	rejectContextName = &Reject{1, 1, 2}
	rejectCalledAE    = &Reject{1, 1, 7}
	rejectVersion     = &Reject{1, 2, 2}
	rejectLocalLimit  = &Reject{2, 3, 2}
	rejectNoReason    = &Reject{1, 1, 1}
)

// Server accepts associations. Set its fields before Serve.
type Server struct {
	AETitle          string   // that peers must call; "": any
	Handler          Handler  // required
	AbstractSyntaxes []string // SOP classes accepted besides Verification; nil: every storage class, and storage commitment, which a list must name too
	TransferSyntaxes []string // nil: Explicit and Implicit VR Little Endian
	Limits           Limits
	Timeouts         Timeouts
	TLS              *tls.Config // nil: plain

	// Refused, when not nil, hears of each request that the server rejects by
	// itself, before the Handler is asked: for the log.
	Refused func(a *Association, r *Reject)

	// NoRequest, when not nil, hears of each connection that failed before an
	// association request could be read: a TLS handshake that was refused, an
	// *AbortError where what came is no such request, or ErrTooManyConnections. Who
	// comes and says nothing is nothing to hear of. For the log, as Refused.
	NoRequest func(remote net.Addr, err error)

	// Fault, when not nil, hears of each panic, with its stack: of the Handler or a
	// Session, which costs one request or message, or of this package, which costs
	// one connection. a is nil before there is an association. For the log.
	Fault func(a *Association, panicked any, stack []byte)

	mu        sync.Mutex
	listeners map[net.Listener]bool
	conns     map[*serverConn]bool // every connection
	accepted  uint64               // how many there were
	open      int                  // those that are associations
	draining  bool
	running   sync.WaitGroup
	last      atomic.Uint64
}

// ErrServerClosed is what Serve returns as soon as Shutdown has begun.
var ErrServerClosed = errors.New("dimse: server closed")

// ErrTooManyConnections is why a connection was closed when Limits.Connections were
// open: the one that had waited longest without a request, else the newest.
var ErrTooManyConnections = errors.New("too many connections are open at once: find out who holds them, or raise the limit")

// Serve answers the peers of a listener until that is closed or Shutdown is called;
// a program that ends should then wait for Shutdown to return. Other errors of
// Accept, such as a want of descriptors, are waited out.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		l.Close()
		return ErrServerClosed
	}
	if s.listeners == nil {
		s.listeners, s.conns = map[net.Listener]bool{}, map[*serverConn]bool{}
	}
	s.listeners[l] = true
	s.mu.Unlock()
	defer func() {
		l.Close()
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
	}()
	for wait := time.Duration(0); ; {
		c, err := l.Accept()
		s.mu.Lock()
		draining := s.draining
		s.mu.Unlock()
		switch {
		case draining:
			if err == nil {
				c.Close()
			}
			return ErrServerClosed
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			// Out of descriptors and the like: it passes when peers leave.
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			time.Sleep(wait)
		default:
			wait = 0
			added, err := s.add(c)
			switch err {
			case nil:
				go added.serve()
			case ErrTooManyConnections:
				s.noRequest(c, err)
			}
		}
	}
}

// Shutdown stops accepting, lets each message that is being received finish and
// be answered, and closes the associations, by A-ABORT: a sender that is not done
// learns from it that the rest was not taken, and sends again. A-RELEASE-RQ would
// say that all is well, what crosses it has no answer, and most users of storage
// abort when they get one. When ctx ends first the connections are cut; it then
// waits for no peer, only for sessions to return.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	for l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		c.drain()
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { s.running.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		c.cancel()
		c.conn.Close()
	}
	s.mu.Unlock()
	<-done
	return ctx.Err()
}

// serverConn is one association on the server's side.
type serverConn struct {
	server   *Server
	conn     net.Conn // as accepted
	number   uint64   // counts from 1
	asked    bool     // its request has come; under the server's lock, as is
	evicted  bool     // closed to make room
	echo     []byte   // of its request
	a        *Association
	t        *transport // nil during a TLS handshake
	ctx      context.Context
	cancel   context.CancelFunc
	session  Session
	syntax   map[byte]*PresentationContext // accepted ones by ID
	message  uint16                        // the last of our own
	orders   orders
	reported *order // a report that has no answer yet

	// Storage commitment, as far as it was agreed.
	commitment *PresentationContext
	committer  Committer
	receiver   CommitmentReceiver
}

// drain ends the wait for a next message; one that is being received finishes.
func (c *serverConn) drain() {
	if c.t == nil {
		c.conn.Close()
		return
	}
	c.t.drain()
}

// add notes a connection. One too many is closed, as is who comes during a
// shutdown.
func (s *Server) add(conn net.Conn) (*serverConn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		conn.Close()
		return nil, ErrServerClosed
	case len(s.conns) >= s.Limits.withDefaults().Connections && !s.evict():
		conn.Close()
		return nil, ErrTooManyConnections
	}
	s.accepted++
	c := &serverConn{server: s, conn: conn, number: s.accepted, syntax: map[byte]*PresentationContext{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	s.conns[c] = true
	s.running.Add(1)
	return c, nil
}

// evict closes the connection that has waited longest without a request, so that
// those who connect and say nothing keep nobody out who does ask.
func (s *Server) evict() bool {
	var oldest *serverConn
	for c := range s.conns {
		if !c.asked && !c.evicted && (oldest == nil || c.number < oldest.number) {
			oldest = c
		}
	}
	if oldest == nil {
		return false
	}
	oldest.evicted = true
	oldest.conn.Close()
	return true
}

func (s *Server) remove(c *serverConn) {
	c.cancel()
	c.conn.Close()
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.running.Done()
}

// begin gives a connection its transport, or says that the server shuts down.
func (s *Server) begin(c *serverConn, t *transport) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.t = t
	return !s.draining
}

// enter takes one of the places that Limits.Associations gives.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining || s.open >= s.Limits.withDefaults().Associations {
		return false
	}
	s.open++
	return true
}

func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
}

// serve answers one connection from its beginning to its end.
func (c *serverConn) serve() {
	s, conn := c.server, c.conn
	defer s.remove(c)
	defer func() {
		if p := recover(); p != nil {
			s.fault(c.a, p) // of this package: it costs this connection, and no other
		}
	}()
	if t, ok := conn.(*net.TCPConn); ok {
		t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: keepAlive, Interval: keepAlive / 3})
	}
	var state *tls.ConnectionState
	times := s.Timeouts.withDefaults()
	if s.TLS != nil {
		secure := tls.Server(quickly(conn), s.TLS)
		secure.SetDeadline(time.Now().Add(times.Request))
		if err := secure.Handshake(); err != nil {
			s.noRequest(conn, err)
			return
		}
		secure.SetDeadline(time.Time{})
		cs := secure.ConnectionState()
		conn, state = secure, &cs
	}
	t := newTransport(conn, times, s.Limits.withDefaults(), readBuffer)
	t.expires = time.Now().Add(times.Whole)
	if !s.begin(c, t) {
		return
	}
	rq := c.request()
	s.mu.Lock()
	c.asked = rq != nil
	evicted := c.evicted
	s.mu.Unlock()
	switch {
	case evicted:
		s.noRequest(conn, ErrTooManyConnections)
	case rq != nil:
		c.associate(rq, state)
	case errors.As(t.ended, new(*AbortError)):
		s.noRequest(conn, t.ended)
	}
}

func (s *Server) noRequest(c net.Conn, err error) {
	if s.NoRequest != nil {
		s.NoRequest(c.RemoteAddr(), err)
	}
}

func endOf(err error) End {
	var abort *AbortError
	switch {
	case errors.Is(err, errReleased), errors.Is(err, errReleasedByUs):
		return End{How: Released}
	case errors.As(err, &abort):
		return End{Aborted, err}
	default:
		return End{Broken, err}
	}
}

// request reads the association request; nil: the connection is over.
func (c *serverConn) request() *pdu.AAssociate {
	t := c.t
	t.machine.Do(ul.Evt5)
	const phase = "before its association request"
	artim := time.Now().Add(t.times.Request)
	if t.rest(artim, phase) != nil {
		return nil
	}
	h, err := t.header(artim, phase)
	if err != nil {
		return nil
	}
	if h.Type != pdu.TypeAAssociateRQ {
		t.take(h) // the table says abort, or close
		return nil
	}
	body, err := t.body(h, phase)
	if err != nil {
		return nil
	}
	rq, err := t.limits.bounds().DecodeAAssociate(h.Type, body)
	if err == nil {
		err = checkContexts(rq)
	}
	if err != nil {
		t.invalid(err)
		return nil
	}
	t.machine.Do(ul.Evt6)
	c.echo = body
	return rq
}

// associate answers the request, and then the messages.
func (c *serverConn) associate(rq *pdu.AAssociate, state *tls.ConnectionState) {
	t := c.t
	a := &Association{ID: c.server.last.Add(1), CallingAE: rq.CallingAE, CalledAE: rq.CalledAE, RemoteAddr: t.RemoteAddr(), TLS: state, UserIdentity: rq.UserIdentity, conn: c}
	c.a = a
	defer c.quiet()
	a.Contexts = c.server.negotiate(rq)
	reject := c.server.refuses(rq)
	own := reject != nil
	if reject == nil {
		if c.server.enter() {
			defer c.server.leave()
			reject = c.ask(a)
		} else {
			reject, own = rejectLocalLimit, true
		}
	}
	if own && c.server.Refused != nil {
		c.server.Refused(a, reject)
	}
	if reject != nil {
		t.machine.Do(ul.Evt8)
		if t.write(pdu.AAssociateRJ{Result: reject.Result, Source: reject.Source, Reason: reject.Reason}.Encode()) == nil {
			t.linger()
		}
		return
	}
	err := c.converse(rq)
	c.quiet() // before End, which may wait for who reports
	c.end(endOf(err))
}

// converse carries the association to its end. The session hears of the end also
// when this package is at fault.
func (c *serverConn) converse(rq *pdu.AAssociate) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.server.fault(c.a, p)
			c.conn.Close()
			err = fmt.Errorf("a fault of the program: %v", p)
		}
	}()
	roles := c.agreeCommitment(rq, c.a)
	if err := c.accept(rq, c.a, roles); err != nil {
		return err
	}
	return c.messages()
}

func (s *Server) fault(a *Association, panicked any) {
	if s.Fault != nil {
		s.Fault(a, panicked, debug.Stack())
	}
}

// ask leaves the decision to the handler.
func (c *serverConn) ask(a *Association) (reject *Reject) {
	defer func() {
		if p := recover(); p != nil {
			c.server.fault(a, p)
			reject = rejectNoReason // the other associations go on
		}
	}()
	session, err := c.server.Handler.Associate(c.ctx, a)
	switch {
	case errors.As(err, &reject):
		return reject
	case err != nil || session == nil:
		return rejectNoReason
	}
	c.session = session
	return nil
}

func (c *serverConn) end(e End) {
	defer func() {
		if p := recover(); p != nil {
			c.server.fault(c.a, p)
		}
	}()
	c.session.End(e)
}

// accept sends the A-ASSOCIATE-AC.
func (c *serverConn) accept(rq *pdu.AAssociate, a *Association, roles []pdu.Role) error {
	t := c.t
	t.peerMax = rq.MaxLength
	ac := &pdu.AAssociate{Accept: true, ProtocolVersion: 1, CalledAE: rq.CalledAE, CallingAE: rq.CallingAE, ApplicationContext: pdu.ApplicationContext,
		MaxLength: t.limits.PDU, Roles: roles, ImplementationUID: ImplementationClassUID, ImplementationVersion: ImplementationVersion}
	for i := range a.Contexts {
		p := &a.Contexts[i]
		ts := p.TransferSyntax
		if p.Result == pdu.Acceptance {
			c.syntax[p.ID] = p
		} else if len(p.Proposed) > 0 {
			ts = p.Proposed[0] // not significant, but present (PS3.8 9.3.3.2)
		}
		ac.Contexts = append(ac.Contexts, pdu.PresentationContext{ID: p.ID, Result: p.Result, TransferSyntaxes: []string{ts}})
	}
	if rq.Asynchronous != nil {
		ac.Asynchronous = &[2]uint16{1, 1}
	}
	if u := rq.UserIdentity; u != nil && u.ResponseRequested {
		ac.IdentityResponse = a.IdentityResponse
	}
	acceptance, err := ac.Encode()
	if err != nil { // an identity response that is longer than the PDU can be
		return t.abort(ul.Evt15, 0, err.Error())
	}
	pdu.Echo(acceptance, c.echo)
	c.echo = nil
	t.machine.Do(ul.Evt7)
	if err := t.write(acceptance); err != nil {
		return t.broken(err, "taking the answer to its association request")
	}
	return nil
}

// checkContexts holds the presentation contexts' IDs against PS3.8 9.3.2.2, and
// the maximum length against what must fit into it.
func checkContexts(rq *pdu.AAssociate) error {
	if leavesNoRoom(rq.MaxLength) {
		return &pdu.Error{Reason: pdu.ReasonInvalidParameter, What: fmt.Sprintf("a maximum length of %d bytes, into which nothing fits", rq.MaxLength)}
	}
	if len(rq.Contexts) == 0 {
		return &pdu.Error{Reason: pdu.ReasonInvalidParameter, What: "no presentation context"}
	}
	var seen [256]bool
	for _, p := range rq.Contexts {
		if p.ID%2 == 0 || seen[p.ID] {
			return &pdu.Error{Reason: pdu.ReasonInvalidParameter, What: fmt.Sprintf("presentation context ID %d is even or used twice", p.ID)}
		}
		seen[p.ID] = true
	}
	return nil
}

// refuses is what the server rejects before the handler is asked.
func (s *Server) refuses(rq *pdu.AAssociate) *Reject {
	switch {
	case rq.ProtocolVersion&1 == 0:
		return rejectVersion
	case rq.ApplicationContext != pdu.ApplicationContext:
		return rejectContextName
	case s.AETitle != "" && rq.CalledAE != s.AETitle:
		return rejectCalledAE
	case !isTitle(rq.CallingAE):
		return rejectCallingAE
	}
	return nil
}

// negotiate answers each proposed context: the peer's first transfer syntax
// among what is taken.
func (s *Server) negotiate(rq *pdu.AAssociate) []PresentationContext {
	taken := s.TransferSyntaxes
	if taken == nil {
		taken = []string{dataset.ExplicitLE, dataset.ImplicitLE}
	}
	out := make([]PresentationContext, len(rq.Contexts))
	for i, p := range rq.Contexts {
		c := PresentationContext{ID: p.ID, SOPClassUID: p.AbstractSyntax, Proposed: p.TransferSyntaxes}
		syntaxes := taken
		if p.AbstractSyntax == dataset.Verification || p.AbstractSyntax == dataset.StorageCommitmentPush {
			syntaxes = []string{dataset.ExplicitLE, dataset.ImplicitLE}
		}
		at := slices.IndexFunc(p.TransferSyntaxes, func(ts string) bool { return slices.Contains(syntaxes, ts) })
		switch {
		case !s.serves(p.AbstractSyntax):
			c.Result = pdu.AbstractSyntaxNotSupported
		case at < 0:
			c.Result = pdu.TransferSyntaxesUnsupported
		default:
			c.TransferSyntax = p.TransferSyntaxes[at]
		}
		out[i] = c
	}
	return out
}

func (s *Server) serves(class string) bool {
	if class == dataset.Verification {
		return true
	}
	if s.AbstractSyntaxes == nil {
		return isStorage(class) || class == dataset.StorageCommitmentPush
	}
	return slices.Contains(s.AbstractSyntaxes, class)
}

// messages answers one message after the other until the association ends.
func (c *serverConn) messages() error {
	t := c.t
	for {
		if err := c.say(); err != nil {
			return err
		}
		err := t.rest(time.Now().Add(t.times.Idle), "between messages")
		if err == errWoken {
			continue
		}
		if err != nil {
			return err
		}
		id, cmd, err := t.readCommand(time.Now().Add(t.times.Message), inMessage)
		if err != nil {
			return err
		}
		if err := c.answer(id, cmd); err != nil {
			return err
		}
	}
}

// answer carries out one message.
func (c *serverConn) answer(id byte, cmd command) error {
	t := c.t
	context, ok := c.syntax[id]
	if !ok {
		return t.abort(ul.Evt19, pdu.ReasonInvalidParameter, fmt.Sprintf("a message on presentation context %d, which was not accepted", id))
	}
	field, ok := cmd.number(elCommandField)
	if !ok {
		return t.abort(ul.Evt19, pdu.ReasonInvalidParameter, "a command without Command Field")
	}
	if field == cCancelRQ {
		return nil // nothing here can be cancelled
	}
	if field == nEventReportRSP && c.committer != nil {
		c.reply(cmd)
		data := &dataSet{t: t, contextID: id, done: !cmd.hasDataSet()} // an event reply, of which nothing is defined
		if _, err := io.Copy(io.Discard, data); err != nil {
			return t.ended
		}
		return nil
	}
	message, ok := cmd.number(elMessageID)
	if !ok || field&response != 0 {
		return t.abort(ul.Evt19, pdu.ReasonInvalidParameter, fmt.Sprintf("command %04X without Message ID, or a response where a request was due", field))
	}
	data := &dataSet{t: t, contextID: id, done: !cmd.hasDataSet()}
	status := UnrecognizedOperation
	switch class := context.SOPClassUID; {
	case class == dataset.Verification:
		if field == cEchoRQ {
			status = Success
		}
	case class == dataset.StorageCommitmentPush:
		switch {
		case field == nActionRQ && c.committer != nil:
			status = c.commit(context, cmd, data)
		case field == nEventReportRQ && c.receiver != nil:
			status = t.result(context, cmd, data, c.committed)
		}
	case field == cStoreRQ:
		status = c.store(context, message, cmd, data)
	}
	return t.respond(id, cmd, field, message, data, status)
}

// guarded calls a session. When it panics the association goes on.
func (c *serverConn) guarded(do func() Status) (status Status) {
	defer func() {
		if p := recover(); p != nil {
			c.server.fault(c.a, p)
			status = ProcessingFailure
		}
	}()
	return do()
}
