package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/store"
)

// ward is a node's page over HTTP with series in every state. Its buttons do to
// the queue what the node's do; nothing is worked.
type ward struct {
	*house
	url      string
	began    time.Time
	images   int         // of each series
	pictures [][]byte    // of the nodules, then the summary; nil: drawn ones
	again    chan string // destinations that something was sent to again
}

// The ward's series, named for where they stand.
var (
	wardStudy = "1.2.826.0.1.3680043.9.7.20261124"
	arriving  = store.Key{Study: wardStudy + ".1", Series: wardStudy + ".1.101"}
	queued    = store.Key{Study: wardStudy + ".2", Series: wardStudy + ".2.101"}
	running   = store.Key{Study: wardStudy + ".3", Series: wardStudy + ".3.101"}
	sending   = store.Key{Study: wardStudy + ".4", Series: wardStudy + ".4.101"}
	refused   = store.Key{Study: wardStudy + ".5", Series: wardStudy + ".5.101"}
	passed    = store.Key{Study: wardStudy + ".6", Series: wardStudy + ".6.102"}
	broken    = store.Key{Study: wardStudy + ".7", Series: wardStudy + ".7.101"}
	done      = store.Key{Study: wardStudy + ".8", Series: wardStudy + ".8.101"}
	clean     = store.Key{Study: wardStudy + ".9", Series: wardStudy + ".9.101"}
)

