package deliver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/store"
)

// How long destinations are given to answer for what they took (PS3.4 J.3.3 sets
// no time: archives answer when their tape has it).
const (
	// AnswerAtOnce is how long the association is kept open for an answer on it.
	AnswerAtOnce = 5 * time.Second
	// AskAgain is when a question without an answer is put again: the answer, or
	// where it was to go, may have been lost.
	AskAgain = time.Hour
	// GiveUp is when nobody asks any more: the objects were taken, and whether they
	// are kept stays unknown, which is said.
	GiveUp = 24 * time.Hour
)

// UncommittedError says that the destination has every object and has not said
// yet that it answers for them.
type UncommittedError struct {
	Destination string
	Objects     int
	Since       time.Time
}

func (e *UncommittedError) Error() string {
	return fmt.Sprintf("%s has the results and was asked at %s to answer for %d of them (storage commitment)",
		e.Destination, e.Since.UTC().Format("2006-01-02 15:04:05 UTC"), e.Objects)
}

// question is what a destination was asked to answer for.
type question struct {
	k           store.Key
	n           int
	destination string
	files       []store.ManifestFile
	at          time.Time
	answered    bool
	heard       func() // called once it is answered, on whichever association
}

func (q question) of(k store.Key, n int, destination string) bool {
	return q.k == k && q.n == n && q.destination == destination
}

// questions are those put in this process, by Transaction UID. They are not kept
// over a restart: the receipts say what is unanswered, and it is asked again.
type questions struct {
	mu            sync.Mutex
	byTransaction map[string]question
}

// put notes a question and forgets those that nobody will answer any more.
func (q *questions) put(transaction string, one question) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.byTransaction == nil {
		q.byTransaction = map[string]question{}
	}
	maps.DeleteFunc(q.byTransaction, func(_ string, old question) bool { return one.at.Sub(old.at) > GiveUp })
	q.byTransaction[transaction] = one
}

func (q *questions) forget(transaction string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.byTransaction, transaction)
}

func (q *questions) get(transaction string) (question, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	one, ok := q.byTransaction[transaction]
	return one, ok
}

func (q *questions) answered(transaction string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if one, ok := q.byTransaction[transaction]; ok {
		one.answered = true
		q.byTransaction[transaction] = one
		one.heard()
	}
}

// open is the time of the latest question that waits for its answer.
func (q *questions) open(k store.Key, n int, destination string) (at time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, one := range q.byTransaction {
		if one.of(k, n, destination) && !one.answered && one.at.After(at) {
			at = one.at
		}
	}
	return at
}

// waitFor decides about a delivery of which everything was taken: to wait on, to
// ask again, or to give up, which nil stands for.
func (s *Sender) waitFor(p *sending, receipts map[string]store.Receipt) (*sending, error) {
	now := s.now()
	waits := p.left[:0:0]
	for _, f := range p.left {
		r := receipts[f.SOPInstanceUID]
		if r.Asked.IsZero() || now.Sub(r.Asked) < GiveUp {
			waits = append(waits, f)
			continue
		}
		r.Unanswered = true
		r.Note = "stored; whether the destination keeps it was asked for a day and not answered"
		if err := s.Store.WriteReceipt(p.k, p.n, p.d.Name, f.SOPInstanceUID, r); err != nil {
			return nil, err
		}
		s.Log.Warn("commitment_unanswered", zap.String("destination", p.d.Name), zap.String("series", p.k.Series), zap.String("sop_instance", f.SOPInstanceUID),
			zap.String("do", "look whether the destination may open associations to this node, and whether it serves storage commitment at all"))
	}
	if len(waits) == 0 {
		return nil, nil
	}
	p.left = waits
	asked := s.asked.open(p.k, p.n, p.d.Name)
	for _, f := range waits { // another node may have asked
		if last := receipts[f.SOPInstanceUID].AskedLast; last.After(asked) {
			asked = last
		}
	}
	if !asked.IsZero() && now.Sub(asked) < AskAgain {
		return nil, &UncommittedError{p.d.Name, len(waits), asked}
	}
	return p, nil
}

