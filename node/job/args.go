package job

import (
	"fmt"
	"hash/fnv"
	"regexp"
	"strings"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// Analyze asks for the analysis of one generation of a series.
type Analyze struct {
	Study      string `json:"study" river:"unique"`
	Series     string `json:"series" river:"unique"`
	Generation int    `json:"generation" river:"unique"`
}

// Kind names the job in the queue's table.
func (Analyze) Kind() string { return "analyze" }

// Deliver asks for the results of one generation to be sent to one destination.
type Deliver struct {
	Study       string `json:"study" river:"unique"`
	Series      string `json:"series" river:"unique"`
	Generation  int    `json:"generation" river:"unique"`
	Destination string `json:"destination" river:"unique"`
}

// Kind names the job in the queue's table.
func (Deliver) Kind() string { return "deliver" }

// unique keeps one job for the same arguments in every state but completed: a
// failed or cancelled job waits for a person and must not be queued again by
// the reconciliation with the files.
func unique() river.UniqueOpts {
	return river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{
		rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRunning,
		rivertype.JobStateRetryable, rivertype.JobStateScheduled,
		rivertype.JobStateDiscarded, rivertype.JobStateCancelled,
	}}
}

const analyzeQueue = "analyze"

var queueName = regexp.MustCompile(`^[a-z0-9]+([_-][a-z0-9]+)*$`)

// deliverQueue is the queue of a destination. River's names are narrower than
// a destination's may be; the others are told apart by a hash.
func deliverQueue(destination string) string {
	name := strings.ToLower(destination)
	if name == destination && len(name) < 100 && queueName.MatchString(name) {
		return "deliver_" + name
	}
	h := fnv.New64a()
	h.Write([]byte(destination))
	return fmt.Sprintf("deliver_x-%016x", h.Sum64())
}
