package deliver

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/store"
)

// archive is a peer that is asked to answer for what it took, and does what the
// test says: nil says nothing yet.
type archive struct {
	*peer
	answer func(*dimse.CommitmentRequest) *dimse.CommitmentResult
	asked  chan *dimse.CommitmentRequest
}

type archiving struct {
	*archive
	a *dimse.Association
}

func (p *archive) Associate(ctx context.Context, a *dimse.Association) (dimse.Session, error) {
	if _, err := p.peer.Associate(ctx, a); err != nil {
		return nil, err
	}
	return archiving{p, a}, nil
}

func (p archiving) Commit(ctx context.Context, r *dimse.CommitmentRequest) dimse.Status {
	p.asked <- r
	p.mu.Lock()
	answer := p.answer
	p.mu.Unlock()
	if result := answer(r); result != nil {
		go p.a.ReportCommitment(context.WithoutCancel(ctx), result)
	}
	return dimse.Success
}

func newArchive(t *testing.T, answer func(*dimse.CommitmentRequest) *dimse.CommitmentResult) *archive {
	t.Helper()
	p := &archive{answer: answer, asked: make(chan *dimse.CommitmentRequest, 9)}
	p.peer = newPeer(t, func(inner *peer, s *dimse.Server) {
		p.peer, s.Handler = inner, p
	})
	return p
}

func keepsAll(r *dimse.CommitmentRequest) *dimse.CommitmentResult {
	return &dimse.CommitmentResult{TransactionUID: r.TransactionUID, Committed: r.Instances}
}

func saysNothing(*dimse.CommitmentRequest) *dimse.CommitmentResult { return nil }

// loses is the answer of an archive that has lost an object.
func loses(uid string) func(*dimse.CommitmentRequest) *dimse.CommitmentResult {
	return func(r *dimse.CommitmentRequest) *dimse.CommitmentResult {
		result := &dimse.CommitmentResult{TransactionUID: r.TransactionUID}
		for _, i := range r.Instances {
			if i.SOPInstanceUID == uid {
				result.Failed = append(result.Failed, dimse.FailedInstance{Instance: i, Reason: dimse.NoSuchInstance})
			} else {
				result.Committed = append(result.Committed, i)
			}
		}
		return result
	}
}

// committing is what these tests start from.
type committing struct {
	t      *testing.T
	store  *store.Store
	sender *Sender
	now    time.Time
	d      Destination
}

func newCommitting(t *testing.T, address string) *committing {
	c := &committing{t: t, store: generation(t), now: time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)}
	c.sender = &Sender{Store: c.store, CallingAE: "PULMONODE", Log: zap.NewNop(), Now: func() time.Time { return c.now }, AnswerWithin: 20 * time.Millisecond}
	c.d = Destination{Destination: job.Destination{Name: "pacs", Send: []string{"sr", "seg", "keyimage"}, Commit: true}, AETitle: "PACS", Address: address}
	return c
}

func (c *committing) deliver(earlier ...string) error {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return c.sender.Deliver(ctx, key, 1, c.d, job.Attempt{Errors: earlier})
}

