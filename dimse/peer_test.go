package dimse

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/dimse/pdu"
)

// Nothing of any association is left when it is over.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patient bounds what a test waits for that comes at once when all is well.
const patient = 20 * time.Second

const (
	verificationUID = dataset.Verification
	ct              = dataset.CTImage
	mr              = "1.2.840.10008.5.1.4.1.1.4"
	explicit        = dataset.ExplicitLE
	implicit        = dataset.ImplicitLE
)

func join(parts ...[]byte) []byte { return slices.Concat(parts...) }

// associateRQ is a request of CASE to PULMONODE: context 1 for Verification,
// context 3 for CT images.
func associateRQ(t testing.TB, change func(*pdu.AAssociate)) []byte {
	t.Helper()
	rq := &pdu.AAssociate{
		ProtocolVersion: 1, CalledAE: "PULMONODE", CallingAE: "CASE", ApplicationContext: pdu.ApplicationContext,
		Contexts: []pdu.PresentationContext{
			{ID: 1, AbstractSyntax: verificationUID, TransferSyntaxes: []string{implicit}},
			{ID: 3, AbstractSyntax: ct, TransferSyntaxes: []string{explicit, implicit}},
		},
		MaxLength: 16384, ImplementationUID: "1.2.3.4",
	}
	if change != nil {
		change(rq)
	}
	b, err := rq.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// associateAC is the answer to associateRQ.
func associateAC(t testing.TB, change func(*pdu.AAssociate)) []byte {
	t.Helper()
	ac := &pdu.AAssociate{
		Accept: true, ProtocolVersion: 1, CalledAE: "PULMONODE", CallingAE: "CASE", ApplicationContext: pdu.ApplicationContext,
		Contexts: []pdu.PresentationContext{
			{ID: 1, TransferSyntaxes: []string{implicit}},
			{ID: 3, TransferSyntaxes: []string{explicit}},
		},
		MaxLength: DefaultMaxPDU, ImplementationUID: ImplementationClassUID, ImplementationVersion: ImplementationVersion,
	}
	if change != nil {
		change(ac)
	}
	b, err := ac.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func rejected(result, source, reason byte) []byte {
	return pdu.AAssociateRJ{Result: result, Source: source, Reason: reason}.Encode()
}

func aborted(source, reason byte) []byte { return pdu.AAbort{Source: source, Reason: reason}.Encode() }

// Message control headers (PS3.8 E.2).
const (
	dataMore    = 0
	commandMore = 1
	dataLast    = 2
	commandLast = 3
)

// value is a presentation data value; pData is the P-DATA-TF around some.
func value(contextID, control byte, b []byte) []byte {
	return join(binary.BigEndian.AppendUint32(nil, uint32(len(b)+2)), []byte{contextID, control}, b)
}

func pData(values ...[]byte) []byte {
	all := join(values...)
	return join([]byte{4, 0}, binary.BigEndian.AppendUint32(nil, uint32(len(all))), all)
}

// message is a command set in one P-DATA-TF.
func message(contextID byte, elements ...commandElement) []byte {
	return pData(value(contextID, commandLast, encodeCommand(elements)))
}

func echoRQ(id uint16) []byte {
	return message(1, commandElement{elAffectedSOPClass, verificationUID}, commandElement{elCommandField, uint16(cEchoRQ)},
		commandElement{elMessageID, id}, commandElement{elDataSetType, uint16(noDataSet)})
}

func echoRSP(id uint16) []byte {
	return message(1, commandElement{elAffectedSOPClass, verificationUID}, commandElement{elCommandField, uint16(cEchoRSP)},
		commandElement{elMessageIDResponded, id}, commandElement{elDataSetType, uint16(noDataSet)}, commandElement{elStatus, uint16(0)})
}

// storeCommand is the command set of a C-STORE-RQ for instance 1.2.3.
func storeCommand(id uint16) []byte {
	return encodeCommand([]commandElement{{elAffectedSOPClass, ct}, {elCommandField, uint16(cStoreRQ)}, {elMessageID, id},
		{elPriority, uint16(0)}, {elDataSetType, uint16(1)}, {elAffectedInstance, "1.2.3"}})
}

func storeRQ(id uint16) []byte { return pData(value(3, commandLast, storeCommand(id))) }

func storeRSP(id uint16, status Status) []byte {
	return message(3, commandElement{elAffectedSOPClass, ct}, commandElement{elCommandField, uint16(cStoreRSP)},
		commandElement{elMessageIDResponded, id}, commandElement{elDataSetType, uint16(noDataSet)}, commandElement{elStatus, uint16(status)},
		commandElement{elAffectedInstance, "1.2.3"})
}

// handler is a node that remembers. CASE's ends go to ends.
type handler struct {
	store   func(context.Context, *StoreRequest) Status // nil: reads all, success
	ends    chan End
	halfway chan bool // a bystander's first bytes were read
	decide  func()    // nil: at once; called for CASE

	mu     sync.Mutex
	stored []string // data sets of CASE
	last   *StoreRequest
	asked  *Association
}

func newHandler() *handler {
	return &handler{ends: make(chan End, 64), halfway: make(chan bool, 64)}
}

func (h *handler) Associate(_ context.Context, a *Association) (Session, error) {
	if h.decide != nil && a.CallingAE == "CASE" {
		h.decide()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = a
	switch a.CallingAE {
	case "STRANGER":
		return nil, &Reject{1, 1, 3}
	case "UNLUCKY":
		return nil, errors.New("no")
	case "NOBODY":
		return nil, nil
	case "POISON":
		panic("a handler's fault")
	}
	return &session{h, a.CallingAE == "CASE"}, nil
}

type session struct {
	h      *handler
	isCase bool
}

func (s *session) Store(ctx context.Context, r *StoreRequest) Status {
	if s.isCase && s.h.store != nil {
		return s.h.store(ctx, r)
	}
	if !s.isCase {
		var half [len(firstHalf)]byte
		if _, err := io.ReadFull(r.Data, half[:]); err != nil || string(half[:]) != firstHalf {
			return CannotUnderstand
		}
		select {
		case s.h.halfway <- true:
		default: // nobody waits for it
		}
		if b, err := io.ReadAll(r.Data); err != nil || strings.TrimLeft(string(b), ".") != secondHalf { // dots: see timed
			return CannotUnderstand
		}
		return Success
	}
	b, err := io.ReadAll(r.Data)
	if err != nil {
		return ProcessingFailure
	}
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.h.stored, s.h.last = append(s.h.stored, string(b)), r
	return Success
}

func (s *session) End(e End) {
	if s.isCase {
		s.h.ends <- e
	}
}

// start runs a server on loopback until the test ends.
func start(t testing.TB, s *Server) string {
	t.Helper()
	return startOn(t, s, listen(t))
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func startOn(t testing.TB, s *Server, l net.Listener) string {
	t.Helper()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patient)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != ErrServerClosed {
			t.Errorf("Serve returned %v", err)
		}
	})
	return l.Addr().String()
}

// narrow is a listener whose connections hold little of what is written, so that
// a peer that does not read is soon felt.
type narrow struct{ net.Listener }

func (l narrow) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		err = c.(*net.TCPConn).SetWriteBuffer(4096)
	}
	return c, err
}

