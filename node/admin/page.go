package admin

import (
	"bytes"
	"cmp"
	"embed"
	"errors"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/store"
)

//go:embed templates/*.html
var templateFiles embed.FS

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"iso":        func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"utc":        func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05\u00a0UTC") },
	"ago":        func(t time.Time) string { return spell(max(time.Since(t), 0).Truncate(time.Second)) },
	"short":      short,
	"personName": personName,
	"birthDate":  birthDate,
	"thousands":  thousands,
	"static":     staticAddress,
	"hash":       func(s string) string { return s[:min(len(s), 12)] },
	"add":        func(a, b int) int { return a + b },
	"count":      count,
	"upper":      strings.ToUpper,
	"sentence":   func(s string) string { return stop(capital(s)) },
}).ParseFS(templateFiles, "templates/*.html"))

// sheet is what every page has.
type sheet struct {
	Title   string
	Version string
	Now     time.Time
	Live    bool // it goes on by itself
}

func (s *Server) sheet(title string, live bool) sheet {
	return sheet{Title: title, Version: s.opts.Version, Now: time.Now(), Live: live}
}

// listPage is the list of series with the node at a glance.
type listPage struct {
	sheet
	Query       query
	Counts      []stateCount // all, then each state
	Rows        []Series
	Total       int // that fit the query
	First, Last int // of them, on this page
	Pages       int
	Node        atAGlance
	Known       int // series that are here
}

type stateCount struct {
	State State // empty: all
	Count int
}

func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	q, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		s.failPage(w, err)
		return
	}
	n, err := s.survey(r.Context())
	if err != nil {
		s.failPage(w, err)
		return
	}
	p := listPage{sheet: s.sheet("Series", true), Query: q, Known: len(n.series)}
	p.choose(n.series)
	p.Node = s.glance(r.Context(), n)
	s.named(r, p.Rows...)
	s.render(w, http.StatusOK, "list.html", p)
}

// choose takes the rows of the page out of all series.
func (p *listPage) choose(series []surveyed) {
	q := &p.Query
	counts := map[State]int{}
	f := Filter{Search: q.Search}
	var fit []int
	for i, one := range series {
		if !f.passes(&one.Series, one.brought) {
			continue
		}
		counts[""]++
		counts[one.State]++
		if q.State == "" || one.State == q.State {
			fit = append(fit, i)
		}
	}
	for _, state := range append([]State{""}, States...) {
		p.Counts = append(p.Counts, stateCount{state, counts[state]})
	}
	p.Total = len(fit)
	p.Pages = max(1, (p.Total+q.Per-1)/q.Per)
	q.Page = min(q.Page, p.Pages) // the list may have become shorter
	from := (q.Page - 1) * q.Per
	to := min(from+q.Per, p.Total)
	p.First, p.Last = min(from+1, p.Total), to
	for _, i := range fit[from:to] {
		p.Rows = append(p.Rows, series[i].Series)
	}
}

// seriesPage is one series.
type seriesPage struct {
	sheet
	D           *Detail
	Said        string // what came of a button
	Operate     bool   // who asks may press buttons
	Generations []generationView
	Timeline    []event
	Retriable   bool
	Cancellable bool
	Again       bool // something can be sent again
}

func (s *Server) seriesPage(w http.ResponseWriter, r *http.Request) {
	k := key(r)
	d, err := s.Detail(r.Context(), k)
	if err != nil {
		s.failPage(w, err)
		return
	}
	p := seriesPage{sheet: s.sheet("Series "+short(k.Series), true), D: d, Said: said[r.URL.Query().Get("said")], Operate: personOf(r.Context()).role == Operate}
	if p.Operate && d.State != Deleted {
		p.Retriable, p.Cancellable, p.Again = retriable(d), cancellable(d), s.opts.Deliver != nil && slices.ContainsFunc(d.Deliveries, Delivery.Sent)
	}
	var results map[int]*result.Result
	p.Generations, results = s.generations(k, d)
	p.Timeline = timeline(d, results)
	s.named(r, d.Series)
	s.render(w, http.StatusOK, "series.html", p)
}

// Retriable, Cancellable and Sent say which buttons a delivery has.
func (one Delivery) Retriable() bool {
	return one.ended() || one.State == deliveryWaiting
}

func (one Delivery) Cancellable() bool {
	return one.Job != nil && (one.State == deliveryQueued || one.State == deliveryRunning || one.State == deliveryWaiting)
}

func (one Delivery) Sent() bool { return one.State == deliveryDone }

func retriable(d *Detail) bool {
	waits := d.Analysis != nil && d.Analysis.State == string(job.Waiting) // what is queued has its turn to come
	return d.State == Failed || d.State == Skipped || waits || slices.ContainsFunc(d.Deliveries, Delivery.Retriable)
}

func cancellable(d *Detail) bool {
	return d.State == Waiting || d.State == Analysing || slices.ContainsFunc(d.Deliveries, Delivery.Cancellable)
}

// render writes a page whole or, when it cannot be made, a sentence.
func (s *Server) render(w http.ResponseWriter, status int, name string, data any) {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, data); err != nil {
		s.opts.Log.Error("page_failed", zap.String("page", name), zap.Error(err))
		http.Error(w, "the page could not be made, by a fault of the program: send the log to the makers", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

// faultPage is a sentence in place of a page.
type faultPage struct {
	sheet
	Status   int
	Sentence string
}

// fault answers a person with a sentence.
func (s *Server) fault(w http.ResponseWriter, status int, sentence string) {
	s.render(w, status, "fault.html", faultPage{s.sheet(http.StatusText(status), false), status, stop(cmp.Or(capital(sentence), http.StatusText(status)))})
}

// failPage answers a person with why it could not be done.
func (s *Server) failPage(w http.ResponseWriter, err error) {
	status := s.failed(err)
	if errors.Is(err, store.ErrNotExist) {
		s.fault(w, status, "this series is not here: it never was, or it was removed when its time was up")
		return
	}
	s.fault(w, status, err.Error())
}
