package audit

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Dial connects to a collector; tls is asked for with its network "tls" alone.
func Dial(ctx context.Context, network, address string, profile func() (*tls.Config, error)) (net.Conn, error) {
	d := &net.Dialer{Control: giveUpSilence}
	if network != "tls" {
		return d.DialContext(ctx, network, address)
	}
	c, err := profile()
	if err != nil {
		return nil, err
	}
	return (&tls.Dialer{NetDialer: d, Config: c}).DialContext(ctx, "tcp", address)
}

// pace is how a collector is treated; a test has it in a hurry.
type pace struct {
	dial, write time.Duration
	// settle is how long a connection must have outlived what it carried: syslog has
	// no answer, and what a collector that dies had in its buffers is gone. It is
	// longer than silence, after which the connection breaks.
	settle       time.Duration
	first, worst time.Duration // between attempts
	goodbye      time.Duration // for the last messages of a node that stops
}

const silence = 10 * time.Second

var unhurried = pace{dial: 10 * time.Second, write: 10 * time.Second, settle: 15 * time.Second, first: time.Second, worst: time.Minute, goodbye: 2 * time.Second}

// collector sends what is in the spool.
type collector struct {
	network, address string
	profile          func() (*tls.Config, error)
	spool            *spool
	log              *zap.Logger
	pace             pace
}

// run sends until ctx ends, and then for a moment what waits.
func (c *collector) run(ctx context.Context) {
	down, last := false, false
	wait := c.pace.first
	for !last {
		last = ctx.Err() != nil
		if c.spool.waiting() == 0 && !last {
			select {
			case <-c.spool.arrived:
			case <-ctx.Done():
			}
			continue
		}
		if last && (down || c.spool.waiting() == 0) {
			return
		}
		progress, err := c.connect(ctx)
		if progress {
			wait = c.pace.first
			if down {
				down = false
				c.log.Info("audit_collector_back", zap.String("collector", c.address))
			}
		}
		if err == nil {
			continue
		}
		if !down {
			down = true
			c.log.Warn("audit_collector_down", zap.String("collector", c.address), zap.Int64("waiting_bytes", c.spool.waiting()), zap.Error(err),
				zap.String("do", "look whether it runs and lets this node in: the messages wait on the disk until [audit] spool is full"))
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, c.pace.worst)
	}
}

// dial connects. A node that stops does not wait for it long.
func (c *collector) dial(ctx context.Context) (net.Conn, error) {
	bound, end := context.WithTimeout(context.WithoutCancel(ctx), c.pace.dial)
	defer end()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(c.pace.goodbye, end) })()
	return Dial(bound, c.network, c.address, c.profile)
}

// passage is what was sent up to a place in the spool.
type passage struct {
	to position
	at time.Time
}

// connection is one to the collector.
type connection struct {
	*collector
	net.Conn
	gone      chan error // why the collector closed it
	sent      position
	under     []passage // sent, and not for certain delivered
	delivered bool      // some of it was
}

// connect has one connection; progress is whether messages were delivered by it.
// Without an error nothing is wrong with the collector.
func (c *collector) connect(ctx context.Context) (progress bool, err error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return false, err
	}
	k := &connection{collector: c, Conn: conn, gone: make(chan error, 1), sent: c.spool.delivered()}
	var reading sync.WaitGroup
	reading.Go(func() {
		_, err := io.Copy(io.Discard, conn) // a collector says nothing; the end is what matters
		if err == nil {
			err = io.EOF
		}
		k.gone <- err
	})
	err = k.converse(ctx)
	conn.Close()
	reading.Wait()
	return k.delivered, err
}

func (k *connection) converse(ctx context.Context) error {
	timer := time.NewTimer(k.pace.settle)
	defer timer.Stop()
	stop, until := ctx.Done(), time.Time{} // once the node stops
	for {
		select {
		case err := <-k.gone:
			return k.ended(err)
		default:
		}
		more, err := k.send()
		if err != nil {
			return err
		}
		k.confirm(k.settle())
		if stop == nil && (!more || time.Now().After(until)) {
			return k.leave()
		}
		if more {
			continue
		}
		if len(k.under) > 0 {
			timer.Reset(time.Until(k.under[0].at.Add(k.settle())))
		}
		select {
		case <-k.spool.arrived:
		case <-timer.C:
		case err := <-k.gone:
			return k.ended(err)
		case <-stop:
			stop, until = nil, time.Now().Add(k.pace.goodbye)
		}
	}
}

// send sends what comes next; false where nothing does.
func (k *connection) send() (more bool, err error) {
	frames, next, err := k.spool.read(k.sent)
	switch {
	case err != nil:
		k.log.Error("audit_spool_damaged", zap.Error(err), zap.String("do", "look at the disk of [storage] data_dir: what could not be read is lost"))
		next = k.spool.skip(k.sent)
	case len(frames) == 0:
		return false, nil
	default:
		if err := k.write(frames); err != nil {
			return false, fmt.Errorf("the connection broke: %w", err)
		}
	}
	k.sent = next
	k.under = append(k.under, passage{next, time.Now()})
	return true, nil
}

// confirm takes as delivered what was sent so long ago.
func (k *connection) confirm(age time.Duration) {
	n := 0
	for n < len(k.under) && time.Since(k.under[n].at) >= age {
		n++
	}
	if n > 0 {
		k.spool.confirm(k.under[n-1].to)
		k.under, k.delivered = k.under[n:], true
	}
}

// settle is short over UDP, where all that comes back is that nobody listens.
func (c *collector) settle() time.Duration {
	if c.network == "udp" {
		return c.pace.settle / 10
	}
	return c.pace.settle
}

// write sends frames, over UDP each message as a datagram (RFC 5426 section 3.1).
func (k *connection) write(frames []byte) error {
	k.SetWriteDeadline(time.Now().Add(k.pace.write))
	if k.network != "udp" {
		_, err := k.Write(frames)
		return err
	}
	for {
		m, rest, ok := unframe(frames)
		if !ok {
			return nil
		}
		if _, err := k.Write(m); err != nil {
			return err
		}
		frames = rest
	}
}

// ended is how a connection ended that the collector closed, which is its right
// while nothing is under way. A close that left something unread would be a
// reset, so what had time to arrive before a proper one was read.
func (k *connection) ended(err error) error {
	if errors.Is(err, io.EOF) {
		k.confirm(k.pace.settle / 4)
		if k.delivered || len(k.under) == 0 && k.spool.waiting() == 0 {
			return nil
		}
		return errors.New("it closed the connection")
	}
	if len(k.under) == 0 && k.spool.waiting() == 0 {
		return nil
	}
	return fmt.Errorf("the connection broke: %w", err)
}

// leave says goodbye, and takes the collector's as its word that it has read all.
func (k *connection) leave() error {
	half, ok := k.Conn.(interface{ CloseWrite() error })
	if !ok {
		k.confirm(0)
		return nil
	}
	if err := half.CloseWrite(); err != nil {
		return err
	}
	select {
	case err := <-k.gone:
		if errors.Is(err, io.EOF) {
			k.confirm(0)
		}
	case <-time.After(k.pace.goodbye):
	}
	return nil
}
