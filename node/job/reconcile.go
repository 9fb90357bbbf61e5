package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"go.uber.org/zap"

	"github.com/pulmonode/pulmonode/node/store"
)

// Destination is what the queue knows of a destination.
type Destination struct {
	Name   string
	Send   []string // kinds of results: "seg", "sr", "keyimage", "kos", "pdf"
	Commit bool     // it is asked to answer for what it took (storage commitment)
}

// Objects lists what of a generation the destination gets.
func (d Destination) Objects(m *store.Manifest) []store.ManifestFile {
	var objects []store.ManifestFile
	for _, f := range m.Files {
		if f.SOPInstanceUID != "" && slices.Contains(d.Send, f.Kind) {
			objects = append(objects, f)
		}
	}
	return objects
}

// Settled reports whether nothing is left to do for an object with this receipt.
func (d Destination) Settled(r store.Receipt) bool {
	return r.Refused == "" && (!d.Commit || r.Committed || r.Unanswered)
}

// Undelivered lists what of a generation the destination gets and has no
// receipt for that settles it.
func (d Destination) Undelivered(s *store.Store, m *store.Manifest) ([]store.ManifestFile, error) {
	objects := d.Objects(m)
	if len(objects) == 0 {
		return nil, nil
	}
	receipts, err := s.Receipts(m.Key, m.Generation, d.Name)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(objects, func(f store.ManifestFile) bool {
		r, ok := receipts[f.SOPInstanceUID]
		return ok && d.Settled(r)
	}), nil
}

// planName is the file of a generation that names its destinations. Those that
// were configured when it was written get it: a destination that is added later
// is not flooded with what is old.
const planName = "destinations.json"

// maxPlan bounds the file when it is read back: config.Load bounds the names.
const maxPlan = 1 << 20

// PlanFile is the file of a generation that says where it goes.
func PlanFile(destinations []Destination) (store.File, error) {
	names := []string{}
	for _, d := range destinations {
		names = append(names, d.Name)
	}
	b, err := json.MarshalIndent(names, "", "\t")
	if err != nil {
		return store.File{}, fmt.Errorf("naming the destinations: %w", err)
	}
	return store.File{Name: planName, Kind: "json", Bytes: append(b, '\n')}, nil
}

// Plan reads where a generation goes: names, also of destinations that are no
// longer configured.
func Plan(s *store.Store, k store.Key, generation int) ([]string, error) {
	folder, err := s.GenerationFolder(k, generation)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(folder, planName)
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading the destinations of series %s: %w", k.Series, err)
	}
	if info.Size() > maxPlan {
		return nil, fmt.Errorf("reading the destinations of series %s: %s has %d bytes", k.Series, planName, info.Size())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the destinations of series %s: %w", k.Series, err)
	}
	var names []string
	if err := json.Unmarshal(b, &names); err != nil {
		return nil, fmt.Errorf("reading the destinations of series %s: %s is damaged: %w", k.Series, planName, err)
	}
	return names, nil
}

// Deliveries lists the deliveries that a generation still needs.
func (q *Queue) Deliveries(s *store.Store, m *store.Manifest) ([]Deliver, error) {
	plan, err := Plan(s, m.Key, m.Generation)
	if err != nil {
		return nil, err
	}
	var list []Deliver
	for _, d := range q.opts.Destinations {
		if !slices.Contains(plan, d.Name) {
			continue
		}
		left, err := d.Undelivered(s, m)
		if err != nil {
			return nil, err
		}
		if len(left) > 0 {
			list = append(list, Deliver{m.Study, m.Series, m.Generation, d.Name})
		}
	}
	return list, nil
}

// Reconcile gives every series the work that its files say is missing: the last
// closing without results its analysis, results without all their receipts
// their deliveries. What is queued, failed or cancelled already is left alone.
// A series that cannot be read is logged and hinders no other; the error is that
// of the queue or of the data folder as a whole, and worth another call. Of several
// nodes one does it for all, unless they are set differently: that one may not know
// the destinations of the others.
func (q *Queue) Reconcile(ctx context.Context, s *store.Store) error {
	if err := q.takeBackLost(ctx); err != nil {
		return fmt.Errorf("taking back lost jobs: %w", err)
	}
	if !q.Leads() && !q.differs() {
		return nil
	}
	keys, err := s.Series()
	if err != nil {
		return fmt.Errorf("reconciling the queue with the files: %w", err)
	}
	for _, k := range keys {
		if err := ctx.Err(); err != nil {
			return err
		}
		analyses, deliveries, err := q.missing(s, k)
		if err != nil {
			q.opts.Log.Error("series_unreadable", zap.String("study", k.Study), zap.String("series", k.Series), zap.Error(err))
		}
		for _, a := range analyses {
			if err := q.EnqueueAnalyze(ctx, a); err != nil {
				return err
			}
		}
		if err := q.EnqueueDeliver(ctx, deliveries...); err != nil {
			return err
		}
	}
	return nil
}

// missing lists the work that the files of a series call for, as far as they
// can be read.
func (q *Queue) missing(s *store.Store, k store.Key) (analyses []Analyze, deliveries []Deliver, err error) {
	generations, err := s.Generations(k)
	if err != nil {
		return nil, nil, err
	}
	for _, n := range generations {
		m, err := s.Generation(k, n)
		if damaged(err) {
			// Without its manifest nothing of the generation can be sent. What
			// was delivered of it keeps its UIDs; the repetition has others.
			q.opts.Log.Error("generation_damaged", zap.String("study", k.Study), zap.String("series", k.Series), zap.Int("generation", n), zap.Error(err))
			if err := s.SetAside(k, n); err != nil {
				return analyses, deliveries, err
			}
			continue
		}
		if err != nil {
			return analyses, deliveries, err
		}
		left, err := q.Deliveries(s, m)
		if err != nil {
			return analyses, deliveries, err
		}
		deliveries = append(deliveries, left...)
	}
	last, err := s.LastClosing(k)
	if err != nil || last == nil {
		return analyses, deliveries, err
	}
	_, err = s.Generation(k, last.Generation)
	if errors.Is(err, store.ErrNotExist) {
		return append(analyses, Analyze{k.Study, k.Series, last.Generation}), deliveries, nil
	}
	return analyses, deliveries, err
}

// damaged reports whether a manifest that should be there cannot be understood.
func damaged(err error) bool {
	return errors.Is(err, store.ErrNotExist) || errors.As(err, new(*json.SyntaxError)) || errors.As(err, new(*json.UnmarshalTypeError))
}
