package dimse

import (
	"context"
	"errors"
	"sync"
	"time"
)

// order is something to say on a server's association that nobody asked for. Its
// goroutine, which waits for the peer most of the time, is woken to say it between
// two messages.
type order struct {
	ctx    context.Context   // ends when its giver waits no more
	report *CommitmentResult // nil: a release
	sent   chan struct{}     // closed when it was said
	done   chan struct{}     // closed when it was answered, or can't be any more
	status Status
	err    error
}

func (o *order) finish(status Status, err error) {
	o.status, o.err = status, err
	close(o.done)
}

// orders are an association's, first come first served.
type orders struct {
	mu      sync.Mutex
	waiting []*order
	over    bool
}

func (q *orders) add(o *order) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.over {
		q.waiting = append(q.waiting, o)
	}
	return !q.over
}

// next takes the first that is still waited for.
func (q *orders) next() *order {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) > 0 {
		o := q.waiting[0]
		q.waiting = q.waiting[1:]
		if o.ctx.Err() == nil {
			return o
		}
	}
	return nil
}

// end refuses those that wait, and all that come.
func (q *orders) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, o := range q.waiting {
		o.finish(0, ErrAssociationOver)
	}
	q.waiting, q.over = nil, true
}

// ErrAssociationOver is what an Association's methods return when it is.
var ErrAssociationOver = errors.New("the association is over")

// ReportCommitment tells the peer on this association what became of its request
// (N-EVENT-REPORT, PS3.4 J.3.3), between two messages. Success means that the peer
// has it. With any other status, or an error, such as ErrAssociationOver, it
// should be told by Client.ReportCommitment: many peers release as soon as their
// request was answered. It is for any goroutine but that of the Handler's and
// Session's methods, on whose return it would wait.
func (a *Association) ReportCommitment(ctx context.Context, r *CommitmentResult) (Status, error) {
	c := a.conn
	if c == nil || !c.mayReport() {
		return 0, errors.New("the peer was not accepted as SCU of storage commitment on this association")
	}
	if err := check(r.TransactionUID, r.Committed, r.Failed); err != nil {
		return 0, err
	}
	return c.carryOut(ctx, &order{report: r})
}

func (c *serverConn) mayReport() bool {
	c.orders.mu.Lock()
	defer c.orders.mu.Unlock()
	return c.committer != nil
}

// Release ends the association in order, between two messages (A-RELEASE-RQ). Most
// users of storage do not expect it of a provider. It is for any goroutine but
// that of the Handler's and Session's methods, on whose return it would wait.
func (a *Association) Release(ctx context.Context) error {
	if a.conn == nil {
		return ErrAssociationOver
	}
	_, err := a.conn.carryOut(ctx, &order{})
	return err
}

// carryOut gives an order and waits for what becomes of it.
func (c *serverConn) carryOut(ctx context.Context, o *order) (Status, error) {
	waiting, leave := context.WithCancel(ctx)
	defer c.t.wake()
	defer leave()
	o.ctx, o.sent, o.done = waiting, make(chan struct{}), make(chan struct{})
	if !c.orders.add(o) {
		return 0, ErrAssociationOver
	}
	c.t.wake()
	select {
	case <-o.sent:
	case <-o.done:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	var late <-chan time.Time // a release has its deadline where it is said
	if o.report != nil {
		late = time.After(c.t.times.Response)
	}
	select {
	case <-o.done:
		return o.status, o.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-late:
		return 0, errors.New("the peer gave no answer in time")
	}
}

// say carries out the orders that wait, but none while a report has no answer
// yet: nothing is invoked beside another (PS3.7 D.3.3.3).
func (c *serverConn) say() error {
	t := c.t
	for c.reported == nil || c.reported.ctx.Err() != nil {
		c.reported = nil
		o := c.orders.next()
		if o == nil {
			return nil
		}
		if o.report == nil {
			close(o.sent)
			err := t.release()
			o.finish(0, err)
			return t.ended
		}
		c.message++
		b, err := t.reportBytes(c.commitment, c.message, o.report)
		if err != nil {
			o.finish(0, err)
			continue
		}
		c.reported = o
		if err := t.write(b); err != nil {
			return t.broken(err, "taking a report")
		}
		close(o.sent)
	}
	return nil
}

// reply takes an N-EVENT-REPORT-RSP. One that comes too late answers nobody.
func (c *serverConn) reply(cmd command) {
	id, _ := cmd.number(elMessageIDResponded)
	status, ok := cmd.number(elStatus)
	if c.reported == nil || id != c.message {
		return
	}
	var err error
	if !ok {
		err = errors.New("the peer's answer has no status")
	}
	c.reported.finish(Status(status), err)
	c.reported = nil
}

// quiet ends what waits for something to be said or answered.
func (c *serverConn) quiet() {
	if c.reported != nil {
		c.reported.finish(0, ErrAssociationOver)
		c.reported = nil
	}
	c.orders.end()
}
