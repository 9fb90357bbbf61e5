package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/admin"
	"github.com/pulmonode/pulmonode/node/store"
	"github.com/pulmonode/pulmonode/sr"
)

// Bounds of the promises that are numbers.
const (
	storeBound       = 10 * time.Second // of a C-STORE, whatever else happens
	memoryBoundMiB   = 2048             // of the pipeline with its models
	descriptorsBound = 400              // 64 associations, the queue, files
	sampled          = 4                // series that are analysed again
)

// judge holds every promise against what the destinations hold and the node says.
func (d *day) judge(ctx context.Context) *report {
	j := judgement{day: d, report: &report{
		Series: d.count, Length: d.length.String(), Instances: d.kept.Count(), Refused: d.refused.Load(), Wrong: d.wrongs.Load(),
		Events: d.events, Samples: d.samples}}
	for _, s := range d.sinks {
		j.held = append(j.held, s.holds())
	}
	for _, promise := range []struct {
		sentence string
		check    func(context.Context) (said string, broken []string)
	}{
		{"every sender could send all it had, and nothing wrong was taken", func(context.Context) (string, []string) {
			return fmt.Sprintf("%d wrong things refused", d.wrongs.Load()), d.kept.Failures()
		}},
		{"every instance that was confirmed is on disk bit for bit", func(context.Context) (string, []string) {
			n, lost := d.kept.Check(d.path("data"))
			if n == 0 {
				lost = append(lost, "nothing was confirmed at all")
			}
			return fmt.Sprintf("%d confirmed, %d lost", n, len(lost)), lost
		}},
		{"every series ends in its state with a sentence", j.states},
		{"one result set a generation at each destination, always the same bytes", j.results},
		{"no report says more than was found, each that nobody verified it", j.reports},
		{"the same input gives the same bytes", j.sameBytes},
		{"reception never waited", j.reception},
		{"memory and descriptors are bounded", j.bounded},
		{"no patient is named in the log, the metrics or the page", j.discreet},
	} {
		said, broken := promise.check(ctx)
		for i, b := range broken {
			if i == 10 {
				broken = append(broken[:10], fmt.Sprintf("and %d more", len(broken)-10))
				break
			}
			j.report.Broken = append(j.report.Broken, promise.sentence+": "+b)
		}
		j.report.Promises = append(j.report.Promises, kept{promise.sentence, said, len(broken) == 0})
	}
	j.delays()
	return j.report
}

type judgement struct {
	day     *day
	report  *report
	held    []map[string]*object // by sink
	details []*admin.Detail      // of the planned series, in the order of the plan
	sets    []set
}

// set is the results of one generation.
type set struct {
	store.Manifest
	folder string
	of     planned
}

// sums are the SHA-256 of the set's objects without their file headers, by UID.
func (s set) sums() (map[string][32]byte, error) {
	all := map[string][32]byte{}
	for _, f := range s.Files {
		if f.SOPInstanceUID == "" {
			continue
		}
		sum, err := sumOf(filepath.Join(s.folder, f.Name))
		if err != nil {
			return nil, err
		}
		all[f.SOPInstanceUID] = sum
	}
	return all, nil
}

func sumOf(path string) (sum [32]byte, err error) {
	f, err := dataset.Open(path, dataset.Limits{HeaderBytes: 64 << 20, Elements: 1 << 20})
	if err != nil {
		return sum, err
	}
	data, err := f.DataSet()
	if err != nil {
		return sum, err
	}
	defer data.Close()
	h := sha256.New()
	_, err = io.Copy(h, data)
	return [32]byte(h.Sum(nil)), err
}

