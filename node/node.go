package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/admin"
	"github.com/pulmonode/pulmonode/node/deliver"
	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/secure"
	"github.com/pulmonode/pulmonode/node/series"
	"github.com/pulmonode/pulmonode/node/store"
)

// Bounds of stopping: what receives is let finish its instances, what works is
// given a moment before it is cut short; both are found again at the next start.
const (
	drainReception = 20 * time.Second
	drainWork      = 5 * time.Second
	drainAdmin     = 5 * time.Second // the admin listener's own

	// StopsWithin is how long Stop takes at most on a disk that answers; whoever
	// kills a node that stops too slowly gives it more.
	StopsWithin = drainReception + drainWork + drainAdmin
)

// How often the files and the queue are compared, and a closing that could not be
// queued is tried again.
const (
	reconcileEvery = time.Minute
	requeueAfter   = 10 * time.Second
)

// parts are what tests put others in the place of.
type parts struct {
	open      func(*config.Config, *zap.Logger) (Analyzer, error)
	documents func(*config.Config) documents
	before    func(step, path string) error // of the store
	backoff   job.Backoff
	poll      time.Duration
	reopen    time.Duration
	timeouts  dimse.Timeouts // of deliveries and reports

	readyWithin  time.Duration   // zero: answerWithin
	answerWithin time.Duration   // zero: the sender's
	reportAgain  []time.Duration // nil: reportAgain
}

// Node is a node that runs.
type Node struct {
	config   *config.Config
	log      *zap.Logger
	store    *store.Store
	queue    *job.Queue
	tracker  *series.Tracker
	models   *models
	analyst  *analyst
	admin    *admin.Server
	metrics  *admin.Metrics
	identity *secure.Identity // of [tls]
	auditor  *auditor

	timeouts    dimse.Timeouts
	reportAgain []time.Duration

	server    *dimse.Server
	secure    *dimse.Server // nil without [tls] listen
	listeners []net.Listener
	httpAddr  net.Addr

	heart  *heart
	health *health
	open   atomic.Bool // the DICOM listeners are
	up     sync.Map    // destinations that answered last time: when one comes back, what waits for it goes at once
	missed chan struct{}
	failed chan error
	fault  atomic.Pointer[error] // the first of them
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	stop   sync.Once
}

// Start starts a node. When it returns without an error the node receives. The
// context is that of the start alone; Stop ends the node.
func Start(ctx context.Context, c *config.Config, log *zap.Logger) (*Node, error) {
	return start(ctx, c, log, parts{open: openPipeline, documents: newDocuments})
}

