package node

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/node/admin"
	"github.com/pulmonode/pulmonode/node/job/postgrestest"
	"github.com/pulmonode/pulmonode/node/store"
)

// newSites are two nodes that share a folder and a database.
func newSites(t *testing.T, change func(*site)) (a, b *site, database *postgrestest.Server) {
	t.Helper()
	database, err := postgrestest.Start()
	if missing := new(postgrestest.Missing); errors.As(err, &missing) {
		t.Skip(missing)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { database.Stop() })
	url, err := database.Database("pulmonode")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	node := func(name string) *site {
		return newSite(t, func(s *site) {
			s.config.Storage.DataDir, s.config.Node.Name, s.config.Queue.URL = dir, name, url
			if change != nil {
				change(s)
			}
		})
	}
	return node("a"), node("b"), database
}

// Half of a series comes to one node and half to the other: it is one series with
// one result set, and both say so.
func TestTwoNodesAreOne(t *testing.T) {
	p := newPACS(t, "", nil)
	a, b, _ := newSites(t, func(s *site) { s.to("pacs", p) })
	a.start()
	b.start()
	a.send(0, 4)
	b.send(5, 9)
	for _, s := range []*site{a, b} {
		if d := s.untilState(admin.Delivered); d.Instances != 10 || len(d.Closings) != 1 {
			t.Errorf("%s says %d instances, %d closings", s.config.Node.Name, d.Instances, len(d.Closings))
		}
	}
	complete(t, p, 1)
	if n := a.analyzer.count() + b.analyzer.count(); n != 1 {
		t.Errorf("%d analyses", n)
	}
	// A late slice at whichever node is the next generation of all of it.
	b.send(10, 10)
	a.until("generation 2 is delivered", func(d *admin.Detail) bool { return d.Generation == 2 && d.State == admin.Delivered })
	complete(t, p, 2)
}

// What readiness says of the others, and who is not let in.
func TestNodesKnowOneAnother(t *testing.T) {
	a, b, _ := newSites(t, nil)
	b.config.Output.SeriesNumberSR++
	a.start()
	b.start()
	checks := b.node.ready(t.Context())
	i := slices.IndexFunc(checks, func(c admin.Check) bool { return c.Name == "nodes" })
	if i < 0 || !checks[i].OK || !strings.Contains(checks[i].Sentence, "shared with a") || !strings.Contains(checks[i].Sentence, "settings differ from node a: [output]") {
		t.Errorf("%+v", checks)
	}
	alone := *a.config
	alone.Queue = config.Default().Queue
	if n, err := start(t.Context(), &alone, a.logger, a.parts); !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), "set [queue] url to theirs") {
		t.Errorf("a node with a queue of its own: %v, %v", n, err)
	}
	if n, err := start(t.Context(), a.config, a.logger, a.parts); !errors.Is(err, store.ErrNameTaken) {
		t.Errorf("a second node of the name: %v, %v", n, err)
	}
	elsewhere := *a.config
	elsewhere.Node.Name, elsewhere.Storage.DataDir = "c", t.TempDir()
	if n, err := start(t.Context(), &elsewhere, a.logger, a.parts); err == nil || !strings.Contains(err.Error(), "another data folder") {
		t.Errorf("a node with another folder: %v, %v", n, err)
	}
	if _, err := os.Stat(a.config.Storage.DataDir + "/queue.db"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a queue in the folder: %v", err)
	}
}

// The database is restored from a backup that knows nothing of what came since, or
// is lost: the files know.
func TestADatabaseFromTheBackupDoublesNothing(t *testing.T) {
	p := newPACS(t, "", nil)
	a, _, database := newSites(t, func(s *site) { s.to("pacs", p) })
	a.start()
	a.stop()
	if err := database.Copy("pulmonode", "backup"); err != nil {
		t.Fatal(err)
	}
	a.start()
	a.send(0, 9)
	a.untilState(admin.Delivered)
	a.send(10, 12) // not closed, or not analysed, when the database goes
	a.stop()
	before := p.associations()
	lost, err := database.Database("lost")
	if err != nil {
		t.Fatal(err)
	}
	a.config.Queue.URL = database.URL("backup")
	a.start()
	a.until("generation 2 is delivered", func(d *admin.Detail) bool { return d.Generation == 2 && d.State == admin.Delivered })
	a.stop()
	complete(t, p, 2)
	after := p.associations()
	if after > before+1 {
		t.Errorf("%d associations more for one generation", after-before)
	}
	a.config.Queue.URL = lost
	a.start()
	a.untilState(admin.Delivered)
	a.stop()
	complete(t, p, 2)
	if again := p.associations(); again != after {
		t.Errorf("%d deliveries by an empty database", again-after)
	}
}

// A node that lacks a destination of the others does not take for delivered, and
// delete, what another has to deliver to it.
func TestWhatAnotherNodeDeliversStays(t *testing.T) {
	pacs := newPACS(t, "", nil)
	a, b, _ := newSites(t, func(s *site) { s.to("pacs", pacs) })
	b.config.Destination = append(b.config.Destination, config.Destination{Name: "ris", AETitle: "RIS", Address: "127.0.0.1:1", Send: config.Outputs})
	b.start()
	b.send(0, 4)
	b.untilState(admin.Failed)
	a.start()
	a.makeRoom()
	d := a.untilState(admin.Failed)
	if d.Instances != 5 || !strings.Contains(d.Sentence, "The delivery to ris is another node's") {
		t.Errorf("%+v", d)
	}
}
