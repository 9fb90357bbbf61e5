package series

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pulmonode/pulmonode/node/store"
)

// board is what nodes tell one another, in memory.
type board struct {
	mu   sync.Mutex
	told map[string]map[store.Key]note // by node
	down bool
	dead map[string]bool
}

type note struct {
	Activity
	at time.Time
}

var errDown = errors.New("the database does not answer")

// view is the board as one node has it.
type view struct {
	b    *board
	node string
}

func (v view) Tell(_ context.Context, list []Activity) error {
	v.b.mu.Lock()
	defer v.b.mu.Unlock()
	if v.b.down {
		return errDown
	}
	for _, a := range list {
		if v.b.told[v.node] == nil {
			v.b.told[v.node] = map[store.Key]note{}
		}
		v.b.told[v.node][a.Key] = note{a, time.Now()}
	}
	return nil
}

func (v view) Ask(_ context.Context, k store.Key) ([]Activity, error) {
	v.b.mu.Lock()
	defer v.b.mu.Unlock()
	if v.b.down {
		return nil, errDown
	}
	var list []Activity
	for node, of := range v.b.told {
		n, ok := of[k]
		if node == v.node || !ok {
			continue
		}
		a, age := n.Activity, time.Since(n.at)
		a.First, a.Last, a.Ended = a.First+age, a.Last+age, a.Ended+age
		if v.b.dead[node] {
			a.Open, a.Properly = false, a.Properly && !a.Open
		}
		list = append(list, a)
	}
	return list, nil
}

func (v view) Forget(_ context.Context, keys []store.Key) error {
	v.b.mu.Lock()
	defer v.b.mu.Unlock()
	if v.b.down {
		return errDown
	}
	for _, k := range keys {
		delete(v.b.told[v.node], k)
	}
	return nil
}

// ward is several nodes that share one folder.
type ward struct {
	*testing.T
	board *board
	nodes []*bench
}

func share(t *testing.T, nodes int, test func(w ward)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := ward{T: t, board: &board{told: map[string]map[store.Key]note{}, dead: map[string]bool{}}}
		for i := range nodes {
			b := newBenchOf(t, dir, store.Options{Node: names[i]}, Settings{Others: view{w.board, names[i]}})
			defer b.stop()
			w.nodes = append(w.nodes, b)
		}
		test(w)
	})
}

var names = []string{"a", "b", "c"}

// closings are those that the nodes were told of, together.
func (w ward) closings() (list []store.Closing) {
	synctest.Wait()
	for _, b := range w.nodes {
		b.mu.Lock()
		list = append(list, b.closed...)
		b.mu.Unlock()
	}
	return list
}

func (w ward) want(n int, reason string, instances int) {
	w.Helper()
	list := w.closings()
	if len(list) != n {
		w.Fatalf("%d closings, want %d: %+v", len(list), n, list)
	}
	if n > 0 {
		last := list[len(list)-1]
		if last.Closed.Reason != reason || len(last.Instances) != instances {
			w.Errorf("closed for %q with %d instances, want %q with %d", last.Closed.Reason, len(last.Instances), reason, instances)
		}
	}
}

func TestOneSeriesOverThreeNodesIsClosedOnceOverAllOfIt(t *testing.T) {
	share(t, 3, func(w ward) {
		for i := range 30 { // one association a slice
			b := w.nodes[i%3]
			b.send(uint64(i+1), key, axial, i)
			b.tracker.AssociationEnded(uint64(i+1), true)
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(4 * time.Second)
		w.want(0, "", 0)
		time.Sleep(2 * time.Minute)
		w.want(1, ReasonGeometry, 30)
	})
}

func TestAnAssociationThatIsOpenAtAnotherNodeKeepsTheSeriesOpen(t *testing.T) {
	share(t, 2, func(w ward) {
		w.nodes[1].send(2, key, axial, upTo(10)...)
		w.nodes[0].send(1, key, axial, 10, 11, 12)
		w.nodes[0].tracker.AssociationEnded(1, true)
		time.Sleep(20 * time.Second)
		w.want(0, "", 0)
		w.nodes[1].tracker.AssociationEnded(2, true)
		time.Sleep(8 * time.Second)
		w.want(1, ReasonGeometry, 13)
	})
}

func TestANodeThatDiesWithAnAssociationOpenKeepsNoSeriesOpen(t *testing.T) {
	share(t, 2, func(w ward) {
		w.nodes[0].send(1, key, axial, upTo(10)...)
		w.nodes[0].tracker.AssociationEnded(1, true)
		w.nodes[1].send(2, key, axial, 10, 11)
		time.Sleep(time.Second) // the other was told
		w.board.mu.Lock()
		w.board.dead["b"] = true
		w.board.mu.Unlock()
		w.nodes[1].tracker.Stop()
		time.Sleep(30 * time.Second)
		w.want(0, "", 0) // its sender may come back, at any node
		time.Sleep(time.Minute)
		w.want(1, ReasonIdle, 12)
	})
}

func TestTheOthersCloseWhatANodeLeftThatDiedBeforeItDid(t *testing.T) {
	share(t, 2, func(w ward) {
		w.nodes[0].send(1, key, axial, upTo(10)...)
		w.nodes[0].tracker.AssociationEnded(1, true)
		time.Sleep(time.Second)
		w.nodes[1].send(2, key, axial, 10, 11)
		w.nodes[1].tracker.AssociationEnded(2, true)
		time.Sleep(time.Second)
		w.nodes[1].tracker.Stop()
		time.Sleep(10 * time.Second)
		w.want(1, ReasonGeometry, 12)
	})
}

func TestALateSliceAtAnotherNodeOpensTheNextGeneration(t *testing.T) {
	share(t, 2, func(w ward) {
		w.nodes[0].send(1, key, axial, upTo(12)...)
		w.nodes[0].tracker.AssociationEnded(1, true)
		time.Sleep(10 * time.Second)
		w.want(1, ReasonGeometry, 12)
		w.nodes[1].send(2, key, axial, 12)
		w.nodes[1].tracker.AssociationEnded(2, true)
		time.Sleep(10 * time.Second)
		w.want(2, ReasonGeometry, 13)
		if c := w.closings()[1]; c.Generation != 2 {
			t.Errorf("generation %d", c.Generation)
		}
	})
}

// Nothing is closed while the others cannot be asked; reception goes on.
func TestWhileTheOthersCannotBeAskedNothingIsClosed(t *testing.T) {
	share(t, 2, func(w ward) {
		w.board.down = true
		w.nodes[0].send(1, key, axial, upTo(12)...)
		w.nodes[0].tracker.AssociationEnded(1, true)
		w.nodes[1].send(2, key, axial, 12, 13)
		w.nodes[1].tracker.AssociationEnded(2, true)
		time.Sleep(5 * time.Minute)
		w.want(0, "", 0)
		if n := len(w.nodes[0].problems); n == 0 || n > 12 {
			t.Errorf("it said so %d times", n)
		}
		w.board.mu.Lock()
		w.board.down = false
		w.board.mu.Unlock()
		time.Sleep(2 * time.Minute)
		w.want(1, ReasonGeometry, 14)
	})
}
