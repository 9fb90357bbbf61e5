package job

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivertype"
	"go.uber.org/zap"
)

// Attempt says which try of a job is running.
type Attempt struct {
	Number int // 1 for the first
	Max    int
	Errors []string // of the earlier attempts, oldest first

	held func(context.Context) error
}

// Held is nil while the job is this node's: asked before what must not be done by
// two nodes at once. The error is ErrLost when another node has it, and one of
// Wait when that cannot be told.
func (a Attempt) Held(ctx context.Context) error {
	if a.held == nil {
		return nil
	}
	return a.held(ctx)
}

// Last reports whether no further attempt follows a failure of this one.
func (a Attempt) Last() bool { return a.Number >= a.Max }

// Options make a queue.
type Options struct {
	Path         string            // of queue.db; without URL
	URL          string            // of the PostgreSQL database that several nodes share; empty: SQLite
	PasswordFile string            // holds the password for URL; empty: it is in the URL, in PGPASSFILE, or there is none
	Node         string            // this node's name among those that share; not empty with URL
	Folder       string            // the id of the data folder, which all nodes share
	Settings     map[string]string // fingerprints of what all nodes must have set alike, by section
	Lease        time.Duration     // a node that is silent for longer is dead; 0: Lease
	Failed       func(error)       // told when the queue cannot go on; nil: nobody

	Version      string        // of this program, for one that meets a queue of a later one
	Destinations []Destination // each has its own queue and worker
	MaxAttempts  int           // 0: 12
	Backoff      Backoff
	Poll         time.Duration // how often delayed jobs are looked for; 0: 1 s

	// Analyze and Deliver do the work. nil is done; Wait and Final say more
	// than other errors. They return soon after ctx ends.
	Analyze func(ctx context.Context, a Analyze, try Attempt) error
	Deliver func(ctx context.Context, d Deliver, try Attempt) error

	Log *zap.Logger // nil: none

	clock func() time.Time // this machine's; nil: time.Now
}

// Queue holds the work. Its methods may be called from any goroutine.
type Queue struct {
	opts     Options
	dialect  *dialect
	db       *sql.DB
	nodes    *nodes // nil: this node has the queue alone
	quit     context.CancelFunc
	beats    sync.WaitGroup
	client   *river.Client[*sql.Tx]
	stopping atomic.Bool
	started  atomic.Bool
	analyses atomic.Bool // they are taken
	closing  sync.Once

	mu      sync.Mutex
	lives   map[int64]time.Time               // jobs that this process worked: zero while they run, else when they ended
	working map[int64]context.CancelCauseFunc // those that run
}

