package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/admin"
	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/store"
)

// retry does again what failed, was cancelled, skipped or waits: the analysis
// when its result is "failed" or "skipped" or there is none, else the deliveries. With a
// destination, only the deliveries to it.
func (n *Node) retry(ctx context.Context, k store.Key, destination string) (string, error) {
	if err := n.knows(destination); err != nil {
		return "", err
	}
	last, err := n.store.LastClosing(k)
	if err != nil {
		return "", err
	}
	if last == nil {
		changed, err := n.store.Changed(k)
		if err != nil {
			return "", err
		}
		if changed.IsZero() {
			return "", store.ErrNotExist
		}
		return "", fmt.Errorf("%w: the series is still being received", admin.ErrNothing)
	}
	var done []string
	if destination == "" {
		again, err := n.retryAnalysis(ctx, k, last.Generation)
		if err != nil {
			return "", err
		}
		if again {
			done = append(done, "the analysis is queued again")
		}
	}
	jobs, err := n.queue.Jobs(ctx, k.Study, k.Series)
	if err != nil {
		return "", err
	}
	for _, j := range jobs {
		if j.Kind != (job.Deliver{}).Kind() || destination != "" && j.Destination != destination {
			continue
		}
		if j.State == job.Failed || j.State == job.Cancelled || j.State == job.Waiting {
			if err := n.queue.Retry(ctx, j); err != nil {
				return "", err
			}
			done = append(done, "the delivery to "+j.Destination+" is queued again")
		}
	}
	if len(done) == 0 {
		return "", fmt.Errorf("%w: nothing of this series has failed or waits", admin.ErrNothing)
	}
	n.log.Info("retried_by_person", zap.String("user", admin.User(ctx)), zap.String("study", k.Study), zap.String("series", k.Series), zap.Strings("done", done))
	return strings.Join(done, "; "), nil
}

// knows fails for a destination that is not configured; "" is all of them.
func (n *Node) knows(destination string) error {
	if destination == "" || slices.ContainsFunc(n.config.Destination, func(d config.Destination) bool { return d.Name == destination }) {
		return nil
	}
	return fmt.Errorf("%w: no destination is named %q", admin.ErrNothing, destination)
}

// retryAnalysis reports whether the analysis of a generation was queued again.
func (n *Node) retryAnalysis(ctx context.Context, k store.Key, generation int) (bool, error) {
	m, err := n.store.Generation(k, generation)
	exists := !errors.Is(err, store.ErrNotExist)
	if exists && err != nil {
		return false, err
	}
	if exists && m.Outcome != result.OutcomeFailed && m.Outcome != result.OutcomeSkipped {
		return false, nil
	}
	jobs, err := n.queue.Jobs(ctx, k.Study, k.Series)
	if err != nil {
		return false, err
	}
	if exists {
		// What is still to be delivered of the old result will never be: its
		// jobs must not stand in the way of the new result's.
		for _, j := range jobs {
			if j.Kind == (job.Deliver{}).Kind() && j.Generation == generation {
				if err := n.queue.Remove(ctx, j); err != nil {
					return false, err
				}
			}
		}
		if err := n.store.SetAside(k, generation); err != nil {
			return false, err
		}
	}
	again := exists
	for _, j := range jobs {
		if j.Kind != (job.Analyze{}).Kind() || j.Generation != generation {
			continue
		}
		if j.State == job.Failed || j.State == job.Cancelled || j.State == job.Waiting {
			again = true
			if err := n.queue.Retry(ctx, j); err != nil {
				return false, err
			}
		}
	}
	if exists || again {
		return true, n.queue.EnqueueAnalyze(ctx, job.Analyze{Study: k.Study, Series: k.Series, Generation: generation})
	}
	return false, nil
}

// cancelWork ends what of a series is queued, waits or runs.
func (n *Node) cancelWork(ctx context.Context, k store.Key, destination string) (string, error) {
	if err := n.knows(destination); err != nil {
		return "", err
	}
	changed, err := n.store.Changed(k)
	if err != nil {
		return "", err
	}
	if changed.IsZero() {
		return "", store.ErrNotExist
	}
	jobs, err := n.queue.Jobs(ctx, k.Study, k.Series)
	if err != nil {
		return "", err
	}
	var done []string
	for _, j := range jobs {
		if destination != "" && j.Destination != destination || j.State != job.Queued && j.State != job.Waiting && j.State != job.Running {
			continue
		}
		if err := n.queue.Cancel(ctx, j); err != nil {
			return "", err
		}
		if j.Destination == "" {
			done = append(done, "the analysis is cancelled")
		} else {
			done = append(done, "the delivery to "+j.Destination+" is cancelled")
		}
	}
	if len(done) == 0 {
		return "", fmt.Errorf("%w: nothing of this series is queued, waits or runs", admin.ErrNothing)
	}
	n.log.Info("cancelled_by_person", zap.String("user", admin.User(ctx)), zap.String("study", k.Study), zap.String("series", k.Series), zap.Strings("done", done))
	return strings.Join(done, "; "), nil
}
