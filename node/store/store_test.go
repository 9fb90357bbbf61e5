package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
)

func testStore(t *testing.T, o Options) *Store {
	t.Helper()
	s, err := open(quickFolder(t), o, quickDisk{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func mustPut(t *testing.T, s *Store, k Key, sop, data string) Outcome {
	t.Helper()
	o, err := put(s, k, sop, data, "CT1")
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestInstanceIsAFileInItsPlace(t *testing.T) {
	s := testStore(t, Options{})
	if o := mustPut(t, s, keyA, "1.2.3.1.5", "pixels"); o != Stored {
		t.Errorf("outcome %v", o)
	}
	path := filepath.Join(s.Dir(), "series", "1.2.3", "1.2.3.1", "instances", "1.2.3.1.5.dcm")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := append(dataset.FileMeta(dataset.MetaInfo{SOPClassUID: dataset.CTImage, SOPInstanceUID: "1.2.3.1.5", TransferSyntax: dataset.ExplicitLE, SourceAE: "CT1"}), "pixels"...)
	if !bytes.Equal(b, want) {
		t.Errorf("the file has %d bytes, want %d", len(b), len(want))
	}
	list, err := s.Instances(keyA)
	if err != nil || len(list) != 1 || list[0].Path != path || list[0].SOPInstanceUID != "1.2.3.1.5" || list[0].Size != int64(len(want)) {
		t.Errorf("listed as %+v, %v", list, err)
	}
	if keys, err := s.Series(); err != nil || !slices.Equal(keys, []Key{keyA}) {
		t.Errorf("series %v, %v", keys, err)
	}
}

func TestEverythingIsTheNodesAlone(t *testing.T) {
	s, err := Open(filepath.Join(quickFolder(t), "new"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	j := newJournal()
	if err := live(s, j); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = filepath.WalkDir(s.Dir(), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(fileMode)
		if e.IsDir() {
			want = folderMode
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSameInstanceAgain(t *testing.T) {
	tests := []struct {
		name, data, from, syntax string
		want                     Outcome
		kept                     int
	}{
		{"same bytes, same sender", "pixels", "CT1", dataset.ExplicitLE, Identical, 0},
		{"same bytes, other sender", "pixels", "ARCHIVE", dataset.ExplicitLE, Identical, 0},
		{"other bytes of the same length", "pixel5", "CT1", dataset.ExplicitLE, Different, 1},
		{"those other bytes again", "pixel5", "CT2", dataset.ExplicitLE, Different, 1},
		{"a start of the bytes", "pixel", "CT1", dataset.ExplicitLE, Different, 2},
		{"same bytes in another transfer syntax", "pixels", "CT1", dataset.JPEG2000, Different, 3},
		{"and the first again", "pixels", "CT1", dataset.ExplicitLE, Identical, 3},
	}
	s := testStore(t, Options{})
	mustPut(t, s, keyA, "1.2.3.1.5", "pixels")
	for _, test := range tests {
		in, err := s.Create(dataset.MetaInfo{SOPClassUID: dataset.CTImage, SOPInstanceUID: "1.2.3.1.5", TransferSyntax: test.syntax, SourceAE: test.from})
		if err != nil {
			t.Fatal(err)
		}
		in.Write([]byte(test.data))
		got, err := in.Commit(keyA, "1.2.3.1.5")
		if err != nil || got != test.want {
			t.Errorf("%s: %v, %v, want %v", test.name, got, err, test.want)
		}
		conflicts, err := s.Conflicts(keyA)
		if err != nil || len(conflicts) != test.kept {
			t.Errorf("%s: %d kept aside, %v, want %d", test.name, len(conflicts), err, test.kept)
		}
		list, err := s.Instances(keyA)
		if err != nil || len(list) != 1 {
			t.Fatalf("%s: %d instances, %v", test.name, len(list), err)
		}
		if b, _ := os.ReadFile(list[0].Path); !bytes.HasSuffix(b, []byte("pixels")) {
			t.Errorf("%s: the first was replaced", test.name)
		}
	}
	if left, _ := os.ReadDir(s.incoming()); len(left) > 0 {
		t.Errorf("incoming/ holds %v", left)
	}
}

func TestHostileUIDs(t *testing.T) {
	s := testStore(t, Options{})
	for _, uid := range []string{"", "..", "../../etc", "1/2", "1.2\x00", "1..2", ".1", "1.", "1.02", "a", strings.Repeat("1", 65), "1.2 "} {
		if _, err := put(s, Key{uid, "1.2"}, "1.2.3", "x", "A"); err == nil {
			t.Errorf("study %q was taken", uid)
		}
		if _, err := put(s, Key{"1.2", uid}, "1.2.3", "x", "A"); err == nil {
			t.Errorf("series %q was taken", uid)
		}
		if _, err := put(s, Key{"1.2", "1.2"}, uid, "x", "A"); err == nil {
			t.Errorf("instance %q was taken", uid)
		}
		k := Key{"1.2", uid}
		_, listed := s.Instances(k)
		_, closings := s.Closings(k)
		_, generation := s.Generation(k, 1)
		_, folder := s.Folder(k)
		_, receipts := s.Receipts(k, 1, "pacs")
		_, path := s.InstancePath(keyA, uid)
		for i, err := range []error{listed, closings, generation, folder, receipts, path,
			s.WriteClosing(Closing{Key: k, Generation: 1}), s.WriteGeneration(k, 1, nil, Manifest{}),
			s.WriteReceipt(k, 1, "pacs", "1.2", Receipt{}), s.SetAside(k, 1), remove(s, k)} {
			if err == nil {
				t.Errorf("call %d took series %q", i, uid)
			}
		}
	}
	entries, err := os.ReadDir(s.seriesRoot())
	if err != nil || len(entries) > 0 {
		t.Errorf("series/ holds %v, %v", entries, err)
	}
}

func TestCommandAndDataSetDisagree(t *testing.T) {
	s := testStore(t, Options{})
	in, err := s.Create(dataset.MetaInfo{SOPInstanceUID: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Commit(keyA, "1.2.4"); err == nil {
		t.Error("another instance was committed than was begun")
	}
	if _, err := in.Commit(keyA, "1.2.3"); err == nil {
		t.Error("a discarded instance was committed")
	}
}

func TestDiscardLeavesNothing(t *testing.T) {
	s := testStore(t, Options{})
	in, err := s.Create(dataset.MetaInfo{SOPInstanceUID: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	in.Write(make([]byte, 1000))
	in.Discard()
	in.Discard()
	if left, _ := os.ReadDir(s.incoming()); len(left) > 0 {
		t.Errorf("incoming/ holds %v", left)
	}
}

func TestSecondNodeIsRefused(t *testing.T) {
	s := testStore(t, Options{})
	_, err := Open(s.Dir(), Options{})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "data_dir") {
		t.Errorf("a second node: %v", err)
	}
	if _, err := Open(s.Dir(), Options{Node: "b"}); !errors.Is(err, ErrLocked) {
		t.Errorf("a second node that would share: %v", err)
	}
	s.Close()
	again, err := Open(s.Dir(), Options{})
	if err != nil {
		t.Fatalf("after the first has gone: %v", err)
	}
	again.Close()
}

func TestNodesThatShareAFolder(t *testing.T) {
	a := testStore(t, Options{Node: "a"})
	in, err := a.Create(dataset.MetaInfo{SOPInstanceUID: "1.2.3.1.5", TransferSyntax: dataset.ExplicitLE})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Open(a.Dir(), Options{Node: "b"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := Open(a.Dir(), Options{Node: "a"}); !errors.Is(err, ErrNameTaken) {
		t.Errorf("a second node of the same name: %v", err)
	}
	if o, err := in.Commit(keyA, "1.2.3.1.5"); err != nil || o != Stored {
		t.Errorf("what one receives while the other starts: %v, %v", o, err)
	}
	if uids, err := b.InstanceUIDs(keyA); err != nil || len(uids) != 1 {
		t.Errorf("the other sees %v, %v", uids, err)
	}
	if _, err := Open(a.Dir(), Options{Node: "../c"}); err == nil {
		t.Error("a path was taken as a node's name")
	}
}

func TestStartEmptiesIncoming(t *testing.T) {
	s := testStore(t, Options{})
	in, err := s.Create(dataset.MetaInfo{SOPInstanceUID: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	in.Write([]byte("x"))
	os.MkdirAll(filepath.Join(s.incoming(), "7", "deep"), 0o700)
	s.Close()
	s, err = Open(s.Dir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if left, _ := os.ReadDir(s.incoming()); len(left) > 0 {
		t.Errorf("incoming/ holds %v", left)
	}
}

// Associations that store at the same time share folder fsyncs, and each is
// confirmed only after one that began later than its rename.
func TestConcurrentStoresShareFolderFsyncs(t *testing.T) {
	d := &slowFolder{gate: make(chan struct{}), started: make(chan struct{}, 100)}
	s, err := open(quickFolder(t), Options{}, d)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	mustPut(t, s, keyA, "1.2.3.1.100", "x")
	before := d.count.Load()
	d.slow.Store(true)
	const n = 20
	var done sync.WaitGroup
	for i := range n {
		done.Add(1)
		go func() {
			defer done.Done()
			if _, err := put(s, keyA, fmt.Sprintf("1.2.3.1.%d", i), "x", "CT1"); err != nil {
				t.Error(err)
			}
		}()
		if i == 0 {
			<-d.started // its fsync has begun: the others are too late for it
		}
	}
	for {
		uids, err := s.InstanceUIDs(keyA)
		if err != nil {
			t.Fatal(err)
		}
		if len(uids) == n+1 && waiting(s) {
			break
		}
	}
	d.slow.Store(false)
	close(d.gate)
	done.Wait()
	// One for the first, one for those that waited, and a straggler that had
	// renamed but not yet asked.
	if got := d.count.Load() - before; got < 2 || got > 4 {
		t.Errorf("%d folder fsyncs for %d instances", got, n)
	}
}

func waiting(s *Store) bool {
	s.syncs.mu.Lock()
	defer s.syncs.mu.Unlock()
	for _, q := range s.syncs.folders {
		if q.next != nil {
			return true
		}
	}
	return false
}

type slowFolder struct {
	quickDisk
	slow    atomic.Bool
	gate    chan struct{}
	started chan struct{}
	count   atomic.Int64
}

func (d *slowFolder) syncFolder(string) error {
	d.count.Add(1)
	if d.slow.Load() {
		d.started <- struct{}{}
		<-d.gate
	}
	return nil
}

// A second association that brings the instance while the first one's folder
// fsync is failing must not be told that it is safe.
func TestIdenticalWaitsForTheFirst(t *testing.T) {
	d := &failingFolder{begun: make(chan struct{}), gate: make(chan struct{})}
	s, err := open(quickFolder(t), Options{}, d)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	mustPut(t, s, keyA, "1.2.3.1.100", "x")
	d.armed.Store(true)
	var first error
	var done sync.WaitGroup
	done.Add(2)
	go func() { defer done.Done(); _, first = put(s, keyA, "1.2.3.1.1", "y", "CT1") }()
	<-d.begun
	var second Outcome
	var err2 error
	go func() { defer done.Done(); second, err2 = put(s, keyA, "1.2.3.1.1", "y", "CT1") }()
	close(d.gate)
	done.Wait()
	if first == nil {
		t.Error("the first was confirmed although its fsync failed")
	}
	if err2 != nil || second != Stored {
		t.Errorf("the second: %v, %v; want it stored anew", second, err2)
	}
	if uids, _ := s.InstanceUIDs(keyA); len(uids) != 2 {
		t.Errorf("instances %v", uids)
	}
}

type failingFolder struct {
	quickDisk
	armed       atomic.Bool
	begun, gate chan struct{}
}

func (d *failingFolder) syncFolder(string) error {
	if !d.armed.CompareAndSwap(true, false) {
		return nil
	}
	close(d.begun)
	<-d.gate
	return errors.New("input/output error")
}

func TestManyAssociationsAtOnce(t *testing.T) {
	s := testStore(t, Options{})
	var done sync.WaitGroup
	var stored, identical atomic.Int64
	for range 4 {
		done.Add(1)
		go func() {
			defer done.Done()
			for i := range 100 {
				switch o, err := put(s, keyA, fmt.Sprintf("1.2.3.1.%d", i), bytesOf(keyA, i), "CT1"); {
				case err != nil:
					t.Error(err)
				case o == Stored:
					stored.Add(1)
				case o == Identical:
					identical.Add(1)
				}
			}
		}()
	}
	done.Add(1)
	go func() {
		defer done.Done()
		for range 50 {
			mustPut(t, s, keyB, "1.2.3.2.1", "x")
			if err := remove(s, keyB); err != nil {
				t.Error(err)
			}
		}
	}()
	done.Wait()
	if stored.Load() != 100 || identical.Load() != 300 {
		t.Errorf("%d stored, %d identical; want 100 and 300", stored.Load(), identical.Load())
	}
	if len(s.locks.names) > 0 || len(s.syncs.folders) > 0 {
		t.Errorf("%d locks and %d folders are left over", len(s.locks.names), len(s.syncs.folders))
	}
}

func TestSeriesRemovedByHand(t *testing.T) {
	s := testStore(t, Options{})
	mustPut(t, s, keyA, "1.2.3.1.1", "x")
	if err := os.RemoveAll(filepath.Join(s.seriesRoot(), "1.2.3")); err != nil {
		t.Fatal(err)
	}
	if o := mustPut(t, s, keyA, "1.2.3.1.1", "x"); o != Stored {
		t.Errorf("outcome %v", o)
	}
}

func TestUIDsAreForEver(t *testing.T) {
	u := UIDs{Installation: "PULMONODE"}
	const want = "2.25.110766912084061522905704220192239106548"
	if got := u.UID("1.2.3.1", 1, "sr", 0); got != want {
		t.Errorf("UID %s, want %s: results that were delivered would come again as new objects", got, want)
	}
	seen := map[string]bool{}
	for _, got := range []string{
		u.UID("1.2.3.1", 1, "sr", 0), u.UID("1.2.3.1", 1, "sr", 1), u.UID("1.2.3.1", 2, "sr", 0), u.UID("1.2.3.1", 1, "seg", 0),
		u.UID("1.2.3.11", 1, "sr", 0), u.UID("1.2.3.1", 11, "sr", 0), UIDs{}.UID("1.2.3.1", 1, "sr", 0), u.UID("1.2.3.1", 1, AttemptKind("sr", 1), 0),
	} {
		if err := dataset.ValidUID(got); err != nil || seen[got] {
			t.Errorf("%s: %v, seen before: %v", got, err, seen[got])
		}
		seen[got] = true
	}
	s := testStore(t, Options{Installation: "PULMONODE"})
	if s.UID(Key{"9", "1.2.3.1"}, 1, "sr", 0) != want {
		t.Error("the store makes other UIDs than the pure function")
	}
}

func TestGenerationNames(t *testing.T) {
	s := testStore(t, Options{})
	mustPut(t, s, keyA, "1.2.3.1.1", "x")
	for _, name := range []string{"", ".", "..", "a/b", "../a", "manifest.json", "receipts", "a..b", ".a", "a\x00", strings.Repeat("a", 65), "twice"} {
		err := s.WriteGeneration(keyA, 1, []File{{Name: "twice"}, {Name: name}}, Manifest{})
		if err == nil {
			t.Errorf("file name %q was taken", name)
		}
	}
	if n, err := s.Generations(keyA); err != nil || len(n) > 0 {
		t.Errorf("generations %v, %v", n, err)
	}
	if err := s.WriteGeneration(keyA, 0, nil, Manifest{}); err == nil {
		t.Error("generation 0 was written")
	}
	if _, err := s.Generation(keyA, 1); !errors.Is(err, ErrNotExist) {
		t.Errorf("a generation that is not there: %v", err)
	}
	if err := s.SetAside(keyA, 1); !errors.Is(err, ErrNotExist) {
		t.Errorf("setting aside what is not there: %v", err)
	}
	if err := s.WriteReceipt(keyA, 1, "pacs", "1.2", Receipt{}); !errors.Is(err, ErrNotExist) {
		t.Errorf("a receipt for what is not there: %v", err)
	}
}

func TestReceiptsOfOddDestinations(t *testing.T) {
	s := testStore(t, Options{})
	mustPut(t, s, keyA, "1.2.3.1.1", "x")
	if err := s.WriteGeneration(keyA, 1, nil, Manifest{}); err != nil {
		t.Fatal(err)
	}
	names := []string{"pacs", "PACS", "", ".", "..", "../../pacs", "a b", "a%20b", "a\x00b", "Röntgen", strings.Repeat("x", 65), strings.Repeat("x", 64), strings.Repeat("/", 64)}
	for i, name := range names {
		if err := s.WriteReceipt(keyA, 1, name, "1.2.3", Receipt{Status: uint16(i)}); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for i, name := range names {
		r, err := s.Receipts(keyA, 1, name)
		if err != nil || len(r) != 1 || r["1.2.3"].Status != uint16(i) || r["1.2.3"].Destination != name {
			t.Errorf("%q: %+v, %v", name, r, err)
		}
	}
	if err := s.WriteReceipt(keyA, 1, "pacs", "1.2.3", Receipt{Status: 7}); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Receipts(keyA, 1, "pacs"); err != nil || r["1.2.3"].Status != 7 {
		t.Errorf("a newer receipt: %+v, %v", r, err)
	}
}

func TestDamagedFilesAreToldNotFollowed(t *testing.T) {
	s := testStore(t, Options{})
	mustPut(t, s, keyA, "1.2.3.1.1", "x")
	folder, _ := s.Folder(keyA)
	os.WriteFile(filepath.Join(folder, "closed-1.json"), []byte(`{"study_instance_uid":"1.2.3","series_instance_uid":"../..","generation":1}`), 0o600)
	if _, err := s.Closings(keyA); err == nil {
		t.Error("a closing of another series was taken")
	}
	os.WriteFile(filepath.Join(folder, "closed-1.json"), nil, 0o600)
	if _, err := s.LastClosing(keyA); err == nil {
		t.Error("an empty closing was taken")
	}
	for _, name := range []string{"closed-.json", "closed-01.json", "closed-x.json", "closed--1.json"} {
		os.WriteFile(filepath.Join(folder, name), nil, 0o600)
	}
	os.Remove(filepath.Join(folder, "closed-1.json"))
	if c, err := s.LastClosing(keyA); c != nil || err != nil {
		t.Errorf("a stranger's file was taken: %v, %v", c, err)
	}
}

func TestRetention(t *testing.T) {
	now := time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)
	// Series 1.1 is the oldest. What is not settled stays whatever its age.
	build := func(t *testing.T) (*Store, []Key) {
		s := testStore(t, Options{})
		var keys []Key
		for i := 1; i <= 5; i++ {
			k := Key{"1.2", fmt.Sprintf("1.2.%d", i)}
			keys = append(keys, k)
			sop := k.Series + ".1"
			mustPut(t, s, k, sop, "x")
			if err := s.WriteClosing(Closing{Key: k, Generation: 1, Closed: closedAt, Instances: []string{sop}}); err != nil {
				t.Fatal(err)
			}
			if i != 2 { // 2 has no results
				if err := s.WriteGeneration(k, 1, filesOf(0), Manifest{Outcome: result.OutcomeNone}); err != nil {
					t.Fatal(err)
				}
			}
			if i == 3 { // 3 has an instance that came later
				mustPut(t, s, k, k.Series+".2", "x")
			}
			age(t, s, k, now.Add(-time.Duration(10-i)*24*time.Hour))
		}
		return s, keys
	}
	all := func(Key) bool { return true }
	const mib = 1 << 20
	tests := []struct {
		name    string
		r       Retention
		settled func(Key) bool
		free    []int64 // what the disk says, look by look
		want    []int   // series that go
	}{
		{"nothing is asked for", Retention{}, all, nil, nil},
		{"by age", Retention{Keep: 7 * 24 * time.Hour}, all, nil, []int{1}},
		{"all are old", Retention{Keep: time.Hour}, all, nil, []int{1, 4, 5}},
		{"old but not delivered", Retention{Keep: time.Hour}, func(k Key) bool { return k.Series != "1.2.1" }, nil, []int{4, 5}},
		{"room, the oldest first", Retention{RoomBelow: mib}, all, []int64{10, 10, 10, 10, mib}, []int{1, 4}},
		{"room enough", Retention{RoomBelow: mib}, all, []int64{mib}, nil},
		{"once begun, a little more", Retention{RoomBelow: mib, RoomUntil: 2 * mib}, all, []int64{10, mib, mib, mib, 2 * mib}, []int{1, 4}},
		{"not begun between the two", Retention{RoomBelow: mib, RoomUntil: 2 * mib}, all, []int64{mib}, nil},
		{"a file system that gives back later", Retention{RoomBelow: 100}, all, []int64{10}, []int{1}},
		{"a bounded call", Retention{RoomBelow: mib, AtMost: 2}, all, []int64{10}, []int{1, 4}},
		{"room and age", Retention{Keep: 8 * 24 * time.Hour, RoomBelow: mib}, all, []int64{mib}, []int{1}},
		{"no room to be had", Retention{RoomBelow: 100}, func(Key) bool { return false }, []int64{1}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, keys := build(t)
			s.fs = &sizedDisk{says: test.free}
			reasons := map[Key]string{}
			records, err := s.Retain(t.Context(), now, test.r, func(k Key, reason string) bool {
				reasons[k] = reason
				return test.settled(k)
			})
			if err != nil {
				t.Fatal(err)
			}
			var removed []Key
			for _, r := range records {
				removed = append(removed, r.Key)
				if r.Reason != reasons[r.Key] || !r.Time.Equal(now) {
					t.Errorf("the record says %s at %v", r.Reason, r.Time)
				}
			}
			var want, left []Key
			for i, k := range keys {
				if slices.Contains(test.want, i+1) {
					want = append(want, k)
				} else {
					left = append(left, k)
				}
			}
			if !slices.Equal(removed, want) {
				t.Errorf("removed %v, want %v", removed, want)
			}
			if got, err := s.Series(); err != nil || !slices.Equal(got, left) {
				t.Errorf("left %v, %v", got, err)
			}
		})
	}
}

// age sets the times of a series' folders.
func age(t *testing.T, s *Store, k Key, when time.Time) {
	t.Helper()
	err := filepath.WalkDir(s.folder(k), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(path, when, when)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sizedDisk is a disk whose free space is told in turn, the last for ever.
type sizedDisk struct {
	quickDisk
	says []int64
}

func (d *sizedDisk) free(string) (uint64, error) {
	n := d.says[0]
	if len(d.says) > 1 {
		d.says = d.says[1:]
	}
	return uint64(n), nil
}
