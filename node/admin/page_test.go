package admin

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/store"
)

const page1 = "/series/1.2.3/1.2.3.4"

// person1 is in the test's slices. Everything in it is hostile.
var person1 = Patient{Name: `Doe^J<b>ane</b>`, ID: "PAT\u202e77", BirthDate: "19700102", AccessionNumber: "ACC0042"}

// slice stores an instance whose header names the patient.
func (h *house) slice(k store.Key, n int, p Patient) {
	h.t.Helper()
	d := &dataset.Dataset{}
	d.SetText(dataset.SpecificCharacterSet, "CS", "ISO_IR 192")
	d.SetText(dataset.SOPClassUID, "UI", dataset.CTImage)
	uid := fmt.Sprintf("%s.%d", k.Series, n)
	d.SetText(dataset.SOPInstanceUID, "UI", uid)
	d.SetText(dataset.AccessionNumber, "SH", p.AccessionNumber)
	d.SetText(dataset.PatientName, "PN", p.Name)
	d.SetText(dataset.PatientID, "LO", p.ID)
	d.SetText(dataset.PatientBirthDate, "DA", p.BirthDate)
	data, err := d.AppendExplicit(nil)
	h.must(err)
	in, err := h.store.Create(dataset.MetaInfo{SOPClassUID: dataset.CTImage, SOPInstanceUID: uid, TransferSyntax: dataset.ExplicitLE, SourceAE: "CT1"})
	h.must(err)
	_, err = in.Write(data)
	h.must(err)
	_, err = in.Commit(k, uid)
	h.must(err)
}

// found writes results with one nodule, as an analysis does.
func (h *house) found(k store.Key, generation int, to ...job.Destination) {
	h.t.Helper()
	r := result.Result{
		Schema: 1, Generation: generation, Outcome: result.OutcomeNodules, Warnings: []string{"Lungs go on beyond the slices"},
		Algorithm: result.Algorithm{Name: "pulmonode", Version: "1.2", Provider: "cuda", Models: []result.Model{{Role: "localize", Version: "0.9", SHA256: strings.Repeat("ab", 32)}}},
		TimingsS:  map[string]float64{"refine": 2.5, "load": 0.25, "other": 61},
		Nodules: []result.Nodule{{ID: "N1", Laterality: "left", LongAxisMM: 8.24, ShortAxisMM: 6.1, MaxDiam3DMM: 9, VolumeMM3: 240.4, MeanHU: -12.2, SDHU: 90, Slices: []string{"1", "2"},
			Characteristics: map[string]result.Characteristic{
				"malignancy": {Probability: 0.72, Label: "high", Threshold: 0.5}, "margin": {Probability: 0.31, Label: "unclear", Threshold: 0.5},
				"texture": {Probability: 0.99, Label: "solid", Threshold: 0.5}, // and none of calcification
			}}},
	}
	text, err := json.Marshal(r)
	h.must(err)
	plan, err := job.PlanFile(to)
	h.must(err)
	h.must(h.store.WriteGeneration(k, generation, []store.File{
		{Name: "sr.dcm", Kind: "sr", SOPClassUID: dataset.Comprehensive3DSR, SOPInstanceUID: "2.25.1", Bytes: []byte("sr")},
		{Name: "seg.dcm", Kind: "seg", SOPClassUID: dataset.SegmentationStorage, SOPInstanceUID: "2.25.2", Bytes: []byte("seg")},
		{Name: "key-1.png", Kind: "png", Bytes: []byte("\x89PNG\r\n\x1a\n")},
		{Name: "key-summary.png", Kind: "png", Bytes: []byte("\x89PNG\r\n\x1a\n")},
		{Name: "result.json", Kind: "json", Bytes: text},
		plan,
	}, store.Manifest{Outcome: r.Outcome, Nodules: 1, Warnings: r.Warnings}))
}

// changed makes a series one that changed last at a time.
func (h *house) changed(k store.Key, at time.Time) {
	h.t.Helper()
	h.must(filepath.WalkDir(filepath.Join(h.store.Dir(), "series", k.Study, k.Series), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(path, at, at)
	}))
}

func (h *house) body(path string, want int) string {
	h.t.Helper()
	w := h.ask("GET", path, func(r *http.Request) { r.Header.Set("Accept", "text/html") })
	if w.Code != want || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		h.t.Errorf("%s: %d %s, want %d", path, w.Code, w.Header().Get("Content-Type"), want)
	}
	return w.Body.String()
}

