package deliver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var key = store.Key{Study: "1.2.3", Series: "1.2.3.4"}

// The objects of the generation that the tests deliver.
var objects = []struct{ name, kind, class, uid string }{
	{"sr.dcm", "sr", dataset.Comprehensive3DSR, "2.25.1"},
	{"seg.dcm", "seg", dataset.SegmentationStorage, "2.25.2"},
	{"key-1.dcm", "keyimage", dataset.SecondaryCapture, "2.25.3"},
}

func object1(t *testing.T, class, uid string) []byte {
	t.Helper()
	var d, item dataset.Dataset
	item.SetText(dataset.CodeValue, "SH", "N1")
	d.SetText(dataset.SOPClassUID, "UI", class)
	d.SetText(dataset.SOPInstanceUID, "UI", uid)
	d.SetItems(dataset.ConceptNameCodeSequence, &item)
	d.Set(dataset.PixelData, "OB", make([]byte, 300_000))
	b, err := d.AppendExplicit(dataset.FileMeta(dataset.MetaInfo{SOPClassUID: class, SOPInstanceUID: uid, TransferSyntax: dataset.ExplicitLE}))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func generation(t *testing.T) *store.Store { return generationOf(t, store.Options{}) }

func generationOf(t *testing.T, o store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	in, err := s.Create(dataset.MetaInfo{SOPClassUID: dataset.CTImage, SOPInstanceUID: "1.2.3.4.1", TransferSyntax: dataset.ExplicitLE})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Commit(key, "1.2.3.4.1"); err != nil {
		t.Fatal(err)
	}
	var files []store.File
	for _, o := range objects {
		files = append(files, store.File{Name: o.name, Kind: o.kind, SOPClassUID: o.class, SOPInstanceUID: o.uid, Bytes: object1(t, o.class, o.uid)})
	}
	if err := s.WriteGeneration(key, 1, files, store.Manifest{Outcome: result.OutcomeNodules}); err != nil {
		t.Fatal(err)
	}
	return s
}

// peer is a destination that does what the test says.
type peer struct {
	mu      sync.Mutex
	reject  *dimse.Reject
	answer  func(n int, uid string) dimse.Status // nil: success
	objects []string                             // UID and transfer syntax as they came
	bytes   map[string][]byte
	calls   int
	address string
}

func newPeer(t *testing.T, change func(*peer, *dimse.Server)) *peer {
	t.Helper()
	p := &peer{bytes: map[string][]byte{}}
	server := &dimse.Server{Handler: p}
	if change != nil {
		change(p, server)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.address = l.Addr().String()
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(l)
	}()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		server.Shutdown(ctx)
		<-done
	})
	return p
}

func (p *peer) Associate(context.Context, *dimse.Association) (dimse.Session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	if p.reject != nil {
		return nil, p.reject
	}
	return p, nil
}

func (p *peer) Store(_ context.Context, r *dimse.StoreRequest) dimse.Status {
	b, err := io.ReadAll(r.Data)
	if err != nil {
		return dimse.CannotUnderstand
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.objects)
	p.objects = append(p.objects, r.SOPInstanceUID+" "+r.TransferSyntaxUID)
	p.bytes[r.SOPInstanceUID] = b
	if p.answer != nil {
		return p.answer(n, r.SOPInstanceUID)
	}
	return dimse.Success
}

func (p *peer) End(dimse.End) {}

// seen is what the peer was sent so far.
func (p *peer) seen() (associations int, objects []string, data map[string][]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls, slices.Clone(p.objects), maps.Clone(p.bytes)
}

func (p *peer) destination() Destination {
	return Destination{Destination: job.Destination{Name: "pacs", Send: []string{"sr", "seg", "keyimage"}}, AETitle: "PACS", Address: p.address}
}

func deliver(t *testing.T, s *store.Store, d Destination, earlier ...string) error {
	t.Helper()
	sender := &Sender{Store: s, CallingAE: "PULMONODE", Timeouts: dimse.Timeouts{Accept: 300 * time.Millisecond, Response: 300 * time.Millisecond, Release: 300 * time.Millisecond, Closing: 100 * time.Millisecond}, Log: zap.NewNop()}
	return sender.Deliver(t.Context(), key, 1, d, job.Attempt{Errors: earlier})
}

