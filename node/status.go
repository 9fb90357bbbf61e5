package node

import (
	"context"
	"fmt"
	"strings"
)

// Status is a sentence on how the node is, for systemctl status.
func (n *Node) Status(ctx context.Context) string {
	var missing []string
	for _, c := range n.ready(ctx) {
		if !c.OK {
			missing = append(missing, c.Name+": "+c.Sentence)
		}
	}
	var at []string
	for _, a := range n.addresses() {
		at = append(at, a.String())
	}
	said := fmt.Sprintf("%s receives on %s", n.config.Node.AETitle, strings.Join(at, " and "))
	if len(missing) > 0 {
		said += "; not ready: " + strings.Join(missing, "; ")
	}
	return said
}
