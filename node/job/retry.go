package job

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/riverqueue/river/rivertype"
)

// Backoff is the wait before the next attempt: Base after the first failure,
// twice as long after each further one, at most Cap. A fifth of it is jitter,
// so that the deliveries of a burst do not return to a peer all at once.
type Backoff struct {
	Base time.Duration // 0: 10 s
	Cap  time.Duration // 0: 1 h
}

func (b Backoff) delay(failures int, random float64) time.Duration {
	base, limit := b.Base, b.Cap
	if base <= 0 {
		base = 10 * time.Second
	}
	if limit <= 0 {
		limit = time.Hour
	}
	d := limit
	if n := max(failures-1, 0); n < 40 && base<<n > 0 && base<<n < limit {
		d = base << n
	}
	return time.Duration(float64(d) * (0.9 + 0.2*random))
}

// policy is River's view of Backoff.
type policy struct {
	Backoff
	now func() time.Time
}

// NextRetry is when a job that just failed runs again.
func (p policy) NextRetry(row *rivertype.JobRow) time.Time {
	return p.now().UTC().Add(p.delay(row.Attempt, rand.Float64()))
}

// waitError postpones a job without using up an attempt.
type waitError struct {
	after  time.Duration
	reason string
}

func (e *waitError) Error() string { return e.reason }

// Wait postpones the job that returns it: nothing is wrong with the job, but
// something it needs is missing (a model, disk space). The attempt does not
// count; the reason is a sentence that people see.
func Wait(after time.Duration, reason string) error { return &waitError{after, reason} }

// finalError ends a job as failed at once.
type finalError struct{ err error }

func (e *finalError) Error() string { return e.err.Error() }
func (e *finalError) Unwrap() error { return e.err }

// Final marks an error that no further attempt can mend, such as a rejection
// that needs a change at the peer. The job is failed at once and waits for a
// person.
func Final(err error) error { return &finalError{err} }

// IsFinal reports whether err was made by Final.
func IsFinal(err error) bool { return errors.As(err, new(*finalError)) }

// IsWait reports whether err was made by Wait.
func IsWait(err error) bool { return errors.As(err, new(*waitError)) }
