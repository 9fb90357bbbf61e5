package job

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	tracked "github.com/pulmonode/pulmonode/node/series"
	"github.com/pulmonode/pulmonode/node/store"
)

// short is a lease for tests: long enough for a slow machine to beat within it.
const short = 3 * time.Second

// member opens the queue of one of several nodes.
func member(t *testing.T, url, name string, w *world, change func(*Options)) *Queue {
	t.Helper()
	return open(t, url, w, func(o *Options) {
		o.Node, o.Folder, o.Lease = name, "one folder", short
		if change != nil {
			change(o)
		}
	})
}

// silence is what a node that is paused or cut off does: its heart stops, its work
// goes on.
func silence(q *Queue) {
	q.quit()
	q.beats.Wait()
}

// A job whose node died is worked by another; what the first still says of it,
// when it was only slow, changes nothing.
func TestJobOfASilentNodeIsWorkedByAnotherAndItsLateEndMeetsNoRow(t *testing.T) {
	url := shared(t)
	release := make(chan struct{})
	slow := &world{analyze: func(context.Context, Analyze, Attempt) error { <-release; return errors.New("too late") }}
	a := member(t, url, "a", slow, nil)
	start(t, a)
	must(t, a.EnqueueAnalyze(t.Context(), Analyze{study, series, 1}))
	next(t, slow)
	if j := waitFor(t, a, "analyze", Running); j.Node != "a" {
		t.Errorf("%+v", j)
	}
	working := make(chan struct{})
	finish := make(chan struct{})
	quick := &world{analyze: func(ctx context.Context, _ Analyze, try Attempt) error {
		close(working)
		<-finish
		return try.Held(ctx)
	}}
	b := member(t, url, "b", quick, nil)
	start(t, b)
	silence(a)
	<-working
	close(release) // the first ends now, as a failure
	stop(t, a)
	if j := waitFor(t, b, "analyze", Running); j.Node != "b" || j.Attempt != 2 || j.LastError != "" {
		t.Errorf("%+v", j)
	}
	close(finish)
	if j := waitFor(t, b, "analyze", Done); j.Attempt != 2 || j.LastError != "" {
		t.Errorf("%+v", j)
	}
}

// A node that was paused finds at its next beat that it was given up: it drops its
// work and goes on as a new one.
func TestAPausedNodeDropsItsWorkWhenItGoesOn(t *testing.T) {
	url := shared(t)
	dropped := make(chan error, 1)
	first := true
	w := &world{}
	w.analyze = func(ctx context.Context, _ Analyze, try Attempt) error {
		w.mu.Lock()
		mine := first
		first = false
		w.mu.Unlock()
		if !mine {
			return nil
		}
		<-ctx.Done()
		dropped <- errors.Join(context.Cause(ctx), try.Held(context.WithoutCancel(ctx)))
		return ctx.Err()
	}
	a := member(t, url, "a", w, nil)
	start(t, a)
	must(t, a.EnqueueAnalyze(t.Context(), Analyze{study, series, 1}))
	next(t, w)
	silence(a)
	b := member(t, url, "b", &world{}, nil)
	_, err := b.db.Exec(`UPDATE pulmonode_node SET beat = beat - interval '1 day' WHERE name = 'a'`)
	must(t, err)
	must(t, b.bury(t.Context()))
	must(t, a.beat(t.Context())) // it goes on
	if err := <-dropped; !errors.Is(err, ErrLost) {
		t.Errorf("it was told %v", err)
	}
	if got := next(t, w); got != series { // and is the only one that works
		t.Error(got)
	}
	waitFor(t, a, "analyze", Done)
}

// A node that is started again, after kill -9 for instance, has its work back at once.
func TestAStartedNodeTakesItsOwnWorkBack(t *testing.T) {
	url := shared(t)
	w := &world{}
	a := member(t, url, "a", w, func(o *Options) { o.Lease = time.Hour })
	must(t, a.EnqueueAnalyze(t.Context(), Analyze{study, series, 1}))
	_, err := a.db.Exec(`UPDATE river_job SET state = 'running', attempt = 1, attempted_at = now(), attempted_by = ARRAY[$1]`, a.nodes.client)
	must(t, err)
	silence(a)
	again := member(t, url, "a", w, func(o *Options) { o.Lease = time.Hour })
	start(t, again)
	next(t, w)
	if j := waitFor(t, again, "analyze", Done); j.Attempt != 2 {
		t.Errorf("%+v", j)
	}
}

