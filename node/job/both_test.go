package job

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/pulmonode/pulmonode/node/job/postgrestest"
)

// server is the PostgreSQL of this package's tests, started by the first that
// needs one.
var server = sync.OnceValues(postgrestest.Start)

var asked atomic.Bool

// suite ends the server after the tests.
type suite struct{ *testing.M }

func (s suite) Run() int {
	code := s.M.Run()
	if asked.Load() {
		if p, err := server(); err == nil {
			if err := p.Stop(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
	}
	return code
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(suite{m}) }

// shared is the URL of a new database of PostgreSQL's.
func shared(t *testing.T) string {
	t.Helper()
	asked.Store(true)
	p, err := server()
	if missing := new(postgrestest.Missing); errors.As(err, &missing) {
		t.Skip(missing)
	}
	must(t, err)
	url, err := p.Database(fmt.Sprintf("test%d", databases.Add(1)))
	must(t, err)
	return url
}

var databases atomic.Int64

// onBoth runs a test on a file of SQLite's and on a database of PostgreSQL's.
// place makes a new one.
func onBoth(t *testing.T, test func(t *testing.T, place func(*testing.T) string)) {
	t.Run("SQLite", func(t *testing.T) {
		test(t, func(t *testing.T) string { return filepath.Join(t.TempDir(), "queue.db") })
	})
	t.Run("PostgreSQL", func(t *testing.T) { test(t, shared) })
}
