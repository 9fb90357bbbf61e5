package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pulmonode/pulmonode/node/admin"
	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/secure"
	"github.com/pulmonode/pulmonode/node/store"
)

// heart tells whether the upkeep still turns. It beats on the monotonic clock:
// a stepped wall clock neither stops nor hides anything.
type heart struct {
	began time.Time    // with its monotonic reading
	last  atomic.Int64 // nanoseconds since began
}

// wedgedAfter is how long the upkeep may be silent before the node counts as
// wedged. It beats each minute, and at each series that retention looks at;
// what keeps it longer than this does not end by itself, and a restart, which
// loses nothing, is all that helps.
const wedgedAfter = 10 * time.Minute

func newHeart() *heart { return &heart{began: time.Now()} }

func (h *heart) beat() { h.last.Store(int64(time.Since(h.began))) }

func (h *heart) silence() time.Duration { return time.Since(h.began) - time.Duration(h.last.Load()) }

// Alive is nil while the node's own work turns, whatever its disk, queue,
// models or peers do; an error means that only a restart helps. It looks at
// nothing that could make it wait.
func (n *Node) Alive() error {
	if silence := n.heart.silence(); silence > wedgedAfter {
		return fmt.Errorf("the upkeep has not turned for %v: restart the node, which loses nothing, and send the log to the makers", silence.Round(time.Second))
	}
	return nil
}

// health are the parts that readiness asks. A destination is none of them: while
// one is down the node receives, analyses and keeps for it all the same.
type health struct {
	disk, queue probe
	stopping    atomic.Bool
}

func newHealth(s *store.Store, q *job.Queue, sqlite bool, within time.Duration) (*health, error) {
	if within <= 0 {
		within = answerWithin
	}
	inPlace := func() error { return nil }
	if sqlite {
		var err error
		if inPlace, err = sameFile(filepath.Join(s.Dir(), "queue.db")); err != nil {
			return nil, err
		}
	}
	return &health{
		disk: probe{within: within, ask: func(context.Context) error {
			err := s.Ready()
			if err != nil && !errors.Is(err, store.ErrFull) {
				err = fmt.Errorf("%w: look at the disk and at the folder's rights; senders are told to try again", err)
			}
			return err
		}, hangs: "the disk hangs: look at it, or at the file server; senders wait or are cut off, and send again"},
		queue: probe{within: within, ask: func(ctx context.Context) error {
			if err := q.Ping(ctx); err != nil {
				return fmt.Errorf("%w: look at its database; what is received is kept, and worked when it is back", err)
			}
			return inPlace()
		}, hangs: "the queue hangs: look at its database; what is received is kept, and worked when it is back"},
	}, nil
}

// ready says of each part whether it is.
func (n *Node) ready(context.Context) []admin.Check {
	checks := []admin.Check{{Name: "disk", Receive: true}, {Name: "queue"}, {Name: "models"}, {Name: "analyses"}, {Name: "listener", Receive: true}}
	_, models := n.models.get()
	answers := []error{nil, nil, models, n.analyst.streak.err(), n.listening()}
	var both sync.WaitGroup
	both.Go(func() { answers[0] = n.health.disk.answer() })
	both.Go(func() { answers[1] = n.health.queue.answer() })
	both.Wait()
	for i, err := range answers {
		checks[i].OK = err == nil
		if err != nil {
			checks[i].Sentence = err.Error()
		}
	}
	return append(checks, n.others()...)
}

func (n *Node) listening() error {
	switch {
	case n.health.stopping.Load():
		return errors.New("the node is stopping and takes no new associations: it finishes those that are open")
	case !n.open.Load():
		return errors.New("the DICOM listener is closed: the log says why; restart the node")
	}
	return nil
}

// answerWithin is how long a part may take to say that it is ready.
const answerWithin = 3 * time.Second

// probe asks a part that may hang. It asks once at a time, however many want to
// know: a disk that hangs must not collect goroutines.
type probe struct {
	ask    func(context.Context) error
	within time.Duration
	hangs  string // what it means when there is no answer, and what to do

	mu      sync.Mutex
	running *question
}

type question struct {
	began time.Time
	done  chan struct{}
	err   error
}

func (p *probe) answer() error {
	p.mu.Lock()
	a := p.running
	if a == nil {
		a = &question{began: time.Now(), done: make(chan struct{})}
		p.running = a
		go p.run(a)
	}
	p.mu.Unlock()
	timer := time.NewTimer(p.within)
	defer timer.Stop()
	select {
	case <-a.done:
		return a.err
	case <-timer.C:
		return fmt.Errorf("no answer for %v: %s", time.Since(a.began).Round(time.Second), p.hangs)
	}
}

func (p *probe) run(a *question) {
	ctx, cancel := context.WithTimeout(context.Background(), p.within)
	defer cancel()
	a.err = p.ask(ctx)
	p.mu.Lock()
	p.running = nil
	p.mu.Unlock()
	close(a.done)
}

// sameFile fails when the file at path is no longer the one that it was at this
// call: SQLite goes on with a file that was removed or replaced, and all that is
// written to it is lost with the process.
func sameFile(path string) (func() error, error) {
	opened, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	return func() error {
		now, err := os.Stat(path)
		if err == nil && !os.SameFile(opened, now) {
			err = errors.New("it is another file now")
		}
		if err != nil {
			return fmt.Errorf("%s was removed or replaced while the node ran (%w): restart the node, it rebuilds the queue from the files", filepath.Base(path), err)
		}
		return nil
	}, nil
}

// streak counts the series whose analysis failed since one succeeded. One that
// cannot be analysed says nothing of the models; several in a row do.
type streak struct {
	mu     sync.Mutex
	failed map[store.Key]bool
	last   error
}

// failingFrom is how many series in a row make the analyses not ready.
const failingFrom = 3

func (s *streak) ended(k store.Key, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last = err; err == nil {
		s.failed = nil
		return
	}
	if s.failed == nil {
		s.failed = map[store.Key]bool{}
	}
	if len(s.failed) < failingFrom {
		s.failed[k] = true
	}
}

func (s *streak) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.failed) < failingFrom {
		return nil
	}
	return fmt.Errorf("the analyses of the last %d series or more failed, the latest with: %w: they are tried again by themselves; look at the log, at the GPU and at the memory", failingFrom, s.last)
}

// facts are what the metrics tell of the node.
func (n *Node) facts() admin.Facts {
	return admin.Facts{
		Watermark: int64(n.config.Storage.StopReceivingBelow), MaxAssociations: n.config.Node.MaxAssociations,
		Provider: n.config.Inference.Provider, Fallback: n.fallback, Certificates: n.certificates,
	}
}

// certificates is when those of the configuration end.
func (n *Node) certificates() map[string]time.Time {
	ends := map[string]time.Time{}
	for use, path := range map[string]string{
		"tls": n.config.TLS.Certificate, "tls_client_ca": n.config.TLS.ClientCA, "admin": n.config.Admin.Certificate, "admin_client_ca": n.config.Admin.ClientCA,
	} {
		if path == "" {
			continue
		}
		if end, err := secure.NotAfter(path); err == nil {
			ends[use] = end
		}
	}
	return ends
}

// fallback reports whether the CPU is used where a GPU could be expected.
func (n *Node) fallback() bool {
	a, err := n.models.get()
	if err != nil {
		return false
	}
	p, ok := a.(interface{ Warnings() []string })
	return ok && a.Algorithm().Provider == "cpu" && len(p.Warnings()) > 0
}