func receipts(t *testing.T, s *store.Store) map[string]store.Receipt {
	t.Helper()
	r, err := s.Receipts(key, 1, "pacs")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestDeliversOnceAndKeepsReceipts(t *testing.T) {
	s, p := generation(t), newPeer(t, nil)
	for range 2 {
		if err := deliver(t, s, p.destination()); err != nil {
			t.Fatal(err)
		}
	}
	calls, came, data := p.seen()
	if calls != 1 || len(came) != 3 || len(receipts(t, s)) != 3 {
		t.Errorf("%d associations, objects %q, %d receipts", calls, came, len(receipts(t, s)))
	}
	for _, o := range objects {
		whole := object1(t, o.class, o.uid)
		if got := data[o.uid]; len(got) == 0 || !bytes.HasSuffix(whole, got) {
			t.Errorf("%s arrived with other bytes", o.name)
		}
	}
}

func TestSendsOnlyTheKindsAskedFor(t *testing.T) {
	s, p := generation(t), newPeer(t, nil)
	d := p.destination()
	d.Send = []string{"seg"}
	err := deliver(t, s, d)
	if _, came, _ := p.seen(); err != nil || len(came) != 1 || !strings.HasPrefix(came[0], "2.25.2 ") {
		t.Errorf("%v, %q", err, came)
	}
}

func TestWhatWasStoredBeforeACrashIsNotSentAgain(t *testing.T) {
	s, p := generation(t), newPeer(t, nil)
	if err := s.WriteReceipt(key, 1, "pacs", "2.25.1", store.Receipt{}); err != nil {
		t.Fatal(err)
	}
	err := deliver(t, s, p.destination())
	if _, came, _ := p.seen(); err != nil || len(came) != 2 {
		t.Errorf("%v, %q", err, came)
	}
}

func TestImplicitOnlyPeerGetsImplicit(t *testing.T) {
	s := generation(t)
	p := newPeer(t, func(_ *peer, server *dimse.Server) { server.TransferSyntaxes = []string{dataset.ImplicitLE} })
	if err := deliver(t, s, p.destination()); err != nil {
		t.Fatal(err)
	}
	_, came, data := p.seen()
	for _, o := range objects {
		if !slices.Contains(came, o.uid+" "+dataset.ImplicitLE) {
			t.Errorf("%s came otherwise: %q", o.name, came)
		}
		d, err := dataset.ParseHeader(bytes.NewReader(data[o.uid]), dataset.ImplicitLE, dataset.Limits{})
		if err != nil || d.Text(dataset.SOPInstanceUID) != o.uid || len(d.Items(dataset.ConceptNameCodeSequence)) != 1 {
			t.Errorf("%s: %v %v", o.name, d, err)
		}
	}
}

func TestAnswersDecideBetweenReceiptRetryAndPerson(t *testing.T) {
	for name, c := range map[string]struct {
		status  dimse.Status
		earlier int // attempts that ended so before
		ok      bool
		final   bool
		words   string
	}{
		"coerced":                {0xB000, 0, true, false, ""},
		"elements discarded":     {0xB006, 0, true, false, ""},
		"does not match":         {0xB007, 0, true, false, ""},
		"duplicate":              {0x0111, 0, true, false, ""},
		"out of resources":       {0xA700, 5, false, false, "free space"},
		"class does not match":   {0xA900, 0, false, true, "A900"},
		"cannot understand":      {0xC001, 0, false, true, "C001"},
		"not authorised":         {0x0124, 0, false, true, "allow this node's AE title"},
		"processing failure":     {0x0110, 0, false, false, "0110"},
		"failure a second time":  {0x0110, 1, false, true, "0110"},
		"a status nobody knows":  {0x5555, 0, false, false, "5555"},
		"class is not supported": {0x0122, 0, false, true, "send"},
	} {
		t.Run(name, func(t *testing.T) {
			s := generation(t)
			p := newPeer(t, func(p *peer, _ *dimse.Server) {
				p.answer = func(_ int, uid string) dimse.Status {
					if uid == "2.25.2" {
						return c.status
					}
					return dimse.Success
				}
			})
			var earlier []string
			for range c.earlier {
				earlier = append(earlier, deliver(t, s, p.destination()).Error())
			}
			err := deliver(t, s, p.destination(), earlier...)
			if (err == nil) != c.ok || job.IsFinal(err) != c.final || err != nil && !strings.Contains(err.Error(), c.words) {
				t.Errorf("error %v, final %v", err, job.IsFinal(err))
			}
			// What one object meets is nothing to the others.
			r := receipts(t, s)
			_, refused := r["2.25.2"]
			if _, ok := r["2.25.1"]; !ok || len(r) < 2 || refused != c.ok {
				t.Errorf("receipts %v", r)
			}
			if c.ok && r["2.25.2"].Note == "" {
				t.Error("the warning left no note")
			}
		})
	}
}

func TestRejectionsAreFinalOrNot(t *testing.T) {
	for _, permanent := range []bool{true, false} {
		s := generation(t)
		p := newPeer(t, func(p *peer, _ *dimse.Server) {
			p.reject = &dimse.Reject{Result: 1, Source: 1, Reason: 3}
			if !permanent {
				p.reject = &dimse.Reject{Result: 2, Source: 3, Reason: 2}
			}
		})
		err := deliver(t, s, p.destination())
		if err == nil || job.IsFinal(err) != permanent {
			t.Errorf("permanent %v: %v", permanent, err)
		}
		if permanent && !strings.Contains(err.Error(), `add the AE title "PULMONODE"`) {
			t.Error(err)
		}
	}
}

func TestClassThatIsNotAcceptedIsNamed(t *testing.T) {
	s := generation(t)
	p := newPeer(t, func(_ *peer, server *dimse.Server) {
		server.AbstractSyntaxes = []string{dataset.Comprehensive3DSR, dataset.SecondaryCapture}
	})
	err := deliver(t, s, p.destination())
	if !job.IsFinal(err) || !strings.Contains(err.Error(), "Segmentation Storage") || len(receipts(t, s)) != 2 {
		t.Errorf("%v, %d receipts", err, len(receipts(t, s)))
	}
}

func TestPeerThatIsDownIsTriedAgain(t *testing.T) {
	s := generation(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	d := Destination{Destination: job.Destination{Name: "pacs", Send: []string{"sr"}}, AETitle: "PACS", Address: address}
	if err := deliver(t, s, d); err == nil || job.IsFinal(err) || !strings.Contains(err.Error(), address) {
		t.Error(err)
	}
}

// TestPeerThatHangs: it takes the connection, or the association, and then says
// nothing more.
func TestPeerThatHangsIsGivenUp(t *testing.T) {
	t.Run("before the association", func(t *testing.T) {
		s := generation(t)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // connections stay in its backlog
		d := Destination{Destination: job.Destination{Name: "pacs", Send: []string{"sr"}}, AETitle: "PACS", Address: l.Addr().String()}
		if err := deliver(t, s, d); err == nil || job.IsFinal(err) {
			t.Error(err)
		}
	})
	t.Run("instead of the status", func(t *testing.T) {
		s := generation(t)
		release := make(chan struct{})
		p := newPeer(t, func(p *peer, _ *dimse.Server) {
			p.answer = func(n int, _ string) dimse.Status {
				if n == 1 {
					p.mu.Unlock()
					<-release
					p.mu.Lock()
				}
				return dimse.Success
			}
		})
		err := deliver(t, s, p.destination())
		close(release)
		if err == nil || job.IsFinal(err) || len(receipts(t, s)) != 1 {
			t.Errorf("%v, %d receipts", err, len(receipts(t, s)))
		}
	})
}

func TestPeerThatBreaksOffIsTriedAgain(t *testing.T) {
	s := generation(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.ReadFull(c, make([]byte, 10))
			c.Close()
		}
	}()
	d := Destination{Destination: job.Destination{Name: "pacs", Send: []string{"sr"}}, AETitle: "PACS", Address: l.Addr().String()}
	if err := deliver(t, s, d); err == nil || job.IsFinal(err) {
		t.Error(err)
	}
}

func TestDamagedResultIsNotSent(t *testing.T) {
	s, p := generation(t), newPeer(t, nil)
	folder, err := s.GenerationFolder(key, 1)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "seg.dcm")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	err = deliver(t, s, p.destination())
	if calls, _, _ := p.seen(); !job.IsFinal(err) || !strings.Contains(err.Error(), "seg.dcm is damaged") || calls != 0 {
		t.Errorf("%v after %d associations", err, calls)
	}
}

func TestRemovedResultsAreNoFault(t *testing.T) {
	s, p := generation(t), newPeer(t, nil)
	if err := s.SetAside(key, 1); err != nil {
		t.Fatal(err)
	}
	err := deliver(t, s, p.destination())
	if calls, _, _ := p.seen(); err != nil || calls != 0 {
		t.Errorf("%v after %d associations", err, calls)
	}
}

func TestEndOfTheContextEndsADelivery(t *testing.T) {
	s := generation(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	p := newPeer(t, func(p *peer, _ *dimse.Server) {
		p.answer = func(int, string) dimse.Status {
			close(arrived)
			p.mu.Unlock()
			<-release
			p.mu.Lock()
			return dimse.Success
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	sender := &Sender{Store: s, CallingAE: "PULMONODE", Log: zap.NewNop()}
	done := make(chan error)
	go func() { done <- sender.Deliver(ctx, key, 1, p.destination(), job.Attempt{}) }()
	<-arrived
	cancel()
	err := <-done
	close(release)
	if !errors.Is(err, context.Canceled) {
		t.Error(fmt.Errorf("ended with %w", err))
	}
}