// states asks the node about every series.
func (j *judgement) states(ctx context.Context) (said string, broken []string) {
	all, err := j.day.list(ctx, "")
	if err != nil {
		return "", []string{err.Error()}
	}
	if len(all) != j.day.count {
		broken = append(broken, fmt.Sprintf("the node lists %d series, %d were sent", len(all), j.day.count))
	}
	n := map[admin.State]int{}
	outcomes := map[int]string{}
	for _, a := range j.day.plan {
		for _, p := range a.series {
			detail := &admin.Detail{}
			path := "/api/v1/series/" + url.PathEscape(studyUID(p.number)) + "/" + url.PathEscape(seriesUID(p.number))
			if err := j.day.get(ctx, path, detail); err != nil {
				broken = append(broken, err.Error())
				continue
			}
			j.details = append(j.details, detail)
			n[detail.State]++
			want := admin.Delivered
			if p.flaw != sound {
				want = admin.Skipped
			}
			if detail.State != want || detail.Sentence == "" || !strings.Contains(detail.Sentence, says[p.flaw]) {
				broken = append(broken, fmt.Sprintf("series %d (%s, %s) is %s: %q", p.number, habitNames[a.habit], p.flaw, detail.State, detail.Sentence))
			}
			j.day.mu.Lock()
			sent := len(j.day.confirmed[seriesUID(p.number)])
			j.day.mu.Unlock()
			if detail.Instances != sent {
				broken = append(broken, fmt.Sprintf("of series %d %d instances were confirmed, the node says %d", p.number, sent, detail.Instances))
			}
			if last := len(detail.Closings) - 1; last < 0 || detail.Closings[last].Instances != sent {
				broken = append(broken, fmt.Sprintf("the last closing of series %d does not name all of its %d instances", p.number, sent))
			}
			// The same chest has the same nodules whoever sends it, and however.
			if p.flaw == sound && !p.whole {
				now := fmt.Sprintf("%s with %d nodules", detail.Outcome, detail.Nodules)
				if before, ok := outcomes[p.anatomy]; ok && before != now {
					broken = append(broken, fmt.Sprintf("series %d has the outcome %s, the same chest before had %s", p.number, now, before))
				}
				outcomes[p.anatomy] = now
			}
			for _, g := range detail.Generations {
				s := set{of: p, folder: filepath.Join(j.day.path("data"), "series", studyUID(p.number), seriesUID(p.number), fmt.Sprintf("generation-%d", g.Generation))}
				text, err := os.ReadFile(filepath.Join(s.folder, "manifest.json"))
				if err == nil {
					err = json.Unmarshal(text, &s.Manifest)
				}
				if err != nil {
					broken = append(broken, fmt.Sprintf("generation %d of series %d: %v", g.Generation, p.number, err))
					continue
				}
				j.sets = append(j.sets, s)
			}
		}
	}
	j.report.States = map[string]int{}
	for state, count := range n {
		j.report.States[string(state)] = count
	}
	j.report.Generations = len(j.sets)
	return fmt.Sprintf("%d delivered, %d skipped, %d failed; %d generations", n[admin.Delivered], n[admin.Skipped], n[admin.Failed], len(j.sets)), broken
}

// results holds what is on disk against what each destination holds, both ways.
func (j *judgement) results(context.Context) (said string, broken []string) {
	wanted := make([]map[string]bool, len(j.held))
	for i := range wanted {
		wanted[i] = map[string]bool{}
	}
	for _, s := range j.sets {
		n := map[string]int{}
		for _, f := range s.Files {
			if f.SOPInstanceUID != "" {
				n[f.Kind]++
			}
		}
		want := map[result.Outcome][3]int{result.OutcomeNodules: {1, 1, s.Nodules + 1}, result.OutcomeNone: {0, 1, 1}, result.OutcomeSkipped: {}, result.OutcomeFailed: {0, 1, 0}}[s.Outcome]
		if got := [3]int{n["seg"], n["sr"], n["keyimage"]}; got != want {
			broken = append(broken, fmt.Sprintf("generation %d of series %d (%s, %d nodules) has %v SEG, SR and key images, it should have %v", s.Generation, s.of.number, s.Outcome, s.Nodules, got, want))
		}
		sums, err := s.sums()
		if err != nil {
			broken = append(broken, err.Error())
			continue
		}
		for i, sink := range j.day.sinks {
			for _, f := range s.Files {
				if f.SOPInstanceUID == "" || !strings.Contains(sink.send, `"`+f.Kind+`"`) {
					continue
				}
				wanted[i][f.SOPInstanceUID] = true
				switch o := j.held[i][f.SOPInstanceUID]; {
				case o == nil:
					broken = append(broken, fmt.Sprintf("%s lacks %s of generation %d of series %d", sink.name, f.Name, s.Generation, s.of.number))
				case o.transfer == dataset.ExplicitLE && o.sum != sums[f.SOPInstanceUID]:
					broken = append(broken, fmt.Sprintf("%s has other bytes of %s of series %d than the node", sink.name, f.Name, s.of.number))
				}
			}
		}
	}
	var holds []string
	for i, sink := range j.day.sinks {
		for uid, o := range j.held[i] {
			if !wanted[i][uid] {
				broken = append(broken, fmt.Sprintf("%s holds %s (class %s, study %s), which belongs to no generation", sink.name, uid, o.class, o.study))
			}
		}
		sink.mu.Lock()
		broken = append(broken, sink.faults...)
		came := sink.came
		also := ""
		if sink.commit {
			also = fmt.Sprintf(", %d lost on purpose", sink.lost)
		}
		sink.mu.Unlock()
		holds = append(holds, fmt.Sprintf("%s holds %d objects (%d came again%s)", sink.name, len(j.held[i]), came-len(j.held[i]), also))
		if len(j.held[i]) == 0 {
			broken = append(broken, sink.name+" got nothing at all")
		}
	}
	return strings.Join(holds, ", "), broken
}

