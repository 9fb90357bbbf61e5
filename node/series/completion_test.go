package series

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/node/store"
)

var key = store.Key{Study: "1.2.3", Series: "1.2.3.1"}

// bench is a tracker with its store, in the bubble of a test: time stands still
// while anything runs, and jumps when all wait.
type bench struct {
	t       *testing.T
	store   *store.Store
	tracker *Tracker
	begin   time.Time

	mu       sync.Mutex
	closed   []store.Closing
	after    []time.Duration // of the closings, since begin
	problems []error
}

func newBench(t *testing.T, dir string, s Settings) *bench {
	t.Helper()
	return newBenchOf(t, dir, store.Options{}, s)
}

func newBenchOf(t *testing.T, dir string, o store.Options, s Settings) *bench {
	t.Helper()
	files, err := store.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, store: files, begin: time.Now()}
	s.Problem = func(_ store.Key, err error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.problems = append(b.problems, err)
	}
	b.tracker = New(files, s, func(c store.Closing) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.closed = append(b.closed, c)
		b.after = append(b.after, time.Since(b.begin))
	})
	return b
}

func (b *bench) stop() {
	b.tracker.Stop()
	b.store.Close()
}

// store and tell, as a receiver does.
func (b *bench) send(association uint64, k store.Key, c chest, slices ...int) {
	b.t.Helper()
	for _, i := range slices {
		b.sendBytes(association, k, c.header(i), nil)
	}
}

func (b *bench) sendBytes(association uint64, k store.Key, h *dataset.Dataset, tail []byte) store.Outcome {
	b.t.Helper()
	uid := h.Text(dataset.SOPInstanceUID)
	in, err := b.store.Create(dataset.MetaInfo{SOPClassUID: dataset.CTImage, SOPInstanceUID: uid, TransferSyntax: dataset.ExplicitLE})
	if err != nil {
		b.t.Fatal(err)
	}
	in.Write(append(encode(h), tail...))
	o, err := in.Commit(k, uid)
	if err != nil {
		b.t.Fatal(err)
	}
	b.tracker.Instance(association, k, h, o)
	return o
}

// pass lets time pass and everything that it causes happen.
func (b *bench) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// want checks the last closing, and how many there were.
func (b *bench) want(number int, reason string, at time.Duration, instances int) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.problems) > 0 {
		b.t.Errorf("problems: %v", b.problems)
	}
	if len(b.closed) != number {
		b.t.Fatalf("%d closings, want %d: %+v", len(b.closed), number, b.closed)
	}
	if number == 0 {
		return
	}
	c := b.closed[number-1]
	if c.Closed.Reason != reason || b.after[number-1] != at || len(c.Instances) != instances {
		b.t.Errorf("closed as %q after %v with %d instances; want %q after %v with %d", c.Closed.Reason, b.after[number-1], len(c.Instances), reason, at, instances)
	}
	onDisk, err := b.store.Closings(c.Key)
	if err != nil || len(onDisk) == 0 || onDisk[len(onDisk)-1].Generation != c.Generation {
		b.t.Errorf("on disk: %+v, %v", onDisk, err)
	}
}

func (b *bench) count() (closed, problems int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.closed), len(b.problems)
}

func (b *bench) forgive() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.problems = nil
}

// bubble runs a test in a bubble with a folder that outlives it.
func bubble(t *testing.T, s Settings, f func(*testing.T, *bench)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, dir, s)
		defer b.stop()
		f(t, b)
	})
}