// peer is the other end, in bytes.
type peer struct {
	t testing.TB
	net.Conn
}

func connect(t testing.TB, address string) *peer {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patient))
	return &peer{t, c}
}

func (p *peer) send(parts ...[]byte) {
	p.t.Helper()
	if _, err := p.Write(join(parts...)); err != nil {
		p.t.Errorf("sending: %v", err)
	}
}

// expect reads exactly these bytes.
func (p *peer) expect(what string, parts ...[]byte) {
	p.t.Helper()
	want := join(parts...)
	got := make([]byte, len(want))
	n, err := io.ReadFull(p, got)
	if !bytes.Equal(got[:n], want) {
		p.t.Errorf("%s: got\n%swant\n%s%v", what, hex.Dump(got[:n]), hex.Dump(want), err)
	}
}

// expectEnd reads exactly these bytes and then the end of the connection, which
// after last words is for the peer to close (PS3.8 9.2.2: AA-3, AR-3).
func (p *peer) expectEnd(what string, parts ...[]byte) {
	p.t.Helper()
	want := join(parts...)
	got := make([]byte, len(want))
	n, err := io.ReadFull(p, got)
	got = got[:n]
	if c, ok := p.Conn.(*net.TCPConn); ok && n > 0 {
		c.CloseWrite()
	}
	if err == nil {
		var more []byte
		more, err = io.ReadAll(p)
		got = append(got, more...)
	}
	if !bytes.Equal(got, want) || err != nil {
		p.t.Errorf("%s: got\n%swant\n%s%v", what, hex.Dump(got), hex.Dump(want), err)
	}
}

