package job

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// ahead is how far the clock of the shared database is ahead of this machine's.
type ahead struct{ atomic.Int64 }

// now is the time by the queue's clock: of several nodes' one may be an hour off,
// and would try what failed at once until all attempts are used up, or have
// everybody's wait for an hour.
func (q *Queue) now() time.Time {
	now := q.opts.clock()
	if q.nodes == nil {
		return now
	}
	return now.Add(time.Duration(q.nodes.ahead.Load()))
}

// setClock asks the database what time it is.
func (q *Queue) setClock(ctx context.Context) error {
	began := q.opts.clock()
	var epoch float64
	if err := q.db.QueryRowContext(ctx, `SELECT extract(epoch FROM clock_timestamp())::float8`).Scan(&epoch); err != nil {
		return fmt.Errorf("asking the database for the time: %w", err)
	}
	asked := began.Add(q.opts.clock().Sub(began) / 2)
	q.nodes.ahead.Store(int64(time.UnixMicro(int64(epoch * 1e6)).Sub(asked)))
	return nil
}

// databaseClock is the queue's clock as River takes it.
type databaseClock struct{ q *Queue }

// Now is by the database's clock.
func (c databaseClock) Now() time.Time { return c.q.now() }

// NowOrNil is nil: where it can, River lets the database say.
func (c databaseClock) NowOrNil() *time.Time { return nil }