// ask requests storage commitment for all that the destination took, and waits a
// moment for the answer: many give it at once, on the same association.
func (p *sending) ask() error {
	if len(p.conn.Accepted(dataset.StorageCommitmentPush)) == 0 {
		return job.Final(fmt.Errorf("%s does not accept Storage Commitment Push Model (%s): let it accept this SOP class, or set commit = false in its [[destination]] row",
			p.d.Name, dataset.StorageCommitmentPush))
	}
	now := p.s.now()
	id := uuid.New()
	request := &dimse.CommitmentRequest{TransactionUID: "2.25." + new(big.Int).SetBytes(id[:]).String()} // PS3.5 B.2
	receipts, err := p.s.Store.Receipts(p.k, p.n, p.d.Name)
	if err != nil {
		return err
	}
	for _, f := range p.left {
		r, ok := receipts[f.SOPInstanceUID]
		if !ok {
			return nil // the results were set aside while they were sent
		}
		request.Instances = append(request.Instances, dimse.Instance{SOPClassUID: f.SOPClassUID, SOPInstanceUID: f.SOPInstanceUID})
		first := r.Asked.IsZero()
		if first {
			r.Asked = now.UTC()
		}
		if p.s.Store.Shared() {
			r.AskedLast = now.UTC()
		}
		if first || p.s.Store.Shared() {
			if err := p.s.Store.WriteReceipt(p.k, p.n, p.d.Name, f.SOPInstanceUID, r); err != nil {
				return err
			}
		}
	}
	if p.s.Store.Shared() {
		err := p.s.Store.WriteQuestion(request.TransactionUID, store.Question{Key: p.k, Generation: p.n, Destination: p.d.Name, Files: p.left, Time: now.UTC()}, GiveUp)
		if err != nil {
			return err
		}
	}
	answered, heard := context.WithCancel(p.ctx)
	defer heard()
	p.s.asked.put(request.TransactionUID, question{k: p.k, n: p.n, destination: p.d.Name, files: p.left, at: now, heard: heard})
	status, err := p.conn.RequestCommitment(p.ctx, request)
	if err == nil && status != dimse.Success {
		err = fmt.Errorf("it answered %v: look for the transaction %s in the destination's log", status, request.TransactionUID)
	}
	if err != nil {
		p.s.forget(request.TransactionUID)
		return fmt.Errorf("asking %s to answer for %d objects (storage commitment): %w", p.d.Name, len(request.Instances), err)
	}
	wait, cancel := context.WithTimeout(answered, cmp.Or(p.s.AnswerWithin, AnswerAtOnce))
	defer cancel()
	if _, err := p.conn.AwaitCommitment(wait, request.TransactionUID); err != nil {
		p.s.Log.Debug("commitment_awaited", zap.String("destination", p.d.Name), zap.Error(err))
	}
	return nil
}