func upTo(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

const second = time.Second

func TestClosedStackAndReleased(t *testing.T) {
	bubble(t, Settings{}, func(t *testing.T, b *bench) {
		b.send(1, key, axial, scattered(50)...)
		b.pass(3 * second)
		b.tracker.AssociationEnded(1, true)
		b.pass(5*second - 1)
		b.want(0, "", 0, 0)
		b.pass(1)
		b.want(1, ReasonGeometry, 8*second, 50)
		c := b.closed[0]
		if c.Generation != 1 || c.Key != key || !slices.IsSorted(c.Instances) || !c.Closed.Time.Equal(b.begin.Add(8*second).Truncate(second)) {
			t.Errorf("closing %+v", c)
		}
		b.pass(2 * time.Hour)
		b.want(1, ReasonGeometry, 8*second, 50)
		if len(b.tracker.Open()) > 0 || len(b.tracker.byAssociation) > 0 {
			t.Errorf("left over: %v, %v", b.tracker.Open(), b.tracker.byAssociation)
		}
	})
}

// The rows of the table: what the slices are, what the association did, what
// then closes the series, and when after the last slice.
func TestWhatClosesASeries(t *testing.T) {
	gap := axial
	gap.position = func(i int) string {
		if i >= 10 {
			i++
		}
		return axial.position(i)
	}
	twice := axial
	twice.position = func(i int) string { return axial.position(i / 2) }
	mixed := axial
	mixed.position = func(i int) string {
		if i == 7 {
			return ""
		}
		return axial.position(i)
	}
	expecting := func(n int) chest { c := axial; c.expected = n; return c }
	tests := []struct {
		name    string
		c       chest
		n       int
		ending  string // "", "released", "aborted"
		reason  string
		seconds time.Duration
	}{
		{"closed stack, released", axial, 20, "released", ReasonGeometry, 5},
		{"closed stack, still open", axial, 20, "", ReasonIdle, 60},
		{"closed stack, aborted", axial, 20, "aborted", ReasonIdle, 60},
		{"as many as were announced", expecting(20), 20, "released", ReasonGeometry, 5},
		{"fewer than were announced", expecting(21), 20, "released", ReasonIdle, 60},
		{"more than were announced", expecting(19), 20, "released", ReasonIdle, 60},
		{"a gap", gap, 20, "released", ReasonIdle, 60},
		{"one slice", axial, 1, "released", ReasonIdle, 60},
		{"two slices at each position", twice, 20, "released", ReasonIdle, 60},
		{"a slice without a place", mixed, 20, "released", ReasonIdle, 60},
		{"positions with one decimal", chest{orientation: axial.orientation, position: func(i int) string {
			return every(0)(0)[:10] + []string{"0.0", "0.6", "1.3", "1.9", "2.5", "3.1", "3.8", "4.4", "5.0"}[i]
		}}, 9, "released", ReasonGeometry, 5},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, Settings{}, func(t *testing.T, b *bench) {
				b.send(1, key, test.c, upTo(test.n)...)
				if test.ending != "" {
					b.tracker.AssociationEnded(1, test.ending == "released")
				}
				b.pass(test.seconds*second - 1)
				b.want(0, "", 0, 0)
				b.pass(1)
				b.want(1, test.reason, test.seconds*second, test.n)
			})
		})
	}
}

func TestReleaseAfterALongSilence(t *testing.T) {
	bubble(t, Settings{}, func(t *testing.T, b *bench) {
		b.send(1, key, axial, upTo(20)...)
		b.pass(58 * second)
		b.tracker.AssociationEnded(1, true)
		b.pass(10 * second)
		b.want(1, ReasonIdle, 60*second, 20)
	})
}

func TestSlicesKeepComing(t *testing.T) {
	bubble(t, Settings{}, func(t *testing.T, b *bench) {
		for i := range 41 {
			b.send(1, key, axial, i)
			b.pass(50 * second)
		}
		b.want(1, ReasonMaxAge, 30*time.Minute, 36)
		b.pass(time.Minute)
		b.want(2, ReasonIdle, 2060*second, 41)
		if b.closed[1].Generation != 2 {
			t.Errorf("generation %d", b.closed[1].Generation)
		}
	})
}

func TestSettingsHold(t *testing.T) {
	bubble(t, Settings{Quiet: second, Idle: 7 * second, MaxAge: 20 * second}, func(t *testing.T, b *bench) {
		other := store.Key{Study: "1.2.3", Series: "1.2.3.2"}
		third := store.Key{Study: "1.2.3", Series: "1.2.3.3"}
		b.send(1, key, axial, 0, 1, 2)
		b.tracker.AssociationEnded(1, true)
		b.send(2, other, axial, 0, 1, 2)
		for i := range 5 {
			b.send(3, third, axial, i)
			if i == 1 {
				b.want(1, ReasonGeometry, second, 3)
			}
			if i == 2 {
				b.want(2, ReasonIdle, 7*second, 3)
			}
			b.pass(6 * second)
		}
		b.want(3, ReasonMaxAge, 20*second, 4)
	})
}

func TestOneAssociationPerSlice(t *testing.T) {
	bubble(t, Settings{}, func(t *testing.T, b *bench) {
		for i := range 30 {
			b.send(uint64(i+1), key, axial, i)
			b.tracker.AssociationEnded(uint64(i+1), true)
			b.pass(4 * second)
		}
		b.want(0, "", 0, 0)
		b.pass(second)
		b.want(1, ReasonGeometry, (29*4+5)*second, 30)
	})
}

