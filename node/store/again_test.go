package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/pulmonode/pulmonode/inference/result"
)

func TestReceiptsAreSetAside(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err = put(s, keyA, sopOf(keyA, 0), "slice", "CT1")
	must(err)
	must(s.WriteGeneration(keyA, 1, filesOf(0), Manifest{Closed: closedAt, Outcome: result.OutcomeNone}))
	if err := s.SetReceiptsAside(keyA, 1, "the pacs"); !errors.Is(err, ErrNotExist) {
		t.Errorf("no receipts: %v", err)
	}
	receipts := func(destination string) int {
		t.Helper()
		r, err := s.Receipts(keyA, 1, destination)
		must(err)
		return len(r)
	}
	for _, name := range []string{"the pacs-1", "the pacs", "ris"} {
		must(s.WriteReceipt(keyA, 1, name, "2.25.7", Receipt{Time: closedAt.Time}))
	}
	// Long ago: two changes within a tick of the file system's clock look like one.
	must(filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Chtimes(path, closedAt.Time, closedAt.Time))
	}))
	before, err := s.Changed(keyA)
	must(err)
	for round := 1; round <= 2; round++ {
		must(s.SetReceiptsAside(keyA, 1, "the pacs"))
		if receipts("the pacs") != 0 || receipts("ris") != 1 || receipts("the pacs-1") != 1 {
			t.Fatalf("round %d: %d, %d and %d receipts", round, receipts("the pacs"), receipts("ris"), receipts("the pacs-1"))
		}
		must(s.WriteReceipt(keyA, 1, "the pacs", "2.25.7", Receipt{Time: closedAt.Time}))
		if receipts("the pacs") != 1 {
			t.Fatal("no receipt can be written any more")
		}
	}
	if after, err := s.Changed(keyA); err != nil || !after.After(before) {
		t.Errorf("the change is not seen: %v, %v", after, err)
	}
	for name, want := range map[string]bool{"the pacs": true, "the pacs-1": false, "ris": false} {
		if again, err := s.SentAgain(keyA, 1, name); err != nil || again != want {
			t.Errorf("%s was sent it again: %v, %v", name, again, err)
		}
	}
	must(s.SetReceiptsAside(keyA, 1, "the pacs-1"))
	kept, err := filepath.Glob(filepath.Join(dir, "series", keyA.Study, keyA.Series, "generation-1", "receipts-aside", "*", "2.25.7.json"))
	must(err)
	if len(kept) != 3 {
		t.Errorf("%d former receipts are kept: %q", len(kept), kept)
	}
	for _, path := range kept {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	must(s.SetAside(keyA, 1)) // with all that is in it
}

// Whatever step fails, the receipts are where they were or set aside, never
// partly, and the next try does it.
func TestReceiptsAreSetAsideWholeOrNot(t *testing.T) {
	for fails := 1; ; fails++ {
		step := 0
		armed := false
		s, err := Open(t.TempDir(), Options{Before: func(string, string) error {
			if armed {
				if step++; step == fails {
					return errors.New("broken")
				}
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := put(s, keyA, sopOf(keyA, 0), "slice", "CT1"); err != nil {
			t.Fatal(err)
		}
		if err := s.WriteGeneration(keyA, 1, filesOf(0), Manifest{Closed: closedAt, Outcome: result.OutcomeNone}); err != nil {
			t.Fatal(err)
		}
		for _, uid := range []string{"2.25.7", "2.25.8"} {
			if err := s.WriteReceipt(keyA, 1, "ris", uid, Receipt{Time: closedAt.Time}); err != nil {
				t.Fatal(err)
			}
		}
		armed = true
		failed := s.SetReceiptsAside(keyA, 1, "ris")
		armed = false
		r, err := s.Receipts(keyA, 1, "ris")
		if err != nil || len(r) != 0 && (len(r) != 2 || failed == nil) {
			t.Errorf("step %d: %d receipts, %v, %v", fails, len(r), failed, err)
		}
		if err := s.SetReceiptsAside(keyA, 1, "ris"); err != nil && !(errors.Is(err, ErrNotExist) && len(r) == 0) {
			t.Errorf("step %d, again: %v", fails, err)
		}
		s.Close()
		if failed == nil {
			if fails < 4 {
				t.Errorf("only %d steps", fails-1)
			}
			return
		}
	}
}
