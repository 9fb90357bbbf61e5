package node

import (
	"errors"
	"fmt"
	"net"

	"github.com/pulmonode/pulmonode/dimse"
)

// newServer makes a DICOM server with the configuration's limits.
func (n *Node) newServer(r *Receiver) *dimse.Server {
	return &dimse.Server{AETitle: n.config.Node.AETitle, Handler: r, MaxAssociations: n.config.Node.MaxAssociations}
}

// serve answers peers; the last step of a start.
func (n *Node) serve() {
	servers := []*dimse.Server{n.server}
	if n.secure != nil {
		servers = append(servers, n.secure)
	}
	n.open.Store(true)
	for i, s := range servers {
		l := n.listeners[i]
		n.task(func() {
			if err := s.Serve(l); err != nil && n.open.Load() && !errors.Is(err, net.ErrClosed) {
				n.open.Store(false)
				n.fail(fmt.Errorf("the listener %s ended: %w", l.Addr(), err))
			}
		})
	}
}

// statusText writes a status as peers log it.
func statusText(s dimse.Status) string { return fmt.Sprintf("%04X", uint16(s)) }