func TestInterleavedSeriesOnSeveralAssociations(t *testing.T) {
	bubble(t, Settings{}, func(t *testing.T, b *bench) {
		other := store.Key{Study: "1.2.3", Series: "1.2.3.2"}
		for i := range 20 {
			b.send(uint64(1+i%2), key, axial, i)
			b.send(uint64(2-i%2), other, axial, i)
			b.pass(100 * time.Millisecond)
		}
		b.tracker.AssociationEnded(2, true) // brought the last slice of key
		b.pass(second)
		b.tracker.AssociationEnded(1, true) // and of other
		b.pass(4*second - 1)
		b.want(0, "", 0, 0)
		b.pass(1)
		b.want(1, ReasonGeometry, 7*second, 20)
		b.pass(second)
		b.want(2, ReasonGeometry, 8*second, 20)
		if b.closed[0].Key != key || b.closed[1].Key != other {
			t.Errorf("closed %v, then %v", b.closed[0].Key, b.closed[1].Key)
		}
	})
}

// A slice during the quiet time starts it anew, and undoes the release.
func TestSliceDuringTheQuietTime(t *testing.T) {
	bubble(t, Settings{}, func(t *testing.T, b *bench) {
		b.send(1, key, axial, upTo(20)...)
		b.tracker.AssociationEnded(1, true)
		b.pass(4 * second)
		b.send(2, key, axial, 20)
		b.pass(10 * second)
		b.want(0, "", 0, 0)
		b.tracker.AssociationEnded(2, true)
		b.pass(5 * second)
		b.want(1, ReasonGeometry, 19*second, 21)
	})
}

func TestGapThatIsFilledLater(t *testing.T) {
	bubble(t, Settings{}, func(t *testing.T, b *bench) {
		b.send(1, key, axial, 0, 1, 2, 4, 5)
		b.tracker.AssociationEnded(1, true)
		b.pass(30 * second)
		b.want(0, "", 0, 0)
		b.send(2, key, axial, 3)
		b.tracker.AssociationEnded(2, true)
		b.pass(5 * second)
		b.want(1, ReasonGeometry, 35*second, 6)
	})
}

func TestLateSliceOpensTheNextGeneration(t *testing.T) {
	bubble(t, Settings{}, func(t *testing.T, b *bench) {
		b.send(1, key, axial, upTo(20)...)
		b.tracker.AssociationEnded(1, true)
		b.pass(time.Hour)
		b.want(1, ReasonGeometry, 5*second, 20)
		b.send(2, key, axial, 20)
		b.tracker.AssociationEnded(2, true)
		b.pass(5 * second)
		b.want(2, ReasonGeometry, time.Hour+5*second, 21)
		if b.closed[1].Generation != 2 {
			t.Errorf("generation %d", b.closed[1].Generation)
		}
		first, err := b.store.Closings(key)
		if err != nil || len(first) != 2 || len(first[0].Instances) != 20 {
			t.Errorf("the first closing has changed: %+v, %v", first, err)
		}
	})
}

func TestIdenticalInstancesChangeNothing(t *testing.T) {
	bubble(t, Settings{}, func(t *testing.T, b *bench) {
		b.send(1, key, axial, upTo(20)...)
		b.tracker.AssociationEnded(1, true)
		b.pass(5 * second)
		b.want(1, ReasonGeometry, 5*second, 20)
		b.send(2, key, axial, upTo(20)...)
		b.tracker.AssociationEnded(2, true)
		if open := b.tracker.Open(); len(open) > 0 {
			t.Errorf("open: %v", open)
		}
		b.pass(time.Hour)
		b.want(1, ReasonGeometry, 5*second, 20)
	})
}

// A sender whose association broke sends all of it again: the second, released,
// association closes the series although most of it was known.
func TestResendAfterABrokenAssociation(t *testing.T) {
	bubble(t, Settings{}, func(t *testing.T, b *bench) {
		b.send(1, key, axial, upTo(20)...)
		b.tracker.AssociationEnded(1, false)
		b.pass(40 * second)
		b.send(2, key, axial, upTo(20)...)
		b.pass(second)
		b.tracker.AssociationEnded(2, true)
		b.pass(5 * second)
		b.want(1, ReasonGeometry, 46*second, 20)
	})
}

func TestOtherBytesAreReportedAndOpenNothing(t *testing.T) {
	bubble(t, Settings{}, func(t *testing.T, b *bench) {
		b.send(1, key, axial, upTo(20)...)
		if o := b.sendBytes(1, key, axial.header(3), []byte("other")); o != store.Different {
			t.Fatalf("outcome %v", o)
		}
		b.tracker.AssociationEnded(1, true)
		b.pass(5 * second)
		b.want(1, ReasonGeometry, 5*second, 20)
		if b.closed[0].Conflicts != 1 {
			t.Errorf("%d conflicts in the closing", b.closed[0].Conflicts)
		}
		b.sendBytes(2, key, axial.header(4), []byte("other"))
		b.tracker.AssociationEnded(2, true)
		b.pass(time.Hour)
		b.want(1, ReasonGeometry, 5*second, 20)
	})
}