// reports reads every report that a destination holds.
func (j *judgement) reports(context.Context) (said string, broken []string) {
	outcomes := map[string]set{} // by the report's UID
	analysed := map[string]bool{}
	for _, s := range j.sets {
		for _, f := range s.Files {
			if f.Kind == "sr" {
				outcomes[f.SOPInstanceUID] = s
				analysed[s.Study] = true
			}
		}
	}
	read, negative := 0, 0
	for i, sink := range j.day.sinks {
		for uid, o := range j.held[i] {
			if !o.notice {
				broken = append(broken, fmt.Sprintf("%s holds %s, which does not say that it is not for clinical use", sink.name, uid))
			}
			if !analysed[o.study] {
				broken = append(broken, fmt.Sprintf("%s holds %s of a study that was not analysed", sink.name, uid))
			}
			if o.report == nil {
				continue
			}
			r, err := sr.Read(o.report)
			if err != nil {
				broken = append(broken, fmt.Sprintf("%s holds a report that can't be read: %v", sink.name, err))
				continue
			}
			read++
			s, ok := outcomes[uid]
			if !ok {
				continue // it was complained of
			}
			if r.Outcome == result.OutcomeNone {
				negative++
			}
			if r.Outcome != s.Outcome || len(r.Nodules) != s.Nodules {
				broken = append(broken, fmt.Sprintf("a report of series %d says %s with %d nodules, the result was %s with %d", s.of.number, r.Outcome, len(r.Nodules), s.Outcome, s.Nodules))
			}
			if !s.of.whole && !r.Partial {
				broken = append(broken, fmt.Sprintf("a report of series %d speaks of whole lungs, of which a part was in view", s.of.number))
			}
			if r.Verification != "UNVERIFIED" {
				broken = append(broken, fmt.Sprintf("a report of series %d is %s", s.of.number, r.Verification))
			}
			if len(r.Algorithm.Models) == 0 {
				broken = append(broken, fmt.Sprintf("a report of series %d does not say which models", s.of.number))
			}
		}
	}
	return fmt.Sprintf("%d reports read, %d of them negative", read, negative), broken
}

// sameBytes analyses some series again with `pulmonode analyze`.
func (j *judgement) sameBytes(ctx context.Context) (said string, broken []string) {
	again, objects := 0, 0
	for i := 0; i < len(j.sets) && again < sampled; i += max(len(j.sets)/(3*sampled), 1) {
		s := j.sets[i]
		if s.of.flaw != sound || s.of.whole || s.Generation != 1 || s.Attempt != 0 || len(j.generationsOf(s)) != 1 {
			continue
		}
		again++
		out := j.day.path(fmt.Sprintf("again-%d", s.of.number))
		c := exec.CommandContext(ctx, j.day.binary, "analyze", filepath.Join(filepath.Dir(s.folder), "instances"), "--out", out, "--config", j.day.node.Config,
			"--closed-at", s.Closed.Time.Format(time.RFC3339Nano), "--closed-reason", s.Closed.Reason)
		if text, err := c.CombinedOutput(); err != nil {
			broken = append(broken, fmt.Sprintf("pulmonode analyze: %v\n%s", err, text))
			continue
		}
		for _, f := range s.Files {
			if f.SOPInstanceUID == "" {
				continue
			}
			sum, err := sumOf(filepath.Join(out, f.Name))
			if err != nil {
				broken = append(broken, err.Error())
				continue
			}
			for i, held := range j.held {
				if o := held[f.SOPInstanceUID]; o != nil && o.transfer == dataset.ExplicitLE {
					objects++
					if o.sum != sum {
						broken = append(broken, fmt.Sprintf("%s of series %d at %s has other bytes than `pulmonode analyze` writes", f.Name, s.of.number, j.day.sinks[i].name))
					}
				}
			}
		}
	}
	if objects == 0 {
		broken = append(broken, "nothing could be compared")
	}
	return fmt.Sprintf("%d series analysed again, %d objects at destinations compared", again, objects), broken
}

