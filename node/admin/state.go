package admin

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/store"
)

// Progress is how far a running analysis is.
type Progress struct {
	Stage       string
	Done, Total int
}

// derive tells the state of a series from its files, its jobs and the progress
// of its analysis, if it runs.
func derive(k store.Key, v *view, jobs []job.Job, destinations []job.Destination, p *Progress) Detail {
	d := Detail{
		Series:      Series{Study: k.Study, Series: k.Series, Instances: v.instances, Changed: v.changed, Destinations: []Stand{}},
		Closings:    append([]Closing{}, v.closings...),
		Generations: []Generation{},
		Conflicts:   append([]string{}, v.conflicts...),
		Deliveries:  []Delivery{},
	}
	for _, m := range v.generations {
		g := Generation{Generation: m.Generation, Attempt: m.Attempt, Outcome: m.Outcome, Reason: m.Reason, Nodules: m.Nodules, Files: []string{}, Written: m.Written, Warnings: m.Warnings}
		for _, f := range m.Files {
			g.Files = append(g.Files, f.Name)
		}
		d.Generations = append(d.Generations, g)
		for _, name := range v.plans[m.Generation] {
			if delivery, ok := deliveryOf(m, name, v.receipts[m.Generation][name], jobs, destinations); ok {
				d.Deliveries = append(d.Deliveries, delivery)
			}
		}
	}
	if v.last != nil {
		d.Generation, d.Closed = v.last.Generation, &v.last.Closed.Time
		if j := find(jobs, "analyze", v.last.Generation, ""); j != nil {
			d.Analysis = view2job(j)
			if p != nil && j.State == job.Running {
				d.Analysis.Stage, d.Analysis.Done, d.Analysis.Total = p.Stage, p.Done, p.Total
			}
		}
	}
	d.State, d.Sentence = stateOf(&d, v)
	if m := v.manifest(d.Generation); m != nil {
		d.Outcome, d.Nodules = m.Outcome, m.Nodules
	}
	if v.brought != nil {
		d.Source = v.brought.source
	}
	if n := len(d.Generations); n > 0 {
		for _, one := range d.Deliveries {
			if one.Generation == d.Generations[n-1].Generation {
				d.Destinations = append(d.Destinations, Stand{one.Destination, one.State})
			}
		}
	}
	if n := len(v.conflicts); n > 0 {
		d.Sentence += fmt.Sprintf(" %s with a known SOP Instance UID but other bytes; kept aside, not analysed.", count(n, "instance came", "instances came"))
	}
	return d
}

func stateOf(d *Detail, v *view) (State, string) {
	switch {
	case v.err != nil:
		return Failed, fmt.Sprintf("The series cannot be read: %v.", v.err)
	case v.last == nil:
		return Receiving, fmt.Sprintf("%s so far; the series is not complete yet.", count(v.instances, "instance", "instances"))
	case !v.asClosed:
		return Receiving, fmt.Sprintf("%s after generation %d was closed; they open generation %d.",
			count(max(v.instances-v.closed, 1), "instance came", "instances came"), v.last.Generation, v.last.Generation+1)
	}
	m := v.manifest(v.last.Generation)
	if m == nil {
		return analysisState(d.Analysis)
	}
	var failed, open []string
	current, sent := 0, 0
	for _, one := range d.Deliveries {
		if one.ended() {
			failed = append(failed, one.Sentence)
		} else if one.open() {
			open = append(open, one.Sentence)
		}
		if one.Generation == m.Generation {
			current++
			if one.Sent() {
				sent++
			}
		}
	}
	deliveries := strings.Join(append(failed, open...), " ")
	switch {
	case m.Outcome == result.OutcomeFailed:
		return Failed, joined("The analysis failed: "+stop(m.Reason), deliveries)
	case m.Outcome == result.OutcomeSkipped:
		return Skipped, joined("Not analysed: "+stop(m.Reason), deliveries)
	case len(failed) > 0:
		return Failed, deliveries
	case len(open) > 0:
		return Delivering, deliveries
	}
	found := "No nodule was found"
	if m.Outcome == result.OutcomeNodules {
		found = count(m.Nodules, "nodule was found", "nodules were found")
	}
	where := "the results are at " + count(sent, "destination", "destinations")
	switch {
	case current > 0 && sent == 0:
		where = "the destinations that were to have the results are no longer configured, they are kept here"
	case current == 0:
		where = "no destination is configured for the results, they are kept here"
	}
	said := []string{fmt.Sprintf("%s; %s.", found, where)}
	for _, w := range m.Warnings {
		said = append(said, "Note: "+stop(w))
	}
	return Delivered, strings.Join(said, " ")
}