func TestEnhancedImageIsAStackByItself(t *testing.T) {
	bubble(t, Settings{}, func(t *testing.T, b *bench) {
		h := axial.enhanced(30)
		in, err := b.store.Create(dataset.MetaInfo{SOPInstanceUID: sop(0), TransferSyntax: dataset.ExplicitLE})
		if err != nil {
			t.Fatal(err)
		}
		o, err := in.Commit(key, sop(0))
		if err != nil {
			t.Fatal(err)
		}
		b.tracker.Instance(1, key, h, o)
		b.tracker.AssociationEnded(1, true)
		b.pass(5 * second)
		b.want(1, ReasonGeometry, 5*second, 1)
	})
}

// restart stops the node in the bubble and starts another on the same files.
func restart(t *testing.T, b *bench) *bench {
	t.Helper()
	b.stop()
	next := newBench(t, b.store.Dir(), Settings{})
	n, err := next.tracker.Resume()
	if err != nil {
		t.Fatal(err)
	}
	if n != len(next.tracker.Open()) {
		t.Errorf("%d were taken up, %d are open", n, len(next.tracker.Open()))
	}
	return next
}

func TestRestart(t *testing.T) {
	bubble(t, Settings{}, func(t *testing.T, b *bench) {
		closed := store.Key{Study: "1.2.3", Series: "1.2.3.2"}
		late := store.Key{Study: "1.2.4", Series: "1.2.4.1"}
		for _, k := range []store.Key{closed, late} {
			b.send(1, k, axial, upTo(20)...)
		}
		b.tracker.AssociationEnded(1, true)
		b.pass(5 * second)
		b.want(2, ReasonGeometry, 5*second, 20)
		b.send(2, late, axial, 20)
		b.send(2, key, axial, upTo(20)...)

		b = restart(t, b)
		defer b.stop()
		if open := b.tracker.Open(); len(open) != 2 || open[0].Key != key || open[1].Key != late {
			t.Fatalf("open: %+v", open)
		}
		b.pass(10 * second)
		// The sender of one comes back with what was not confirmed and more.
		b.send(1, key, axial, 18, 19, 20, 21)
		b.tracker.AssociationEnded(1, true)
		b.pass(5 * second)
		b.want(1, ReasonGeometry, 15*second, 22)
		b.pass(45 * second)
		b.want(2, ReasonIdle, 60*second, 21)
		if b.closed[0].Key != key || b.closed[0].Generation != 1 || b.closed[1].Key != late || b.closed[1].Generation != 2 {
			t.Errorf("closings %+v", b.closed)
		}

		b = restart(t, b)
		defer b.stop()
		if open := b.tracker.Open(); len(open) > 0 {
			t.Errorf("open after all is closed: %+v", open)
		}
	})
}

// An instance that is on disk when the series closes, but that the tracker hears
// of a moment later, belongs to the closing and opens nothing.
func TestInstanceBetweenDiskAndTracker(t *testing.T) {
	bubble(t, Settings{}, func(t *testing.T, b *bench) {
		b.send(1, key, axial, upTo(20)...)
		b.tracker.AssociationEnded(1, true)
		in, err := b.store.Create(dataset.MetaInfo{SOPInstanceUID: sop(20), TransferSyntax: dataset.ExplicitLE})
		if err != nil {
			t.Fatal(err)
		}
		in.Write(encode(axial.header(20)))
		o, err := in.Commit(key, sop(20))
		if err != nil {
			t.Fatal(err)
		}
		b.pass(5 * second)
		b.want(1, ReasonGeometry, 5*second, 21)
		b.tracker.Instance(2, key, axial.header(20), o)
		b.tracker.AssociationEnded(2, true)
		b.pass(time.Hour)
		b.want(1, ReasonGeometry, 5*second, 21)
		if open := b.tracker.Open(); len(open) > 0 {
			t.Errorf("open: %+v", open)
		}
	})
}