func start(ctx context.Context, c *config.Config, log *zap.Logger, p parts) (_ *Node, err error) {
	sources, err := newSources(c.Source)
	if err != nil {
		return nil, err
	}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	n := &Node{config: c, log: log, metrics: admin.NewMetrics(), identity: secure.New(c, log), timeouts: p.timeouts,
		reportAgain: p.reportAgain, heart: newHeart(), missed: make(chan struct{}, 1), failed: make(chan error, 4), cancel: cancel}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Stop())
		}
	}()

	shared := job.Options{URL: c.Queue.URL, PasswordFile: c.Queue.PasswordFile, Lease: time.Duration(c.Queue.Lease), Failed: n.fail}
	if shared.URL != "" {
		shared.Node, shared.Settings = c.NodeName(), c.Fingerprints()
	}
	n.store, err = store.Open(c.Storage.DataDir, store.Options{
		StopReceivingBelow: int64(c.Storage.StopReceivingBelow), Installation: c.InstallationName(), Version: Version(), Node: shared.Node,
		Before: p.before,
	})
	if err != nil {
		return nil, err
	}
	if shared.Folder, err = n.store.ID(); err != nil {
		return nil, err
	}
	if n.auditor, err = newAuditor(c, n.store, n.identity, n.metrics, log); err != nil {
		return nil, err
	}
	var destinations []job.Destination
	peers := map[string]deliver.Destination{}
	for _, d := range c.Destination {
		one := job.Destination{Name: d.Name, Send: d.Send, Commit: d.Commit}
		if one.Send == nil {
			one.Send = config.Outputs
		}
		destinations = append(destinations, one)
		peer := deliver.Destination{Destination: one, AETitle: d.AETitle, Address: d.Address}
		if d.TLS {
			peer.TLS = n.identity.Client
		}
		peers[d.Name] = peer
	}
	sender := &deliver.Sender{Store: n.store, CallingAE: c.Node.AETitle, Timeouts: p.timeouts, Log: log, AnswerWithin: p.answerWithin}
	n.analyst = &analyst{
		store: n.store, documents: p.documents(c), destinations: destinations, metrics: n.metrics, log: log,
		selection:  selection(c),
		thinnest:   c.Select.OnePerStudy == "thinnest",
		reportSkip: c.Output.ReportSkipped, reportFail: c.Output.ReportFailed,
	}
	work := shared
	work.Path, work.Version, work.Destinations, work.MaxAttempts = filepath.Join(n.store.Dir(), "queue.db"), Version(), destinations, c.Queue.MaxAttempts
	work.Backoff, work.Poll, work.Log = p.backoff, p.poll, log
	work.Analyze = n.analyst.analyze
	work.Deliver = func(ctx context.Context, j job.Deliver, try job.Attempt) error {
		return n.deliver(ctx, sender, peers[j.Destination], j, try)
	}
	n.queue, err = job.Open(ctx, work)
	if err != nil {
		return nil, err
	}
	n.analyst.queue = n.queue
	if n.health, err = newHealth(n.store, n.queue, c.Queue.URL == "", p.readyWithin); err != nil {
		return nil, err
	}
	n.models = &models{
		open: func() (Analyzer, error) { return p.open(c, log) }, again: p.reopen, log: log,
		onOpened: func() {
			if err := errors.Join(n.queue.TakeAnalyses(), n.queue.WakeAnalyses(background)); err != nil && background.Err() == nil {
				log.Error("queue_error", zap.Error(err))
			}
		},
	}
	if n.reportAgain == nil {
		n.reportAgain = reportAgain
	}
	if n.models.again <= 0 {
		n.models.again = reopenAfter
	}
	n.analyst.models = n.models

	n.tracker = series.New(n.store, series.Settings{
		Quiet: time.Duration(c.Complete.Quiet), Idle: time.Duration(c.Complete.Idle), MaxAge: time.Duration(c.Complete.MaxAge),
		Problem: func(k store.Key, err error) {
			log.Error("closing_failed", zap.String("study", k.Study), zap.String("series", k.Series), zap.Error(err))
		},
		Others: n.queue.Arriving(),
	}, func(closing store.Closing) { n.closed(background, closing) })
	open, err := n.tracker.Resume()
	if err != nil {
		return nil, err
	}
	dropped, err := n.queue.ForgetDestinations(ctx)
	if err != nil {
		return nil, err
	}
	if dropped > 0 {
		log.Warn("deliveries_dropped", zap.Int("jobs", dropped), zap.String("reason", "their destinations are no longer configured"))
	}
	if err := n.queue.Reconcile(ctx, n.store); err != nil {
		return nil, err
	}

	var from, to []string
	for i := range sources {
		from = append(from, sources[i].label())
	}
	for _, d := range destinations {
		to = append(to, d.Name)
	}
	n.metrics.Expect(from, to)
	n.admin = admin.New(admin.Options{
		Alive: n.Alive, Facts: n.facts(),
		Store: n.store, Queue: n.queue, Destinations: destinations, Metrics: n.metrics, Version: Version(), ShowPatient: c.Admin.ShowPatient,
		AETitle: c.Node.AETitle, Node: shared.Node,
		Algorithm: n.algorithm,
		Ready:     n.ready, Progress: n.analyst.progressOf, Retry: n.retry, Cancel: n.cancelWork, Deliver: n.deliverAgain, Access: c.Admin, Entered: n.auditor.entered, Viewed: n.auditor.accessed, Log: log,
	})
	receiver := &Receiver{
		sources: sources, store: n.store, tracker: n.tracker, metrics: n.metrics, auditor: n.auditor, log: log, maxInstance: int64(c.Storage.MaxInstance),
		report: func(a *dimse.Association, to *source, r *dimse.CommitmentResult) bool {
			return n.report(background, a, to, r)
		},
		committed: func(r *dimse.CommitmentResult) dimse.Status { return n.committed(background, sender, r) },
	}
	if err := n.listen(ctx, background, receiver); err != nil {
		return nil, err
	}
	if err := n.queue.Start(); err != nil {
		return nil, err
	}
	n.task(func() { n.models.run(background) })
	n.task(func() { n.upkeep(background) })
	n.task(func() { n.retention(background) })
	n.serve()
	log.Info("started", zap.String("version", Version()), zap.String("ae_title", c.Node.AETitle), zap.Stringers("listen", n.addresses()), zap.String("data_dir", n.store.Dir()),
		zap.Int("open_series", open), zap.Int("sources", len(sources)), zap.Int("destinations", len(destinations)))
	n.auditor.started(c, log)
	if len(sources) == 0 {
		log.Warn("no_sources", zap.String("do", "add [[source]] rows: until then every peer is refused"))
	}
	return n, nil
}