// says fails unless the page holds each of the texts.
func says(t *testing.T, page string, texts ...string) {
	t.Helper()
	for _, s := range texts {
		if !strings.Contains(page, s) {
			t.Errorf("the page lacks %q:\n%s", s, page)
		}
	}
}

func TestSeriesPage(t *testing.T) {
	h := newHouse(t)
	h.slice(key1, 1, person1)
	h.close(1, "1.2.3.4.1")
	h.found(key1, 1, both...)
	h.receipt("pacs", "2.25.1")
	h.must(h.queue.EnqueueDeliver(t.Context(), job.Deliver{Study: "1.2.3", Series: "1.2.3.4", Generation: 1, Destination: "ris"}))
	page := h.body(page1, http.StatusOK)
	says(t, page, "Not for clinical use", "Analysed: 1 nodule", "Lungs go on beyond the slices",
		">72 %</span> <span class=\"label\">high<", ">31 %</span> <span class=\"label\">unclear<", "8.2 × 6.1", "−12 ± 90", "left lung",
		`alt="Slice with nodule N1 outlined: left lung, 8.2 × 6.1 mm, malignant 72 % (high)."`, `src="/series/1.2.3/1.2.3.4/1/key-summary.png"`,
		"1 of 2", "sr.dcm: elements coerced", "Partly delivered to pacs", "the slices form a whole stack", "from CT1",
		"<dt>load</dt><dd>250 ms</dd></div><div><dt>refine</dt><dd>2.5 s</dd></div><div><dt>other</dt><dd>1 min 1 s</dd>", "on CUDA")
	if strings.Contains(page, "<script>") || strings.Contains(page, "style=") {
		t.Error("the page has what its content security policy forbids")
	}
}

func TestPictures(t *testing.T) {
	h := newHouse(t)
	h.slice(key1, 1, person1)
	h.close(1, "1.2.3.4.1")
	h.found(key1, 1)
	if w := h.ask("GET", page1+"/1/key-1.png", nil); w.Code != http.StatusOK || w.Header().Get("Content-Type") != "image/png" {
		t.Errorf("picture: %d %s", w.Code, w.Header())
	}
	for _, path := range []string{page1 + "/1/sr.dcm", page1 + "/1/manifest.json", page1 + "/1/..%2fmanifest.json",
		page1 + "/2/key-1.png", page1 + "/x/key-1.png", "/series/..%2f../1.2/1/key-1.png", "/static/..%2fpage.go", "/static/none.css"} {
		h.body(path, http.StatusNotFound)
	}
}

// TestIdentityIsShownOnlyWhereAllowed: found by it either way.
func TestIdentityIsShownOnlyWhereAllowed(t *testing.T) {
	for _, show := range []bool{false, true} {
		h := newHouse(t)
		h.opts.ShowPatient = show
		h.slice(key1, 1, person1)
		h.slice(store.Key{Study: "1.2.9", Series: "1.2.9.1"}, 1, Patient{AccessionNumber: "ACC0043"})
		for _, path := range []string{"/", page1, path1, "/api/v1/series"} {
			page := h.ask("GET", path, nil).Body.String()
			for _, secret := range []string{"Doe", "PAT77", "ACC0042", "1970"} {
				want := show && (path != "/" || secret != "1970") // the list has no dates of birth
				if strings.Contains(page, secret) != want {
					t.Errorf("show_patient = %v: %s shows %s: %v", show, path, secret, !want)
				}
			}
			if strings.Contains(page, "<b>ane") {
				t.Errorf("%s takes a name for HTML", path)
			}
			if show && path == page1 {
				says(t, page, "Doe, J&lt;b&gt;ane&lt;/b&gt;", "1970-01-02")
			}
		}
		for search, want := range map[string]int{"ACC0042": 1, "acc0042": 1, " ACC0043 ": 1, "ACC004": 0, "ACC": 0, "1.2.3": 1, "1.2.3.4": 1, "1.2": 2, "1.2.9.1": 1, "Doe": 0} {
			page := h.body("/?search="+url.QueryEscape(search), http.StatusOK)
			if rows := strings.Count(page, `<tr role="row" id="row-`); rows != want {
				t.Errorf("show_patient = %v: %q finds %d series, want %d", show, search, rows, want)
			}
		}
	}
}

