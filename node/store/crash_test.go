package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
)

// journal is what a scenario was promised: what a method confirmed must be there
// after any crash.
type journal struct {
	instances   map[string]string // path in the series -> data set
	closings    map[string]bool
	generations map[string]bool
	receipts    map[string]bool
	aside       bool
	conflict    bool
	kept        map[string]bool // series that a removal was not begun of
}

func newJournal() *journal {
	return &journal{instances: map[string]string{}, closings: map[string]bool{}, generations: map[string]bool{}, receipts: map[string]bool{}, kept: map[string]bool{}}
}

func (j *journal) clone() *journal {
	c := *j
	c.instances, c.closings, c.generations = maps.Clone(j.instances), maps.Clone(j.closings), maps.Clone(j.generations)
	c.receipts, c.kept = maps.Clone(j.receipts), maps.Clone(j.kept)
	return &c
}

var (
	keyA = Key{"1.2.3", "1.2.3.1"}
	keyB = Key{"1.2.3", "1.2.3.2"}
	keyC = Key{"1.2.9", "1.2.9.1"}
)

func sopOf(k Key, i int) string { return fmt.Sprintf("%s.%d", k.Series, i) }

func bytesOf(k Key, i int) string {
	return strings.Repeat(fmt.Sprintf("slice %d of %s;", i, k.Series), 50)
}

func put(s *Store, k Key, sop, data, from string) (Outcome, error) {
	in, err := s.Create(dataset.MetaInfo{SOPClassUID: dataset.CTImage, SOPInstanceUID: sop, TransferSyntax: dataset.ExplicitLE, SourceAE: from})
	if err != nil {
		return 0, err
	}
	defer in.Discard()
	if _, err := in.Write([]byte(data)); err != nil {
		return 0, err
	}
	return in.Commit(k, sop)
}

var closedAt = result.Closed{Reason: "geometry", Time: time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)}

func filesOf(attempt int) []File {
	sr := fmt.Sprintf("report, attempt %d", attempt)
	return []File{
		{Name: "result.json", Kind: "json", Bytes: []byte(`{"schema":1}`)},
		{Name: "sr.dcm", Kind: "sr", SOPClassUID: dataset.Comprehensive3DSR, SOPInstanceUID: "2.25.7", Bytes: []byte(sr)},
	}
}

// live is the life of three series, from the first slice to a removal. It can be
// run again at any point, as senders, jobs and deliveries are, and goes on after
// an error as a node does. It returns the first error.
func live(s *Store, j *journal) (first error) {
	note := func(err error) bool {
		if err != nil && first == nil {
			first = err
		}
		return err == nil
	}
	removed := j.instances["removed"] != ""
	j.kept[keyC.Series] = !removed
	for _, k := range []Key{keyA, keyB, keyC} {
		if k == keyC && removed {
			continue
		}
		for i := range 2 {
			o, err := put(s, k, sopOf(k, i), bytesOf(k, i), "CT1")
			if note(err) {
				if o == Different {
					note(fmt.Errorf("instance %d of %s came back as different", i, k))
				}
				j.instances[k.String()+"/"+sopOf(k, i)] = bytesOf(k, i)
			}
		}
	}
	o, err := put(s, keyA, sopOf(keyA, 0), bytesOf(keyA, 0), "CT2")
	if note(err) && o != Identical && j.instances[keyA.String()+"/"+sopOf(keyA, 0)] != "" {
		note(fmt.Errorf("the same bytes of another sender: %v", o))
	}
	if j.instances[keyA.String()+"/"+sopOf(keyA, 1)] != "" {
		o, err = put(s, keyA, sopOf(keyA, 1), "other bytes", "CT1")
		if note(err) {
			j.conflict = true
			if o != Different {
				note(fmt.Errorf("other bytes: %v", o))
			}
		}
	}
	for _, k := range []Key{keyA, keyC} {
		if k == keyC && removed {
			continue
		}
		err := s.WriteClosing(Closing{Key: k, Generation: 1, Closed: closedAt, Instances: []string{sopOf(k, 0), sopOf(k, 1)}})
		if errors.Is(err, ErrExist) || note(err) {
			j.closings[k.String()] = true
		}
		err = s.WriteGeneration(k, 1, filesOf(0), Manifest{Closed: closedAt, Outcome: result.OutcomeNone})
		if errors.Is(err, ErrExist) || note(err) {
			j.generations[k.String()] = true
		}
		if note(s.WriteReceipt(k, 1, "the pacs", "2.25.7", Receipt{Time: closedAt.Time})) {
			j.receipts[k.String()] = true
		}
	}
	n, err := s.Attempts(keyA, 1)
	j.aside = j.aside || n > 0
	if note(err) && n == 0 && j.generations[keyA.String()] {
		delete(j.generations, keyA.String())
		delete(j.receipts, keyA.String())
		if note(s.SetAside(keyA, 1)) {
			j.aside = true
		}
	}
	if j.aside {
		err := s.WriteGeneration(keyA, 1, filesOf(1), Manifest{Closed: closedAt, Outcome: result.OutcomeNone})
		if errors.Is(err, ErrExist) || note(err) {
			j.generations[keyA.String()] = true
		}
		if note(s.WriteReceipt(keyA, 1, "the pacs", "2.25.7", Receipt{Time: closedAt.Time})) {
			j.receipts[keyA.String()] = true
		}
	}
	j.kept[keyC.Series] = false
	if note(remove(s, keyC)) {
		j.instances["removed"] = "yes"
	}
	return first
}

