package admin

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/store"
)

// whyDeleted is why retention deleted a series, in words.
var whyDeleted = map[string]string{
	store.ForAge:  "it had been kept as long as [storage] keep says",
	store.ForRoom: "early, to make room on the disk",
}

// deleted is what is shown of a series that is here no longer.
func deleted(r store.Removed) *Detail {
	d := &Detail{
		Deleted: &r.Time,
		Series: Series{
			Study: r.Study, Series: r.Series, State: Deleted, Generation: r.Generation, Instances: r.Instances,
			Outcome: r.Outcome, Nodules: r.Nodules, Changed: r.Changed, Destinations: []Stand{},
		},
		Closings: []Closing{}, Generations: []Generation{}, Conflicts: []string{}, Deliveries: []Delivery{},
	}
	if r.Generation > 0 {
		closed := r.Closed.Time
		d.Closed = &closed
		d.Closings = append(d.Closings, Closing{r.Generation, r.Closed.Reason, closed, r.Instances, r.Expected})
	}
	said := []string{fmt.Sprintf("Deleted on %s, %s.", moment(r.Time), cmp.Or(whyDeleted[r.Reason], r.Reason))}
	switch r.Outcome {
	case result.OutcomeNone:
		said = append(said, "No nodule was found.")
	case result.OutcomeNodules:
		said = append(said, count(r.Nodules, "nodule was found.", "nodules were found."))
	case result.OutcomeSkipped:
		said = append(said, "It was not analysed: "+stop(r.Sentence))
	case result.OutcomeFailed:
		said = append(said, "Its analysis had failed: "+stop(r.Sentence))
	default:
		said = append(said, "It had no results.")
	}
	if r.Outcome != "" {
		d.Generations = append(d.Generations, Generation{Generation: r.Generation, Attempt: r.Attempt, Outcome: r.Outcome, Reason: r.Sentence,
			Nodules: r.Nodules, Files: []string{}})
	}
	for _, one := range r.Deliveries {
		sentence := fmt.Sprintf("%s took %s of generation %d, the last on %s", one.Destination, count(one.Objects, "object", "objects"), one.Generation,
			moment(one.Last))
		if one.Committed > 0 {
			sentence += fmt.Sprintf(", and answers for %d", one.Committed)
		}
		sentence += "."
		d.Deliveries = append(d.Deliveries, Delivery{Destination: one.Destination, Generation: one.Generation, State: deliveryDone,
			Sentence: sentence, Objects: one.Objects, Stored: one.Objects, Last: &one.Last})
		if one.Generation == r.Generation {
			d.Destinations = append(d.Destinations, Stand{one.Destination, deliveryDone})
			said = append(said, sentence)
		}
	}
	d.Sentence = strings.Join(said, " ")
	return d
}