func TestListByStateAndPage(t *testing.T) {
	h := newHouse(t)
	for i := range 7 {
		h.slice(store.Key{Study: "1.2.3", Series: fmt.Sprintf("1.2.3.%d", i+4)}, 1, person1)
	}
	h.close(1, "1.2.3.4.1")
	for i := range 7 { // the clock of a file system may be too coarse
		h.changed(store.Key{Study: "1.2.3", Series: fmt.Sprintf("1.2.3.%d", i+4)}, time.Unix(1e9-int64(i), 0))
	}
	rows := regexp.MustCompile(`id="row-1\.2\.3-([0-9.]+)"`)
	shown := func(path string) (list []string) {
		for _, m := range rows.FindAllStringSubmatch(h.body(path, http.StatusOK), -1) {
			list = append(list, m[1])
		}
		return list
	}
	var all []string
	for page := 1; page <= 3; page++ {
		all = append(all, shown(fmt.Sprintf("/?per=3&page=%d", page))...)
	}
	if want := []string{"1.2.3.4", "1.2.3.5", "1.2.3.6", "1.2.3.7", "1.2.3.8", "1.2.3.9", "1.2.3.10"}; !slices.Equal(all, want) {
		t.Errorf("the pages show %q", all)
	}
	if got := shown("/?state=waiting"); len(got) != 1 || got[0] != "1.2.3.4" {
		t.Errorf("waiting: %q", got)
	}
	if got := shown("/?per=3&page=900"); len(got) != 1 {
		t.Errorf("beyond the last page: %q", got)
	}
	says(t, h.body("/?per=3&page=2&state=receiving", http.StatusOK), "4 to 6 of 6 receiving series", "Page 2 of 2", `href="/?per=3&amp;state=receiving"`, `href="/?per=3&amp;state=waiting"`)
	says(t, h.body("/?state=failed", http.StatusOK), "No series fits")
}

func TestHostileAddresses(t *testing.T) {
	h := newHouse(t)
	h.opts.Deliver = nil
	h.slice(key1, 1, person1)
	for address, want := range map[string]int{
		"/?state=lost":                              400,
		"/?state=%3Cscript%3E":                      400,
		"/?page=0":                                  400,
		"/?page=-1":                                 400,
		"/?page=1e3":                                400,
		"/?page=99999999999999999999":               400,
		"/?per=1000":                                400,
		"/?per=":                                    400,
		"/?search=a&search=b":                       400,
		"/?search=%00":                              400,
		"/?search=%ff":                              400,
		"/?search=%zz":                              400,
		"/?search=" + strings.Repeat("1", 65):       400,
		"/?other=" + strings.Repeat("1", 4000):      400,
		"/?search=%22%3E%3Cscript%3Ealert(1)":       200,
		"/?other=1":                                 200,
		"/series/1.2.3/1.2.3.9":                     404,
		"/series/1.2.3/..%2f..":                     400,
		"/series/x/y":                               400,
		"/nothing":                                  404,
		page1 + "/confirm":                          400,
		page1 + "/confirm?do=remove":                400,
		page1 + "/confirm?do=deliver":               400, // nothing can be, here
		page1 + "/confirm?do=cancel&destination=%3": 400,
		page1 + "/confirm?do=cancel&destination=no": 400,
		page1 + "/confirm?do=cancel&destination=":   400,
		page1 + "/confirm?do=cancel":                200,
		page1 + "?said=%3Cscript%3E":                200,
	} {
		body := h.body(address, want)
		if strings.Contains(body, "<script>") || strings.Contains(body, ".go:") {
			t.Errorf("%s: the answer says what it must not:\n%s", address, body)
		}
		if want != 200 && !regexp.MustCompile(`<p>[A-Z][^<]{15,}\.</p>`).MatchString(body) {
			t.Errorf("%s: no sentence:\n%s", address, body)
		}
	}
}