// Addr is the DICOM listener's address, that without TLS.
func (n *Node) Addr() net.Addr { return n.listeners[0].Addr() }

// addresses are those of the DICOM listeners, that with TLS last.
func (n *Node) addresses() (list []net.Addr) {
	for _, l := range n.listeners {
		list = append(list, l.Addr())
	}
	return list
}

// AdminAddr is the address of the admin listener, nil without one.
func (n *Node) AdminAddr() net.Addr { return n.httpAddr }

// Wait returns when ctx ends or the node cannot go on, then with the reason.
// Either way Stop is next.
func (n *Node) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		n.log.Info("stopping")
		return nil
	case err := <-n.failed:
		return err
	}
}

func (n *Node) task(f func()) { n.tasks.Go(f) }

// listen opens the listeners; nobody is answered yet.
func (n *Node) listen(ctx, background context.Context, receiver *Receiver) error {
	n.server = n.newServer(receiver)
	var lc net.ListenConfig
	if n.config.Admin.Listen != "" {
		l, err := n.admin.Listen(ctx)
		if err != nil {
			return err
		}
		n.httpAddr = l.Addr()
		n.task(func() {
			if err := n.admin.Serve(background, l); err != nil {
				n.fail(err)
			}
		})
	}
	l, err := lc.Listen(ctx, "tcp", n.config.Node.Listen)
	if err != nil {
		return fmt.Errorf("[node] listen: %w: choose another port, or stop what listens there", err)
	}
	n.listeners = append(n.listeners, l)
	if n.config.TLS.Listen != "" {
		profile, err := n.identity.Server()
		if err != nil {
			return err
		}
		l, err := lc.Listen(ctx, "tcp", n.config.TLS.Listen)
		if err != nil {
			return fmt.Errorf("[tls] listen: %w: choose another port, or stop what listens there", err)
		}
		n.secure = n.newServer(receiver)
		n.secure.TLS = profile
		n.listeners = append(n.listeners, l)
	}
	return nil
}

// fail ends the node with an error; the first is kept.
func (n *Node) fail(err error) {
	n.fault.CompareAndSwap(nil, &err)
	select {
	case n.failed <- err:
	default:
	}
}

// closed queues the analysis of a series that was just closed.
func (n *Node) closed(ctx context.Context, c store.Closing) {
	n.metrics.Closings.WithLabelValues(c.Closed.Reason).Inc()
	if c.Generation > 1 {
		n.metrics.LateGenerations.Inc()
	}
	n.log.Info("series_closed", zap.String("study", c.Study), zap.String("series", c.Series), zap.Int("generation", c.Generation),
		zap.String("reason", c.Closed.Reason), zap.Int("instances", len(c.Instances)))
	if err := n.queue.EnqueueAnalyze(ctx, job.Analyze{Study: c.Study, Series: c.Series, Generation: c.Generation}); err != nil {
		// The closing is a file: comparing the files with the queue finds it.
		n.log.Error("queue_error", zap.Error(err))
		select {
		case n.missed <- struct{}{}:
		default:
		}
	}
}

