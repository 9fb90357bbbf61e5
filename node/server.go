package node

import (
	"errors"
	"fmt"

	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/pixel"
)

// analysable are the SOP classes that are taken for analysis. With
// accept = "any" every storage class is taken; the others are kept and skipped.
var analysable = []string{dataset.CTImage, dataset.EnhancedCT, dataset.LegacyConvertedEnhancedCT}

// newServer makes a DICOM server with the configuration's limits.
func (n *Node) newServer(r *Receiver) *dimse.Server {
	s := &dimse.Server{
		AETitle: n.config.Node.AETitle, Handler: r, Limits: dimse.Limits{Associations: n.config.Node.MaxAssociations},
		AbstractSyntaxes: abstractSyntaxes(n.config.Node.Accept), TransferSyntaxes: transferSyntaxes(),
		Refused: r.Refused, NoRequest: r.NoRequest, Fault: r.Fault,
	}
	return s
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
			if err := s.Serve(l); !errors.Is(err, dimse.ErrServerClosed) {
				n.open.Store(false)
				n.fail(fmt.Errorf("the listener %s ended: %w", l.Addr(), err))
			}
		})
	}
}

// statusText writes a status as peers log it.
func statusText(s dimse.Status) string { return fmt.Sprintf("%04X", uint16(s)) }

// transferSyntaxes are those in which instances are taken: all whose pixel data
// this build can decode, stored as they come.
func transferSyntaxes() []string { return pixel.Supported() }
