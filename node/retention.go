package node

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/node/audit"
	"github.com/pulmonode/pulmonode/node/store"
)

// How often the free space is looked at and results age out, how many series go
// before it is looked again, and how long a disk on which nothing can go is left
// alone.
const (
	roomEvery    = 10 * time.Second
	retainEvery  = 10 * time.Minute
	retainAtOnce = 20
	barrenFor    = time.Minute
)

// retention deletes what [storage] keep and delete_delivered_below say, until ctx
// ends.
func (n *Node) retention(ctx context.Context) {
	began := time.Now()
	look := time.NewTicker(roomEvery)
	defer look.Stop()
	k := keeper{node: n, storage: n.config.Storage, clock: believed{settled: clockSettles}}
	for {
		if !k.turn(ctx, time.Now(), time.Since(began)) {
			select {
			case <-ctx.Done():
				return
			case <-look.C:
			}
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// keeper is what retention remembers from turn to turn. Times without a date are
// of the monotonic clock.
type keeper struct {
	node    *Node
	storage config.Storage
	clock   believed
	ageing  time.Duration // when to look at ages again
	making  time.Duration // when to make room again
	cramped bool          // told already that no room can be made
}

// turn does a bounded part of the work, and reports whether there is more.
func (k *keeper) turn(ctx context.Context, now time.Time, since time.Duration) (more bool) {
	n := k.node
	trusted := k.clock.trusted(now, since)
	below := int64(k.storage.MakeRoomBelow())
	free, err := n.store.Free()
	if err != nil {
		n.log.Error("retention_failed", zap.Error(err))
		return false
	}
	r := store.Retention{AtMost: retainAtOnce}
	if trusted && since >= k.ageing {
		r.Keep = k.storage.Keep.Std()
	}
	if free >= below {
		k.cramped = false
	} else if since >= k.making {
		r.RoomBelow, r.RoomUntil = below, below+below/8 // so that it is not begun again at once
	}
	if r.Keep == 0 && r.RoomBelow == 0 {
		return false
	}
	removed, err := n.retain(ctx, now, r)
	if r.Keep > 0 && err == nil {
		_, err = n.store.ForgetRemoved(now, k.storage.KeepRecord.Std())
	}
	if err != nil && ctx.Err() == nil {
		n.log.Error("retention_failed", zap.Error(err))
	}
	if err == nil && removed == retainAtOnce {
		return true
	}
	if r.Keep > 0 {
		k.ageing = since + retainEvery
	}
	if r.RoomBelow > 0 && removed == 0 {
		k.making = since + barrenFor
		if !k.cramped && err == nil && ctx.Err() == nil {
			k.cramped = true
			n.log.Warn("room_short", zap.Int64("free_bytes", free), zap.Int64("delete_delivered_below_bytes", below),
				zap.String("do", "nothing here can be deleted before it is delivered: see to the destinations, or give the disk more room"))
		}
	}
	return false
}

// retain deletes what may go and tells of each.
func (n *Node) retain(ctx context.Context, now time.Time, r store.Retention) (int, error) {
	whose := map[store.Key]audit.Patient{} // of those that may go: afterwards nobody knows
	removed, err := n.store.Retain(ctx, now, r, func(k store.Key, reason string) bool {
		n.heart.beat()
		settled, spare := n.admin.Settled(ctx, k)
		may := settled && (reason == store.ForAge || spare)
		if may {
			whose[k], _ = n.auditor.whose(k)
		}
		return may
	})
	for _, one := range removed {
		n.metrics.SeriesRemoved.WithLabelValues(one.Reason).Inc()
		n.log.Info("series_removed", zap.String("study", one.Study), zap.String("series", one.Series), zap.String("reason", one.Reason),
			zap.Time("changed", one.Changed))
		n.auditor.deleted(one.Key, whose[one.Key])
		err = errors.Join(err, n.queue.Forget(ctx, one.Study, one.Series))
	}
	return len(removed), err
}

// clockSettles is how long ages are not believed after the start and after the
// clock was set: a clock that runs ahead by a year makes everything old, and is
// usually put right within minutes.
const clockSettles = time.Hour

// stepped is how far the wall clock may be from where the monotonic one says it
// is before it counts as set by somebody.
const stepped = time.Minute

// believed tells whether the wall clock can be believed.
type believed struct {
	wallClock
	settled time.Duration // from when on; of the monotonic clock
}

func (c *believed) trusted(wall time.Time, since time.Duration) bool {
	if by := c.set(wall, since); by.Abs() > stepped {
		c.settled = since + clockSettles
	}
	return since >= c.settled
}
