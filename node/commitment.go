package node

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/node/deliver"
)

// Storage commitment (PS3.4 annex J) in both roles. Who sent instances to this
// node may ask whether it keeps them; destinations with commit = true are asked
// the same of the results.

// maxReports bounds the results that wait to be reported to one source: each names
// up to 10,000 instances in some megabytes.
const maxReports = 16

// reportAgain is when a result is reported again to a peer that could not be
// told. After the last a peer that still wants to know asks again.
var reportAgain = []time.Duration{30 * time.Second, 5 * time.Minute, 30 * time.Minute}

// Commit looks at once what of the request is kept, and has it reported.
func (s *session) Commit(_ context.Context, q *dimse.CommitmentRequest) dimse.Status {
	result, err := s.r.held(q)
	if err != nil {
		s.r.log.Error("commitment_failed", zap.Uint64("association", s.id), zap.Error(err))
		return dimse.ProcessingFailure
	}
	if !s.r.report(s.association, s.source, result) {
		return dimse.ResourceLimitation
	}
	s.r.metrics.Commitments.WithLabelValues("source", "kept").Add(float64(len(result.Committed)))
	s.r.metrics.Commitments.WithLabelValues("source", "not_kept").Add(float64(len(result.Failed)))
	s.r.log.Info("commitment_requested", zap.Uint64("association", s.id), zap.String("transaction", q.TransactionUID),
		zap.Int("held", len(result.Committed)), zap.Int("not_held", len(result.Failed)))
	return dimse.Success
}

// Committed takes what a destination says of results, on an association of its own.
func (s *session) Committed(_ context.Context, r *dimse.CommitmentResult) dimse.Status {
	return s.r.committed(r)
}

// held answers for what is on the disk durably, until `keep` has passed.
func (r *Receiver) held(q *dimse.CommitmentRequest) (*dimse.CommitmentResult, error) {
	uids := make([]string, len(q.Instances))
	for i, instance := range q.Instances {
		uids[i] = instance.SOPInstanceUID
	}
	classes, err := r.store.Holds(uids)
	if err != nil {
		return nil, err
	}
	result := &dimse.CommitmentResult{TransactionUID: q.TransactionUID}
	for _, instance := range q.Instances {
		class, ok := classes[instance.SOPInstanceUID]
		switch {
		case !ok:
			result.Failed = append(result.Failed, dimse.FailedInstance{Instance: instance, Reason: dimse.NoSuchInstance})
		case class != instance.SOPClassUID:
			result.Failed = append(result.Failed, dimse.FailedInstance{Instance: instance, Reason: dimse.ClassInstanceConflict})
		default:
			result.Committed = append(result.Committed, instance)
		}
	}
	return result, nil
}

// report has a result told to who asked, unless too many wait for the same source:
// one that can't be told takes no other's place.
func (n *Node) report(ctx context.Context, a *dimse.Association, to *source, r *dimse.CommitmentResult) bool {
	select {
	case to.reports <- struct{}{}:
	default:
		return false
	}
	n.task(func() {
		defer func() { <-to.reports }()
		if err := n.tell(ctx, a, to, r); err != nil && ctx.Err() == nil {
			n.log.Warn("commitment_not_reported", zap.String("calling_ae", a.CallingAE), zap.String("transaction", r.TransactionUID), zap.Error(err))
		}
	})
	return true
}

// tell reports on an association of its own to where the source listens, and where
// that is not known on the association that asked. That is the worse way: a peer
// that says goodbye after its question may not answer any more (PS3.8 7.2), and
// some hang where the report crosses their A-RELEASE-RQ.
func (n *Node) tell(ctx context.Context, a *dimse.Association, to *source, r *dimse.CommitmentResult) error {
	if to.commitTo == "" {
		status, err := a.ReportCommitment(ctx, r)
		if err == nil && status != dimse.Success {
			err = fmt.Errorf("the peer answered %v", status)
		}
		if err != nil {
			err = fmt.Errorf("%w: where the source listens for results is not known: set commit_to in its [[source]] row", err)
		}
		return err
	}
	var err error
	for i, wait := range append([]time.Duration{0}, n.reportAgain...) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		if err = n.call(ctx, a.CallingAE, to, r); err == nil {
			return nil
		}
		if i < len(n.reportAgain) {
			n.log.Warn("commitment_reported_again", zap.String("calling_ae", a.CallingAE), zap.Duration("in", n.reportAgain[i]), zap.Error(err),
				zap.String("do", "look whether the peer listens at commit_to of its [[source]] row, and lets this node in"))
		}
	}
	return err
}

// call reports to where the source listens.
func (n *Node) call(ctx context.Context, aeTitle string, to *source, r *dimse.CommitmentResult) (err error) {
	client := dimse.Client{CallingAE: n.config.Node.AETitle, CalledAE: aeTitle, Address: to.commitTo, Timeouts: n.timeouts}
	if to.tls {
		if client.TLS, err = n.identity.Client(); err != nil {
			return fmt.Errorf("preparing TLS to %s: %w", to.commitTo, err)
		}
	}
	status, err := client.ReportCommitment(ctx, r)
	if err == nil && status != dimse.Success {
		err = fmt.Errorf("%s answered %v", to.commitTo, status)
	}
	return err
}

// committed hands a destination's answer to the deliveries, which go on.
func (n *Node) committed(ctx context.Context, s *deliver.Sender, r *dimse.CommitmentResult) dimse.Status {
	status, destination := s.Committed(r)
	if status == dimse.Success {
		n.metrics.Commitments.WithLabelValues("destination", "kept").Add(float64(len(r.Committed)))
		n.metrics.Commitments.WithLabelValues("destination", "not_kept").Add(float64(len(r.Failed)))
		n.task(func() {
			if err := n.queue.WakeDeliveries(ctx, destination); err != nil && ctx.Err() == nil {
				n.log.Error("queue_error", zap.Error(err))
			}
		})
	}
	return status
}

// abstractSyntaxes are the SOP classes that are taken besides Verification; nil:
// every storage class, and storage commitment.
func abstractSyntaxes(accept string) []string {
	if accept == "any" {
		return nil
	}
	return append([]string{dataset.StorageCommitmentPush}, analysable...)
}
