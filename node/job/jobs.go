package job

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// State is where a job stands.
type State string

// The states of a job. Failed and cancelled jobs wait for a person.
const (
	Queued    State = "queued"
	Running   State = "running"
	Waiting   State = "waiting" // for its time: after a failure, or for what it needs
	Failed    State = "failed"
	Cancelled State = "cancelled"
	Done      State = "done"
)

// Job is one row of the queue.
type Job struct {
	ID          int64
	Kind        string // "analyze" or "deliver"
	Study       string
	Series      string
	Generation  int
	Destination string // of a delivery
	State       State
	Attempt     int // attempts begun
	MaxAttempts int
	Next        time.Time // of the next attempt, when queued or waiting
	Reason      string    // why it waits; empty unless the worker said so
	LastError   string    // of the latest failed attempt
	Node        string    // that took it last, where several share the queue
}

// ErrNotFound says that no job fits.
var ErrNotFound = errors.New("no such job in the queue")

// Jobs lists the jobs of a series, or of every series when both UIDs are
// empty, oldest first. Done jobs are listed for an hour.
func (q *Queue) Jobs(ctx context.Context, study, series string) ([]Job, error) {
	query, args := q.dialect.list, []any(nil)
	if study != "" || series != "" {
		query, args = q.dialect.ofSeries, []any{study, series}
	}
	rows, err := q.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("listing the jobs: %w", err)
	}
	defer rows.Close()
	var jobs []Job
	for rows.Next() {
		var (
			j               Job
			state, when     string
			argsJSON, meta  string
			lastError       sql.NullString
			parsed          Deliver
			parsedMeta      map[string]any
			client          string
			cancelledByHand bool
		)
		if err := rows.Scan(&j.ID, &j.Kind, &state, &j.Attempt, &j.MaxAttempts, &when, &argsJSON, &lastError, &meta, &client); err != nil {
			return nil, fmt.Errorf("listing the jobs: %w", err)
		}
		if err := errors.Join(json.Unmarshal([]byte(argsJSON), &parsed), json.Unmarshal([]byte(meta), &parsedMeta)); err != nil {
			return nil, fmt.Errorf("reading job %d: %w", j.ID, err)
		}
		j.Study, j.Series, j.Generation, j.Destination = parsed.Study, parsed.Series, parsed.Generation, parsed.Destination
		if lastError.String != rivertype.ErrJobCancelledRemotely.Error() { // State says it
			j.LastError = strings.TrimPrefix(lastError.String, "JobCancelError: ") // River's word for Final
		}
		j.Reason, _ = parsedMeta[reasonKey].(string)
		_, cancelledByHand = parsedMeta["cancel_attempted_at"]
		j.State = fromRiver(rivertype.JobState(state), cancelledByHand)
		if q.nodes != nil {
			j.Node = nodeOf(client)
		}
		if j.State == Queued || j.State == Waiting {
			j.Next = parseTime(when)
			if j.State == Queued && j.Next.After(q.now()) {
				j.State = Waiting // River keeps short waits as available
			}
		} else {
			j.Reason = ""
		}
		jobs = append(jobs, j)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("listing the jobs: %w", err)
	}
	return jobs, nil
}

// parseTime reads the two forms in which the queue's times are stored.
func parseTime(s string) time.Time {
	for _, layout := range []string{"2006-01-02 15:04:05.999999999", time.RFC3339Nano, "2006-01-02 15:04:05.999999999-07:00"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}

// Retry lets a failed, cancelled or waiting job run now, with all its attempts
// before it. A job that is queued or running is left alone.
func (q *Queue) Retry(ctx context.Context, j Job) error {
	switch j.State {
	case Queued, Running, Done:
		return nil
	case Waiting:
		if _, err := q.client.JobRetry(ctx, j.ID); err != nil {
			return q.jobError("retrying", j, err)
		}
		return nil
	}
	tx, err := q.db.BeginTx(ctx, nil)
	if err != nil {
		return q.jobError("retrying", j, err)
	}
	defer tx.Rollback()
	if _, err := q.client.JobDeleteTx(ctx, tx, j.ID); err != nil {
		return q.jobError("retrying", j, err)
	}
	args, queue := river.JobArgs(Analyze{j.Study, j.Series, j.Generation}), analyzeQueue
	if j.Kind == (Deliver{}).Kind() {
		if !q.configured(j.Destination) {
			return fmt.Errorf("retrying the delivery of series %s: destination %q is not configured any more", j.Series, j.Destination)
		}
		args, queue = Deliver{j.Study, j.Series, j.Generation, j.Destination}, deliverQueue(j.Destination)
	}
	if _, err := q.client.InsertTx(ctx, tx, args, &river.InsertOpts{Queue: queue, UniqueOpts: unique()}); err != nil {
		return q.jobError("retrying", j, err)
	}
	if err := tx.Commit(); err != nil {
		return q.jobError("retrying", j, err)
	}
	return nil
}

// Cancel ends a job; one that runs is told to stop and is cancelled when its
// worker returns. It stays in the list and can be retried.
func (q *Queue) Cancel(ctx context.Context, j Job) error {
	if _, err := q.client.JobCancel(ctx, j.ID); err != nil {
		return q.jobError("cancelling", j, err)
	}
	return nil
}

func (q *Queue) jobError(doing string, j Job, err error) error {
	if errors.Is(err, rivertype.ErrNotFound) {
		err = ErrNotFound
	}
	return fmt.Errorf("%s job %d: %w", doing, j.ID, err)
}

// Remove takes a job out of the queue unless it runs: then it is left to end.
func (q *Queue) Remove(ctx context.Context, j Job) error {
	_, err := q.client.JobDelete(ctx, j.ID)
	if err != nil && !errors.Is(err, rivertype.ErrNotFound) && !errors.Is(err, rivertype.ErrJobRunning) {
		return q.jobError("removing", j, err)
	}
	return nil
}

// Forget removes the jobs of a series that leaves the node. A job that runs
// is told to stop and found again at the next call.
func (q *Queue) Forget(ctx context.Context, study, series string) error {
	jobs, err := q.Jobs(ctx, study, series)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		if j.State == Running {
			return errors.Join(q.Cancel(ctx, j), fmt.Errorf("series %s still has running work", series))
		}
		if _, err := q.client.JobDelete(ctx, j.ID); err != nil && !errors.Is(err, rivertype.ErrNotFound) {
			return q.jobError("removing", j, err)
		}
	}
	return nil
}