// A closing that cannot be written is tried again until it can.
func TestClosingThatFails(t *testing.T) {
	bubble(t, Settings{}, func(t *testing.T, b *bench) {
		b.send(1, key, axial, upTo(20)...)
		b.tracker.AssociationEnded(1, true)
		// A folder in the closing's place: not even root can write it.
		folder, err := b.store.Folder(key)
		if err != nil {
			t.Fatal(err)
		}
		block := filepath.Join(folder, "conflicts")
		if err := os.WriteFile(block, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		b.pass(5*second + 1)
		if closed, problems := b.count(); closed > 0 || problems != 1 {
			t.Fatalf("%d closings, %d problems", closed, problems)
		}
		b.pass(2 * second)
		if closed, problems := b.count(); closed > 0 || problems != 2 {
			t.Fatalf("%d closings, %d problems", closed, problems)
		}
		if len(b.tracker.Open()) != 1 {
			t.Error("the series is no longer open")
		}
		if err := os.Remove(block); err != nil {
			t.Fatal(err)
		}
		b.forgive()
		b.pass(10 * second)
		b.want(1, ReasonGeometry, 11*second, 20)
	})
}

func TestStopEndsEverything(t *testing.T) {
	bubble(t, Settings{}, func(t *testing.T, b *bench) {
		b.send(1, key, axial, upTo(20)...)
		b.tracker.AssociationEnded(1, true)
		b.tracker.Stop()
		b.send(1, key, axial, 20)
		b.tracker.AssociationEnded(1, true)
		b.pass(time.Hour)
		b.want(0, "", 0, 0)
	})
}

// Hostile headers neither panic nor close by geometry.
func TestHostileHeaders(t *testing.T) {
	for _, c := range []chest{
		{},
		{orientation: `0\0\0\0\0\0`, position: axial.position},
		{orientation: `1\0\0\1\0\0`, position: axial.position},
		{orientation: `1e300\0\0\0\1e300\0`, position: axial.position},
		{orientation: `1\0\0\0\1`, position: axial.position},
		{orientation: `1\0\0\0\1\0`, position: func(int) string { return `0\0\1e308` }},
		{orientation: `1\0\0\0\1\0`, position: func(int) string { return `NaN\0\0` }},
		{orientation: `1\0\0\0\1\0`, position: func(int) string { return `0` }},
		{orientation: `1\0\0\0\1\0`, position: func(i int) string { return axial.position(i) }, expected: -1 << 31},
	} {
		bubble(t, Settings{}, func(t *testing.T, b *bench) {
			b.send(1, key, c, upTo(3)...)
			b.tracker.Instance(1, key, nil, store.Stored)
			b.tracker.AssociationEnded(1, true)
			b.pass(time.Hour)
			if len(b.closed) != 1 || (b.closed[0].Closed.Reason == ReasonGeometry) != (c.expected != 0) {
				t.Errorf("%+v: closings %+v", c.orientation, b.closed)
			}
		})
	}
}

// A series that never ends costs eight bytes a slice up to the limit, and no
// more beyond it.
func TestMemoryOfASeriesIsBounded(t *testing.T) {
	var s stack
	h := axial.header(0)
	for range 3 * maxPositions {
		s.add(h)
	}
	if len(s.positions) != maxPositions || cap(s.positions) > 2*maxPositions || s.closed() {
		t.Errorf("%d positions in room for %d", len(s.positions), cap(s.positions))
	}
}

// Setting the system's clock neither closes a series nor keeps it open: the
// times that are compared carry the monotonic clock's reading.
func TestClockIsMonotonic(t *testing.T) {
	tracker := New(nil, Settings{}, nil)
	defer tracker.Stop()
	tracker.Instance(1, key, axial.header(1), store.Stored)
	tracker.AssociationEnded(1, true)
	a := tracker.open[key]
	when, _ := tracker.due(a)
	for _, at := range []time.Time{a.first, a.last, a.ended, when} {
		if at == at.Round(0) { // Round(0) strips the reading
			t.Errorf("%v has no monotonic reading", at)
		}
	}
}

func TestManyAssociations(t *testing.T) {
	bubble(t, Settings{}, func(t *testing.T, b *bench) {
		var done sync.WaitGroup
		for a := range uint64(4) {
			done.Add(1)
			go func() {
				defer done.Done()
				for i := int(a); i < 80; i += 4 {
					b.send(a, key, axial, i)
				}
				b.tracker.AssociationEnded(a, true)
			}()
		}
		done.Wait()
		b.pass(5 * second)
		b.want(1, ReasonGeometry, 5*second, 80)
	})
}

func BenchmarkInstance(b *testing.B) {
	tracker := New(nil, Settings{}, nil)
	defer tracker.Stop()
	h := axial.header(1)
	b.ReportAllocs()
	for b.Loop() {
		tracker.Instance(1, key, h, store.Stored)
	}
}
