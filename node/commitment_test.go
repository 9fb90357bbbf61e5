package node

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/node/admin"
	"github.com/pulmonode/pulmonode/node/job"
)

// listener is where a peer hears results of storage commitment.
type listener struct{ results chan *dimse.CommitmentResult }

func (l listener) Associate(context.Context, *dimse.Association) (dimse.Session, error) {
	return l, nil
}
func (listener) Store(context.Context, *dimse.StoreRequest) dimse.Status {
	return dimse.ProcessingFailure
}
func (listener) End(dimse.End) {}

func (l listener) Committed(_ context.Context, r *dimse.CommitmentResult) dimse.Status {
	l.results <- r
	return dimse.Success
}

// listen answers with a handler until the test ends.
func listen(t *testing.T, l net.Listener, h dimse.Handler) {
	t.Helper()
	server, done := &dimse.Server{Handler: h}, make(chan struct{})
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
}

// asking is a PACS that is asked to keep what it took, and says nothing yet.
type asking struct {
	*pacs
	requests chan *dimse.CommitmentRequest
}

func (p asking) Associate(ctx context.Context, a *dimse.Association) (dimse.Session, error) {
	_, err := p.pacs.Associate(ctx, a)
	return p, err
}

func (p asking) Commit(_ context.Context, r *dimse.CommitmentRequest) dimse.Status {
	p.requests <- r
	return dimse.Success
}

// ask sends two slices and asks for them, for one that was never sent, and for
// one under another class.
func ask(t *testing.T, s *site) (*dimse.Conn, *dimse.CommitmentRequest) {
	t.Helper()
	client := dimse.Client{CallingAE: "CT1", CalledAE: s.config.Node.AETitle, Address: s.node.Addr().String()}
	conn, err := client.Dial(t.Context(), []dimse.Context{{SOPClassUID: dataset.CTImage, TransferSyntaxUIDs: []string{dataset.ExplicitLE}}, dimse.CommitmentContext})
	if err != nil {
		t.Fatal(err)
	}
	request := &dimse.CommitmentRequest{TransactionUID: "2.25.77"}
	for i := range 2 {
		sop, data := slice(t, i, nil)
		if status := s.storeOne(conn, sop, data); status != dimse.Success {
			t.Fatal(status)
		}
		request.Instances = append(request.Instances, dimse.Instance{SOPClassUID: dataset.CTImage, SOPInstanceUID: sop})
	}
	request.Instances[1].SOPClassUID = dataset.EnhancedCT
	request.Instances = append(request.Instances, dimse.Instance{SOPClassUID: dataset.CTImage, SOPInstanceUID: "1.2.3.404"})
	if status, err := conn.RequestCommitment(t.Context(), request); err != nil || status != dimse.Success {
		t.Fatalf("asked: %v, %v", status, err)
	}
	return conn, request
}

func checkCommitment(t *testing.T, q *dimse.CommitmentRequest, r *dimse.CommitmentResult) {
	t.Helper()
	if r.TransactionUID != q.TransactionUID || len(r.Committed) != 1 || r.Committed[0] != q.Instances[0] {
		t.Errorf("committed: %+v", r)
	}
	if len(r.Failed) != 2 || r.Failed[0] != (dimse.FailedInstance{Instance: q.Instances[1], Reason: dimse.ClassInstanceConflict}) ||
		r.Failed[1] != (dimse.FailedInstance{Instance: q.Instances[2], Reason: dimse.NoSuchInstance}) {
		t.Errorf("failed: %+v", r.Failed)
	}
}

