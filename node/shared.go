package node

import (
	"fmt"
	"strings"

	"github.com/pulmonode/pulmonode/node/admin"
)

// others is what readiness says of the nodes that share the work. That one of them
// has other settings is no reason to send this one nothing.
func (n *Node) others() []admin.Check {
	if n.config.Queue.URL == "" {
		return nil
	}
	var names, differ []string
	for _, p := range n.queue.Peers() {
		names = append(names, p.Name)
		if sections := p.Differs(n.config.Fingerprints()); len(sections) > 0 {
			differ = append(differ, fmt.Sprintf("settings differ from node %s: %s", p.Name, strings.Join(sections, ", ")))
		}
	}
	said := "no other node shares the work"
	if len(names) > 0 {
		said = "the work is shared with " + strings.Join(names, ", ")
	}
	return []admin.Check{{Name: "nodes", OK: true, Sentence: strings.Join(append([]string{said}, differ...), "; ")}}
}