// deliver does one attempt of a delivery job.
func (n *Node) deliver(ctx context.Context, s *deliver.Sender, d deliver.Destination, j job.Deliver, try job.Attempt) error {
	began := time.Now()
	k := store.Key{Study: j.Study, Series: j.Series}
	told := n.auditor.sending(k, j.Generation, d, try)
	err := s.Deliver(ctx, k, j.Generation, d, try)
	told.sent(ctx, err, job.IsFinal(err) || try.Last())
	if err != nil && ctx.Err() != nil || errors.Is(err, job.ErrLost) || job.IsWait(err) {
		return err
	}
	if errors.As(err, new(*deliver.UnreachableError)) {
		n.up.Delete(j.Destination)
	}
	took := time.Since(began)
	n.metrics.DeliverySeconds.WithLabelValues(j.Destination).Observe(took.Seconds())
	fields := []zap.Field{zap.String("destination", j.Destination), zap.String("study", k.Study), zap.String("series", k.Series),
		zap.Int("generation", j.Generation), zap.Int("attempt", try.Number), zap.Duration("took", took)}
	switch {
	case err == nil:
		n.metrics.Deliveries.WithLabelValues(j.Destination, "delivered").Inc()
		n.metrics.Attempted(j.Destination, true)
		n.turnaround(k, j)
		n.log.Info("delivered", fields...)
		if _, up := n.up.LoadOrStore(j.Destination, true); !up {
			return n.queue.Wake(ctx, j.Destination)
		}
		return nil
	case errors.Is(err, store.ErrFull):
		return job.Wait(waitForRoom, err.Error())
	case errors.As(err, new(*deliver.UncommittedError)):
		n.metrics.Deliveries.WithLabelValues(j.Destination, "asked").Inc()
		n.metrics.Attempted(j.Destination, true)
		n.log.Info("commitment_awaited", append(fields, zap.String("reason", err.Error()))...)
		return job.Wait(deliver.AskAgain, err.Error())
	case job.IsFinal(err) || try.Last():
		n.metrics.Deliveries.WithLabelValues(j.Destination, "failed").Inc()
		n.metrics.Attempted(j.Destination, false)
		n.log.Error("delivery_failed", append(fields, zap.Error(err), zap.String("do", "mend what it says, then retry: it waits for a person"))...)
	default:
		n.metrics.Deliveries.WithLabelValues(j.Destination, "tried").Inc()
		n.metrics.Attempted(j.Destination, false)
		n.log.Warn("delivery_attempt_failed", append(fields, zap.Int("of", try.Max), zap.Error(err))...)
	}
	return err
}

// upkeep compares the files with the queue.
func (n *Node) upkeep(ctx context.Context) {
	reconcile := time.NewTicker(reconcileEvery)
	defer reconcile.Stop()
	soon := time.NewTimer(0)
	if !soon.Stop() {
		<-soon.C
	}
	defer soon.Stop()
	var clock wallClock
	began := time.Now()
	clock.set(began, 0)
	for {
		n.heart.beat()
		select {
		case <-ctx.Done():
			return
		case <-n.missed:
			soon.Reset(requeueAfter)
			continue
		case <-reconcile.C:
		case <-soon.C:
		}
		var err error
		if by := clock.set(time.Now(), time.Since(began)); by <= -leastStep {
			err = n.clockSetBack(ctx, -by)
		}
		err = errors.Join(err, n.queue.Reconcile(ctx, n.store))
		if err == nil && n.config.Queue.URL != "" && n.queue.Leads() {
			_, err = n.tracker.Resume() // what came in at nodes that are dead
		}
		if err != nil && ctx.Err() == nil {
			n.log.Error("queue_error", zap.Error(err))
			soon.Reset(requeueAfter)
		}
	}
}

// algorithm names the pipeline, or says why there is none.
func (n *Node) algorithm() (result.Algorithm, error) {
	a, err := n.models.get()
	if err != nil {
		return result.Algorithm{}, err
	}
	return a.Algorithm(), nil
}

// Stop ends the node: no new associations, the instances under way are finished
// or broken off within a bound, the work is stopped, the folder is given back.
func (n *Node) Stop() (err error) {
	n.stop.Do(func() {
		if n.health != nil {
			n.health.stopping.Store(true)
		}
		n.open.Store(false)
		reception, end := context.WithTimeout(context.Background(), drainReception)
		defer end()
		var down sync.WaitGroup
		for _, s := range []*dimse.Server{n.server, n.secure} {
			if s != nil {
				down.Go(func() {
					if err := s.Shutdown(reception); err != nil {
						n.log.Warn("associations_cut", zap.Error(err))
					}
				})
			}
		}
		down.Wait()
		for _, l := range n.listeners {
			l.Close() // closed by its server already, unless the start failed
		}
		if n.tracker != nil {
			n.tracker.Stop()
		}
		n.cancel()
		if n.queue != nil {
			work, end := context.WithTimeout(context.Background(), drainWork)
			defer end()
			err = errors.Join(err, n.queue.Stop(work))
		}
		n.tasks.Wait()
		if n.models != nil {
			n.models.close()
		}
		var fault error
		if p := n.fault.Load(); p != nil {
			fault = *p
		}
		err = errors.Join(err, n.auditor.stopped(fault))
		if n.store != nil {
			err = errors.Join(err, n.store.Close())
		}
		n.log.Info("stopped")
	})
	return err
}
