package check

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/node/job"
)

// queue looks whether the database that several nodes share can be worked with,
// and whether those that live have the same settings.
func (s surroundings) queue(ctx context.Context, c *config.Config) (faults []config.Fault) {
	if !c.Queue.NamesPostgreSQL() {
		return nil // none, or what the settings are at fault for
	}
	ctx, cancel := context.WithTimeout(ctx, s.echoWithin)
	defer cancel()
	peers, err := job.Look(ctx, job.Options{URL: c.Queue.URL, PasswordFile: c.Queue.PasswordFile, Node: c.NodeName(), Lease: time.Duration(c.Queue.Lease)})
	if err != nil {
		if problem, ok := strings.CutPrefix(err.Error(), "[queue] password_file: "); ok {
			return []config.Fault{fault("[queue] password_file", problem, "name a file that the user that runs the node may read; without one no node starts")}
		}
		return []config.Fault{fault("[queue] url", strings.TrimPrefix(err.Error(), "[queue] url: "), "until then no node starts with it; those that run keep receiving")}
	}
	for _, p := range peers {
		if p.Name == c.NodeName() {
			continue // this node runs
		}
		if sections := p.Differs(c.Fingerprints()); len(sections) > 0 {
			faults = append(faults, warning("[queue] url", fmt.Sprintf("node %s, which shares the work, has other settings in %s", p.Name, strings.Join(sections, ", ")),
				"give all nodes the same node.toml, but for [node] name: what comes of a series must not depend on which of them works on it"))
		}
	}
	return faults
}