// pdu reads one PDU whole.
func (p *peer) pdu() (pdu.Type, []byte) {
	var header [pdu.HeaderSize]byte
	if _, err := io.ReadFull(p, header[:]); err != nil {
		return 0, nil
	}
	b := make([]byte, binary.BigEndian.Uint32(header[2:]))
	if _, err := io.ReadFull(p, b); err != nil {
		return 0, nil
	}
	return pdu.Type(header[0]), b
}

func (p *peer) hangUp() {
	p.t.Helper()
	if err := p.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		p.t.Error(err)
	}
}

// bystander is an association in the middle of a C-STORE: half of its data set
// was sent, and read by the session. Whatever befalls the others, finish finds it
// undisturbed.
type bystander struct {
	*peer
	before uint64 // what had been allocated when it was in the middle
}

const firstHalf, secondHalf = "half ", "done"

func newBystander(t testing.TB, h *handler, address string) bystander {
	t.Helper()
	return connect(t, address).standBy(h)
}

// standBy makes a peer a bystander.
func (b *peer) standBy(h *handler) bystander {
	b.t.Helper()
	b.send(associateRQ(b.t, func(a *pdu.AAssociate) { a.CallingAE = "BYSTANDER" }))
	b.expect("the bystander's acceptance", associateAC(b.t, func(a *pdu.AAssociate) { a.CallingAE = "BYSTANDER" }))
	b.send(storeRQ(1), pData(value(3, dataMore, []byte(firstHalf))))
	<-h.halfway
	return bystander{b, allocated()}
}

// finishWithin is finish, and complains if what befell the others cost more than
// this many bytes of memory.
func (b bystander) finishWithin(most int) {
	b.t.Helper()
	b.finish()
	if cost := allocated() - b.before; cost > uint64(most) {
		b.t.Errorf("it cost %d bytes of memory, more than %d", cost, most)
	}
}

func (b bystander) finish() {
	b.t.Helper()
	b.send(pData(value(3, dataLast, []byte(secondHalf))))
	b.expect("the bystander's response", storeRSP(1, Success))
	b.send(pdu.AReleaseRQ)
	b.expect("the bystander's release", pdu.AReleaseRP)
	b.Close()
}

// situation is what a peer sends from its connection to its hanging up, all that
// it gets, and how its session ends.
type situation struct {
	name string
	sent []byte
	got  []byte
	end  How
}

// noSession is the end of what never became an association.
const noSession = How(255)

// play puts a running server into each situation. Beside each, another
// association is in the middle of a C-STORE and finds nothing changed; and both
// together cost no more memory than what was sent explains (16 times it and 1 MiB).
func play(t *testing.T, table []situation) {
	kept := storeRSP(1, Success)
	kept = kept[len(kept)-24:] // status and instance
	for _, test := range table {
		t.Run(test.name, func(t *testing.T) {
			h := newHandler()
			address := start(t, &Server{AETitle: "PULMONODE", Handler: h, AbstractSyntaxes: []string{ct}, Timeouts: Timeouts{Closing: patient}})
			beside := newBystander(t, h, address)
			p := connect(t, address)
			p.send(test.sent)
			p.hangUp()
			p.expectEnd("the answer", test.got)
			if test.end != noSession {
				h.ended(t, test.end)
			}
			beside.finishWithin(16*len(test.sent) + 1<<20)
			if len(h.ends) > 0 {
				t.Errorf("the session ended again: %+v", <-h.ends)
			}
			if told := bytes.Count(test.got, kept); len(h.stored) != told {
				t.Errorf("%d instances were kept, and the peer was told so of %d", len(h.stored), told)
			}
		})
	}
}

// ended waits for the end of CASE's session.
func (h *handler) ended(t testing.TB, want How) {
	t.Helper()
	select {
	case e := <-h.ends:
		if e.How != want || (e.Err == nil) != (want == Released) {
			t.Errorf("ended %+v, want %v", e, want)
		}
	case <-time.After(patient):
		t.Error("the session never ended")
	}
}

// allocated is what was ever taken from the heap: what something costs in all,
// and more than it can hold at once.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}