// answered looks at the receipts, which an answer has changed if there was one.
func (s *Sender) answered(k store.Key, n int, d Destination) error {
	m, err := s.Store.Generation(k, n)
	if errors.Is(err, store.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	left, err := d.Undelivered(s.Store, m)
	if err != nil || len(left) == 0 {
		return err
	}
	receipts, err := s.Store.Receipts(k, n, d.Name)
	if err != nil {
		return err
	}
	if err := refusals(d, left, receipts, nil); err != nil {
		return err
	}
	return &UncommittedError{d.Name, len(left), s.asked.open(k, n, d.Name)}
}

// refusals says for which objects the destination does not answer, those aside that
// earlier attempts failed by; nil when there are none. Each refusal has a sentence of
// its own, so that one answer counts as one attempt.
func refusals(d Destination, files []store.ManifestFile, receipts map[string]store.Receipt, earlier []string) error {
	var list []error
	for _, f := range files {
		r := receipts[f.SOPInstanceUID]
		if r.Refused == "" {
			continue
		}
		sentence := fmt.Sprintf("%s took %s %s and does not answer for it (%s, refusal %d): look for the instance in the destination's log",
			d.Name, f.Name, f.SOPInstanceUID, r.Refused, r.Refusals)
		if !told(earlier, sentence) {
			list = append(list, errors.New(sentence))
		}
	}
	return errors.Join(list...)
}

// askedByAnother is a question that another node put, or this one before it was
// started again.
func (s *Sender) askedByAnother(transaction string) (question, bool) {
	q, err := s.Store.Question(transaction)
	if err != nil {
		if !errors.Is(err, store.ErrNotExist) {
			s.Log.Warn("commitment_not_known", zap.Error(err))
		}
		return question{}, false
	}
	return question{k: q.Key, n: q.Generation, destination: q.Destination, files: q.Files, at: q.Time, heard: func() {}}, true
}

// forget takes a question back that did not reach the destination.
func (s *Sender) forget(transaction string) {
	s.asked.forget(transaction)
	if s.Store.Shared() {
		s.Store.ForgetQuestion(transaction)
	}
}

// committed takes an answer on the association that asked.
func (s *Sender) committed(_ context.Context, r *dimse.CommitmentResult) dimse.Status {
	status, _ := s.Committed(r)
	return status
}

// Committed takes what a destination says that it answers for (PS3.4 J.3.3), on
// whichever association, and writes it into the receipts before it returns
// success. What the destination does not answer for is to be sent again. It
// names the destination whose deliveries may go on.
func (s *Sender) Committed(r *dimse.CommitmentResult) (status dimse.Status, destination string) {
	s.answering.Lock()
	defer s.answering.Unlock()
	q, ok := s.asked.get(r.TransactionUID)
	if !ok && s.Store.Shared() {
		q, ok = s.askedByAnother(r.TransactionUID)
	}
	if !ok {
		s.Log.Warn("commitment_of_unknown_transaction", zap.String("transaction", r.TransactionUID), zap.String("reason", "it was not asked since this node started; it is asked again if need be"))
		return dimse.InvalidArgument, ""
	}
	if q.answered {
		return dimse.Success, q.destination // it was told twice
	}
	says := map[dimse.Instance]string{}
	for _, i := range r.Committed {
		says[i] = ""
	}
	for _, f := range r.Failed {
		says[f.Instance] = f.Reason.String()
	}
	receipts, err := s.Store.Receipts(q.k, q.n, q.destination)
	if err != nil {
		s.Log.Error("commitment_not_kept", zap.String("destination", q.destination), zap.String("series", q.k.Series), zap.Error(err))
		return dimse.ProcessingFailure, ""
	}
	for _, f := range q.files {
		receipt, ok := receipts[f.SOPInstanceUID]
		if !ok {
			continue // the results were set aside meanwhile
		}
		refused, said := says[dimse.Instance{SOPClassUID: f.SOPClassUID, SOPInstanceUID: f.SOPInstanceUID}]
		if !said {
			refused = "its answer leaves it out"
		}
		receipt.Committed, receipt.Refused = refused == "", refused
		if refused != "" {
			receipt.Refusals++
		}
		if err := s.Store.WriteReceipt(q.k, q.n, q.destination, f.SOPInstanceUID, receipt); err != nil && !errors.Is(err, store.ErrNotExist) {
			s.Log.Error("commitment_not_kept", zap.String("destination", q.destination), zap.String("series", q.k.Series), zap.Error(err))
			return dimse.ProcessingFailure, ""
		}
		if refused != "" {
			s.Log.Warn("commitment_refused", zap.String("destination", q.destination), zap.String("series", q.k.Series),
				zap.String("sop_instance", f.SOPInstanceUID), zap.String("reason", refused))
		}
	}
	s.asked.answered(r.TransactionUID)
	if s.Store.Shared() {
		s.Store.ForgetQuestion(r.TransactionUID)
	}
	s.Log.Info("committed", zap.String("destination", q.destination), zap.String("series", q.k.Series), zap.Int("generation", q.n),
		zap.Int("committed", len(r.Committed)), zap.Int("failed", len(r.Failed)))
	return dimse.Success, q.destination
}