// Open opens the queue: its file, which the caller alone must hold (the store's
// lock) and which is made new when it is missing or corrupt, or the database that
// several nodes share. It takes back the jobs that were running or waited when
// the process before this one ended. Nothing runs before Start.
func Open(ctx context.Context, o Options) (_ *Queue, err error) {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.MaxAttempts <= 0 {
		o.MaxAttempts = 12
	}
	if o.Poll <= 0 {
		o.Poll = time.Second
	}
	if o.Lease <= 0 {
		o.Lease = Lease
	}
	if o.clock == nil {
		o.clock = time.Now
	}
	if o.Failed == nil {
		o.Failed = func(error) {}
	}
	q := &Queue{opts: o, lives: make(map[int64]time.Time), working: make(map[int64]context.CancelCauseFunc), quit: func() {}}
	settings := &river.Config{
		// Failed and cancelled jobs stay until the series goes.
		CancelledJobRetentionPeriod: -1,
		DiscardedJobRetentionPeriod: -1,
		CompletedJobRetentionPeriod: time.Hour,
		FetchCooldown:               min(50*time.Millisecond, o.Poll),
		FetchPollInterval:           o.Poll,
		JobTimeout:                  -1, // the workers have deadlines of their own kinds
		RescueStuckJobsAfter:        100 * 365 * 24 * time.Hour,
		Logger:                      slog.New(&bridge{log: o.Log}),
		MaxAttempts:                 o.MaxAttempts,
		PollOnly:                    true, // one process: inserts wake the workers directly; several: a second is soon enough
		Queues:                      map[string]river.QueueConfig{},
		RetryPolicy:                 policy{o.Backoff, q.now},
		TestOnly:                    o.URL == "", // no random pause before the maintenance starts: one process, nobody to make room for
		Workers:                     river.NewWorkers(),
	}
	river.AddWorker(settings.Workers, &analyzeWorker{q: q})
	river.AddWorker(settings.Workers, &deliverWorker{q: q})
	for _, d := range o.Destinations {
		settings.Queues[deliverQueue(d.Name)] = oneWorker
	}
	if o.URL == "" || len(o.Destinations) == 0 { // a client must work something
		settings.Queues[analyzeQueue] = oneWorker
		q.analyses.Store(true)
	}
	if o.URL == "" {
		q.dialect = &sqliteDialect
		q.db, err = openDatabase(ctx, o.Path, o.Version, o.Log)
	} else {
		q.dialect = &postgresDialect
		q.nodes = &nodes{client: clientOf(o.Node), lease: o.Lease, said: map[string]string{}}
		settings.ID = q.nodes.client
		settings.Test.Time = databaseClock{q} // River's name for it: it has no other way to be told
		q.db, err = openPostgres(ctx, o)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			q.quit()
			q.beats.Wait()
			q.db.Close()
		}
	}()
	if err := q.takeBack(ctx); err != nil {
		return nil, fmt.Errorf("taking back the jobs of the process before: %w", err)
	}
	if o.URL == "" {
		q.client, err = river.NewClient(riversqlite.New(q.db), settings)
	} else {
		if err := q.join(ctx); err != nil {
			return nil, fmt.Errorf("[queue] url: joining the other nodes: %w", err)
		}
		q.client, err = river.NewClient(riverdatabasesql.New(q.db), settings)
	}
	if err != nil {
		return nil, fmt.Errorf("starting the queue: %w", err)
	}
	return q, nil
}

