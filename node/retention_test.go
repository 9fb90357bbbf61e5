package node

import (
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/admin"
	"github.com/pulmonode/pulmonode/node/store"
)

const everything = config.TiB << 10 // more than any disk has

// makeRoom has the node delete what can go for room, once.
func (s *site) makeRoom() {
	s.t.Helper()
	k := s.keeper()
	k.turn(s.t.Context(), time.Now(), 0)
}

func (s *site) keeper() keeper {
	return keeper{node: s.node, storage: config.Storage{DeleteDeliveredBelow: everything}, clock: believed{settled: clockSettles}}
}

func TestOnlyWhatIsDeliveredGoesForRoom(t *testing.T) {
	p := newPACS(t, "127.0.0.1:0", nil)
	s := newSite(t, func(s *site) {
		s.to("pacs", p)
		s.config.Complete.Idle = config.Duration(time.Minute)
		s.config.Complete.Quiet = config.Duration(30 * time.Second)
	})
	s.start()
	s.send(0, 4)
	s.makeRoom()
	if d := s.untilState(admin.Receiving); d.Instances != 5 {
		t.Errorf("a series that is still coming in has %d instances", d.Instances)
	}
}

func TestWhatNobodyHasStays(t *testing.T) {
	s := newSite(t, func(s *site) {
		s.config.Destination = []config.Destination{{Name: "pacs", AETitle: "PACS", Address: "127.0.0.1:1", Send: config.Outputs}}
	})
	s.start()
	s.send(0, 4)
	s.untilState(admin.Failed)
	s.makeRoom()
	if d := s.untilState(admin.Failed); d.Instances != 5 || len(d.Generations) != 1 {
		t.Errorf("a delivery that waits for a person: %+v", d)
	}
}

// A series that was deleted and comes again is the generation that it was: the
// destination gets the same UIDs with the same bytes. With another slice it is the
// next.
func TestADeletedSeriesComesAgain(t *testing.T) {
	p := newPACS(t, "127.0.0.1:0", nil)
	s := newSite(t, func(s *site) { s.to("pacs", p) })
	s.start()
	s.send(0, 4)
	first := s.untilState(admin.Delivered)
	s.makeRoom()
	d := s.untilState(admin.Deleted)
	if !strings.Contains(d.Sentence, "to make room on the disk. 1 nodule was found. pacs took 3 objects of generation 1") || d.Instances != 5 {
		t.Errorf("deleted: %s", d.Sentence)
	}

	s.send(0, 4)
	d = s.untilState(admin.Delivered)
	if d.Generation != 1 || !d.Closings[0].Time.Equal(first.Closings[0].Time) {
		t.Errorf("the same slices are generation %d, closed %v; they were %v", d.Generation, d.Closings[0].Time, first.Closings[0].Time)
	}
	complete(t, p, 1)
	for uid, all := range p.got() {
		if len(all) != 2 {
			t.Errorf("%s was delivered %d times", uid, len(all))
		}
	}

	s.makeRoom()
	s.untilState(admin.Deleted)
	s.send(0, 5)
	s.until("the next generation", func(d *admin.Detail) bool { return d.State == admin.Delivered && d.Generation == 2 })
	complete(t, p, 2)
}

// With another model the same slices give other results: they get UIDs of their
// own, and what was delivered keeps its bytes.
func TestADeletedSeriesComesAgainToAnotherModel(t *testing.T) {
	p := newPACS(t, "127.0.0.1:0", nil)
	var other atomic.Bool
	s := newSite(t, func(s *site) {
		s.to("pacs", p)
		usual := s.parts.documents
		s.parts.documents = func(c *config.Config) documents {
			write := usual(c)
			return func(header *dataset.Dataset, r *result.Result, uid func(string, int) string) ([]store.File, error) {
				changed := *r
				changed.Reason = fmt.Sprint("another model: ", other.Load())
				return write(header, &changed, uid)
			}
		}
	})
	s.start()
	s.send(0, 4)
	s.untilState(admin.Delivered)
	before := maps.Clone(p.got())
	s.makeRoom()
	s.untilState(admin.Deleted)
	other.Store(true)
	s.send(0, 4)
	if d := s.untilState(admin.Delivered); d.Generation != 1 {
		t.Errorf("generation %d", d.Generation)
	}
	complete(t, p, 2)
	for uid := range before {
		if len(p.got()[uid]) != 1 {
			t.Errorf("%s was sent again", uid)
		}
	}
}

// The clock is set while the node runs: nothing is deleted for its age until the
// clock has been let alone for an hour.
func TestAgesAreNotBelievedOfAClockThatWasSet(t *testing.T) {
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	c := believed{settled: clockSettles}
	for i, look := range []struct {
		since time.Duration
		set   time.Duration // by how much the wall clock is off
		want  bool
	}{
		{0, 0, false}, // just started
		{59 * time.Minute, 0, false},
		{time.Hour, 0, true},
		{2 * time.Hour, 30 * time.Second, true}, // slewed
		{2*time.Hour + 10*time.Second, 365 * 24 * time.Hour, false},
		{2*time.Hour + 20*time.Second, 365 * 24 * time.Hour, false},
		{2*time.Hour + 30*time.Second, 0, false}, // set back
		{3 * time.Hour, 0, false},
		{3*time.Hour + 30*time.Second, 0, true},
		{4 * time.Hour, -48 * time.Hour, false}, // set to the past
	} {
		if got := c.trusted(at.Add(look.since+look.set), look.since); got != look.want {
			t.Errorf("look %d, %v after the start: %v", i, look.since, got)
		}
	}
}

// Deleting is bounded work: a turn says that there is more.
func TestATurnIsBounded(t *testing.T) {
	s := newSite(t, nil)
	s.start()
	for i := range retainAtOnce + 1 {
		k := store.Key{Study: "1.2.3", Series: fmt.Sprintf("1.2.3.%d", i+100)}
		in, err := s.node.store.Create(dataset.MetaInfo{SOPClassUID: dataset.CTImage, SOPInstanceUID: k.Series + ".1", TransferSyntax: dataset.ExplicitLE})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := in.Commit(k, k.Series+".1"); err != nil {
			t.Fatal(err)
		}
		if err := s.node.store.WriteClosing(store.Closing{Key: k, Generation: 1, Instances: []string{k.Series + ".1"}}); err != nil {
			t.Fatal(err)
		}
		plan := store.File{Name: "destinations.json", Kind: "json", Bytes: []byte("[]")}
		if err := s.node.store.WriteGeneration(k, 1, []store.File{plan}, store.Manifest{Outcome: result.OutcomeSkipped, Reason: "too few slices"}); err != nil {
			t.Fatal(err)
		}
	}
	k := s.keeper()
	if more := k.turn(t.Context(), time.Now(), 0); !more {
		t.Error("the first turn says that it did everything")
	}
	if more := k.turn(t.Context(), time.Now(), 0); more {
		t.Error("the second turn says that there is more")
	}
	var list admin.List
	s.get("/api/v1/series?state=deleted", &list)
	if list.Total != retainAtOnce+1 {
		t.Errorf("%d series are listed as deleted", list.Total)
	}
	if k.turn(t.Context(), time.Now(), time.Second); !k.cramped {
		t.Error("nobody was told that no room can be made")
	}
}
