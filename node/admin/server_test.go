package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var key1 = store.Key{Study: "1.2.3", Series: "1.2.3.4"}

const path1 = "/api/v1/series/1.2.3/1.2.3.4"

var both = []job.Destination{{Name: "pacs", Send: []string{"sr", "seg"}}, {Name: "ris", Send: []string{"sr"}}}

// house is a store and a queue that works nothing, and a server that shows them.
type house struct {
	t     testing.TB
	store *store.Store
	queue *job.Queue
	*Server
	ready    []Check
	progress *Progress
	asked    []string
	answer   error
}

func newHouse(t testing.TB) *house {
	t.Helper()
	h := &house{t: t, ready: []Check{{Name: "disk", OK: true}}}
	var err error
	if h.store, err = store.Open(t.TempDir(), store.Options{}); err != nil {
		t.Fatal(err)
	}
	h.queue, err = job.Open(t.Context(), job.Options{Path: filepath.Join(h.store.Dir(), "queue.db"), Destinations: both})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.queue.Stop(context.Background())
		h.store.Close()
	})
	do := func(what string) func(context.Context, store.Key, string) (string, error) {
		return func(_ context.Context, k store.Key, destination string) (string, error) {
			h.asked = append(h.asked, strings.TrimSpace(what+" "+k.Series+" "+destination))
			return what + " done", h.answer
		}
	}
	h.Server = New(Options{
		Store: h.store, Queue: h.queue, Destinations: both, Metrics: NewMetrics(), Version: "v1",
		Ready:    func(context.Context) []Check { return h.ready },
		Progress: func(store.Key) *Progress { return h.progress },
		Retry:    do("retry"), Cancel: do("cancel"), Deliver: do("deliver"),
	})
	return h
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) instance(k store.Key, n int, data string) {
	h.t.Helper()
	uid := fmt.Sprintf("%s.%d", k.Series, n)
	in, err := h.store.Create(dataset.MetaInfo{SOPClassUID: dataset.CTImage, SOPInstanceUID: uid, TransferSyntax: dataset.ImplicitLE})
	h.must(err)
	_, err = in.Write([]byte(data))
	h.must(err)
	_, err = in.Commit(k, uid)
	h.must(err)
}

func (h *house) close(generation int, instances ...string) {
	h.t.Helper()
	h.must(h.store.WriteClosing(store.Closing{Key: key1, Generation: generation, Instances: instances,
		Closed: result.Closed{Reason: "geometry", Time: time.Unix(1e9, 0).UTC()}}))
}

func (h *house) results(o result.Outcome, reason string, nodules int, to ...job.Destination) {
	h.t.Helper()
	plan, err := job.PlanFile(to)
	h.must(err)
	h.must(h.store.WriteGeneration(key1, 1, []store.File{
		{Name: "sr.dcm", Kind: "sr", SOPClassUID: dataset.Comprehensive3DSR, SOPInstanceUID: "2.25.1", Bytes: []byte("sr")},
		{Name: "seg.dcm", Kind: "seg", SOPClassUID: dataset.SegmentationStorage, SOPInstanceUID: "2.25.2", Bytes: []byte("seg")},
		{Name: "key-1.png", Kind: "png", Bytes: []byte("\x89PNG\r\n\x1a\n")},
		plan,
	}, store.Manifest{Outcome: o, Reason: reason, Nodules: nodules}))
}

func (h *house) receipt(destination, uid string) {
	h.t.Helper()
	h.must(h.store.WriteReceipt(key1, 1, destination, uid, store.Receipt{Status: 0xB000, Note: "elements coerced"}))
}