func TestButtons(t *testing.T) {
	h := newHouse(t)
	h.slice(key1, 1, person1)
	h.close(1, "1.2.3.4.1")
	says(t, h.body(page1+"/confirm?do=cancel&destination=pacs", http.StatusOK), `action="/series/1.2.3/1.2.3.4/cancel"`, `name="destination" value="pacs"`, "of the delivery to pacs ends")
	for _, c := range []struct {
		path string
		err  error
		want string
	}{
		{page1 + "/retry", nil, page1 + "?said=retry"},
		{page1 + "/cancel", nil, page1 + "?said=cancel"},
		{page1 + "/cancel", fmt.Errorf("%w here", ErrNothing), page1 + "?said=nothing"},
	} {
		h.answer = c.err
		w := h.ask("POST", c.path, nil)
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != c.want {
			t.Errorf("%s: %d to %s, want %s", c.path, w.Code, w.Header().Get("Location"), c.want)
		}
	}
	says(t, h.body(page1+"?said=nothing", http.StatusOK), "There was nothing to do")
	h.asked = nil
	h.answer = nil
	for _, damaged := range []string{"?destination=%3", "?destination=", "?destination=pacs&destination=ris", "?destinations=pacs"} {
		if w := h.ask("POST", page1+"/cancel"+damaged, nil); w.Code != http.StatusBadRequest || len(h.asked) > 0 {
			t.Errorf("%s: %d, done %q", damaged, w.Code, h.asked)
		}
	}
	h.answer = store.ErrNotExist
	if w := h.ask("POST", page1+"/retry", nil); w.Code != http.StatusNotFound {
		t.Errorf("a series that is not here: %d", w.Code)
	}
}

func TestNodeAtAGlance(t *testing.T) {
	h := newHouse(t)
	h.ready = []Check{{Name: "disk", OK: true}, {Name: "models", Sentence: "localize.onnx is missing"}}
	h.slice(key1, 1, person1)
	h.close(1, "1.2.3.4.1")
	h.slice(store.Key{Study: "1.2.3", Series: "1.2.3.5"}, 1, person1)
	says(t, h.body("/", http.StatusOK), "localize.onnx is missing.", "no models are loaded.", "analysis waits, the oldest for", "nothing delivered yet", `<p class="big">up to date</p>`)
	if page := h.body("/", http.StatusOK); strings.Contains(page, "<strong>disk</strong>") {
		t.Error("a part that is ready counts as a problem")
	}
}

func TestDestinationAtAGlance(t *testing.T) {
	at := func(s int64) *time.Time { u := time.Unix(s, 0); return &u }
	d := &Detail{Generations: []Generation{{Generation: 1, Written: *at(50)}, {Generation: 2, Written: *at(60)}}}
	g := glance{Name: "pacs"}
	for _, one := range []Delivery{
		{Generation: 1, State: "delivered", Last: at(10)},
		{Generation: 2, State: "delivered", Last: at(30)},
		{Generation: 2, State: "queued"},
		{Generation: 1, State: "waiting", Job: &Job{LastError: "connection refused"}},
		{Generation: 1, State: "failed"},
		{Generation: 1, State: "unconfigured"},
	} {
		g.add(&one, d)
	}
	if !g.Last.Equal(*at(30)) || g.Waiting != 2 || !g.Since.Equal(*at(50)) || g.Failed != 1 || !g.Down() {
		t.Errorf("%+v", g)
	}
}