func analysisState(j *Job) (State, string) {
	if j == nil {
		return Waiting, "Complete; the analysis is about to be queued."
	}
	switch job.State(j.State) {
	case job.Running:
		if j.Stage != "" && j.Total > 0 {
			return Analysing, fmt.Sprintf("The analysis runs%s: %s, %d of %d.", at(j), j.Stage, j.Done, j.Total)
		}
		return Analysing, "The analysis runs" + at(j) + "."
	case job.Failed:
		return Failed, "The analysis failed: " + stop(j.LastError)
	case job.Cancelled:
		return Failed, "The analysis was cancelled by a person; retry to have it done."
	case job.Waiting:
		if j.Reason != "" {
			return Waiting, "The analysis waits: " + stop(j.Reason)
		}
		return Waiting, retrySentence("The analysis", j)
	}
	return Waiting, "Complete; the analysis waits for its turn."
}

// ended reports whether a delivery ended without success and waits for a person;
// open, whether somebody waits for it, ended or not.
func (one Delivery) ended() bool {
	return one.State == deliveryFailed || one.State == deliveryCancelled
}

func (one Delivery) open() bool {
	return one.State != deliveryDone && one.State != deliveryUnconfigured
}

func deliveryOf(m *store.Manifest, name string, receipts map[string]store.Receipt, jobs []job.Job, destinations []job.Destination) (Delivery, bool) {
	one := Delivery{Destination: name, Generation: m.Generation}
	j := find(jobs, "deliver", m.Generation, name)
	i := slices.IndexFunc(destinations, func(d job.Destination) bool { return d.Name == name })
	if i < 0 {
		one.Stored, one.Objects = len(receipts), len(receipts)
		one.State, one.Sentence = deliveryUnconfigured, fmt.Sprintf("Destination %s is no longer configured.", name)
		if j != nil && j.State != job.Done { // the queue keeps it for a node that has it
			one.Job = view2job(j)
			one.State, one.Sentence = string(j.State), fmt.Sprintf("The delivery to %s is another node's: this one has no such destination.", name)
		}
		return one, true
	}
	objects := destinations[i].Objects(m)
	if len(objects) == 0 {
		return one, false
	}
	one.Objects = len(objects)
	settled := 0
	for _, f := range objects {
		r, ok := receipts[f.SOPInstanceUID]
		if !ok || r.Refused != "" {
			continue
		}
		one.Stored++
		if destinations[i].Settled(r) {
			settled++
		}
		if one.First == nil || r.Time.Before(*one.First) {
			one.First = &r.Time
		}
		if one.Last == nil || r.Time.After(*one.Last) {
			one.Last = &r.Time
		}
		if r.Note != "" {
			one.Notes = append(one.Notes, f.Name+": "+r.Note)
		}
	}
	if j != nil {
		one.Job = view2job(j)
	}
	switch {
	case settled == one.Objects:
		one.State, one.Sentence = deliveryDone, fmt.Sprintf("%s has %s of generation %d.", name, count(one.Objects, "object", "objects"), m.Generation)
	case j == nil || j.State == job.Done || j.State == job.Queued:
		one.State, one.Sentence = deliveryQueued, fmt.Sprintf("The delivery to %s waits for its turn.", name)
	case j.State == job.Running:
		one.State, one.Sentence = deliveryRunning, fmt.Sprintf("The delivery to %s runs%s: %d of %s stored.", name, at(one.Job), one.Stored, count(one.Objects, "object", "objects"))
	case j.State == job.Waiting:
		one.State, one.Sentence = deliveryWaiting, retrySentence("The delivery to "+name, one.Job)
		if j.Reason != "" {
			one.Sentence = fmt.Sprintf("The delivery to %s waits: %s", name, stop(j.Reason))
		}
	case j.State == job.Cancelled:
		one.State, one.Sentence = deliveryCancelled, fmt.Sprintf("The delivery to %s was cancelled by a person; retry to have it done.", name)
	default:
		one.State, one.Sentence = deliveryFailed, fmt.Sprintf("The delivery to %s failed: %s", name, stop(j.LastError))
	}
	return one, true
}

func retrySentence(what string, j *Job) string {
	when := "soon"
	if j.Next != nil {
		when = "at " + moment(*j.Next)
	}
	return fmt.Sprintf("%s is tried again %s (%d of %d attempts failed): %s", what, when, j.Attempt, j.MaxAttempts, stop(j.LastError))
}

// moment is a time in a sentence.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }

// at says on which of several nodes a job runs.
func at(j *Job) string {
	if j.Node == "" {
		return ""
	}
	return " on node " + j.Node
}

func view2job(j *job.Job) *Job {
	w := &Job{State: string(j.State), Attempt: j.Attempt, MaxAttempts: j.MaxAttempts, Reason: j.Reason, LastError: j.LastError, Node: j.Node}
	if !j.Next.IsZero() {
		next := j.Next.Truncate(time.Second)
		w.Next = &next
	}
	return w
}

// find returns the latest job that fits, nil when there is none.
func find(jobs []job.Job, kind string, generation int, destination string) *job.Job {
	for i := len(jobs) - 1; i >= 0; i-- {
		if jobs[i].Kind == kind && jobs[i].Generation == generation && jobs[i].Destination == destination {
			return &jobs[i]
		}
	}
	return nil
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// stop ends a sentence with exactly one stop.
func stop(s string) string { return strings.TrimRight(s, ". ") + "." }

func joined(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " ")
}