func TestWhatIsKeptIsCommitted(t *testing.T) {
	t.Run("on the association that asks", func(t *testing.T) {
		s := newSite(t, nil)
		s.start()
		conn, request := ask(t, s)
		result, err := conn.AwaitCommitment(t.Context(), request.TransactionUID)
		if err != nil {
			t.Fatal(err)
		}
		checkCommitment(t, request, result)
		if err := conn.Release(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("on one of its own, where the source listens", func(t *testing.T) {
		socket, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := newSite(t, func(s *site) {
			s.config.Source[0].CommitTo = socket.Addr().String()
			s.parts.reportAgain = []time.Duration{10 * time.Millisecond}
		})
		s.start()
		_, request := ask(t, s) // the association stays open, and carries nothing
		l := listener{make(chan *dimse.CommitmentResult, 2)}
		listen(t, socket, l)
		select {
		case result := <-l.results:
			checkCommitment(t, request, result)
		case <-time.After(10 * time.Second):
			t.Fatal("no result came")
		}
	})
}

// Results that one source can't be told take no other's place.
func TestSourceThatListensNowhereKeepsNoOtherWaiting(t *testing.T) {
	deaf, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	s := newSite(t, func(s *site) {
		s.config.Source[0].CommitTo = deaf.Addr().String()
		s.config.Source = append(s.config.Source, config.Source{AETitle: "CT2", From: []string{"127.0.0.1"}})
	})
	s.start()
	request := &dimse.CommitmentRequest{Instances: []dimse.Instance{{SOPClassUID: dataset.CTImage, SOPInstanceUID: "1.2.3"}}}
	ask := func(calling string, n int) (*dimse.Conn, dimse.Status) {
		client := dimse.Client{CallingAE: calling, CalledAE: s.config.Node.AETitle, Address: s.node.Addr().String()}
		conn, err := client.Dial(t.Context(), []dimse.Context{dimse.CommitmentContext})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Abort)
		var status dimse.Status
		for i := range n {
			request.TransactionUID = fmt.Sprintf("2.25.%d", i+1)
			if status, err = conn.RequestCommitment(t.Context(), request); err != nil {
				t.Fatal(err)
			}
		}
		return conn, status
	}
	if _, status := ask("CT1", maxReports); status != dimse.Success {
		t.Fatalf("CT1: %v", status)
	}
	if _, status := ask("CT1", 1); status != dimse.ResourceLimitation {
		t.Errorf("CT1, once too often: %v", status)
	}
	conn, status := ask("CT2", 1)
	if status != dimse.Success {
		t.Fatalf("CT2: %v", status)
	}
	if _, err := conn.AwaitCommitment(t.Context(), request.TransactionUID); err != nil {
		t.Error(err)
	}
}

// askedArchive is a node that has sent the results of a series to an archive, and
// asks it to keep them. The archive may answer on an association of its own.
func askedArchive(t *testing.T, answerWithin time.Duration) (*site, *pacs, chan *dimse.CommitmentRequest) {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &pacs{objects: map[string][][]byte{}, arrived: make(chan string, 1000), address: socket.Addr().String()}
	asked := make(chan *dimse.CommitmentRequest, 9)
	listen(t, socket, asking{p, asked})
	s := newSite(t, func(s *site) {
		s.to("pacs", p)
		s.config.Destination[0].Commit = true
		s.config.Source = append(s.config.Source, config.Source{AETitle: "PACS", From: []string{"127.0.0.1"}})
		s.parts.answerWithin = answerWithin
	})
	s.start()
	s.send(0, 3)
	return s, p, asked
}

// An archive that answers later on an association of its own: the results count
// as delivered from then on, and wait until then.
func TestDestinationAnswersOnItsOwnAssociation(t *testing.T) {
	s, p, asked := askedArchive(t, 10*time.Millisecond)
	request := <-asked
	d := s.until("waiting for the answer", func(d *admin.Detail) bool { return len(d.Deliveries) == 1 && d.Deliveries[0].State == "waiting" })
	if d.State != admin.Delivering || !strings.Contains(d.Sentence, "was asked at") {
		t.Errorf("%s: %s", d.State, d.Sentence)
	}
	client := dimse.Client{CallingAE: "PACS", CalledAE: s.config.Node.AETitle, Address: s.node.Addr().String()}
	status, err := client.ReportCommitment(t.Context(), &dimse.CommitmentResult{TransactionUID: request.TransactionUID, Committed: request.Instances})
	if err != nil || status != dimse.Success {
		t.Fatalf("reported: %v, %v", status, err)
	}
	s.untilState(admin.Delivered)
	if n := p.associations(); n != 1 {
		t.Errorf("%d associations", n)
	}
}

// The association of the delivery is not kept open for an answer that has come on
// another.
func TestAnswerOnAnotherAssociationEndsTheWait(t *testing.T) {
	s, _, asked := askedArchive(t, time.Hour)
	request := <-asked
	client := dimse.Client{CallingAE: "PACS", CalledAE: s.config.Node.AETitle, Address: s.node.Addr().String()}
	status, err := client.ReportCommitment(t.Context(), &dimse.CommitmentResult{TransactionUID: request.TransactionUID, Committed: request.Instances})
	if err != nil || status != dimse.Success {
		t.Fatalf("reported: %v, %v", status, err)
	}
	s.until("no longer awaited", func(d *admin.Detail) bool {
		return len(d.Deliveries) == 1 && d.Deliveries[0].Job.State == string(job.Done)
	})
}

// What was asked before a restart is not remembered, so it is asked again with it
// and not an hour later.
func TestRestartAsksAgain(t *testing.T) {
	s, p, asked := askedArchive(t, 10*time.Millisecond)
	first := <-asked
	s.until("waiting for the answer", func(d *admin.Detail) bool { return len(d.Deliveries) == 1 && d.Deliveries[0].State == "waiting" })
	s.stop()
	s.start()
	select {
	case again := <-asked:
		if again.TransactionUID == first.TransactionUID || !slices.Equal(again.Instances, first.Instances) {
			t.Errorf("asked %+v, then %+v", first, again)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it was not asked again")
	}
	complete(t, p, 1)
}