func TestWords(t *testing.T) {
	for d, want := range map[time.Duration]string{250 * time.Millisecond: "250 ms", 2500 * time.Millisecond: "2.5 s", 59 * time.Second: "59 s", 61 * time.Second: "1 min 1 s", 3*time.Hour + 5*time.Minute: "3 h 5 min", 50 * time.Hour: "2 days"} {
		if got := spell(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	for name, want := range map[string]string{"Doe^Jane": "Doe, Jane", "Doe^Jane^M^Dr": "Doe, Jane M Dr", "Doe": "Doe", "^Jane": "Jane", "": "", "=山田^太郎": "山田, 太郎", "^^": ""} {
		if got := personName(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	for p, want := range map[float64]string{-1: "<1 %", 0: "<1 %", 0.01: "1 %", 0.5: "50 %", 0.994: "99 %", 1: ">99 %"} {
		if got := percent(p); got != want {
			t.Errorf("%v: %q, want %q", p, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 bytes", 1023: "1023 bytes", 1536: "1.5 KiB", 5 << 30: "5.0 GiB", 200 << 30: "200 GiB", 3 << 50: "3072 TiB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func FuzzListAddress(f *testing.F) {
	for _, s := range []string{"", "search=ACC1&state=failed&page=2&per=10", "search=%ff", "page=0", "state=", "search=a;b", "%", "search=1.2.840&x=y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := parseQuery(raw)
		if err != nil {
			if statusOf(err) != http.StatusBadRequest {
				t.Errorf("%q: %v is no fault of the request", raw, err)
			}
			return
		}
		_, rest, _ := strings.Cut(q.address(), "?")
		again, err := parseQuery(rest)
		if err != nil || again != q {
			t.Errorf("%q is %+v, and its own address %q is %+v, %v", raw, q, q.address(), again, err)
		}
		if q.Page < 1 || q.Per < 1 || q.Per > maxPer {
			t.Errorf("%q: %+v", raw, q)
		}
	})
}

// TestEveryPartOfASeriesPage renders what a series has seldom.
func TestEveryPartOfASeriesPage(t *testing.T) {
	h := newHouse(t)
	next := time.Unix(2e9, 0)
	first, last := time.Unix(1e9, 0), time.Unix(1e9+40, 0)
	d := &Detail{
		Series:        Series{Study: "1.2.3", Series: "1.2.3.4", State: Analysing, Sentence: "It runs.", Generation: 2, Instances: 3, Source: "CT1"},
		FirstInstance: &first, LastInstance: &last, Conflicts: []string{"1.2.3.4.9"},
		Closings: []Closing{{Generation: 1, Reason: "idle", Time: last, Instances: 2, Expected: 3}, {Generation: 2, Reason: "of its own", Time: last, Instances: 3}},
		Generations: []Generation{
			{Generation: 1, Outcome: result.OutcomeFailed, Reason: "the disk is broken", Written: last, Files: []string{"result.json"}},
			{Generation: 2, Outcome: result.OutcomeNone, Written: last, Files: []string{"key-summary.png", "key-7.png"}, Warnings: []string{"a part only"}},
		},
		Analysis: &Job{State: "running", Stage: "localize", Done: 3, Total: 9},
		Deliveries: []Delivery{
			{Destination: "pacs", Generation: 1, State: "waiting", Sentence: "It waits.", Objects: 2, Job: &Job{State: "waiting", Next: &next, LastError: "connection refused"}},
			{Destination: "ris", Generation: 2, State: "running", Sentence: "It runs.", Objects: 2, Stored: 1, First: &first, Last: &first, Job: &Job{State: "running", LastError: "timed out"}},
			{Destination: "old", Generation: 2, State: "unconfigured", Sentence: "Gone."},
		},
	}
	show := func(operate bool) string {
		w := httptest.NewRecorder()
		p := seriesPage{sheet: h.sheet("Series", true), D: d, Operate: operate, Retriable: operate, Cancellable: operate, Again: operate}
		var results map[int]*result.Result
		p.Generations, results = h.generations(key1, d)
		p.Timeline = timeline(d, results)
		h.render(w, http.StatusOK, "series.html", p)
		return w.Body.String()
	}
	page := show(true)
	says(t, page, `<progress id="progress" max="9" value="3">`, "Generation 1: The analysis failed", "The disk is broken.</p>", "A part only.", "2 of 3 instances: nothing came any more", "of its own",
		"Next attempt to deliver to pacs (generation 1)", "The attempt before: timed out", "1.2.3.4.9", "Partly delivered to ris (generation 2)", `alt="Slice with nodule 7 outlined."`, `id="retry-1-pacs"`, `id="cancel-2-ris"`)
	if page := show(false); strings.Contains(page, "<button") {
		t.Errorf("who may look only is offered buttons:\n%s", page)
	}
}

// The card of a part that is not ready stands out, as that of a destination that
// is down, and no other.
func TestCardsOfWhatIsNotReadyStandOut(t *testing.T) {
	h := newHouse(t)
	for part, card := range map[string]string{"disk": "disk", "queue": "queue", "models": "models", "analyses": "models"} {
		h.ready = []Check{{Name: part, Sentence: "it is not"}, {Name: "listener", OK: true}}
		page := h.body("/", http.StatusOK)
		if strings.Count(page, `class="card trouble"`) != 1 || !strings.Contains(page, `class="card trouble" id="card-`+card+`"`) {
			t.Errorf("%s is not ready, and the cards do not show it", part)
		}
	}
}
