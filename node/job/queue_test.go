package job

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"
)

const study, series = "1.2.3", "1.2.3.4"

// world is the work that a test's queue does.
type world struct {
	mu       sync.Mutex
	analyses []Attempt
	ran      chan string
	analyze  func(ctx context.Context, a Analyze, try Attempt) error
	deliver  func(ctx context.Context, d Deliver, try Attempt) error
}

func open(t *testing.T, path string, w *world, change func(*Options)) *Queue {
	t.Helper()
	if w.ran == nil {
		w.ran = make(chan string, 1000)
	}
	o := Options{
		Path: path, Destinations: []Destination{{Name: "pacs", Send: []string{"sr", "seg"}}, {Name: "ris", Send: []string{"sr"}}, {Name: "Odd Name"}}, MaxAttempts: 3,
		Backoff: Backoff{Base: time.Millisecond, Cap: 2 * time.Millisecond}, Poll: 10 * time.Millisecond,
		Log: zaptest.NewLogger(t),
		Analyze: func(ctx context.Context, a Analyze, try Attempt) error {
			w.mu.Lock()
			w.analyses = append(w.analyses, try)
			w.mu.Unlock()
			w.ran <- a.Series
			if w.analyze == nil {
				return nil
			}
			return w.analyze(ctx, a, try)
		},
		Deliver: func(ctx context.Context, d Deliver, try Attempt) error {
			w.ran <- d.Destination
			if w.deliver == nil {
				return nil
			}
			return w.deliver(ctx, d, try)
		},
	}
	if strings.HasPrefix(path, "postgres:") {
		o.Path, o.URL, o.Node = "", path, "alone"
	}
	if change != nil {
		change(&o)
	}
	q, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, q) })
	return q
}

func start(t *testing.T, q *Queue) {
	t.Helper()
	if err := errors.Join(q.Start(), q.TakeAnalyses()); err != nil {
		t.Fatal(err)
	}
}

func stop(t *testing.T, q *Queue) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := q.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func next(t *testing.T, w *world) string {
	t.Helper()
	select {
	case s := <-w.ran:
		return s
	case <-time.After(20 * time.Second):
		t.Fatal("no job ran")
		return ""
	}
}

