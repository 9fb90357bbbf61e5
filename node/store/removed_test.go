package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/inference/result"
)

// remove deletes a series, whatever its state.
func remove(s *Store, k Key) error {
	_, _, err := s.removeIf(k, time.Now(), ForAge, func() bool { return true })
	return err
}

// gone is a series with results that was deleted.
func gone(t *testing.T, s *Store, k Key, sops ...string) *Removed {
	t.Helper()
	for _, sop := range sops {
		mustPut(t, s, k, sop, "Doe^Jane")
	}
	c := Closing{Key: k, Generation: 1, Closed: closedAt, Instances: sops}
	for _, err := range []error{s.Continue(&c), s.WriteClosing(c), s.WriteGeneration(k, c.Generation, filesOf(0), Manifest{Outcome: result.OutcomeNone}), remove(s, k)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r, err := s.Removed(k)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestASeriesThatComesAgainKeepsItsNumber(t *testing.T) {
	s := testStore(t, Options{})
	gone(t, s, keyA, "1.2.3.1.1", "1.2.3.1.2")
	for _, c := range []struct {
		name string
		sops []string
		want int
	}{
		{"the same instances", []string{"1.2.3.1.1", "1.2.3.1.2"}, 1},
		{"one less", []string{"1.2.3.1.1"}, 2},
		{"one more", []string{"1.2.3.1.1", "1.2.3.1.2", "1.2.3.1.3"}, 2},
		{"others whose names join to the same", []string{"1.2.3.1.11.2.3.1.2"}, 2},
	} {
		later := result.Closed{Reason: "idle", Time: closedAt.Time.Add(time.Hour)}
		got := Closing{Key: keyA, Generation: 1, Closed: later, Instances: c.sops}
		if err := s.Continue(&got); err != nil || got.Generation != c.want {
			t.Errorf("%s: generation %d, %v", c.name, got.Generation, err)
		}
		if same := got.Closed == closedAt; same != (c.want == 1) {
			t.Errorf("%s: closed %v", c.name, got.Closed)
		}
	}
	// The next generation is counted on from when it is deleted itself.
	if r := gone(t, s, keyA, "1.2.3.1.1"); r.Generation != 2 {
		t.Errorf("deleted as generation %d", r.Generation)
	}
	if r := gone(t, s, keyA, "1.2.3.1.1", "1.2.3.1.2"); r.Generation != 3 {
		t.Errorf("the first set after the second is generation %d", r.Generation)
	}
}

// Other bytes never go out under a UID that was delivered before the series was
// deleted, and an attempt that was set aside is not made again.
func TestOtherResultsAfterDeletionAreAnotherAttempt(t *testing.T) {
	s := testStore(t, Options{})
	gone(t, s, keyA, "1.2.3.1.1")
	mustPut(t, s, keyA, "1.2.3.1.1", "Doe^Jane")
	if err := s.WriteGeneration(keyA, 1, filesOf(1), Manifest{Outcome: result.OutcomeNone}); !errors.Is(err, ErrOther) {
		t.Fatalf("other bytes under the same UID: %v", err)
	}
	if n, err := s.Generations(keyA); err != nil || len(n) > 0 {
		t.Errorf("generations %v, %v", n, err)
	}
	if n, err := s.Attempts(keyA, 1); err != nil || n != 1 {
		t.Errorf("%d attempts, %v", n, err)
	}
	files := filesOf(1)
	files[1].SOPInstanceUID = "2.25.8"
	if err := s.WriteGeneration(keyA, 1, files, Manifest{Outcome: result.OutcomeNone}); err != nil {
		t.Fatal(err)
	}
	if m, err := s.Generation(keyA, 1); err != nil || m.Attempt != 1 {
		t.Errorf("attempt %d, %v", m.Attempt, err)
	}
}

func TestRecordsAreBoundedAndForgotten(t *testing.T) {
	s := testStore(t, Options{})
	now := time.Now()
	for i := range 3 {
		gone(t, s, Key{"1.2", fmt.Sprintf("1.2.%d", i)}, fmt.Sprintf("1.2.%d.1", i))
	}
	if n, err := s.ForgetRemoved(now.Add(time.Hour), 2*time.Hour); n != 0 || err != nil {
		t.Errorf("young records were forgotten: %d, %v", n, err)
	}
	// One is here again: its record says which UIDs are taken.
	mustPut(t, s, Key{"1.2", "1.2.0"}, "1.2.0.1", "Doe^Jane")
	if n, err := s.ForgetRemoved(now.Add(3*time.Hour), 2*time.Hour); n != 2 || err != nil {
		t.Errorf("%d records were forgotten, %v", n, err)
	}
	if _, err := s.Removed(Key{"1.2", "1.2.0"}); err != nil {
		t.Error(err)
	}
	if list, err := s.AllRemoved(); err != nil || len(list) != 0 {
		t.Errorf("listed %v, %v", list, err)
	}
}

// Whatever stands in removed/, it is no series that was deleted unless it is a
// record of one, and a damaged one is named with what to do.
func TestStrangeRecords(t *testing.T) {
	s := testStore(t, Options{})
	gone(t, s, keyA, "1.2.3.1.1")
	other, err := json.Marshal(Removed{Key: keyB, Generation: 1})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"1.2.9_1.2.9.1.json": string(other), "1.2.9_1.2.9.2.json": "{", "..._...json": "{}", "1.2.9.json": "{}", "1.2.9_1.2.9.3": "{}",
		"1.2.9_1.2.9.4.json": strings.Repeat(" ", maxRecord+1) + "{}", "1.2.9_1.2.9.5.json": `{"study_instance_uid":"1.2.9","series_instance_uid":"1.2.9.5","generation":-7}`,
	} {
		if err := os.WriteFile(s.removedRoot()+"/"+name, []byte(text), fileMode); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := s.AllRemoved(); err != nil || len(list) != 1 || list[0].Key != keyA {
		t.Errorf("listed %d, %v", len(list), err)
	}
	for _, series := range []string{"1.2.9.1", "1.2.9.2", "1.2.9.4", "1.2.9.5"} {
		if _, err := s.Removed(Key{"1.2.9", series}); err == nil || !strings.Contains(err.Error(), "remove "+s.removedRoot()) {
			t.Errorf("%s: %v", series, err)
		}
	}
}

func TestRecordsNameNoPatient(t *testing.T) {
	s := testStore(t, Options{})
	gone(t, s, keyA, "1.2.3.1.1")
	b, err := os.ReadFile(s.recordPath(keyA))
	if err != nil || strings.Contains(string(b), "Doe") || !strings.Contains(string(b), keyA.Series) {
		t.Errorf("%s, %v", b, err)
	}
}

// Of the nodes that share a folder one deletes at a time.
func TestOneNodeDeletesAtATime(t *testing.T) {
	dir := quickFolder(t)
	a, b := sharing(t, dir, "a"), sharing(t, dir, "b")
	mustPut(t, a, keyA, "1.2.3.1.1", "x")
	for _, err := range []error{
		a.WriteClosing(Closing{Key: keyA, Generation: 1, Closed: closedAt, Instances: []string{"1.2.3.1.1"}}),
		a.WriteGeneration(keyA, 1, filesOf(0), Manifest{Outcome: result.OutcomeNone}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	unlock, err := a.lockRemoved()
	if err != nil {
		t.Fatal(err)
	}
	any := func(Key, string) bool { return true }
	later, r := time.Now().Add(time.Hour), Retention{Keep: time.Minute}
	if removed, err := b.Retain(t.Context(), later, r, any); err != nil || len(removed) != 0 {
		t.Errorf("while another node deletes: %v, %v", removed, err)
	}
	unlock()
	if removed, err := b.Retain(t.Context(), later, r, any); err != nil || len(removed) != 1 {
		t.Errorf("alone: %v, %v", removed, err)
	}
	if _, err := a.Removed(keyA); err != nil {
		t.Errorf("the other node does not know: %v", err)
	}
}

func sharing(t *testing.T, dir, node string) *Store {
	t.Helper()
	s, err := open(dir, Options{Node: node}, quickDisk{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}