// takeBack resets what a process that was killed left behind. River's own rescue
// waits for a new leader and then for an hour; a process that alone owns the file
// knows at once. The attempt stays counted: an analysis that kills the process
// must come to an end too. What waited without having failed looks again: what it
// waited for was to be told to that process.
func (q *Queue) takeBack(ctx context.Context) error {
	return q.transaction(ctx, func(tx *sql.Tx) error {
		for _, statement := range q.dialect.takeBack {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
}

// lostAfter is how long a job may count as running though nobody works it:
// River writes how it ended within seconds, unless the disk is full.
const lostAfter = time.Minute

// mark notes that a job runs, or when it ended, and forgets those that ended
// long ago.
func (q *Queue) mark(id int64, ended time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lives[id] = ended
	if len(q.lives) > 1000 {
		for id, ended := range q.lives {
			if !ended.IsZero() && time.Since(ended) > 2*lostAfter {
				delete(q.lives, id)
			}
		}
	}
}

// takeBackLost resets jobs whose end could not be written, so that they do not
// count as running until the next start. Their work is safe to repeat.
func (q *Queue) takeBackLost(ctx context.Context) error {
	rows, err := q.db.QueryContext(ctx, q.dialect.running, int(lostAfter.Seconds()))
	if err != nil {
		return err
	}
	defer rows.Close()
	var lost []int64
	for rows.Next() {
		var id int64
		var client string
		if err := rows.Scan(&id, &client); err != nil {
			return err
		}
		if q.nodes != nil && client != q.nodes.client {
			continue // another node's
		}
		q.mu.Lock()
		ended, known := q.lives[id]
		q.mu.Unlock()
		if !known || !ended.IsZero() && time.Since(ended) > lostAfter {
			lost = append(lost, id)
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for _, id := range lost {
		if _, err := q.db.ExecContext(ctx, q.dialect.takeBackOne, id); err != nil {
			return err
		}
		q.opts.Log.Warn("job_taken_back", zap.Int64("job", id), zap.String("reason", "its end could not be written"))
	}
	return nil
}

// Start lets the workers work.
func (q *Queue) Start() error {
	q.started.Store(true)
	// Stop ends the client; no context of a caller may cut jobs short of that.
	if err := q.client.Start(context.Background()); err != nil {
		return fmt.Errorf("starting the queue's workers: %w", err)
	}
	return nil
}

// oneWorker is how each queue is worked: the machine has one set of cores and one
// GPU, and a destination one association.
var oneWorker = river.QueueConfig{MaxWorkers: 1}

// TakeAnalyses lets this node take analyses, after Start. One that has its queue
// alone takes them from the start, so that they say what they wait for; one of
// several that has no models would take them from the others only to wait.
func (q *Queue) TakeAnalyses() error {
	if q.analyses.Swap(true) {
		return nil
	}
	if err := q.client.Queues().Add(analyzeQueue, oneWorker); err != nil {
		return fmt.Errorf("taking analyses: %w", err)
	}
	return nil
}

// Stop ends the workers: no new job begins, those that run are given until ctx
// ends (nil context: none) and then cancelled, which costs them no attempt.
// The queue's file is closed.
func (q *Queue) Stop(ctx context.Context) error {
	var err error
	q.closing.Do(func() {
		q.stopping.Store(true)
		if q.started.Load() {
			if err = q.client.Stop(ctx); err != nil {
				// A worker that ignores its context would keep the process; the
				// files make another attempt safe.
				bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
				defer cancel()
				err = q.client.StopAndCancel(bound)
			}
		}
		q.quit()
		q.beats.Wait()
		if q.nodes != nil {
			bound, cancel := context.WithTimeout(context.Background(), connectWithin)
			defer cancel()
			if err := q.leave(bound); err != nil { // the others notice after a lease
				q.opts.Log.Warn("queue_unreachable", zap.Error(err))
			}
		}
		err = errors.Join(err, q.db.Close())
	})
	return err
}

// settle is how long River may take to write down how a job ended.
const settle = 2 * time.Second

// EnqueueAnalyze queues the analysis unless it already is in the queue, failed
// or cancelled. The job is durable on return.
func (q *Queue) EnqueueAnalyze(ctx context.Context, a Analyze) error {
	for begin := time.Now(); ; {
		inserted, err := q.client.Insert(ctx, a, &river.InsertOpts{Queue: analyzeQueue, UniqueOpts: unique()})
		if err != nil {
			return fmt.Errorf("queueing the analysis of series %s: %w", a.Series, err)
		}
		// One whose work is over, but whose end is not written yet, is no job
		// that would still do it: its successor waits until it is.
		if !inserted.UniqueSkippedAsDuplicate || !q.over(inserted.Job) || time.Since(begin) > settle {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(settle / 100):
		}
	}
}

// over reports whether the work of a job is over although it counts as running.
func (q *Queue) over(row *rivertype.JobRow) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	ended, known := q.lives[row.ID]
	return row.State == rivertype.JobStateRunning && known && !ended.IsZero()
}

// EnqueueDeliver queues deliveries in one transaction, except those already in
// the queue, failed or cancelled. A destination that the queue was not opened
// with is a fault.
func (q *Queue) EnqueueDeliver(ctx context.Context, ds ...Deliver) error {
	if len(ds) == 0 {
		return nil
	}
	params := make([]river.InsertManyParams, 0, len(ds))
	for _, d := range ds {
		if !q.configured(d.Destination) {
			return fmt.Errorf("queueing the delivery of series %s: destination %q is not configured", d.Series, d.Destination)
		}
		params = append(params, river.InsertManyParams{Args: d, InsertOpts: &river.InsertOpts{Queue: deliverQueue(d.Destination), UniqueOpts: unique()}})
	}
	if _, err := q.client.InsertMany(ctx, params); err != nil {
		return fmt.Errorf("queueing the deliveries of series %s: %w", ds[0].Series, err)
	}
	return nil
}

// configured reports whether the queue has a worker for the destination.
func (q *Queue) configured(destination string) bool {
	return slices.ContainsFunc(q.opts.Destinations, func(d Destination) bool { return d.Name == destination })
}

// Ping fails when the queue cannot be read.
func (q *Queue) Ping(ctx context.Context) error {
	var n int
	if err := q.db.QueryRowContext(ctx, q.dialect.ping).Scan(&n); err != nil {
		return fmt.Errorf("reading the queue: %w", err)
	}
	return nil
}

type analyzeWorker struct {
	river.WorkerDefaults[Analyze]
	q *Queue
}

func (w *analyzeWorker) Work(ctx context.Context, j *river.Job[Analyze]) error {
	return w.q.work(ctx, j.JobRow, func(ctx context.Context, try Attempt) error {
		return w.q.opts.Analyze(ctx, j.Args, try)
	})
}

type deliverWorker struct {
	river.WorkerDefaults[Deliver]
	q *Queue
}

func (w *deliverWorker) Work(ctx context.Context, j *river.Job[Deliver]) error {
	return w.q.work(ctx, j.JobRow, func(ctx context.Context, try Attempt) error {
		return w.q.opts.Deliver(ctx, j.Args, try)
	})
}

// reasonKey is where a job's row keeps the sentence of Wait.
const reasonKey = "pulmonode_reason"

// work runs one attempt and translates its outcome into River's.
func (q *Queue) work(ctx context.Context, row *rivertype.JobRow, do func(context.Context, Attempt) error) error {
	q.mark(row.ID, time.Time{})
	ctx, drop := context.WithCancelCause(ctx)
	q.mu.Lock()
	q.working[row.ID] = drop
	q.mu.Unlock()
	defer func() {
		q.mark(row.ID, time.Now())
		q.mu.Lock()
		delete(q.working, row.ID)
		q.mu.Unlock()
		drop(nil)
	}()
	try := Attempt{Number: row.Attempt, Max: row.MaxAttempts, held: func(ctx context.Context) error { return q.held(ctx, row.ID) }}
	for _, e := range row.Errors {
		try.Errors = append(try.Errors, e.Error)
	}
	err := q.guarded(ctx, row, try, do)
	reason := ""
	var wait *waitError
	switch {
	case err == nil:
	case errors.Is(err, ErrLost) || errors.Is(context.Cause(ctx), ErrLost):
		// The job has another number now; what River writes of this one meets no row.
		q.opts.Log.Warn("job_dropped", zap.Int64("job", row.ID), zap.String("kind", row.Kind), zap.Error(ErrLost))
		err = river.JobSnooze(0)
	case q.stopping.Load() && ctx.Err() != nil:
		// Stopping is no failure of the job.
		err = river.JobSnooze(0)
	case errors.As(err, &wait):
		reason = wait.reason
		err = river.JobSnooze(wait.after)
	case IsFinal(err):
		err = river.JobCancel(err)
	}
	if merr := river.MetadataSet(ctx, reasonKey, reason); merr != nil {
		return merr
	}
	return err
}

// guarded turns a panic into an error of the attempt.
func (q *Queue) guarded(ctx context.Context, row *rivertype.JobRow, try Attempt, do func(context.Context, Attempt) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			q.opts.Log.Error("job_panicked", zap.Int64("job", row.ID), zap.String("kind", row.Kind),
				zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			err = fmt.Errorf("the work broke off by a fault of the program (%v): send the log to the makers", p)
		}
	}()
	return do(ctx, try)
}
