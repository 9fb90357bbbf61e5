package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/pulmonode/pulmonode/inference/result"
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
		Ready: true, Checks: s.opts.Ready(ctx), Series: n.counts(), Queue: []Queued{}, Destinations: []DestinationStatus{},
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