// hold checks that what was promised is there, that nothing is there by half,
// and that nothing is there twice.
func hold(t *testing.T, s *Store, j *journal) {
	t.Helper()
	for name, want := range j.instances {
		parts := strings.Split(name, "/")
		if name == "removed" {
			if uids, err := s.InstanceUIDs(keyC); err != nil || len(uids) > 0 {
				t.Errorf("the removed series is back: %v, %v", uids, err)
			}
			remembered(t, s, j)
			continue
		}
		k := Key{parts[0], parts[1]}
		if k == keyC && !j.kept[keyC.Series] {
			continue
		}
		path, err := s.InstancePath(k, parts[2])
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("a confirmed instance is lost: %v", err)
		} else if !strings.HasSuffix(string(b), want) {
			t.Errorf("a confirmed instance has %d bytes that are not its own", len(b))
		}
	}
	keys, err := s.Series()
	if err != nil {
		t.Fatal(err)
	}
	if j.instances["removed"] == "" && !j.kept[keyC.Series] && j.receipts[keyC.String()] && !slices.Contains(keys, keyC) {
		remembered(t, s, j)
	}
	for _, k := range keys {
		instances, err := s.Instances(k)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range instances {
			var n int
			if _, err := fmt.Sscanf(strings.TrimPrefix(i.SOPInstanceUID, k.Series+"."), "%d", &n); err != nil {
				t.Fatal(err)
			}
			if b, _ := os.ReadFile(i.Path); !strings.HasSuffix(string(b), bytesOf(k, n)) {
				t.Errorf("instance %s is there by half", i.SOPInstanceUID)
			}
		}
		if k == keyC && !j.kept[keyC.Series] {
			// All of it or nothing, even while it was being removed.
			confirmed := j.instances[k.String()+"/"+sopOf(k, 0)] != "" && j.instances[k.String()+"/"+sopOf(k, 1)] != ""
			if confirmed && len(instances) != 2 {
				t.Errorf("the series that was being removed has %d instances", len(instances))
			}
			continue
		}
		generations, err := s.Generations(k)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range generations {
			m, err := s.Generation(k, n)
			if err != nil {
				t.Errorf("a generation is there by half: %v", err)
				continue
			}
			folder, _ := s.GenerationFolder(k, n)
			for _, f := range m.Files {
				if info, err := os.Stat(filepath.Join(folder, f.Name)); err != nil || info.Size() != f.Size {
					t.Errorf("a generation is there by half: %s: %v", f.Name, err)
				}
			}
		}
		closings, err := s.Closings(k)
		if err != nil {
			t.Errorf("a closing is there by half: %v", err)
		}
		if j.closings[k.String()] && len(closings) != 1 {
			t.Errorf("%d closings of %s", len(closings), k)
		}
		if j.generations[k.String()] && !slices.Equal(generations, []int{1}) {
			t.Errorf("generations of %s: %v", k, generations)
		}
		receipts, err := s.Receipts(k, 1, "the pacs")
		if err != nil {
			t.Error(err)
		}
		if j.receipts[k.String()] && len(receipts) != 1 {
			t.Errorf("a receipt of %s is lost: the object would be sent again", k)
		}
	}
	if n, err := s.Attempts(keyA, 1); err != nil || j.aside && n != 1 {
		t.Errorf("%d attempts were set aside, %v", n, err)
	}
	if c, err := s.Conflicts(keyA); err != nil || j.conflict && len(c) != 1 {
		t.Errorf("%d conflicts, %v", len(c), err)
	}
	left, err := os.ReadDir(s.incoming())
	if err != nil || len(left) > 0 {
		t.Errorf("incoming/ holds %v, %v", left, err)
	}
}

