package series

import (
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/node/store"
)

var errKilled = errors.New("killed")

// A node that is killed before each change of the disk, between the first slice
// and the closing of the second generation: after the restart, and after the
// sender has sent again what was not confirmed, the last closing names every
// slice, each closing is there once, and no generation is wasted.
func TestKilledBeforeEveryStep(t *testing.T) {
	const first, late = 4, 5 // slices of the first generation, and with the late one
	for cut := 1; ; cut++ {
		root, err := os.MkdirTemp("/dev/shm", "pulmonode-test-")
		if err != nil {
			root = t.TempDir()
		}
		steps := 0
		synctest.Test(t, func(t *testing.T) {
			confirmed := map[int]bool{}
			var mu sync.Mutex
			life := func(before func(step, path string) error) {
				s, err := store.Open(root, store.Options{Before: before})
				if err != nil {
					if before == nil {
						t.Fatal(err)
					}
					return
				}
				tracker := New(s, Settings{}, func(store.Closing) {})
				if _, err := tracker.Resume(); err != nil {
					t.Fatal(err)
				}
				send := func(association uint64, n int) {
					for i := range n {
						in, err := s.Create(dataset.MetaInfo{SOPInstanceUID: sop(i), TransferSyntax: dataset.ExplicitLE})
						if err != nil {
							continue
						}
						h := axial.header(i)
						in.Write(encode(h))
						if o, err := in.Commit(key, sop(i)); err == nil {
							confirmed[i] = true
							tracker.Instance(association, key, h, o)
						}
					}
					tracker.AssociationEnded(association, true)
				}
				send(1, first)
				time.Sleep(2 * time.Minute)
				send(2, late)
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				tracker.Stop()
				s.Close()
			}
			life(func(string, string) error {
				mu.Lock()
				defer mu.Unlock()
				if steps++; steps >= cut {
					return errKilled
				}
				return nil
			})
			before := len(confirmed)
			life(nil)

			s, err := store.Open(root, store.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			uids, err := s.InstanceUIDs(key)
			if err != nil || len(uids) != late {
				t.Errorf("instances %v, %v, %d were confirmed before", uids, err, before)
			}
			closings, err := s.Closings(key)
			if err != nil || len(closings) == 0 || len(closings) > 2 {
				t.Fatalf("%d closings, %v", len(closings), err)
			}
			for i, c := range closings {
				if c.Generation != i+1 {
					t.Errorf("closing %d is of generation %d", i+1, c.Generation)
				}
			}
			if c := closings[len(closings)-1]; !slices.Equal(c.Instances, uids) {
				t.Errorf("the last closing names %v of %v", c.Instances, uids)
			}
			if len(closings) == 2 && slices.Equal(closings[0].Instances, closings[1].Instances) {
				t.Error("two generations of the same slices")
			}
		})
		os.RemoveAll(root)
		if t.Failed() {
			t.Fatalf("killed before step %d", cut)
		}
		if steps < cut {
			if cut < 40 {
				t.Fatalf("only %d steps were walked", cut)
			}
			return
		}
	}
}
