package node

import (
	"slices"
	"time"

	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/store"
)

// turnaround measures from the last instance of a generation to its delivery, by
// the times of the files: the instances may have come to another process. A
// clock that was stepped between the two makes the time useless, and below zero
// it is left out, as is what a person had delivered again.
func (n *Node) turnaround(k store.Key, j job.Deliver) {
	if again, err := n.store.SentAgain(k, j.Generation, j.Destination); err != nil || again {
		return
	}
	closings, err := n.store.Closings(k)
	if err != nil {
		return
	}
	i := slices.IndexFunc(closings, func(c store.Closing) bool { return c.Generation == j.Generation })
	if i < 0 {
		return
	}
	instances, err := n.store.Instances(k)
	if err != nil {
		return
	}
	var last time.Time
	for _, in := range instances {
		if _, of := slices.BinarySearch(closings[i].Instances, in.SOPInstanceUID); of && in.Modified.After(last) {
			last = in.Modified
		}
	}
	if took := time.Since(last); !last.IsZero() && took >= 0 {
		n.metrics.TurnaroundSeconds.WithLabelValues(j.Destination).Observe(took.Seconds())
	}
}