// ForgetDestinations removes deliveries to destinations that no node that lives
// has configured any more and returns how many there were: nobody would ever
// work them.
func (q *Queue) ForgetDestinations(ctx context.Context) (int, error) {
	jobs, err := q.Jobs(ctx, "", "")
	if err != nil {
		return 0, err
	}
	others, err := q.destinationsOfOthers(ctx)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, j := range jobs {
		if j.Kind != (Deliver{}).Kind() || q.configured(j.Destination) || slices.Contains(others, j.Destination) {
			continue
		}
		if _, err := q.client.JobDelete(ctx, j.ID); err != nil && !errors.Is(err, rivertype.ErrNotFound) {
			return n, q.jobError("removing", j, err)
		}
		n++
	}
	return n, nil
}

// Wake lets the deliveries that wait for a destination run now; called when a
// delivery to it succeeded, so that a peer which came back is served at once.
func (q *Queue) Wake(ctx context.Context, destination string) error {
	return q.wake(ctx, deliverQueue(destination), waiting)
}

// Whom to wake, as River's states. It keeps short waits as available.
const (
	waiting  = `'retryable', 'scheduled', 'available'`
	unfailed = `'scheduled'` // by a long Wait
)

func (q *Queue) wake(ctx context.Context, queue, states string) error {
	_, err := q.db.ExecContext(ctx, fmt.Sprintf(q.dialect.wake, states), queue)
	if err != nil {
		return fmt.Errorf("waking the jobs of %s: %w", queue, err)
	}
	return nil
}

// WakeAnalyses lets the analyses that wait run now; called when what they
// waited for is there.
func (q *Queue) WakeAnalyses(ctx context.Context) error {
	return q.wakeTwice(ctx, analyzeQueue, waiting)
}

// WakeDeliveries lets the deliveries that wait for what a destination says run
// now; called when it said something. One that failed keeps its growing intervals:
// an archive that answers for nothing would use up all attempts in a minute.
func (q *Queue) WakeDeliveries(ctx context.Context, destination string) error {
	return q.wakeTwice(ctx, deliverQueue(destination), unfailed)
}

// wakeTwice wakes the jobs of a queue, and again a moment later: one that had
// just looked in vain is written down as waiting in that moment.
func (q *Queue) wakeTwice(ctx context.Context, queue, states string) error {
	if err := q.wake(ctx, queue, states); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(settle):
	}
	return q.wake(ctx, queue, states)
}

// Count is how many jobs of one kind and, of deliveries, to one destination are
// in a state.
type Count struct {
	Kind        string
	Destination string
	State       State
	Jobs        int
	Oldest      time.Time // when the oldest of them was queued
}

// Counts counts the queue's jobs.
func (q *Queue) Counts(ctx context.Context) ([]Count, error) {
	rows, err := q.db.QueryContext(ctx, q.dialect.counts)
	if err != nil {
		return nil, fmt.Errorf("counting the jobs: %w", err)
	}
	defer rows.Close()
	var counts []Count
	for rows.Next() {
		var c Count
		var state, oldest string
		var byHand bool
		if err := rows.Scan(&c.Kind, &c.Destination, &state, &byHand, &c.Jobs, &oldest); err != nil {
			return nil, fmt.Errorf("counting the jobs: %w", err)
		}
		c.State, c.Oldest = fromRiver(rivertype.JobState(state), byHand), parseTime(oldest)
		counts = append(counts, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("counting the jobs: %w", err)
	}
	return counts, nil
}

func fromRiver(s rivertype.JobState, cancelledByHand bool) State {
	switch s {
	case rivertype.JobStateAvailable, rivertype.JobStatePending:
		return Queued
	case rivertype.JobStateRunning:
		return Running
	case rivertype.JobStateRetryable, rivertype.JobStateScheduled:
		return Waiting
	case rivertype.JobStateDiscarded:
		return Failed
	case rivertype.JobStateCancelled:
		// River cancels a job that ended by Final too.
		if cancelledByHand {
			return Cancelled
		}
		return Failed
	}
	return Done
}