func newWard(t *testing.T) *ward {
	t.Helper()
	h := &house{t: t, ready: []Check{{Name: "disk", OK: true}}}
	w := &ward{house: h, again: make(chan string, 10), began: time.Now().Truncate(time.Second)}
	var err error
	h.store, err = store.Open(t.TempDir(), store.Options{})
	h.must(err)
	h.queue, err = job.Open(t.Context(), job.Options{Path: filepath.Join(h.store.Dir(), "queue.db"), Destinations: both})
	h.must(err)
	t.Cleanup(func() {
		h.queue.Stop(context.Background())
		h.store.Close()
	})
	h.Server = New(Options{
		Store: h.store, Queue: h.queue, Destinations: both, Metrics: NewMetrics(), Version: "1.0.0",
		Ready: func(context.Context) []Check { return h.ready },
		Algorithm: func() (result.Algorithm, error) {
			return result.Algorithm{Name: "pulmonode", Version: "0.1.0", Provider: "cpu", Models: models1}, nil
		},
		Progress: func(k store.Key) *Progress {
			if k == running {
				return &Progress{Stage: "localize", Done: 41, Total: 96}
			}
			return nil
		},
		Retry: w.change(func(ctx context.Context, j job.Job) error {
			if j.State != job.Cancelled && j.State != job.Failed {
				return ErrNothing
			}
			return h.queue.Retry(ctx, j)
		}),
		Cancel: w.change(func(ctx context.Context, j job.Job) error {
			if j.State != job.Queued && j.State != job.Waiting {
				return ErrNothing
			}
			return h.queue.Cancel(ctx, j)
		}),
		Deliver: func(_ context.Context, _ store.Key, destination string) (string, error) {
			w.again <- destination
			return "sent again", nil
		},
	})
	server := httptest.NewServer(w.Server)
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

// change does something to the jobs of a series.
func (w *ward) change(do func(context.Context, job.Job) error) func(context.Context, store.Key, string) (string, error) {
	return func(ctx context.Context, k store.Key, destination string) (string, error) {
		jobs, err := w.queue.Jobs(ctx, k.Study, k.Series)
		if err != nil {
			return "", err
		}
		n := 0
		for _, j := range jobs {
			if destination != "" && j.Destination != destination || do(ctx, j) != nil {
				continue
			}
			n++
		}
		if n == 0 {
			return "", ErrNothing
		}
		return "done", nil
	}
}

var models1 = []result.Model{
	{Role: "localize", Version: "0.1.0", SHA256: "6ccb6cf6dc2fc624a433578984b4db9736bfccd12dc379f9a7657730a8e73fe1"},
	{Role: "refine", Version: "0.2.0", SHA256: "059e19fabf89c9d791cfde2e4e3be45fecd4d3ffeada709eb66e04eeba02b70d"},
}

// fill puts a series into the ward in each state. Nobody in it is a patient.
func (w *ward) fill() {
	w.t.Helper()
	for i, k := range wardOrder {
		for n := range max(w.images, 2) {
			w.slice(k, n+1, Patient{Name: "Phantom^" + []string{"Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gil", "Hana", "Ida"}[i], ID: fmt.Sprint("PH-", 1001+i), BirthDate: "19500101", AccessionNumber: fmt.Sprint("A", 26110001+i)})
		}
		if k != arriving {
			w.complete(k, w.at(k, 0))
		}
	}
	w.analyse(running)
	w.analyse(queued)
	w.outcome(clean, result.OutcomeNone, "", nil)
	w.outcome(done, result.OutcomeNodules, "", nodules1)
	w.outcome(passed, result.OutcomeSkipped, "slices are 5.0 mm apart; at most 3.0 mm are analysed: ask for the thin reconstruction", nil)
	w.outcome(broken, result.OutcomeFailed, "instance 1.2.826.0.1.3680043.9.7.55 is cut short: send the series again", nil)
	w.outcome(refused, result.OutcomeNodules, "", nodules1[:1])
	w.outcome(sending, result.OutcomeNodules, "", nodules1[:2])
	for _, k := range []store.Key{clean, done} {
		w.deliverAll(k)
	}
	w.send(refused, "pacs")
	w.cancel(refused)
	w.send(sending, "pacs")
	w.send(sending, "ris")
	for _, k := range wardOrder {
		w.backdate(k)
	}
}

// wardOrder are the ward's series as they came, three minutes apart, the last just now.
var wardOrder = []store.Key{clean, done, broken, passed, refused, sending, running, queued, arriving}

// at is a time in the life of a ward's series: so long after it was complete.
func (w *ward) at(k store.Key, after time.Duration) time.Time {
	ago := time.Duration(len(wardOrder)-slices.Index(wardOrder, k)) * 3 * time.Minute
	return w.began.Add(after - ago)
}

// backdate makes the files of a series as old as they would be.
func (w *ward) backdate(k store.Key) {
	w.t.Helper()
	w.changed(k, w.at(k, 17*time.Second))
	instances, err := w.store.Instances(k)
	w.must(err)
	for i, in := range instances {
		at := w.at(k, -5*time.Second-30*time.Second*time.Duration(len(instances)-1-i)/time.Duration(len(instances)))
		w.must(os.Chtimes(in.Path, at, at))
	}
	folder, err := w.store.GenerationFolder(k, 1)
	w.must(err)
	if _, err := os.Stat(folder); err == nil {
		at := w.at(k, 14*time.Second)
		w.must(os.Chtimes(filepath.Join(folder, "manifest.json"), at, at))
	}
}

var nodules1 = []result.Nodule{
	nodule("N1", "left", 22.1, 17.2, 24.4, 3438, -12, 164, 9, 0.70, "high", 0.71, "clear", 0.99, "solid", 0.98, "absent"),
	nodule("N2", "right", 9.4, 7.0, 10.2, 312, -201, 188, 5, 0.48, "indeterminate", 0.34, "unclear", 0.41, "subsolid", 0.96, "absent"),
	nodule("N3", "right", 5.1, 4.4, 5.6, 61, 143, 120, 3, 0.07, "low", 0.88, "clear", 0.97, "solid", 0.22, "present"),
}

func nodule(id, side string, long, short, diameter, volume, hu, sd float64, slices int, m float64, ml string, c float64, cl string, s float64, sl string, a float64, al string) result.Nodule {
	n := result.Nodule{ID: id, Laterality: side, LongAxisMM: long, ShortAxisMM: short, MaxDiam3DMM: diameter, VolumeMM3: volume, MeanHU: hu, SDHU: sd,
		Characteristics: map[string]result.Characteristic{
			"malignancy": {Probability: m, Label: ml, Threshold: 0.5}, "margin": {Probability: c, Label: cl, Threshold: 0.5},
			"texture": {Probability: s, Label: sl, Threshold: 0.5}, "calcification": {Probability: a, Label: al, Threshold: 0.5},
		}}
	for i := range slices {
		n.Slices = append(n.Slices, fmt.Sprintf("1.2.3.%d", i))
	}
	return n
}

func (w *ward) complete(k store.Key, at time.Time) {
	w.t.Helper()
	uids, err := w.store.InstanceUIDs(k)
	w.must(err)
	slices.Sort(uids)
	w.must(w.store.WriteClosing(store.Closing{Key: k, Generation: 1, Instances: uids, Closed: result.Closed{Reason: result.ClosedGeometry, Time: at.UTC()}}))
}

func (w *ward) analyse(k store.Key) {
	w.t.Helper()
	w.must(w.queue.EnqueueAnalyze(w.t.Context(), job.Analyze{Study: k.Study, Series: k.Series, Generation: 1}))
}

// outcome writes what an analysis of a series said, with a picture of each nodule.
func (w *ward) outcome(k store.Key, o result.Outcome, reason string, nodules []result.Nodule) {
	w.t.Helper()
	r := result.Result{Schema: 1, Generation: 1, Outcome: o, Reason: reason, Nodules: nodules,
		Algorithm: result.Algorithm{Name: "pulmonode", Version: "0.1.0", Provider: "cpu", Models: models1},
		TimingsS:  map[string]float64{"load": 0.11, "resample": 0.14, "lungs": 0.46, "localize": 9.80, "refine": 2.28, "measure": 0.01}}
	text, err := json.Marshal(r)
	w.must(err)
	plan, err := job.PlanFile(both)
	w.must(err)
	files := []store.File{{Name: "result.json", Kind: "json", Bytes: text}, plan}
	if o != result.OutcomeSkipped {
		files = append(files, store.File{Name: "sr.dcm", Kind: "sr", SOPClassUID: dataset.Comprehensive3DSR, SOPInstanceUID: k.Series + ".1", Bytes: []byte("sr")})
	}
	if len(nodules) > 0 {
		files = append(files, store.File{Name: "seg.dcm", Kind: "seg", SOPClassUID: dataset.SegmentationStorage, SOPInstanceUID: k.Series + ".2", Bytes: []byte("seg")})
		for i, p := range w.drawn(len(nodules)) {
			name := fmt.Sprintf("key-%d.png", i+1)
			if i == len(nodules) {
				name = "key-summary.png"
			}
			files = append(files, store.File{Name: name, Kind: "png", Bytes: p})
		}
	}
	w.must(w.store.WriteGeneration(k, 1, files, store.Manifest{Outcome: o, Reason: reason, Nodules: len(nodules)}))
}

// drawn are pictures that a browser takes for key images.
func (w *ward) drawn(nodules int) (list [][]byte) {
	if w.pictures != nil {
		return append(slices.Clone(w.pictures[:nodules]), w.pictures[len(w.pictures)-1])
	}
	for range nodules + 1 {
		m := image.NewGray(image.Rect(0, 0, 371, 256))
		for x := range 256 {
			for y := range 256 {
				m.SetGray(x, y, color.Gray{uint8((x * y) >> 9)})
			}
		}
		var b bytes.Buffer
		w.must(png.Encode(&b, m))
		list = append(list, b.Bytes())
	}
	return list
}

func (w *ward) deliverAll(k store.Key) {
	w.t.Helper()
	m, err := w.store.Generation(k, 1)
	w.must(err)
	for _, d := range both {
		for _, f := range d.Objects(m) {
			w.must(w.store.WriteReceipt(k, 1, d.Name, f.SOPInstanceUID, store.Receipt{Time: w.at(k, 16*time.Second).UTC()}))
		}
	}
}

func (w *ward) send(k store.Key, destination string) {
	w.t.Helper()
	w.must(w.queue.EnqueueDeliver(w.t.Context(), job.Deliver{Study: k.Study, Series: k.Series, Generation: 1, Destination: destination}))
}

// cancel ends what of a series is queued, as the button does.
func (w *ward) cancel(k store.Key) {
	w.t.Helper()
	_, err := w.opts.Cancel(w.t.Context(), k, "")
	w.must(err)
}

// job is the state of a series' delivery, or of its analysis.
func (w *ward) job(k store.Key, destination string) job.State {
	w.t.Helper()
	jobs, err := w.queue.Jobs(w.t.Context(), k.Study, k.Series)
	w.must(err)
	for _, j := range slices.Backward(jobs) {
		if j.Destination == destination {
			return j.State
		}
	}
	return ""
}

func (w *ward) page(k store.Key) string { return w.url + seriesAddress(k) }