// remembered checks that what was deleted is still listed, with all that matters.
func remembered(t *testing.T, s *Store, j *journal) {
	t.Helper()
	for i := range 2 {
		if j.instances[keyC.String()+"/"+sopOf(keyC, i)] == "" {
			return
		}
	}
	if !j.closings[keyC.String()] || !j.generations[keyC.String()] || !j.receipts[keyC.String()] {
		return
	}
	list, err := s.AllRemoved()
	if err != nil || len(list) != 1 || list[0].Key != keyC {
		t.Errorf("the deleted series is not listed: %+v, %v", list, err)
		return
	}
	r := list[0]
	if r.Generation != 1 || r.Instances != 2 || r.Set != setOf([]string{sopOf(keyC, 0), sopOf(keyC, 1)}) || r.Outcome != result.OutcomeNone || len(r.Objects) != 1 || r.Objects["2.25.7"] == "" ||
		len(r.Deliveries) != 1 || r.Deliveries[0].Destination != "the pacs" || r.Deliveries[0].Objects != 1 || !r.Closed.Time.Equal(closedAt.Time) {
		b, _ := json.Marshal(r)
		t.Errorf("the record of the deleted series lacks something: %s", b)
	}
}

// settle ends every walk: the next process does what is left and all is well.
func settle(t *testing.T, dir string, j *journal) {
	t.Helper()
	s, err := open(dir, Options{}, quickDisk{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	hold(t, s, j)
	if err := live(s, j); err != nil {
		t.Errorf("the next process cannot go on: %v", err)
	}
	hold(t, s, j)
	if !j.aside || !j.conflict || len(j.instances) < 5 || !j.generations[keyA.String()] || !j.receipts[keyA.String()] {
		t.Errorf("the next process did not finish: %v %v %v", j.aside, j.conflict, j.generations)
	}
}

// steps counts the changes of the disk in one undisturbed life.
func steps(t *testing.T) int {
	t.Helper()
	dir := quickFolder(t)
	d := newCutDisk(t, dir)
	s, err := open(dir, Options{}, d)
	if err != nil {
		t.Fatal(err)
	}
	j := newJournal()
	if err := live(s, j); err != nil {
		t.Fatal(err)
	}
	hold(t, s, j)
	s.Close()
	if d.steps < 80 {
		t.Fatalf("only %d steps were counted", d.steps)
	}
	// What was promised is durable: the same after a cut at the very end.
	settle(t, d.afterPowerCut(t), j)
	return d.steps
}

func TestCrashAfterEveryStep(t *testing.T) {
	for n := range steps(t) {
		n++
		for _, power := range []bool{false, true} {
			dir := quickFolder(t)
			d := newCutDisk(t, dir)
			d.cutAt = n
			j := newJournal()
			s, err := open(dir, Options{}, d)
			if err == nil {
				err = live(s, j)
				s.Close()
			}
			if !errors.Is(err, errCut) {
				t.Fatalf("%v: %v", d, err)
			}
			if power {
				dir = d.afterPowerCut(t)
			}
			settle(t, dir, j)
			if t.Failed() {
				t.Fatalf("power cut %v at %v", power, d.what)
			}
		}
	}
}

// A step that fails is a failed store, and the process goes on.
func TestFailureOfEveryStep(t *testing.T) {
	undisturbed := steps(t)
	for _, fail := range []error{syscall.EIO, syscall.ENOSPC} {
		for n := range undisturbed {
			n++
			dir := quickFolder(t)
			d := newCutDisk(t, dir)
			d.failAt, d.fail = n, fail
			j := newJournal()
			s, err := open(dir, Options{}, d)
			if err == nil {
				err = live(s, j)
				// More steps than usual: the record of what is deleted got its room.
				if err == nil && !strings.HasPrefix(d.what, "remove") && d.steps <= undisturbed {
					t.Fatalf("nobody noticed: %v", d.what)
				}
				if fail == syscall.ENOSPC && err != nil && !errors.Is(err, ErrFull) {
					t.Fatalf("%v: not told as a full disk: %v", d.what, err)
				}
				if err := live(s, j); err != nil {
					t.Fatalf("%v: the process cannot go on: %v", d.what, err)
				}
				s.Close()
			} else if !errors.Is(err, fail) {
				t.Fatalf("%v: %v", d.what, err)
			}
			settle(t, dir, j.clone())
			// The failed fsync's pages are gone: what was confirmed must not
			// have leaned on them.
			settle(t, d.afterPowerCut(t), j)
			if t.Failed() {
				t.Fatalf("failed at %v", d.what)
			}
		}
	}
}
