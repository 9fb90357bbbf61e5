package admin

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/store"
)

// Status is the answer of GET /api/v1/status: the node at a glance.
type Status struct {
	Version      string              `json:"version"`
	AETitle      string              `json:"ae_title"`
	Node         string              `json:"node,omitempty"` // its name, where several share the work
	Time         time.Time           `json:"time"`           // now, by this machine's clock
	Started      time.Time           `json:"started"`
	UptimeS      int64               `json:"uptime_s"`
	Ready        bool                `json:"ready"` // it would receive, and could analyse and deliver
	Checks       []Check             `json:"checks"`
	Disk         Disk                `json:"disk"`
	Analysis     Analysis            `json:"analysis"`
	Series       map[State]int       `json:"series"`       // how many are in each state; as of at most a second ago
	Queue        []Queued            `json:"queue"`        // by kind, destination and state
	Destinations []DestinationStatus `json:"destinations"` // as configured
}

// Disk is that of the data folder.
type Disk struct {
	FreeBytes               int64 `json:"free_bytes"`
	TotalBytes              int64 `json:"total_bytes"`
	StopReceivingBelowBytes int64 `json:"stop_receiving_below_bytes"` // [storage] stop_receiving_below
}

// Analysis is what analyses, or why nothing does.
type Analysis struct {
	Algorithm *result.Algorithm `json:"algorithm,omitempty"`
	Wanted    string            `json:"wanted_provider,omitempty"` // [inference] provider
	Fallback  bool              `json:"fallback"`                  // the CPU is used where a GPU could be expected
	Sentence  string            `json:"sentence,omitempty"`        // why there is none, and what to do
}

// Queued is how many jobs of one kind are in one state.
type Queued struct {
	Kind        string    `json:"kind"`                  // analyze, deliver
	Destination string    `json:"destination,omitempty"` // of deliveries
	State       string    `json:"state"`                 // as that of a Job
	Jobs        int       `json:"jobs"`
	Oldest      time.Time `json:"oldest"` // when the oldest of them was queued
}

// DestinationStatus is how things stand with a destination.
type DestinationStatus struct {
	Name         string     `json:"name"`
	Send         []string   `json:"send"`                  // kinds of results
	LastStored   *time.Time `json:"last_stored,omitempty"` // when it last confirmed an object of a series that is here
	Waiting      int        `json:"waiting"`               // deliveries that are still to be done
	WaitingSince *time.Time `json:"waiting_since,omitempty"`
	Failed       int        `json:"failed"`               // deliveries that wait for a person
	LastError    string     `json:"last_error,omitempty"` // of a delivery that is tried again
}

// Status looks at the node.
func (s *Server) Status(ctx context.Context) (*Status, error) {
	n, err := s.survey(ctx)
	if err != nil {
		return nil, err
	}
	counts, err := s.opts.Queue.Counts(ctx)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	st := &Status{
		Version: s.opts.Version, AETitle: s.opts.AETitle, Node: s.opts.Node, Time: now.UTC().Truncate(time.Second),
		Started: s.started.UTC().Truncate(time.Second), UptimeS: int64(now.Sub(s.started).Seconds()),
		Ready: true, Checks: s.opts.Ready(ctx), Series: map[State]int{}, Queue: []Queued{}, Destinations: []DestinationStatus{},
		Disk:     Disk{StopReceivingBelowBytes: s.opts.Facts.Watermark},
		Analysis: Analysis{Wanted: s.opts.Facts.Provider, Fallback: s.opts.Facts.Fallback != nil && s.opts.Facts.Fallback()},
	}
	if st.Checks == nil {
		st.Checks = []Check{}
	}
	for _, c := range st.Checks {
		st.Ready = st.Ready && c.OK
	}
	if st.Disk.FreeBytes, err = s.opts.Store.Free(); err != nil {
		return nil, err
	}
	if st.Disk.TotalBytes, err = s.opts.Store.Total(); err != nil {
		return nil, err
	}
	if a, err := s.opts.Algorithm(); err == nil {
		st.Analysis.Algorithm = &a
	} else {
		st.Analysis.Sentence = stop(err.Error())
	}
	for _, state := range States {
		st.Series[state] = 0
	}
	for _, one := range n.series {
		st.Series[one.State]++
	}
	for _, c := range counts {
		st.Queue = append(st.Queue, Queued{c.Kind, c.Destination, string(c.State), c.Jobs, c.Oldest})
	}
	for i, g := range n.sent {
		st.Destinations = append(st.Destinations, DestinationStatus{
			Name: g.Name, Send: s.opts.Destinations[i].Send, LastStored: g.Last, Waiting: g.Waiting, WaitingSince: g.Since, Failed: g.Failed, LastError: g.LastError,
		})
	}
	return st, nil
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	st, err := s.Status(r.Context())
	if err != nil {
		s.fail(w, err)
		return
	}
	reply(w, http.StatusOK, st)
}

// resultFile opens what of a generation the request names, if it is wanted: only
// what the manifest lists is opened, so no request reaches another file.
func (s *Server) resultFile(r *http.Request, wanted func(store.ManifestFile) bool) (*os.File, *store.Manifest, error) {
	n, err := number(r.PathValue("generation"), maxGeneration, "the generation")
	if err != nil {
		return nil, nil, err
	}
	if err := key(r).Valid(); err != nil {
		return nil, nil, errRequest(err.Error())
	}
	m, err := s.opts.Store.Generation(key(r), n)
	if err != nil {
		return nil, nil, err
	}
	at := slices.IndexFunc(m.Files, wanted)
	if at < 0 {
		return nil, nil, store.ErrNotExist
	}
	folder, err := s.opts.Store.GenerationFolder(key(r), n)
	if err != nil {
		return nil, nil, err
	}
	f, err := os.Open(filepath.Join(folder, m.Files[at].Name))
	if errors.Is(err, os.ErrNotExist) {
		err = store.ErrNotExist // set aside since
	}
	return f, m, err
}

const maxGeneration = 1_000_000

// resultJSON answers with what was found: result.json as it was written.
func (s *Server) resultJSON(w http.ResponseWriter, r *http.Request) {
	s.serve(w, r, "application/json", func(f store.ManifestFile) bool { return f.Name == "result.json" })
}

// apiPicture answers with a key image.
func (s *Server) apiPicture(w http.ResponseWriter, r *http.Request) {
	if s.serve(w, r, "image/png", pictureOf(r)) {
		s.viewed(r, key(r))
	}
}

// pictureOf says which file the request wants.
func pictureOf(r *http.Request) func(store.ManifestFile) bool {
	name := r.PathValue("file")
	return func(f store.ManifestFile) bool { return f.Kind == "png" && f.Name == name }
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, kind string, wanted func(store.ManifestFile) bool) bool {
	f, m, err := s.resultFile(r, wanted)
	if err != nil {
		s.fail(w, err)
		return false
	}
	defer f.Close()
	w.Header().Set("Content-Type", kind)
	http.ServeContent(w, r, "", m.Written, f)
	return true
}
