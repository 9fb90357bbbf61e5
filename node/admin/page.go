package admin

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path/filepath"
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

//go:embed static/*
var staticFiles embed.FS

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

// staticAddresses are what the page loads, with a part of their hash, so that a
// browser keeps them until they change.
var staticAddresses = func() map[string]string {
	list := map[string]string{}
	entries, err := fs.ReadDir(staticFiles, "static")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		b, err := staticFiles.ReadFile("static/" + e.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(b)
		list[e.Name()] = "/static/" + e.Name() + "?" + hex.EncodeToString(sum[:6])
	}
	return list
}()

func staticAddress(name string) (string, error) {
	a, ok := staticAddresses[name]
	if !ok {
		return "", fmt.Errorf("no static file is called %s", name)
	}
	return a, nil
}

var staticTypes = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

// static serves the page's style, script and icon, and nothing else.
func (s *Server) static(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	b, err := staticFiles.ReadFile("static/" + name)
	if err != nil {
		s.fault(w, http.StatusNotFound, "the page has no file of this name")
		return
	}
	w.Header().Set("Content-Type", staticTypes[filepath.Ext(name)])
	w.Header().Set("Cache-Control", "private, max-age=31536000, immutable")
	w.Write(b)
}

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

// said is what the page says after a button was pressed.
var said = map[string]string{
	"retry":   "It is tried again.",
	"cancel":  "It is cancelled.",
	"deliver": "It is sent again.",
	"nothing": "There was nothing to do: the series had gone on in the meantime.",
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

// change is something that a person may ask of a series.
type change struct {
	Name     string
	Question string
	Button   string
	What     string // what it will do, with %s for
	Every    string // all of them, or
	One      string // one destination
	Keep     string // the way back
}

// confirmed are the changes that a person is asked about first.
var confirmed = map[string]change{
	"cancel": {"cancel", "Cancel the work on this series?", "Cancel the work",
		"What is queued, waits or runs of %s ends. What destinations have stays there. “Try again” takes it up later.",
		"this series", "the delivery to %s", "Let it go on"},
	"deliver": {"deliver", "Deliver again?", "Deliver again",
		"The same objects, with the same UIDs, are sent again to %s confirmed them before. An archive that still has them keeps one of each.",
		"every destination that", "%s, which", "Leave it"},
}

type confirmPage struct {
	sheet
	change
	Study, Series, Destination string
}

func (s *Server) confirm(w http.ResponseWriter, r *http.Request) {
	k := key(r)
	if _, err := s.Detail(r.Context(), k); err != nil {
		s.failPage(w, err)
		return
	}
	// A part that cannot be read must not turn one destination into all of them.
	asked, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		s.failPage(w, errRequest("the address is damaged: go back to the series and choose there"))
		return
	}
	c, ok := confirmed[asked.Get("do")]
	if !ok || c.Name == "deliver" && s.opts.Deliver == nil {
		s.failPage(w, errRequest("the address does not say what to do: go back to the series and choose there"))
		return
	}
	destination, of := asked.Get("destination"), c.Every
	if asked.Has("destination") {
		if !s.configured(destination) {
			s.failPage(w, errRequest("no destination is called so: go back to the series and choose there"))
			return
		}
		of = fmt.Sprintf(c.One, destination)
	}
	c.What = fmt.Sprintf(c.What, of)
	s.render(w, http.StatusOK, "confirm.html", confirmPage{s.sheet(c.Question, false), c, k.Study, k.Series, destination})
}

func (s *Server) configured(destination string) bool {
	return slices.ContainsFunc(s.opts.Destinations, func(d job.Destination) bool { return d.Name == destination })
}

// pageChange does what a button asks for and goes back to the series' page.
func (s *Server) pageChange(name string, do func(context.Context, store.Key, string) (string, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		k := key(r)
		if err := k.Valid(); err != nil {
			s.failPage(w, errRequest(err.Error()))
			return
		}
		destination, err := destinationOf(r)
		if err != nil {
			s.failPage(w, err)
			return
		}
		outcome := name
		_, err = do(r.Context(), k, destination)
		if errors.Is(err, ErrNothing) {
			outcome, err = "nothing", nil
		}
		if err != nil {
			s.failPage(w, err)
			return
		}
		http.Redirect(w, r, seriesAddress(k)+"?said="+outcome, http.StatusSeeOther)
	}
}

func seriesAddress(k store.Key) string { return "/series/" + k.Study + "/" + k.Series }

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
	status := statusOf(err)
	if status == http.StatusInternalServerError {
		s.opts.Log.Warn("admin_failed", zap.Error(err))
	}
	if errors.Is(err, store.ErrNotExist) {
		s.fault(w, status, "this series is not here: it never was, or it was removed when its time was up")
		return
	}
	s.fault(w, status, err.Error())
}
