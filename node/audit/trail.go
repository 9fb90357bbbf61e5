package audit

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Options say where the trail goes.
type Options struct {
	Node Node
	Site string // Audit Enterprise Site ID; empty: none

	File string // empty: none

	Network string                      // "tls", "tcp" or "udp" to the collector; empty: there is none
	Address string                      // the collector's
	TLS     func() (*tls.Config, error) // asked for at each connection
	Spool   string                      // the folder of what waits for the collector
	Limit   int64                       // bytes that may wait there

	Log  *zap.Logger
	Lost func(messages int) // is told of what could not be kept; nil: nobody is

	pace  pace
	again time.Duration
}

// Trail is an audit trail that is kept. A nil Trail records nothing.
type Trail struct {
	opts   Options
	queues []*queue
	file   *logFile
	spool  *spool

	lost       atomic.Uint64 // in all
	untold     atomic.Uint64 // and not reported in the trail itself
	complained atomic.Int64  // when the log was told last, in seconds

	stop    context.CancelFunc
	sending sync.WaitGroup
}

// Open begins to keep a trail; nil without an error where nothing asks for one.
// What an earlier run left for the collector is sent first.
func Open(o Options) (*Trail, error) {
	if o.File == "" && o.Network == "" {
		return nil, nil
	}
	if o.pace == (pace{}) {
		o.pace = unhurried
	}
	if o.again == 0 {
		o.again = writeAgain
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	t := &Trail{opts: o, stop: func() {}}
	if o.File != "" {
		t.file = &logFile{path: o.File}
		if err := t.file.reopen(); err != nil {
			return nil, fmt.Errorf("[audit] file: %w: name a file in a folder that the user of pulmonode may write", err)
		}
		t.keep(o.File, t.file.add, func(m []byte) []byte { return append(m[:len(m):len(m)], '\n') })
	}
	if o.Network != "" {
		var err error
		if t.spool, err = openSpool(o.Spool, o.Limit, t.drop); err != nil {
			if t.file != nil {
				t.file.close()
			}
			return nil, fmt.Errorf("the spool of [audit] syslog: %w", err)
		}
		t.keep("spool", t.spool.add, frame)
		c := &collector{network: o.Network, address: o.Address, profile: o.TLS, spool: t.spool, log: o.Log, pace: o.pace}
		ctx, stop := context.WithCancel(context.Background())
		t.stop = stop
		t.sending.Go(func() { c.run(ctx) })
	}
	for _, q := range t.queues {
		go q.run()
	}
	return t, nil
}

func (t *Trail) keep(what string, add func([]byte, int) error, form func([]byte) []byte) {
	t.queues = append(t.queues, &queue{what: what, add: add, form: form, lost: t.drop, log: t.opts.Log, again: t.opts.again,
		arrived: make(chan struct{}, 1), stopped: make(chan struct{}), done: make(chan struct{})})
}

// Record keeps an event; it never waits. What was lost before is told first.
func (t *Trail) Record(e Event) {
	if t == nil {
		return
	}
	if n := t.untold.Swap(0); n > 0 {
		t.record(lost(t.opts.Node, n, e.Time))
	}
	t.record(e)
}

func (t *Trail) record(e Event) {
	xml, err := message(e, t.opts.Site, t.opts.Node.AETitle)
	if err != nil {
		t.drop(1)
		return
	}
	m := syslog(xml, e.Outcome, e.Time, t.opts.Node.Host, os.Getpid())
	if len(m) > maxMessage {
		t.drop(1)
		return
	}
	for _, q := range t.queues {
		q.push(m)
	}
}

// complainEvery bounds how often the log says that messages are lost.
const complainEvery = 60 // seconds

func (t *Trail) drop(messages int) {
	all := t.lost.Add(uint64(messages))
	t.untold.Add(uint64(messages))
	if t.opts.Lost != nil {
		t.opts.Lost(messages)
	}
	now, last := time.Now().Unix(), t.complained.Load()
	if now-last >= complainEvery && t.complained.CompareAndSwap(last, now) {
		t.opts.Log.Error("audit_lost", zap.Int("messages", messages), zap.Uint64("since_start", all),
			zap.String("do", "make room on the disk, bring the collector back, or raise [audit] spool: the trail has a gap"))
	}
}

// Waiting is how many bytes the collector has not had for certain.
func (t *Trail) Waiting() int64 {
	if t == nil || t.spool == nil {
		return 0
	}
	return t.spool.waiting()
}

// Close keeps what was recorded and ends. What the collector did not take within a
// moment waits for the next start.
func (t *Trail) Close() error {
	if t == nil {
		return nil
	}
	for _, q := range t.queues {
		close(q.stopped)
		<-q.done
	}
	t.stop()
	t.sending.Wait()
	var err error
	if t.file != nil {
		err = t.file.close()
	}
	if t.spool != nil {
		err = errors.Join(err, t.spool.close())
	}
	return err
}