// job waits until the only job of the kind is in the state.
func waitFor(t *testing.T, q *Queue, kind string, want State) Job {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var last []Job
	for range 4000 {
		jobs, err := q.Jobs(t.Context(), study, series)
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range jobs {
			if j.Kind == kind && j.State == want {
				return j
			}
		}
		last = jobs
		<-tick.C
	}
	t.Fatalf("no %s job became %s: %+v", kind, want, last)
	return Job{}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestJobsRunOnceHoweverOftenQueued(t *testing.T) {
	onBoth(t, func(t *testing.T, place func(*testing.T) string) {
		w := &world{}
		q := open(t, place(t), w, nil)
		for range 5 {
			must(t, q.EnqueueAnalyze(t.Context(), Analyze{study, series, 1}))
			must(t, q.EnqueueDeliver(t.Context(), Deliver{study, series, 1, "pacs"}, Deliver{study, series, 1, "Odd Name"}))
		}
		jobs, err := q.Jobs(t.Context(), study, series)
		must(t, err)
		if len(jobs) != 3 {
			t.Fatalf("%d jobs, want 3: %+v", len(jobs), jobs)
		}
		start(t, q)
		got := map[string]int{}
		for range 3 {
			got[next(t, w)]++
		}
		if got[series] != 1 || got["pacs"] != 1 || got["Odd Name"] != 1 {
			t.Errorf("ran %v", got)
		}
		waitFor(t, q, "analyze", Done)
		if err := q.EnqueueDeliver(t.Context(), Deliver{study, series, 1, "unknown"}); err == nil {
			t.Error("a delivery to an unknown destination was queued")
		}
	})
}

func TestHangingDestinationDelaysNoOther(t *testing.T) {
	onBoth(t, func(t *testing.T, place func(*testing.T) string) {
		release := make(chan struct{})
		w := &world{deliver: func(ctx context.Context, d Deliver, _ Attempt) error {
			if d.Destination == "pacs" {
				select {
				case <-release:
				case <-ctx.Done():
				}
			}
			return nil
		}}
		q := open(t, place(t), w, nil)
		start(t, q)
		must(t, q.EnqueueDeliver(t.Context(), Deliver{study, series, 1, "pacs"}))
		if got := next(t, w); got != "pacs" {
			t.Fatal(got)
		}
		for g := range 5 {
			must(t, q.EnqueueDeliver(t.Context(), Deliver{study, series, g + 1, "ris"}))
			if got := next(t, w); got != "ris" {
				t.Fatal(got)
			}
		}
		close(release)
	})
}

func TestAttemptsEndInFailedAndWaitForAPerson(t *testing.T) {
	onBoth(t, func(t *testing.T, place func(*testing.T) string) {
		mended := false
		w := &world{analyze: func(context.Context, Analyze, Attempt) error {
			if mended {
				return nil
			}
			return errors.New("no luck: try again")
		}}
		q := open(t, place(t), w, nil)
		start(t, q)
		must(t, q.EnqueueAnalyze(t.Context(), Analyze{study, series, 1}))
		j := waitFor(t, q, "analyze", Failed)
		if j.Attempt != 3 || j.LastError != "no luck: try again" {
			t.Errorf("%+v", j)
		}
		w.mu.Lock()
		if len(w.analyses) != 3 || !w.analyses[2].Last() || w.analyses[1].Last() || len(w.analyses[2].Errors) != 2 {
			t.Errorf("attempts %+v", w.analyses)
		}
		mended = true
		w.mu.Unlock()
		// Reconciliation queues it again: it must stay with the person.
		must(t, q.EnqueueAnalyze(t.Context(), Analyze{study, series, 1}))
		waitFor(t, q, "analyze", Failed)
		must(t, q.Retry(t.Context(), j))
		waitFor(t, q, "analyze", Done)
		w.mu.Lock()
		defer w.mu.Unlock()
		if last := w.analyses[len(w.analyses)-1]; last.Number != 1 || len(w.analyses) != 4 {
			t.Errorf("the retried job began with attempt %+v after %d", last, len(w.analyses))
		}
	})
}

func TestFinalErrorFailsAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, place func(*testing.T) string) {
		w := &world{deliver: func(context.Context, Deliver, Attempt) error { return Final(errors.New("rejected: add the AE title")) }}
		q := open(t, place(t), w, nil)
		start(t, q)
		must(t, q.EnqueueDeliver(t.Context(), Deliver{study, series, 1, "pacs"}))
		j := waitFor(t, q, "deliver", Failed)
		if j.Attempt != 1 || j.LastError != "rejected: add the AE title" {
			t.Errorf("%+v", j)
		}
		counts, err := q.Counts(t.Context())
		must(t, err)
		if len(counts) != 1 {
			t.Fatalf("counts %+v", counts)
		}
		age := time.Since(counts[0].Oldest)
		counts[0].Oldest = time.Time{}
		if (counts[0] != Count{Kind: "deliver", Destination: "pacs", State: Failed, Jobs: 1}) || age < 0 || age > time.Hour {
			t.Errorf("counts %+v, the oldest %v ago", counts, age)
		}
	})
}

func TestWaitKeepsTheAttemptsAndSaysWhy(t *testing.T) {
	onBoth(t, func(t *testing.T, place func(*testing.T) string) {
		var ready sync.Map
		w := &world{analyze: func(context.Context, Analyze, Attempt) error {
			if _, ok := ready.Load("model"); !ok {
				return Wait(time.Hour, "the model localize.onnx is missing")
			}
			return nil
		}}
		q := open(t, place(t), w, nil)
		start(t, q)
		must(t, q.EnqueueAnalyze(t.Context(), Analyze{study, series, 1}))
		j := waitFor(t, q, "analyze", Waiting)
		if j.Reason != "the model localize.onnx is missing" || j.Attempt != 0 || time.Until(j.Next) < 50*time.Minute {
			t.Errorf("%+v", j)
		}
		ready.Store("model", true)
		must(t, q.Retry(t.Context(), j))
		waitFor(t, q, "analyze", Done)
	})
}

func TestPanicIsAnErrorOfTheAttempt(t *testing.T) {
	onBoth(t, func(t *testing.T, place func(*testing.T) string) {
		w := &world{analyze: func(_ context.Context, _ Analyze, try Attempt) error {
			if try.Number == 1 {
				panic("index out of range")
			}
			return nil
		}}
		q := open(t, place(t), w, nil)
		start(t, q)
		must(t, q.EnqueueAnalyze(t.Context(), Analyze{study, series, 1}))
		j := waitFor(t, q, "analyze", Done)
		if !strings.Contains(j.LastError, "index out of range") || j.Attempt != 2 {
			t.Errorf("%+v", j)
		}
	})
}