func (j *judgement) generationsOf(s set) (all []set) {
	for _, other := range j.sets {
		if other.Key == s.Key {
			all = append(all, other)
		}
	}
	return all
}

// reception looks how long a C-STORE took at worst.
func (j *judgement) reception(context.Context) (said string, broken []string) {
	var took []float64
	var worst stored
	for _, s := range j.day.stores {
		took = append(took, s.took.Seconds())
		if s.took > worst.took {
			worst = s
		}
	}
	j.report.StoreSeconds = spreadOf(took)
	if worst.took > storeBound {
		broken = append(broken, fmt.Sprintf("a C-STORE took %v at hour %.1f; the bound is %v", worst.took, j.day.hour(worst.at), storeBound))
	}
	return fmt.Sprintf("of %d C-STOREs the slowest took %.0f ms at hour %.1f (bound %v), p99 %.0f ms", len(took), 1000*worst.took.Seconds(), j.day.hour(worst.at), storeBound, 1000*j.report.StoreSeconds.P99), broken
}

func (j *judgement) bounded(context.Context) (said string, broken []string) {
	var memory, descriptors float64
	for _, s := range j.day.samples {
		memory, descriptors = max(memory, s.MemoryMiB), max(descriptors, s.Descriptors)
	}
	if len(j.day.samples) == 0 {
		return "", []string{"the node never said"}
	}
	last := j.day.samples[len(j.day.samples)-1]
	if memory > memoryBoundMiB {
		broken = append(broken, fmt.Sprintf("%.0f MiB were resident; the bound is %d", memory, memoryBoundMiB))
	}
	if descriptors > descriptorsBound {
		broken = append(broken, fmt.Sprintf("%.0f descriptors were open; the bound is %d", descriptors, descriptorsBound))
	}
	j.report.MemoryMiB, j.report.Descriptors = memory, descriptors
	return fmt.Sprintf("at most %.0f MiB and %.0f descriptors, at the end %.0f and %.0f", memory, descriptors, last.MemoryMiB, last.Descriptors), broken
}

// discreet looks for patients wherever none may be.
func (j *judgement) discreet(ctx context.Context) (said string, broken []string) {
	places := map[string][]byte{}
	log, err := os.ReadFile(j.day.node.Log)
	if err != nil {
		broken = append(broken, err.Error())
	}
	places["the log"] = log
	for _, path := range []string{"/metrics", "/", "/api/v1/series?limit=10000"} {
		var b []byte
		if err := j.day.get(ctx, path, &b); err != nil {
			broken = append(broken, err.Error())
		}
		places[path] = b
	}
	for _, d := range j.details {
		places["the details"], _ = json.Marshal(d)
	}
	size := 0
	for place, text := range places {
		size += len(text)
		for _, secret := range secrets {
			if at := bytes.Index(text, []byte(secret)); at >= 0 {
				broken = append(broken, fmt.Sprintf("%s names a patient: %s", place, text[max(at-100, 0):min(at+40, len(text))]))
			}
		}
	}
	if at := bytes.Index(log, []byte("panic")); at >= 0 {
		broken = append(broken, fmt.Sprintf("the log speaks of a panic: %s", log[max(at-100, 0):min(at+400, len(log))]))
	}
	return fmt.Sprintf("%d KiB searched", size>>10), broken
}

// delays computes how long each series took from its last instance to its first
// complete destination, and to the last.
func (j *judgement) delays() {
	type at struct{ first, all float64 }
	seen := map[string]at{}
	for _, s := range slices.Backward(j.sets) {
		if _, ok := seen[s.Series]; ok || s.of.flaw != sound {
			continue
		}
		last := j.day.last[s.Series]
		a := at{first: -1}
		for i, sink := range j.day.sinks {
			complete := time.Time{}
			for _, f := range s.Files {
				if f.SOPInstanceUID != "" && strings.Contains(sink.send, `"`+f.Kind+`"`) {
					if o := j.held[i][f.SOPInstanceUID]; o != nil && o.first.After(complete) {
						complete = o.first
					}
				}
			}
			seconds := complete.Sub(last).Seconds()
			if a.first < 0 || seconds < a.first {
				a.first = seconds
			}
			a.all = max(a.all, seconds)
		}
		seen[s.Series] = a
		j.report.Delays = append(j.report.Delays, delay{Series: s.of.number, Hour: j.day.hour(last), First: a.first, All: a.all})
	}
	var first, all []float64
	for _, d := range j.report.Delays {
		first, all = append(first, d.First), append(all, d.All)
	}
	j.report.ToFirst, j.report.ToAll = spreadOf(first), spreadOf(all)
}
