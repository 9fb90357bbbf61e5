package store

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/inference/result"
)

func TestWhoSharesAFolderAndWhoDoesNotAreTold(t *testing.T) {
	alone := testStore(t, Options{})
	if _, err := Open(alone.Dir(), Options{Node: "b"}); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "keeps its queue in the folder") {
		t.Errorf("a node that would share: %v", err)
	}
	shared := testStore(t, Options{Node: "a"})
	if _, err := Open(shared.Dir(), Options{}); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "set [queue] url to theirs") {
		t.Errorf("a node that would not: %v", err)
	}
}

func TestWhatADeadNodeHalfReceivedGoesAndWhatALivingOneReceivesStays(t *testing.T) {
	a := testStore(t, Options{Node: "a"})
	incoming := filepath.Join(a.Dir(), "incoming")
	for _, path := range []string{"dead/1", "dead/2", "a/1"} {
		path = filepath.Join(incoming, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b, err := Open(a.Dir(), Options{Node: "b"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for path, stays := range map[string]bool{"dead/1": false, "dead/2": false, "a/1": true} {
		if _, err := os.Stat(filepath.Join(incoming, path)); (err == nil) != stays {
			t.Errorf("%s: %v", path, err)
		}
	}
	dead, err := Open(a.Dir(), Options{Node: "dead"}) // it comes back
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
}

func TestNodesKnowWhetherTheirFolderIsOne(t *testing.T) {
	a, other := testStore(t, Options{Node: "a"}), testStore(t, Options{Node: "a"})
	b, err := Open(a.Dir(), Options{Node: "b"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ids := map[string]int{}
	for _, s := range []*Store{a, b, a, other} {
		id, err := s.ID()
		if err != nil {
			t.Fatal(err)
		}
		ids[id]++
	}
	if len(ids) != 2 {
		t.Errorf("%v", ids)
	}
}

// A slice that another node confirms while a series is being deleted stays.
func TestDeletingKeepsWhatAnotherNodeConfirmsMeanwhile(t *testing.T) {
	a := testStore(t, Options{Node: "a"})
	b, err := Open(a.Dir(), Options{Node: "b"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	mustPut(t, a, keyA, "1.2.3.1.1", "old")
	c := Closing{Key: keyA, Generation: 1, Closed: closedAt, Instances: []string{"1.2.3.1.1"}}
	for _, err := range []error{a.WriteClosing(c), a.WriteGeneration(keyA, 1, filesOf(0), Manifest{Outcome: result.OutcomeNone})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	looks := 0
	removed, err := a.Retain(t.Context(), time.Now().Add(time.Hour), Retention{Keep: time.Minute}, func(Key, string) bool {
		if looks++; looks == 2 { // the last
			mustPut(t, b, keyA, "1.2.3.1.2", "late")
		}
		return true
	})
	if err != nil || len(removed) != 1 || removed[0].Generation != 1 {
		t.Errorf("%+v, %v", removed, err)
	}
	if uids, err := b.InstanceUIDs(keyA); err != nil || !slices.Equal(uids, []string{"1.2.3.1.2"}) {
		t.Errorf("kept %v, %v", uids, err)
	}
}

// A node stops for a while between its last look at a series and taking it away.
// Meanwhile another confirms a slice and closes the series with it: the slice stays,
// for what was to be made of it is not delivered.
func TestDeletingKeepsWhatAnotherNodeClosesMeanwhile(t *testing.T) {
	late := func() {}
	a, err := Open(t.TempDir(), Options{Node: "a", Before: func(step, path string) error {
		if step == "rename" && filepath.Base(filepath.Dir(path)) == "removing" {
			late()
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := Open(a.Dir(), Options{Node: "b"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	mustPut(t, a, keyA, "1.2.3.1.1", "old")
	c := Closing{Key: keyA, Generation: 1, Closed: closedAt, Instances: []string{"1.2.3.1.1"}}
	for _, err := range []error{a.WriteClosing(c), a.WriteGeneration(keyA, 1, filesOf(0), Manifest{Outcome: result.OutcomeNone})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	closes := error(nil)
	late = func() {
		mustPut(t, b, keyA, "1.2.3.1.2", "late")
		closes = b.WriteClosing(Closing{Key: keyA, Generation: 2, Closed: closedAt, Instances: []string{"1.2.3.1.1", "1.2.3.1.2"}})
	}
	removed, err := a.Retain(t.Context(), time.Now().Add(time.Hour), Retention{Keep: time.Minute}, func(Key, string) bool { return true })
	if err != nil || closes != nil || len(removed) != 1 {
		t.Fatalf("%+v, %v, %v", removed, err, closes)
	}
	if uids, err := b.InstanceUIDs(keyA); err != nil || !slices.Equal(uids, []string{"1.2.3.1.2"}) {
		t.Errorf("kept %v, %v", uids, err)
	}
	next := Closing{Key: keyA, Instances: []string{"1.2.3.1.2"}}
	if err := b.Continue(&next); err != nil || next.Generation != 3 {
		t.Errorf("generation %d, %v", next.Generation, err)
	}
}

// A deletion that a crash interrupted, of a series whose closing is damaged, keeps no
// node from its start; the instances are not given up on its word.
func TestADamagedClosingKeepsNoNodeFromItsStart(t *testing.T) {
	dir := t.TempDir()
	a, err := Open(dir, Options{Node: "a"})
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, a, keyA, "1.2.3.1.1", "old")
	going := a.going(keyA, ForAge)
	for _, err := range []error{
		os.Rename(a.folder(keyA), going), os.WriteFile(filepath.Join(going, "closed-1.json"), []byte("{"), 0o600), a.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	b, err := Open(dir, Options{Node: "b"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if uids, err := b.InstanceUIDs(keyA); err != nil || len(uids) != 1 {
		t.Errorf("%v, %v", uids, err)
	}
}
