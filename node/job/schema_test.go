package job

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
)

// A queue that a newer pulmonode has migrated is left as it is; the sentence
// names that version, and what it advises works.
func TestQueueOfANewerVersionIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	older := func(o *Options) { o.Version = "1.0.0" }
	q := open(t, path, &world{}, func(o *Options) { o.Version = "9.9.9" })
	if err := q.EnqueueAnalyze(t.Context(), Analyze{Study: study, Series: series, Generation: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := q.db.ExecContext(t.Context(), "INSERT INTO river_migration (line, version) VALUES ('main', 999)"); err != nil {
		t.Fatal(err)
	}
	stop(t, q)
	for range 2 {
		_, err := Open(t.Context(), Options{Path: path, Version: "1.0.0"})
		if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "version 9.9.9, schema 999") || !strings.Contains(err.Error(), "delete queue.db") {
			t.Fatalf("a queue of a newer version: %v", err)
		}
	}
	db, err := openPlain(path)
	if err != nil {
		t.Fatal(err)
	}
	var jobs int
	if err := db.QueryRow("SELECT count(*) FROM river_job").Scan(&jobs); err != nil || jobs != 1 {
		t.Errorf("the refused queue has %d jobs, %v; it had 1", jobs, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	open(t, path, &world{}, older)
}

// A queue of a River from before its last migrations is brought up to date, and
// its jobs are there.
func TestQueueOfAnOlderVersionIsBroughtUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	db, err := openPlain(path)
	must(t, err)
	migrator, err := rivermigrate.New(riversqlite.New(db), &rivermigrate.Config{Logger: quiet()})
	must(t, err)
	_, err = migrator.Migrate(t.Context(), rivermigrate.DirectionUp, &rivermigrate.MigrateOpts{TargetVersion: 6})
	must(t, err)
	_, err = db.Exec(`INSERT INTO river_job (args, kind, max_attempts, queue, state, tags) VALUES (?, 'analyze', 3, ?, 'available', '[]')`,
		`{"study":"`+study+`","series":"`+series+`","generation":1}`, analyzeQueue)
	must(t, err)
	must(t, db.Close())
	w := &world{}
	start(t, open(t, path, w, func(o *Options) { o.Version = "1.0.0" }))
	if got := <-w.ran; got != series {
		t.Errorf("the job that ran is of %q", got)
	}
}