func TestCancelledJobStaysCancelledUntilRetried(t *testing.T) {
	onBoth(t, func(t *testing.T, place func(*testing.T) string) {
		w := &world{analyze: func(ctx context.Context, _ Analyze, try Attempt) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		q := open(t, place(t), w, nil)
		start(t, q)
		must(t, q.EnqueueAnalyze(t.Context(), Analyze{study, series, 1}))
		next(t, w)
		must(t, q.Cancel(t.Context(), waitFor(t, q, "analyze", Running)))
		j := waitFor(t, q, "analyze", Cancelled)
		must(t, q.EnqueueAnalyze(t.Context(), Analyze{study, series, 1}))
		waitFor(t, q, "analyze", Cancelled)
		must(t, q.Retry(t.Context(), j))
		next(t, w)
	})
}

func TestStoppingCostsNoAttempt(t *testing.T) {
	onBoth(t, func(t *testing.T, place func(*testing.T) string) {
		path := place(t)
		w := &world{analyze: func(ctx context.Context, _ Analyze, try Attempt) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		for range 4 { // more often than there are attempts
			q := open(t, path, w, nil)
			must(t, q.EnqueueAnalyze(t.Context(), Analyze{study, series, 1}))
			start(t, q)
			next(t, w)
			stop(t, q)
		}
		q := open(t, path, w, nil)
		jobs, err := q.Jobs(t.Context(), study, series)
		must(t, err)
		if len(jobs) != 1 || jobs[0].State != Queued || jobs[0].Attempt != 0 {
			t.Errorf("%+v", jobs)
		}
	})
}

// TestRunningJobsOfAKilledProcessAreTakenBack writes the rows as kill -9 leaves them.
func TestRunningJobsOfAKilledProcessAreTakenBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	w := &world{}
	q := open(t, path, w, nil)
	must(t, q.EnqueueAnalyze(t.Context(), Analyze{study, series, 1}))
	must(t, q.EnqueueDeliver(t.Context(), Deliver{study, series, 1, "pacs"}))
	for _, s := range []string{
		`UPDATE river_job SET state='running', attempt=1`,
		`UPDATE river_job SET metadata=jsonb_set(metadata,'$.cancel_attempted_at','2026-01-01') WHERE kind='deliver'`,
		`INSERT INTO river_leader (leader_id, elected_at, expires_at) VALUES ('dead', datetime('now'), datetime('now','+1 hour'))`,
	} {
		_, err := q.db.Exec(s)
		must(t, err)
	}
	stop(t, q)

	q = open(t, path, w, nil)
	start(t, q)
	if got := next(t, w); got != series {
		t.Errorf("ran %s", got)
	}
	if j := waitFor(t, q, "analyze", Done); j.Attempt != 2 {
		t.Errorf("%+v", j)
	}
	waitFor(t, q, "deliver", Cancelled)
}

// TestJobWhoseEndWasNotWritten: the disk was full when River completed it.
func TestJobWhoseEndWasNotWrittenIsTakenBack(t *testing.T) {
	w := &world{}
	q := open(t, filepath.Join(t.TempDir(), "queue.db"), w, nil)
	start(t, q)
	must(t, q.EnqueueAnalyze(t.Context(), Analyze{study, series, 1}))
	j := waitFor(t, q, "analyze", Done)
	next(t, w)
	for _, c := range []struct {
		attempted string
		ended     time.Time
		back      bool
	}{
		{"-5 seconds", time.Now(), false},                  // just fetched
		{"-2 hours", time.Time{}, false},                   // still at work
		{"-2 hours", time.Now(), false},                    // its end is being written
		{"-2 hours", time.Now().Add(-2 * lostAfter), true}, // lost
	} {
		_, err := q.db.Exec(`UPDATE river_job SET state='running', finalized_at=NULL, attempted_at=datetime('now', ?) WHERE id=?`, c.attempted, j.ID)
		must(t, err)
		q.mark(j.ID, c.ended)
		must(t, q.takeBackLost(t.Context()))
		if c.back {
			next(t, w)
			waitFor(t, q, "analyze", Done)
			return
		}
		if jobs, err := q.Jobs(t.Context(), "", ""); err != nil || jobs[0].State != Running {
			t.Errorf("%+v: %+v %v", c, jobs, err)
		}
	}
}

func TestCorruptQueueIsSetAside(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, path string){
		"no database": func(t *testing.T, path string) {
			must(t, os.WriteFile(path, []byte(strings.Repeat("not a database ", 1000)), 0o600))
		},
		"truncated": func(t *testing.T, path string) {
			info, err := os.Stat(path)
			must(t, err)
			must(t, os.Truncate(path, info.Size()/2))
		},
		"overwritten pages": func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			must(t, err)
			defer f.Close()
			_, err = f.WriteAt([]byte(strings.Repeat("\xa5", 3*4096)), 4096)
			must(t, err)
		},
		"another schema": func(t *testing.T, path string) {
			must(t, os.Remove(path))
			db, err := openPlain(path)
			must(t, err)
			defer db.Close()
			_, err = db.Exec("CREATE TABLE river_migration (x); INSERT INTO river_migration VALUES (1)")
			must(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "queue.db")
			w := &world{}
			q := open(t, path, w, nil)
			must(t, q.EnqueueAnalyze(t.Context(), Analyze{study, series, 1}))
			stop(t, q)
			spoil(t, path)

			q = open(t, path, w, nil)
			aside, err := filepath.Glob(path + ".corrupt-*")
			must(t, err)
			if len(aside) == 0 {
				t.Fatal("nothing was set aside")
			}
			must(t, q.EnqueueAnalyze(t.Context(), Analyze{study, series, 1}))
			start(t, q)
			next(t, w)
		})
	}
}

