package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/pulmonode/pulmonode/node/admin"
	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/store"
)

// deliverAgain sends the results of the latest generation that has some to where
// they were delivered before: the same objects, UIDs and bytes. With a
// destination, only to it. Its receipts are set aside first; from then on the
// files say that the delivery is to be done, whatever happens to this process.
func (n *Node) deliverAgain(ctx context.Context, k store.Key, destination string) (string, error) {
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
	generations, err := n.store.Generations(k)
	if err != nil {
		return "", err
	}
	if len(generations) == 0 {
		return "", fmt.Errorf("%w: the series has no results yet", admin.ErrNothing)
	}
	latest := generations[len(generations)-1]
	planned, err := job.Plan(n.store, k, latest)
	if err != nil {
		return "", err
	}
	var done, not []string
	var deliveries []job.Deliver
	for _, name := range planned {
		if destination != "" && name != destination || n.knows(name) != nil {
			continue
		}
		switch err := n.forget(ctx, k, latest, name); {
		case errors.Is(err, admin.ErrNothing):
			not = append(not, strings.TrimPrefix(err.Error(), admin.ErrNothing.Error()+": "))
		case err != nil:
			return "", err
		default:
			done = append(done, "the delivery to "+name+" is queued once more")
			deliveries = append(deliveries, job.Deliver{Study: k.Study, Series: k.Series, Generation: latest, Destination: name})
		}
	}
	if len(done) == 0 {
		if len(not) == 0 {
			not = []string{"generation " + fmt.Sprint(latest) + " was not for it: its destinations are those that were configured when it was analysed"}
		}
		return "", fmt.Errorf("%w: %s", admin.ErrNothing, strings.Join(not, "; "))
	}
	n.log.Info("delivered_again_by_person", zap.String("user", admin.User(ctx)), zap.String("study", k.Study), zap.String("series", k.Series),
		zap.Int("generation", latest), zap.Strings("done", done))
	if err := n.queue.EnqueueDeliver(ctx, deliveries...); err != nil {
		// Comparing the files with the queue finds them.
		n.log.Error("queue_error", zap.Error(err))
		select {
		case n.missed <- struct{}{}:
		default:
		}
	}
	return strings.Join(done, "; "), nil
}

// endsWithin is how long a delivery whose last receipt is written may take to
// end: it says goodbye and the queue notes it.
const endsWithin = 5 * time.Second

// forget makes what a destination has confirmed of a generation count as not
// delivered. The error is admin.ErrNothing while a delivery is on its way, or
// when it has confirmed nothing.
func (n *Node) forget(ctx context.Context, k store.Key, generation int, destination string) error {
	look := time.NewTicker(endsWithin / 100)
	defer look.Stop()
	for range 100 {
		way, err := n.clearTheWay(ctx, k, generation, destination)
		if err != nil {
			return err
		}
		if way {
			err := n.store.SetReceiptsAside(k, generation, destination)
			if errors.Is(err, store.ErrNotExist) {
				return fmt.Errorf("%w: %s has confirmed nothing of generation %d yet: retry is for that", admin.ErrNothing, destination, generation)
			}
			return err
		}
		d, err := n.admin.Detail(ctx, k)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(d.Deliveries, func(one admin.Delivery) bool {
			return one.Generation == generation && one.Destination == destination && one.Sent()
		}) {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
		}
	}
	return fmt.Errorf("%w: the delivery to %s is on its way", admin.ErrNothing, destination)
}

// clearTheWay removes the jobs that would keep another delivery from being
// queued because they failed or were cancelled; false while one is to be done.
func (n *Node) clearTheWay(ctx context.Context, k store.Key, generation int, destination string) (bool, error) {
	jobs, err := n.queue.Jobs(ctx, k.Study, k.Series)
	if err != nil {
		return false, err
	}
	for _, j := range jobs {
		if j.Kind != (job.Deliver{}).Kind() || j.Generation != generation || j.Destination != destination {
			continue
		}
		if slices.Contains([]job.State{job.Queued, job.Running, job.Waiting}, j.State) {
			return false, nil
		}
		if err := n.queue.Remove(ctx, j); err != nil {
			return false, err
		}
	}
	return true, nil
}
