package job

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/store"
)

var key = store.Key{Study: study, Series: series}

// files is a store with one series of two instances.
func files(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.TempDir(), store.Options{})
	must(t, err)
	t.Cleanup(func() { s.Close() })
	for _, uid := range []string{"1.2.3.4.1", "1.2.3.4.2"} {
		in, err := s.Create(dataset.MetaInfo{SOPClassUID: dataset.CTImage, SOPInstanceUID: uid, TransferSyntax: dataset.ImplicitLE})
		must(t, err)
		_, err = in.Write([]byte("data set"))
		must(t, err)
		_, err = in.Commit(key, uid)
		must(t, err)
	}
	return s
}

func closeAs(t *testing.T, s *store.Store, generation int) {
	t.Helper()
	must(t, s.WriteClosing(store.Closing{
		Key: key, Generation: generation, Closed: result.Closed{Reason: "geometry", Time: time.Unix(1e9, 0).UTC()},
		Instances: []string{"1.2.3.4.1", "1.2.3.4.2"},
	}))
}

func writeResults(t *testing.T, s *store.Store, generation int, to ...Destination) *store.Manifest {
	t.Helper()
	plan, err := PlanFile(to)
	must(t, err)
	must(t, s.WriteGeneration(key, generation, []store.File{
		{Name: "sr.dcm", Kind: "sr", SOPClassUID: dataset.Comprehensive3DSR, SOPInstanceUID: fmt.Sprintf("2.25.%d1", generation), Bytes: []byte("sr")},
		{Name: "seg.dcm", Kind: "seg", SOPClassUID: dataset.SegmentationStorage, SOPInstanceUID: fmt.Sprintf("2.25.%d2", generation), Bytes: []byte("seg")},
		{Name: "key-1.png", Kind: "png", Bytes: []byte("png")},
		plan,
	}, store.Manifest{Outcome: result.OutcomeNone}))
	m, err := s.Generation(key, generation)
	must(t, err)
	return m
}

func receipt(t *testing.T, s *store.Store, generation int, destination, uid string) {
	t.Helper()
	must(t, s.WriteReceipt(key, generation, destination, uid, store.Receipt{Time: time.Unix(1e9, 0)}))
}

// reconciled lists the work that the files call for, as "analyze 2", "deliver 1 pacs".
func reconciled(t *testing.T, s *store.Store) []string {
	t.Helper()
	q := open(t, filepath.Join(t.TempDir(), "queue.db"), &world{}, nil)
	for range 2 { // the second must add nothing
		must(t, q.Reconcile(t.Context(), s))
	}
	jobs, err := q.Jobs(t.Context(), "", "")
	must(t, err)
	work := []string{}
	for _, j := range jobs {
		one := fmt.Sprintf("%s %d", j.Kind, j.Generation)
		if j.Destination != "" {
			one += " " + j.Destination
		}
		work = append(work, one)
	}
	return work
}

func TestFilesSayWhatIsToBeDone(t *testing.T) {
	pacs, ris := Destination{Name: "pacs", Send: []string{"sr", "seg"}}, Destination{Name: "ris", Send: []string{"sr"}}
	for name, c := range map[string]struct {
		make func(t *testing.T, s *store.Store)
		want []string
	}{
		"still being received": {func(*testing.T, *store.Store) {}, []string{}},
		"closed":               {func(t *testing.T, s *store.Store) { closeAs(t, s, 1) }, []string{"analyze 1"}},
		"closed twice": {func(t *testing.T, s *store.Store) {
			closeAs(t, s, 1)
			closeAs(t, s, 2)
		}, []string{"analyze 2"}},
		"analysed": {func(t *testing.T, s *store.Store) {
			closeAs(t, s, 1)
			writeResults(t, s, 1, pacs, ris)
		}, []string{"deliver 1 pacs", "deliver 1 ris"}},
		"analysed before a destination was added": {func(t *testing.T, s *store.Store) {
			closeAs(t, s, 1)
			writeResults(t, s, 1, ris)
		}, []string{"deliver 1 ris"}},
		"analysed, for a destination that has gone": {func(t *testing.T, s *store.Store) {
			closeAs(t, s, 1)
			writeResults(t, s, 1, Destination{Name: "gone", Send: []string{"sr"}})
		}, []string{}},
		"delivered in part": {func(t *testing.T, s *store.Store) {
			closeAs(t, s, 1)
			writeResults(t, s, 1, pacs, ris)
			receipt(t, s, 1, "pacs", "2.25.11")
			receipt(t, s, 1, "ris", "2.25.11")
		}, []string{"deliver 1 pacs"}},
		"delivered": {func(t *testing.T, s *store.Store) {
			closeAs(t, s, 1)
			writeResults(t, s, 1, pacs)
			receipt(t, s, 1, "pacs", "2.25.11")
			receipt(t, s, 1, "pacs", "2.25.12")
		}, []string{}},
		"delivered, then a late slice": {func(t *testing.T, s *store.Store) {
			closeAs(t, s, 1)
			writeResults(t, s, 1, ris)
			receipt(t, s, 1, "ris", "2.25.11")
			closeAs(t, s, 2)
		}, []string{"analyze 2"}},
		"results set aside": {func(t *testing.T, s *store.Store) {
			closeAs(t, s, 1)
			writeResults(t, s, 1, ris)
			must(t, s.SetAside(key, 1))
		}, []string{"analyze 1"}},
		"manifest damaged": {func(t *testing.T, s *store.Store) {
			closeAs(t, s, 1)
			writeResults(t, s, 1, ris)
			folder, err := s.GenerationFolder(key, 1)
			must(t, err)
			must(t, os.WriteFile(filepath.Join(folder, "manifest.json"), []byte("{"), 0o600))
		}, []string{"analyze 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := files(t)
			c.make(t, s)
			if got := reconciled(t, s); !slices.Equal(got, c.want) {
				t.Errorf("work %q, want %q", got, c.want)
			}
		})
	}
}

func TestAnUnreadableSeriesHindersNoOther(t *testing.T) {
	s := files(t)
	closeAs(t, s, 1)
	folder, err := s.Folder(key)
	must(t, err)
	bad := filepath.Join(filepath.Dir(folder), "1.2.3.3") // comes before the good one
	must(t, os.MkdirAll(bad, 0o700))
	must(t, os.WriteFile(filepath.Join(bad, "closed-1.json"), []byte("not JSON"), 0o600))
	if got := reconciled(t, s); !slices.Equal(got, []string{"analyze 1"}) {
		t.Errorf("work %q", got)
	}
}
