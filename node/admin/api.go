package admin

import (
	"time"

	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/job"
)

// State is where a series stands.
type State string

// The states of a series, in the order in which it goes through them.
const (
	Receiving  State = "receiving"
	Waiting    State = "waiting"
	Analysing  State = "analysing"
	Delivering State = "delivering"
	Delivered  State = "delivered"
	Skipped    State = "skipped"
	Failed     State = "failed"
	Deleted    State = "deleted" // by retention: what is known of it is a record
)

// States lists every state.
var States = []State{Receiving, Waiting, Analysing, Delivering, Delivered, Skipped, Failed, Deleted}

// Series is one row of GET /api/v1/series.
type Series struct {
	Study      string         `json:"study_instance_uid"`
	Series     string         `json:"series_instance_uid"`
	State      State          `json:"state"`
	Sentence   string         `json:"sentence"`
	Generation int            `json:"generation"` // the latest that was closed; 0 before
	Instances  int            `json:"instances"`
	Outcome    result.Outcome `json:"outcome,omitempty"` // of the latest generation, once it has results
	Nodules    int            `json:"nodules"`
	Changed    time.Time      `json:"changed"`

	Source       string     `json:"source_ae_title,omitempty"` // who sent it
	Closed       *time.Time `json:"closed,omitempty"`          // when the latest generation was complete
	Destinations []Stand    `json:"destinations"`              // of the latest generation that has results
	Patient      *Patient   `json:"patient,omitempty"`         // only with [admin] show_patient
}

// Stand is how far the delivery to a destination is.
type Stand struct {
	Destination string `json:"destination"`
	State       string `json:"state"` // as that of a Delivery
}

// List is the answer of GET /api/v1/series: the latest change first.
type List struct {
	Series []Series `json:"series"`
	Total  int      `json:"total"`          // that pass the filter, on whichever page
	Next   string   `json:"next,omitempty"` // the cursor of the next page; left out on the last
}

// Detail is the answer of GET /api/v1/series/{study}/{series}.
type Detail struct {
	Series
	FirstInstance *time.Time `json:"first_instance,omitempty"` // when it came
	LastInstance  *time.Time `json:"last_instance,omitempty"`
	Deleted       *time.Time `json:"deleted,omitempty"` // when retention deleted it

	Closings    []Closing    `json:"closings"`
	Generations []Generation `json:"generations"`
	Conflicts   []string     `json:"conflicts"` // SOP Instance UIDs that came with other bytes too
	Analysis    *Job         `json:"analysis,omitempty"`
	Deliveries  []Delivery   `json:"deliveries"`
}

// Closing is why and when a generation counted as complete.
type Closing struct {
	Generation int       `json:"generation"`
	Reason     string    `json:"reason"`
	Time       time.Time `json:"time"`
	Instances  int       `json:"instances"`
	Expected   int       `json:"expected,omitempty"`
}

var closedBecause = map[string]string{
	result.ClosedGeometry: "the slices form a whole stack and their transfer ended in order",
	result.ClosedIdle:     "nothing came any more",
	result.ClosedMaxAge:   "it kept coming for too long",
}

// Because says why the series counted as complete.
func (c Closing) Because() string {
	if why, ok := closedBecause[c.Reason]; ok {
		return why
	}
	return c.Reason
}

// Generation is what an analysis produced.
type Generation struct {
	Generation int            `json:"generation"`
	Attempt    int            `json:"attempt"` // how many times it was set aside for another try
	Outcome    result.Outcome `json:"outcome"`
	Reason     string         `json:"reason,omitempty"`
	Nodules    int            `json:"nodules"`
	Files      []string       `json:"files"`
	Written    time.Time      `json:"written,omitzero"`   // not known of a deleted series
	Warnings   []string       `json:"warnings,omitempty"` // that stand in the report too
}

// Job is the queue's view of work.
type Job struct {
	State       string     `json:"state"` // queued, running, waiting, failed, cancelled, done
	Attempt     int        `json:"attempt"`
	MaxAttempts int        `json:"max_attempts"`
	Next        *time.Time `json:"next,omitempty"`
	Reason      string     `json:"reason,omitempty"`
	LastError   string     `json:"last_error,omitempty"`
	Node        string     `json:"node,omitempty"`  // that took it last, where several share the work
	Stage       string     `json:"stage,omitempty"` // of a running analysis
	Done        int        `json:"done,omitempty"`
	Total       int        `json:"total,omitempty"`
}

// The states of a delivery: those of its job while it is to be done, and two more.
const (
	deliveryQueued       = string(job.Queued)
	deliveryRunning      = string(job.Running)
	deliveryWaiting      = string(job.Waiting)
	deliveryFailed       = string(job.Failed)
	deliveryCancelled    = string(job.Cancelled)
	deliveryDone         = "delivered"
	deliveryUnconfigured = "unconfigured" // its destination is gone
)

// Delivery is one generation at one destination.
type Delivery struct {
	Destination string     `json:"destination"`
	Generation  int        `json:"generation"`
	State       string     `json:"state"` // delivered, queued, running, waiting, failed, cancelled, unconfigured
	Sentence    string     `json:"sentence"`
	Objects     int        `json:"objects"`
	Stored      int        `json:"stored"` // of Objects, with a receipt
	Notes       []string   `json:"notes,omitempty"`
	First       *time.Time `json:"first_stored,omitempty"` // when the destination confirmed an object
	Last        *time.Time `json:"last_stored,omitempty"`
	Job         *Job       `json:"job,omitempty"`
}

// Check is one part of the node's readiness.
type Check struct {
	Name     string `json:"name"`
	OK       bool   `json:"ok"`
	Receive  bool   `json:"receive"`            // nothing can be received without it
	Sentence string `json:"sentence,omitempty"` // why not, and what to do
}

// Readiness is the answer of GET /readyz.
type Readiness struct {
	Ready  bool    `json:"ready"`
	Checks []Check `json:"checks"`
}

// Answer is the body of every other answer: what was done, or why it was not.
type Answer struct {
	Done  string `json:"done,omitempty"`
	Error string `json:"error,omitempty"`
}
