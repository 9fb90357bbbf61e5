package admin

import (
	"context"
	"slices"
	"time"

	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/store"
)

// survey is what the list and the node at a glance are made of.
type survey struct {
	made   time.Time
	serves time.Duration
	series []surveyed // the latest change first

	analyses, running int        // that wait for their turn, that run
	oldest            *time.Time // since when the analysis waits that waits longest
	sent              []glance   // as configured
}

type surveyed struct {
	Series
	brought *brought
}

// glance is a destination at a glance.
type glance struct {
	Name      string
	Last      *time.Time // when it last confirmed an object
	Waiting   int        // deliveries that are still to be done
	Since     *time.Time // since when the oldest of them waits
	Failed    int        // deliveries that wait for a person
	LastError string     // of one that is tried again
}

// Down says that the destination does not take what it is sent now.
func (g glance) Down() bool { return g.LastError != "" }

// A survey serves for surveyFor, or surveyShare times as long as it took:
// however many look at the page, of however many series, the folders are gone
// through by one of them at a time, for a sixth of the time at most.
const (
	surveyFor   = time.Second
	surveyShare = 5
)

// survey looks at every series. Who waits for another's look may give up: on a
// disk that hangs one request is stuck, not all that come.
func (s *Server) survey(ctx context.Context) (*survey, error) {
	select {
	case s.surveying <- struct{}{}:
		defer func() { <-s.surveying }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.surveyed != nil && time.Since(s.surveyed.made) < s.surveyed.serves {
		return s.surveyed, nil
	}
	n, began := &survey{}, time.Now()
	at := map[string]int{}
	for i, d := range s.opts.Destinations {
		n.sent = append(n.sent, glance{Name: d.Name})
		at[d.Name] = i
	}
	err := s.each(ctx, func(store.Key) bool { return true }, func(d *Detail, v *view) {
		n.series = append(n.series, surveyed{d.Series, v.brought})
		switch d.State {
		case Waiting:
			n.analyses++
			earlier(&n.oldest, d.Closed)
		case Analysing:
			n.running++
		}
		for _, one := range d.Deliveries {
			i, ok := at[one.Destination]
			if !ok {
				continue
			}
			n.sent[i].add(&one, d)
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(n.series, func(a, b surveyed) int { return placeOf(&a.Series).compare(placeOf(&b.Series)) })
	n.made = time.Now()
	n.serves = max(surveyFor, surveyShare*n.made.Sub(began))
	s.surveyed = n
	return n, nil
}

// counts is how many series are in each state, the empty ones too.
func (n *survey) counts() map[State]int {
	counts := map[State]int{}
	for _, state := range States {
		counts[state] = 0
	}
	for _, one := range n.series {
		counts[one.State]++
	}
	return counts
}

func (g *glance) add(one *Delivery, d *Detail) {
	if one.Last != nil && (g.Last == nil || one.Last.After(*g.Last)) {
		g.Last = one.Last
	}
	switch one.State {
	case deliveryQueued, deliveryRunning, deliveryWaiting:
		g.Waiting++
		for i := range d.Generations {
			if d.Generations[i].Generation == one.Generation {
				earlier(&g.Since, &d.Generations[i].Written)
			}
		}
		if one.State == deliveryWaiting && one.Job != nil && one.Job.LastError != "" {
			g.LastError = one.Job.LastError
		}
	case deliveryFailed, deliveryCancelled:
		g.Failed++
	}
}

func earlier(have **time.Time, t *time.Time) {
	if t != nil && (*have == nil || t.Before(**have)) {
		*have = t
	}
}

// atAGlance is the node as the list's page shows it.
type atAGlance struct {
	Free, Disk   string // what the disk has left, and its size; empty when that cannot be told
	Analyses     int
	Running      int
	Oldest       *time.Time
	Algorithm    *result.Algorithm
	NoAlgorithm  string // why there is none
	Destinations []glance
	Problems     []Check // parts that are not ready
}

// NotReady says whether one of these parts is not.
func (g atAGlance) NotReady(parts ...string) bool {
	return slices.ContainsFunc(g.Problems, func(c Check) bool { return slices.Contains(parts, c.Name) })
}

func (s *Server) glance(ctx context.Context, n *survey) atAGlance {
	g := atAGlance{Analyses: n.analyses, Running: n.running, Oldest: n.oldest, Destinations: n.sent}
	if free, err := s.opts.Store.Free(); err == nil {
		g.Free = bytesText(free)
	}
	if size, err := s.opts.Store.Total(); err == nil {
		g.Disk = bytesText(size)
	}
	if a, err := s.opts.Algorithm(); err == nil {
		g.Algorithm = &a
	} else {
		g.NoAlgorithm = stop(err.Error())
	}
	for _, c := range s.opts.Ready(ctx) {
		if !c.OK {
			c.Sentence = stop(c.Sentence)
			g.Problems = append(g.Problems, c)
		}
	}
	return g
}