func TestUnusableFolderIsAnErrorNotACorruptQueue(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(t.Context(), Options{Path: filepath.Join(dir, "absent", "queue.db")})
	if err == nil || !strings.Contains(err.Error(), "check the folder") {
		t.Errorf("error %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func TestForget(t *testing.T) {
	onBoth(t, func(t *testing.T, place func(*testing.T) string) {
		path := place(t)
		w := &world{}
		q := open(t, path, w, nil)
		must(t, q.EnqueueAnalyze(t.Context(), Analyze{study, series, 1}))
		must(t, q.EnqueueAnalyze(t.Context(), Analyze{study, "1.9", 1}))
		must(t, q.EnqueueDeliver(t.Context(), Deliver{study, series, 1, "pacs"}, Deliver{study, series, 1, "ris"}))
		must(t, q.Forget(t.Context(), study, "1.9"))
		stop(t, q)

		q = open(t, path, w, func(o *Options) { o.Destinations = []Destination{{Name: "ris", Send: nil}} })
		n, err := q.ForgetDestinations(t.Context())
		must(t, err)
		jobs, err := q.Jobs(t.Context(), "", "")
		must(t, err)
		if n != 1 || len(jobs) != 2 || jobs[0].Series != series || jobs[1].Destination != "ris" {
			t.Errorf("removed %d, left %+v", n, jobs)
		}
	})
}

func TestWakeServesThoseThatWait(t *testing.T) {
	onBoth(t, func(t *testing.T, place func(*testing.T) string) {
		w := &world{}
		fail := true
		w.deliver = func(_ context.Context, d Deliver, _ Attempt) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if fail {
				return errors.New("down")
			}
			return nil
		}
		q := open(t, place(t), w, func(o *Options) { o.Backoff = Backoff{Base: time.Hour, Cap: time.Hour} })
		start(t, q)
		must(t, q.EnqueueDeliver(t.Context(), Deliver{study, series, 1, "pacs"}))
		waitFor(t, q, "deliver", Waiting)
		w.mu.Lock()
		fail = false
		w.mu.Unlock()
		must(t, q.Wake(t.Context(), "pacs"))
		waitFor(t, q, "deliver", Done)
	})
}

// What a destination says wakes the delivery that waits for it, and not one that
// failed: that has its intervals.
func TestAnswersWakeOnlyThoseThatWaitForOne(t *testing.T) {
	onBoth(t, func(t *testing.T, place func(*testing.T) string) {
		for _, c := range []struct {
			name string
			ends error
			want State
		}{
			{"waits for an answer", Wait(time.Hour, "asked"), Done},
			{"failed", errors.New("it does not answer for it"), Waiting},
		} {
			t.Run(c.name, func(t *testing.T) {
				w := &world{}
				first := true
				w.deliver = func(context.Context, Deliver, Attempt) error {
					w.mu.Lock()
					defer w.mu.Unlock()
					if first {
						first = false
						return c.ends
					}
					return nil
				}
				q := open(t, place(t), w, func(o *Options) { o.Backoff = Backoff{Base: time.Hour, Cap: time.Hour} })
				start(t, q)
				must(t, q.EnqueueDeliver(t.Context(), Deliver{study, series, 1, "pacs"}))
				waitFor(t, q, "deliver", Waiting)
				must(t, q.WakeDeliveries(t.Context(), "pacs"))
				if j := waitFor(t, q, "deliver", c.want); c.want == Waiting && time.Until(j.Next) < 50*time.Minute {
					t.Errorf("it runs again at %v", j.Next)
				}
			})
		}
	})
}

func TestBackoff(t *testing.T) {
	b := Backoff{}
	for failures, want := range map[int]time.Duration{1: 10 * time.Second, 2: 20 * time.Second, 5: 160 * time.Second, 10: time.Hour, 64: time.Hour, 1 << 30: time.Hour} {
		low, high := b.delay(failures, 0), b.delay(failures, 1)
		if low != time.Duration(float64(want)*0.9) || high != time.Duration(float64(want)*1.1) {
			t.Errorf("after %d failures between %v and %v, want a tenth around %v", failures, low, high, want)
		}
	}
}

func openPlain(path string) (*sql.DB, error) { return sql.Open("sqlite", path) }