// Beats that are old because the database or the network was away are no proof of
// death: who judges must have been beating for a lease.
func TestNobodyIsBuriedAfterTheDatabaseWasAway(t *testing.T) {
	url := shared(t)
	w := &world{analyze: func(ctx context.Context, _ Analyze, _ Attempt) error { <-ctx.Done(); return ctx.Err() }}
	a := member(t, url, "a", w, nil)
	start(t, a)
	must(t, a.EnqueueAnalyze(t.Context(), Analyze{study, series, 1}))
	next(t, w)
	b := member(t, url, "b", &world{}, nil)
	silence(a)
	silence(b)
	_, err := a.db.Exec(`UPDATE pulmonode_node SET beat = beat - interval '1 day'`)
	must(t, err)
	b.nodes.last = time.Now().Add(-time.Hour) // the last that the database took
	must(t, b.beat(t.Context()))
	if j := waitFor(t, b, "analyze", Running); j.Node != "a" {
		t.Errorf("%+v", j)
	}
	if len(b.Peers()) != 0 {
		t.Error("a node that does not beat counts as alive")
	}
}

func TestNodesThatDoNotBelongTogetherAreRefused(t *testing.T) {
	url := shared(t)
	failed := make(chan error, 1)
	member(t, url, "a", &world{}, func(o *Options) { o.Failed = func(err error) { failed <- err } })
	o := Options{URL: url, Node: "b", Folder: "another folder", Lease: short}
	if _, err := Open(t.Context(), o); !errors.Is(err, ErrOtherFolder) || !strings.Contains(err.Error(), "node a") {
		t.Errorf("another folder: %v", err)
	}
	// Nor does one of a's own name: it would drive out the one that works.
	o.Node = "a"
	if _, err := Open(t.Context(), o); !errors.Is(err, ErrOtherFolder) {
		t.Errorf("another folder under the same name: %v", err)
	}
	// The store's lock did not keep the second of a name away: on a file system
	// where it does not hold from one machine to another.
	member(t, url, "a", &world{}, nil)
	select {
	case err := <-failed:
		if !errors.Is(err, ErrNameTaken) {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("two nodes of one name go on")
	}
}

func TestWhatNodesHaveSetOtherwiseIsKnown(t *testing.T) {
	url := shared(t)
	set := func(to string) func(*Options) {
		return func(o *Options) { o.Settings = map[string]string{"[output]": to, "[select]": "same"} }
	}
	member(t, url, "a", &world{}, set("1"))
	b := member(t, url, "b", &world{}, set("2"))
	peers := b.Peers()
	if len(peers) != 1 || peers[0].Name != "a" || strings.Join(peers[0].Differs(b.opts.Settings), ",") != "[output]" {
		t.Errorf("%+v", peers)
	}
	if b.Leads() {
		t.Error("the second to begin leads")
	}
}

func TestDeliveriesThatAnotherNodeCanDoAreKept(t *testing.T) {
	url := shared(t)
	a := member(t, url, "a", &world{}, nil)
	must(t, a.EnqueueDeliver(t.Context(), Deliver{study, series, 1, "pacs"}, Deliver{study, series, 1, "ris"}))
	b := member(t, url, "b", &world{}, func(o *Options) { o.Destinations = []Destination{{Name: "ris"}} })
	if n, err := b.ForgetDestinations(t.Context()); n != 0 || err != nil {
		t.Errorf("dropped %d: %v", n, err)
	}
	stop(t, a)
	if n, err := b.ForgetDestinations(t.Context()); n != 1 || err != nil {
		t.Errorf("dropped %d: %v", n, err)
	}
}

func TestAPersonCancelsAtAnyNode(t *testing.T) {
	url := shared(t)
	w := &world{analyze: func(ctx context.Context, _ Analyze, _ Attempt) error { <-ctx.Done(); return ctx.Err() }}
	a := member(t, url, "a", w, nil)
	start(t, a)
	b := member(t, url, "b", &world{}, func(o *Options) { o.Destinations = nil })
	must(t, b.EnqueueAnalyze(t.Context(), Analyze{study, series, 1}))
	next(t, w)
	must(t, b.Cancel(t.Context(), waitFor(t, b, "analyze", Running)))
	waitFor(t, b, "analyze", Cancelled)
}

func TestNodesTellOneAnotherOfSeriesThatComeIn(t *testing.T) {
	url := shared(t)
	a, b := member(t, url, "a", &world{}, nil), member(t, url, "b", &world{}, nil)
	k := store.Key{Study: study, Series: series}
	told := tracked.Activity{Key: k, First: time.Minute, Last: 10 * time.Second, Open: true, Instances: 7, Expected: 9}
	must(t, a.Arriving().Tell(t.Context(), []tracked.Activity{{Key: k, First: time.Minute, Last: time.Minute, Instances: 1}, {Key: store.Key{Study: "9", Series: "9.1"}}}[:1]))
	must(t, a.Arriving().Tell(t.Context(), []tracked.Activity{told, {Key: store.Key{Study: "9", Series: "9.1"}}}))
	ask := func(q *Queue) []tracked.Activity {
		list, err := q.Arriving().Ask(t.Context(), k)
		must(t, err)
		return list
	}
	if list := ask(a); len(list) != 0 {
		t.Errorf("it hears itself: %+v", list)
	}
	list := ask(b)
	if len(list) != 1 {
		t.Fatalf("%+v", list)
	}
	got := list[0]
	for _, age := range []struct{ got, said time.Duration }{{got.First, told.First}, {got.Last, told.Last}} {
		if age.got < age.said || age.got > age.said+time.Minute {
			t.Errorf("age %v of %v", age.got, age.said)
		}
	}
	got.First, got.Last, got.Ended = told.First, told.Last, 0
	if got != told {
		t.Errorf("%+v", got)
	}
	silence(a)
	_, err := b.db.Exec(`UPDATE pulmonode_node SET beat = beat - interval '1 day' WHERE name = 'a'`)
	must(t, err)
	if list := ask(b); list[0].Open || list[0].Properly {
		t.Errorf("the association of a dead node is open: %+v", list)
	}
	must(t, a.Arriving().Forget(t.Context(), []store.Key{k}))
	if list := ask(b); len(list) != 0 {
		t.Errorf("%+v", list)
	}
}

// The database is killed while jobs run and comes back: the work goes on.
func TestDatabaseKilledWhileJobsRun(t *testing.T) {
	url := shared(t)
	p, err := server()
	must(t, err)
	release := make(chan struct{})
	w := &world{deliver: func(context.Context, Deliver, Attempt) error { <-release; return nil }}
	q := member(t, url, "a", w, nil)
	start(t, q)
	must(t, q.EnqueueDeliver(t.Context(), Deliver{study, series, 1, "pacs"}))
	next(t, w)
	p.Kill()
	if err := q.Ping(t.Context()); err == nil {
		t.Error("a dead database answers")
	}
	if err := q.EnqueueAnalyze(t.Context(), Analyze{study, series, 1}); err == nil {
		t.Error("a dead database took a job")
	}
	must(t, p.Restart())
	close(release)
	must(t, q.EnqueueAnalyze(t.Context(), Analyze{study, series, 1}))
	waitFor(t, q, "analyze", Done)
	waitFor(t, q, "deliver", Done)
}

func TestPasswordIsNeverTold(t *testing.T) {
	for _, url := range []string{
		"postgres://user:S3cret-word@127.0.0.1:1/db?connect_timeout=1",
		"postgres://user:S3cret-word@127.0.0.1:port/db",
		"postgres://user:S3cret-word@[::1/db",
	} {
		_, err := Open(t.Context(), Options{URL: url, Node: "a"})
		if err == nil || strings.Contains(err.Error(), "S3cret") {
			t.Errorf("%v", err)
		}
	}
}

// A node without models leaves the analyses to those that have them.
func TestANodeThatCannotAnalyseTakesNoAnalysis(t *testing.T) {
	url := shared(t)
	w := &world{}
	a := member(t, url, "a", w, nil)
	must(t, a.Start())
	must(t, a.EnqueueAnalyze(t.Context(), Analyze{study, series, 1}))
	for g := range 3 { // it looks for work
		must(t, a.EnqueueDeliver(t.Context(), Deliver{study, series, g + 1, "pacs"}))
		if got := next(t, w); got != "pacs" {
			t.Fatalf("it ran %s", got)
		}
	}
	b := member(t, url, "b", &world{}, nil)
	start(t, b)
	if j := waitFor(t, b, "analyze", Done); j.Node != "b" {
		t.Errorf("%+v", j)
	}
}

// A job whose end could not be written is taken back by the node that worked it,
// which alone knows that it is over.
func TestTheEndThatWasNotWrittenIsTheNodesOwnAffair(t *testing.T) {
	url := shared(t)
	w := &world{}
	a := member(t, url, "a", w, nil)
	start(t, a)
	must(t, a.EnqueueAnalyze(t.Context(), Analyze{study, series, 1}))
	j := waitFor(t, a, "analyze", Done)
	next(t, w)
	a.mark(j.ID, time.Now().Add(-2*lostAfter))
	_, err := a.db.Exec(`UPDATE river_job SET state = 'running', finalized_at = NULL, attempted_at = now() - interval '2 hours' WHERE id = $1`, j.ID)
	must(t, err)
	b := member(t, url, "b", &world{}, nil)
	must(t, b.takeBackLost(t.Context()))
	if jobs, err := b.Jobs(t.Context(), study, series); err != nil || jobs[0].State != Running || jobs[0].ID != j.ID {
		t.Errorf("another node took it: %+v, %v", jobs, err)
	}
	must(t, a.takeBackLost(t.Context()))
	next(t, w)
	if again := waitFor(t, a, "analyze", Done); again.ID == j.ID || again.Attempt != 2 {
		t.Errorf("%+v", again)
	}
}

// The database's clock is set back: who was alive before is alive when it beats
// again, and who is dead does not live on until the clock is there again.
func TestBeatsFromAheadAreNoSignOfLife(t *testing.T) {
	url := shared(t)
	a, b := member(t, url, "a", &world{}, nil), member(t, url, "b", &world{}, nil)
	silence(a)
	silence(b)
	_, err := b.db.Exec(`UPDATE pulmonode_node SET beat = beat + interval '1 hour'`)
	must(t, err)
	must(t, b.beat(t.Context()))
	if len(b.Peers()) != 0 || !b.Leads() {
		t.Errorf("%+v", b.Peers())
	}
	must(t, a.beat(t.Context()))
	must(t, b.lookAround(t.Context()))
	if len(b.Peers()) != 1 {
		t.Errorf("%+v", b.Peers())
	}
}

// The clock of a node is an hour off, either way: it waits as long as the others do.
func TestTheDatabasesClockRules(t *testing.T) {
	for name, off := range map[string]time.Duration{"behind": -time.Hour, "ahead": time.Hour} {
		t.Run(name, func(t *testing.T) {
			w := &world{
				analyze: func(context.Context, Analyze, Attempt) error { return errors.New("failed") },
				deliver: func(context.Context, Deliver, Attempt) error { return Wait(10*time.Minute, "for a reason") },
			}
			q := member(t, shared(t), "a", w, func(o *Options) {
				o.Backoff = Backoff{Base: 10 * time.Minute, Cap: 10 * time.Minute}
				o.clock = func() time.Time { return time.Now().Add(off) }
			})
			start(t, q)
			must(t, q.EnqueueAnalyze(t.Context(), Analyze{study, series, 1}))
			must(t, q.EnqueueDeliver(t.Context(), Deliver{study, series, 1, "ris"}))
			for _, kind := range []string{"analyze", "deliver"} {
				j := waitFor(t, q, kind, Waiting)
				if wait := time.Until(j.Next); wait < 5*time.Minute || wait > 12*time.Minute {
					t.Errorf("%s: it waits for %v", kind, wait)
				}
			}
		})
	}
}

// After the database came back from a backup a number may be another job's.
func TestAJobOfTheSameNumberAtAnotherNodeIsNotHeld(t *testing.T) {
	url := shared(t)
	held := make(chan error)
	look := make(chan struct{})
	w := &world{analyze: func(ctx context.Context, _ Analyze, try Attempt) error {
		for range 2 {
			<-look
			held <- try.Held(ctx)
		}
		return nil
	}}
	q := member(t, url, "a", w, nil)
	start(t, q)
	must(t, q.EnqueueAnalyze(t.Context(), Analyze{study, series, 1}))
	next(t, w)
	look <- struct{}{}
	must(t, <-held)
	_, err := q.db.Exec(`UPDATE river_job SET attempted_by = attempted_by || 'b.1'::text`)
	must(t, err)
	look <- struct{}{}
	if err := <-held; !errors.Is(err, ErrLost) {
		t.Errorf("held: %v", err)
	}
}

// The node that compares the files with the queue for all has no such destination:
// what another has is queued all the same.
func TestADestinationThatTheFirstNodeLacksIsServed(t *testing.T) {
	url := shared(t)
	s := files(t)
	closeAs(t, s, 1)
	pacs := Destination{Name: "pacs", Send: []string{"sr", "seg"}}
	writeResults(t, s, 1, pacs)
	a := member(t, url, "a", &world{}, func(o *Options) {
		o.Destinations = []Destination{{Name: "ris"}}
		o.Settings = map[string]string{"[[destination]]": "ris"}
	})
	b := member(t, url, "b", &world{}, func(o *Options) {
		o.Destinations = []Destination{pacs}
		o.Settings = map[string]string{"[[destination]]": "pacs"}
	})
	must(t, a.Reconcile(t.Context(), s))
	must(t, b.Reconcile(t.Context(), s))
	waitFor(t, b, "deliver", Queued)
}
