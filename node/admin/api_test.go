package admin

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/store"
)

func (h *house) status() Status {
	h.t.Helper()
	w := h.ask("GET", "/api/v1/status", nil)
	var st Status
	if err := json.Unmarshal(w.Body.Bytes(), &st); err != nil || w.Code != http.StatusOK {
		h.t.Fatalf("%d %v: %s", w.Code, err, w.Body)
	}
	return st
}

func TestStatus(t *testing.T) {
	h := newHouse(t)
	h.opts.AETitle, h.opts.Facts = "PULMONODE", Facts{Watermark: 5, Provider: "auto"}
	h.opts.Algorithm = func() (result.Algorithm, error) { return result.Algorithm{}, errors.New("localize.onnx is missing") }
	st := h.status()
	if !st.Ready || st.Version != "v1" || st.AETitle != "PULMONODE" || st.Disk.StopReceivingBelowBytes != 5 || st.Disk.FreeBytes <= 0 || st.Disk.TotalBytes < st.Disk.FreeBytes {
		t.Errorf("%+v", st)
	}
	if st.Analysis.Algorithm != nil || st.Analysis.Sentence != "localize.onnx is missing." || len(st.Destinations) != 2 || st.Destinations[0].Waiting != 0 || len(st.Queue) != 0 {
		t.Errorf("%+v", st)
	}

	h.instance(key1, 1, "slice")
	h.close(1, "1.2.3.4.1")
	h.results(result.OutcomeNodules, "", 1, both...)
	h.receipt("ris", "2.25.1")
	h.must(h.queue.EnqueueDeliver(t.Context(), job.Deliver{Study: "1.2.3", Series: "1.2.3.4", Generation: 1, Destination: "pacs"}))
	h.ready = append(h.ready, Check{Name: "models", Sentence: "gone"})
	h.opts.Algorithm = func() (result.Algorithm, error) {
		return result.Algorithm{Provider: "cpu", Models: []result.Model{{Role: "refine", SHA256: "abc"}}}, nil
	}
	h.Server.surveyed = nil // a second later
	st = h.status()
	if st.Ready || len(st.Checks) != 2 || st.Analysis.Algorithm.Models[0].SHA256 != "abc" || st.Series[Delivering] != 1 || st.Series[Delivered] != 0 {
		t.Errorf("%+v", st)
	}
	if len(st.Queue) != 1 || st.Queue[0].Destination != "pacs" || st.Queue[0].State != "queued" || st.Queue[0].Jobs != 1 || time.Since(st.Queue[0].Oldest) > time.Hour {
		t.Errorf("queue %+v", st.Queue)
	}
	if pacs, ris := st.Destinations[0], st.Destinations[1]; pacs.Waiting != 1 || pacs.WaitingSince == nil || pacs.LastStored != nil || ris.Waiting != 0 || ris.LastStored == nil {
		t.Errorf("destinations %+v", st.Destinations)
	}
}

// Only what the manifest lists is served, as what it is.
func TestResultAndPictures(t *testing.T) {
	h := newHouse(t)
	h.instance(key1, 1, "slice")
	h.close(1, "1.2.3.4.1")
	plan, err := job.PlanFile(nil)
	h.must(err)
	const found = `{"schema":1,"outcome":"none","nodules":[]}`
	h.must(h.store.WriteGeneration(key1, 1, []store.File{
		{Name: "result.json", Kind: "json", Bytes: []byte(found)},
		{Name: "key-1.png", Kind: "png", Bytes: []byte("\x89PNG\r\n\x1a\n")},
		plan,
	}, store.Manifest{Outcome: result.OutcomeNone}))
	for _, c := range []struct {
		path, kind string
		want       int
	}{
		{path1 + "/1/result", "application/json", http.StatusOK},
		{path1 + "/1/pictures/key-1.png", "image/png", http.StatusOK},
		{path1 + "/2/result", "", http.StatusNotFound},
		{path1 + "/0/result", "", http.StatusBadRequest},
		{path1 + "/one/result", "", http.StatusBadRequest},
		{path1 + "/99999999999999999999/result", "", http.StatusBadRequest},
		{path1 + "/1/pictures/result.json", "", http.StatusNotFound},
		{path1 + "/1/pictures/manifest.json", "", http.StatusNotFound},
		{path1 + "/1/pictures/..%2fmanifest.json", "", http.StatusNotFound},
		{"/api/v1/series/1.2.3/..%2f1.2.3.4/1/result", "", http.StatusBadRequest},
		{"/api/v1/series/1.2.3/1.2.3.5/1/result", "", http.StatusNotFound},
		{"/api/v1/series/1.2.3/1.2.3.5", "", http.StatusNotFound},
		{"/api/v1/nothing", "", http.StatusNotFound},
		{"/api/v2/series", "", http.StatusNotFound},
	} {
		w := h.ask("GET", c.path, nil)
		if w.Code != c.want || c.kind != "" && w.Header().Get("Content-Type") != c.kind {
			t.Errorf("%s: %d %s, want %d %s", c.path, w.Code, w.Header().Get("Content-Type"), c.want, c.kind)
		}
		var a Answer
		if c.want != http.StatusOK && (json.Unmarshal(w.Body.Bytes(), &a) != nil || len(a.Error) < 10) {
			t.Errorf("%s: no sentence: %s", c.path, w.Body)
		}
	}
	if w := h.ask("GET", path1+"/1/result", nil); w.Body.String() != found {
		t.Errorf("the result is not what was written: %s", w.Body)
	}
}

// A parameter that is not understood changes nothing: one destination must not
// become all of them.
func TestChangesTakeOneDestinationOrNone(t *testing.T) {
	h := newHouse(t)
	for _, verb := range []string{"retry", "cancel", "deliver"} {
		h.asked = nil
		for query, want := range map[string]int{
			"": 200, "?destination=pacs": 200,
			"?destination=": 400, "?dest=pacs": 400, "?destination=pacs&destination=ris": 400, "?destination=pacs&all=1": 400,
			"?destination=%zz": 400, "?destination=" + strings.Repeat("p", 65): 400,
		} {
			w := h.ask("POST", path1+"/"+verb+query, nil)
			var a Answer
			if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != want || (a.Done == "") != (want != 200) || (a.Error == "") != (want == 200) {
				t.Errorf("%s%s: %d %v %s", verb, query, w.Code, err, w.Body)
			}
		}
		if slices.Sort(h.asked); !slices.Equal(h.asked, []string{verb + " 1.2.3.4", verb + " 1.2.3.4 pacs"}) {
			t.Errorf("asked %q", h.asked)
		}
	}
	for _, c := range []struct{ method, path, allow string }{
		{"GET", path1 + "/retry", "POST"}, {"DELETE", path1, "GET"}, {"PUT", "/api/v1/series", "GET"},
	} {
		w := h.ask(c.method, c.path, nil)
		var a Answer
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != c.allow || a.Error == "" {
			t.Errorf("%s %s: %d, allow %q: %s", c.method, c.path, w.Code, w.Header().Get("Allow"), w.Body)
		}
	}
}