func (h *house) ask(method, path string, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func (h *house) detail() *Detail {
	h.t.Helper()
	w := h.ask("GET", path1, nil)
	var d Detail
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || w.Code != http.StatusOK {
		h.t.Fatalf("%d %v: %s", w.Code, err, w.Body)
	}
	return &d
}

// TestStateOfASeries walks one series through its life; after each step it must
// say where it stands.
func TestStateOfASeries(t *testing.T) {
	h := newHouse(t)
	if w := h.ask("GET", path1, nil); w.Code != http.StatusNotFound {
		t.Fatalf("an unknown series: %d", w.Code)
	}
	is := func(want State, sentence string) *Detail {
		t.Helper()
		d := h.detail()
		if d.State != want || !strings.Contains(d.Sentence, sentence) {
			t.Fatalf("%s: %q, want %s: %q", d.State, d.Sentence, want, sentence)
		}
		return d
	}
	h.instance(key1, 1, "slice")
	h.instance(key1, 2, "slice")
	is(Receiving, "2 instances so far")
	h.close(1, "1.2.3.4.1", "1.2.3.4.2")
	is(Waiting, "about to be queued")
	h.must(h.queue.EnqueueAnalyze(t.Context(), job.Analyze{Study: "1.2.3", Series: "1.2.3.4", Generation: 1}))
	is(Waiting, "waits for its turn")
	jobs, err := h.queue.Jobs(t.Context(), "", "")
	h.must(err)
	h.must(h.queue.Cancel(t.Context(), jobs[0]))
	is(Failed, "cancelled by a person")

	h.results(result.OutcomeNodules, "", 2, both...)
	d := is(Delivering, "The delivery to pacs waits for its turn. The delivery to ris waits for its turn.")
	if d.Outcome != result.OutcomeNodules || d.Nodules != 2 || len(d.Deliveries) != 2 || d.Deliveries[0].Objects != 2 || d.Deliveries[1].Objects != 1 {
		t.Errorf("%+v", d)
	}
	h.receipt("ris", "2.25.1")
	h.receipt("pacs", "2.25.1")
	if d := is(Delivering, "The delivery to pacs waits"); d.Deliveries[0].Stored != 1 || d.Deliveries[1].State != "delivered" {
		t.Errorf("%+v", d.Deliveries)
	}
	if settled, _ := h.Settled(t.Context(), key1); settled {
		t.Error("settled before it is delivered")
	}
	h.must(h.queue.EnqueueDeliver(t.Context(), job.Deliver{Study: "1.2.3", Series: "1.2.3.4", Generation: 1, Destination: "pacs"}))
	jobs, err = h.queue.Jobs(t.Context(), "", "")
	h.must(err)
	h.must(h.queue.Cancel(t.Context(), jobs[1]))
	is(Failed, "The delivery to pacs was cancelled")
	h.receipt("pacs", "2.25.2")
	d = is(Delivered, "2 nodules were found; the results are at 2 destinations.")
	if len(d.Deliveries[0].Notes) != 2 || d.Deliveries[0].Notes[0] != "sr.dcm: elements coerced" {
		t.Errorf("notes %q", d.Deliveries[0].Notes)
	}
	if settled, delivered := h.Settled(t.Context(), key1); !settled || !delivered {
		t.Error("not settled though it is delivered")
	}
	h.instance(key1, 1, "other bytes")
	if d := is(Delivered, "other bytes; kept aside"); len(d.Conflicts) != 1 {
		t.Errorf("%+v", d)
	}
	h.instance(key1, 3, "late slice")
	is(Receiving, "1 instance came after generation 1 was closed")
}

func TestSkippedAndFailedSayWhy(t *testing.T) {
	for o, want := range map[result.Outcome]State{result.OutcomeSkipped: Skipped, result.OutcomeFailed: Failed} {
		h := newHouse(t)
		h.instance(key1, 1, "slice")
		h.close(1, "1.2.3.4.1")
		h.results(o, "slices are 5.0 mm apart: ask for the thin reconstruction", 0)
		if d := h.detail(); d.State != want || !strings.Contains(d.Sentence, "ask for the thin reconstruction.") {
			t.Errorf("%s: %q", d.State, d.Sentence)
		}
	}
}

func TestNoNodulesWithoutADestination(t *testing.T) {
	h := newHouse(t)
	h.instance(key1, 1, "slice")
	h.close(1, "1.2.3.4.1")
	h.results(result.OutcomeNone, "", 0)
	if d := h.detail(); d.State != Delivered || !strings.HasPrefix(d.Sentence, "No nodule was found; no destination is configured") {
		t.Errorf("%s: %q", d.State, d.Sentence)
	}
	if settled, delivered := h.Settled(t.Context(), key1); !settled || delivered {
		t.Error("what nobody else has counts as delivered")
	}
}

func TestListFiltersAndBounds(t *testing.T) {
	h := newHouse(t)
	for i := range 4 {
		h.instance(store.Key{Study: "1.2.3", Series: fmt.Sprintf("1.2.3.%d", i+4)}, 1, "slice")
	}
	h.close(1, "1.2.3.4.1")
	for query, want := range map[string]int{"": 4, "?state=receiving": 3, "?state=waiting": 1, "?state=failed": 0, "?series=1.2.3.5": 1, "?series=1.2": 4, "?limit=2": 2} {
		w := h.ask("GET", "/api/v1/series"+query, nil)
		var list List
		h.must(json.Unmarshal(w.Body.Bytes(), &list))
		if len(list.Series) != want || list.Series == nil {
			t.Errorf("%q lists %d, want %d", query, len(list.Series), want)
		}
	}
	for _, query := range []string{"?state=lost", "?limit=0", "?limit=x", "?limit=1000000"} {
		if w := h.ask("GET", "/api/v1/series"+query, nil); w.Code != http.StatusBadRequest {
			t.Errorf("%q: %d", query, w.Code)
		}
	}
	if w := h.ask("GET", "/api/v1/series/1.2.3/..%2f..", nil); w.Code != http.StatusBadRequest {
		t.Errorf("a path for a UID: %d", w.Code)
	}
}

func TestRetryAndCancelAnswer(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		path string
		err  error
		want int
	}{
		{path1 + "/retry", nil, http.StatusOK},
		{path1 + "/cancel?destination=pacs", nil, http.StatusOK},
		{path1 + "/retry", fmt.Errorf("%w here", ErrNothing), http.StatusConflict},
		{path1 + "/retry", store.ErrNotExist, http.StatusNotFound},
		{path1 + "/retry", errors.New("broken"), http.StatusInternalServerError},
		{"/series/1.2.3/1.2.3.4/retry", nil, http.StatusSeeOther},
	} {
		h.answer = c.err
		w := h.ask("POST", c.path, nil)
		if w.Code != c.want {
			t.Errorf("%s with %v: %d, want %d", c.path, c.err, w.Code, c.want)
		}
	}
	if h.asked[0] != "retry 1.2.3.4" || h.asked[1] != "cancel 1.2.3.4 pacs" {
		t.Errorf("asked %q", h.asked)
	}
	if w := h.ask("GET", path1+"/retry", nil); w.Code == http.StatusOK {
		t.Error("a GET changed something")
	}
}