func (c *committing) receipts() map[string]store.Receipt {
	c.t.Helper()
	r, err := c.store.Receipts(key, 1, "pacs")
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

// left are the objects that are not settled.
func (c *committing) left() (uids []string) {
	c.t.Helper()
	m, err := c.store.Generation(key, 1)
	if err != nil {
		c.t.Fatal(err)
	}
	files, err := c.d.Undelivered(c.store, m)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, f := range files {
		uids = append(uids, f.SOPInstanceUID)
	}
	return uids
}

func (c *committing) mustWait() {
	c.t.Helper()
	err := c.deliver()
	if waits := (*UncommittedError)(nil); !errors.As(err, &waits) || waits.Objects != 3 || !strings.Contains(err.Error(), "asked at 2026-03-0") {
		c.t.Fatalf("ended with %v, not waiting for an answer", err)
	}
}

func TestCommitmentOnTheAssociationThatAsks(t *testing.T) {
	p := newArchive(t, keepsAll)
	c := newCommitting(t, p.address)
	c.sender.AnswerWithin = 10 * time.Second
	if err := c.deliver(); err != nil {
		t.Fatal(err)
	}
	for uid, r := range c.receipts() {
		if !r.Committed || r.Asked.IsZero() || r.Refused != "" {
			t.Errorf("receipt of %s: %+v", uid, r)
		}
	}
	if request := <-p.asked; len(request.Instances) != 3 {
		t.Errorf("asked for %v", request.Instances)
	}
	if err := c.deliver(); err != nil {
		t.Fatal(err)
	}
	if calls, seen, _ := p.seen(); calls != 1 || len(seen) != 3 {
		t.Errorf("%d associations brought %v", calls, seen)
	}
}

func TestWhatTheArchiveLostIsSentAgain(t *testing.T) {
	p := newArchive(t, loses("2.25.2"))
	c := newCommitting(t, p.address)
	c.sender.AnswerWithin = 10 * time.Second
	err := c.deliver()
	if err == nil || job.IsFinal(err) || !strings.Contains(err.Error(), "took seg.dcm 2.25.2 and does not answer for it (0112H") || !strings.Contains(err.Error(), "refusal 1") {
		t.Fatalf("ended with %v", err)
	}
	if left := c.left(); !slices.Equal(left, []string{"2.25.2"}) {
		t.Errorf("left: %v", left)
	}
	p.mu.Lock()
	p.answer = keepsAll
	p.mu.Unlock()
	if err := c.deliver(err.Error()); err != nil {
		t.Fatal(err)
	}
	<-p.asked
	if request := <-p.asked; len(request.Instances) != 1 || request.Instances[0].SOPInstanceUID != "2.25.2" {
		t.Errorf("asked again for %v", request.Instances)
	}
	if _, seen, _ := p.seen(); len(seen) != 4 || !strings.HasPrefix(seen[3], "2.25.2 ") {
		t.Errorf("sent %v", seen)
	}
	if left := c.left(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestAnswerOnAnotherAssociation(t *testing.T) {
	p := newArchive(t, saysNothing)
	c := newCommitting(t, p.address)
	c.mustWait()
	request := <-p.asked
	c.mustWait() // without asking again
	if calls, _, _ := p.seen(); calls != 1 {
		t.Errorf("%d associations", calls)
	}
	if status, _ := c.sender.Committed(&dimse.CommitmentResult{TransactionUID: "2.25.99", Committed: request.Instances}); status != dimse.InvalidArgument {
		t.Errorf("an unknown transaction: %v", status)
	}
	for range 2 { // the answer to the first may have been lost
		if status, destination := c.sender.Committed(keepsAll(request)); status != dimse.Success || destination != "pacs" {
			t.Fatalf("%v of %q", status, destination)
		}
	}
	if err := c.deliver(); err != nil {
		t.Fatal(err)
	}
	if calls, _, _ := p.seen(); calls != 1 {
		t.Errorf("%d associations", calls)
	}
}

// Of several nodes one asks, and the load balancer brings the answer to another.
func TestAnswerAtAnotherNode(t *testing.T) {
	p := newArchive(t, saysNothing)
	a := newCommitting(t, p.address)
	a.store = generationOf(t, store.Options{Node: "a"})
	a.sender.Store = a.store
	files, err := store.Open(a.store.Dir(), store.Options{Node: "b"})
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	b := &committing{t: t, store: files, now: a.now, d: a.d}
	b.sender = &Sender{Store: files, CallingAE: "PULMONODE", Log: zap.NewNop(), Now: func() time.Time { return b.now }, AnswerWithin: 20 * time.Millisecond}
	a.mustWait()
	request := <-p.asked
	b.mustWait() // without asking again
	if calls, _, _ := p.seen(); calls != 1 {
		t.Errorf("%d associations", calls)
	}
	if status, destination := b.sender.Committed(keepsAll(request)); status != dimse.Success || destination != "pacs" {
		t.Fatalf("%v of %q", status, destination)
	}
	for _, c := range []*committing{a, b} {
		if err := c.deliver(); err != nil {
			t.Error(err)
		}
	}
	if _, err := files.Question(request.TransactionUID); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("the question is kept: %v", err)
	}
	if calls, _, _ := p.seen(); calls != 1 {
		t.Errorf("%d associations", calls)
	}
}

// Each refusal counts as one attempt, so that an archive which never keeps what
// it takes is not sent it for ever.
func TestEachRefusalIsAnAttempt(t *testing.T) {
	p := newArchive(t, saysNothing)
	c := newCommitting(t, p.address)
	earlier := []string{}
	for n := 1; n <= 3; n++ {
		if err := c.deliver(earlier...); !errors.As(err, new(*UncommittedError)) {
			t.Fatalf("attempt %d ended with %v", n, err)
		}
		if status, _ := c.sender.Committed(loses("2.25.3")(<-p.asked)); status != dimse.Success {
			t.Fatal(status)
		}
		err := c.deliver(earlier...)
		if err == nil || errors.As(err, new(*UncommittedError)) || !strings.Contains(err.Error(), "key-1.dcm 2.25.3") {
			t.Fatalf("after refusal %d: %v", n, err)
		}
		if calls, _, _ := p.seen(); calls != n {
			t.Errorf("%d associations after refusal %d", calls, n)
		}
		earlier = append(earlier, err.Error())
	}
}

// One answer that comes late and refuses everything costs one attempt, not one for
// each object: with many key images none would be left to send them again.
func TestLateRefusalOfEverythingIsOneAttempt(t *testing.T) {
	p := newArchive(t, saysNothing)
	c := newCommitting(t, p.address)
	c.mustWait()
	c.sender.Committed(&dimse.CommitmentResult{TransactionUID: (<-p.asked).TransactionUID})
	err := c.deliver()
	if err == nil || job.IsFinal(err) || strings.Count(err.Error(), "does not answer for it") != 3 {
		t.Fatalf("ended with %v", err)
	}
	p.mu.Lock()
	p.answer = keepsAll
	p.mu.Unlock()
	c.sender.AnswerWithin = 10 * time.Second
	if err := c.deliver(err.Error()); err != nil {
		t.Fatal(err)
	}
	if _, seen, _ := p.seen(); len(seen) != 6 {
		t.Errorf("sent %v", seen)
	}
}

// What the answer leaves out is not answered for.
func TestAnswerThatLeavesOneOut(t *testing.T) {
	p := newArchive(t, saysNothing)
	c := newCommitting(t, p.address)
	c.mustWait()
	request := <-p.asked
	c.sender.Committed(&dimse.CommitmentResult{TransactionUID: request.TransactionUID, Committed: request.Instances[1:]})
	if left := c.left(); !slices.Equal(left, []string{request.Instances[0].SOPInstanceUID}) {
		t.Errorf("left: %v", left)
	}
}

// A silent archive is asked every hour for a day; then the results count as
// delivered, with a note that nobody knows.
func TestSilentArchive(t *testing.T) {
	p := newArchive(t, saysNothing)
	c := newCommitting(t, p.address)
	for n := range 24 {
		c.mustWait()
		if len(p.asked) != 1 {
			t.Fatalf("hour %d: asked %d times", n, len(p.asked))
		}
		<-p.asked
		c.now = c.now.Add(time.Hour)
	}
	if err := c.deliver(); err != nil {
		t.Fatal(err)
	}
	for uid, r := range c.receipts() {
		if r.Committed || !r.Unanswered || !strings.Contains(r.Note, "not answered") {
			t.Errorf("receipt of %s: %+v", uid, r)
		}
	}
	if _, seen, _ := p.seen(); len(seen) != 3 {
		t.Errorf("sent %v", seen)
	}
}

func TestArchiveWithoutCommitment(t *testing.T) {
	p := newPeer(t, nil)
	c := newCommitting(t, p.address)
	if err := c.deliver(); !job.IsFinal(err) || !strings.Contains(err.Error(), "set commit = false") {
		t.Errorf("ended with %v", err)
	}
	if _, seen, _ := p.seen(); len(seen) != 3 {
		t.Errorf("sent %v", seen)
	}
}