func TestOtherSitesAreKeptOut(t *testing.T) {
	h := newHouse(t)
	for name, c := range map[string]struct {
		change func(*http.Request)
		want   int
	}{
		"a program":                      {nil, http.StatusOK},
		"the page":                       {func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-origin") }, http.StatusOK},
		"another site":                   {func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, http.StatusForbidden},
		"an old browser on another site": {func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }, http.StatusForbidden},
	} {
		if w := h.ask("POST", path1+"/retry", c.change); w.Code != c.want {
			t.Errorf("%s: %d, want %d", name, w.Code, c.want)
		}
	}
	local := func(host string) func(*http.Request) {
		return func(r *http.Request) {
			*r = *r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8042})))
			r.Host = host
		}
	}
	for host, want := range map[string]int{"localhost:8042": 200, "127.0.0.1:8042": 200, "[::1]:8042": 200, "evil.example:8042": 403, "127.0.0.1.evil.example": 403} {
		if w := h.ask("GET", "/healthz", local(host)); w.Code != want {
			t.Errorf("host %s: %d, want %d", host, w.Code, want)
		}
	}
}

func TestNoDestinationIsConfiguredAnyMore(t *testing.T) {
	h := newHouse(t)
	h.instance(key1, 1, "slice")
	h.close(1, "1.2.3.4.1")
	h.results(result.OutcomeNodules, "", 1, job.Destination{Name: "old", Send: []string{"sr"}})
	if d := h.detail(); d.State != Delivered || !strings.Contains(d.Sentence, "no longer configured, they are kept here") {
		t.Errorf("%s: %s", d.State, d.Sentence)
	}
}

func TestReadinessAndMetrics(t *testing.T) {
	h := newHouse(t)
	if w := h.ask("GET", "/readyz", nil); w.Code != http.StatusOK {
		t.Errorf("ready: %d", w.Code)
	}
	h.ready = append(h.ready, Check{Name: "queue", Sentence: "gone"})
	if w := h.ask("GET", "/readyz", nil); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "gone") {
		t.Errorf("not ready: %d %s", w.Code, w.Body)
	}
	h.must(h.queue.EnqueueAnalyze(t.Context(), job.Analyze{Study: "1.2.3", Series: "1.2.3.4", Generation: 1}))
	text := h.ask("GET", "/metrics", nil).Body.String()
	for _, want := range []string{`pulmonode_jobs{destination="",kind="analyze",state="queued"} 1`, `pulmonode_series{state="receiving"} 0`, `pulmonode_alive 1`, "pulmonode_disk_free_bytes ", `pulmonode_ready{part="queue"} 0`, `pulmonode_ready{part="disk"} 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if strings.Contains(text, "1.2.3.4") {
		t.Error("a UID is in the metrics")
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	h := newHouse(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	h.must(err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- h.Serve(ctx, l) }()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + l.Addr().String() + "/healthz")
	h.must(err)
	body, _ := io.ReadAll(answer.Body)
	answer.Body.Close()
	if string(body) != "ok\n" {
		t.Errorf("healthz: %q", body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("serve: %v", err)
	}
}
