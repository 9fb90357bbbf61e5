package check

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"

	"go.uber.org/zap"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/node/deliver"
	"github.com/pulmonode/pulmonode/node/secure"
)

// Echo opens an association with a peer, sends C-ECHO and releases.
func Echo(ctx context.Context, c dimse.Client) error {
	_, err := echo(ctx, c, nil)
	return err
}

// echo proposes more contexts than that of Verification, and returns the SOP
// classes of those that the peer did not accept.
func echo(ctx context.Context, c dimse.Client, more []dimse.Context) (refused []string, err error) {
	conn, err := c.Dial(ctx, append([]dimse.Context{{SOPClassUID: dataset.Verification, TransferSyntaxUIDs: []string{dataset.ImplicitLE}}}, more...))
	if err != nil {
		return nil, err
	}
	status, err := conn.Echo(ctx)
	if err != nil {
		conn.Abort()
		return nil, err
	}
	for _, m := range more {
		if len(conn.Accepted(m.SOPClassUID)) == 0 {
			refused = append(refused, m.SOPClassUID)
		}
	}
	if err := conn.Release(ctx); err != nil {
		return nil, err
	}
	if status != dimse.Success {
		return nil, fmt.Errorf("the peer answers C-ECHO with %v", status)
	}
	return refused, nil
}

// SOPClass is the one in which a kind of result is sent.
func SOPClass(o config.Output, kind string) string {
	switch kind {
	case "seg":
		if o.SEG == "labelmap" {
			return dataset.LabelMapSegmentation
		}
		return dataset.SegmentationStorage
	case "sr":
		return map[string]string{"comprehensive3d": dataset.Comprehensive3DSR, "comprehensive": dataset.ComprehensiveSR, "enhanced": dataset.EnhancedSR}[o.SR]
	}
	return map[string]string{"keyimage": dataset.SecondaryCapture, "kos": dataset.KeyObjectSelection, "pdf": dataset.EncapsulatedPDF}[kind]
}

// needed are the contexts of a destination's results, by what asks for each.
func needed(o config.Output, d config.Destination) (contexts []dimse.Context, by map[string]string) {
	by = map[string]string{}
	for _, kind := range d.Send {
		class := SOPClass(o, kind)
		if class == "" {
			continue // the settings' fault: there is no such kind or form of it
		}
		contexts = append(contexts, dimse.Context{SOPClassUID: class, TransferSyntaxUIDs: []string{dataset.ExplicitLE, dataset.ImplicitLE}})
		by[class] = fmt.Sprintf("take %q out of this destination's `send`", kind)
	}
	if d.Commit {
		contexts = append(contexts, dimse.CommitmentContext)
		by[dataset.StorageCommitmentPush] = "set its commit = false"
	}
	return contexts, by
}

// destinations sends each a C-ECHO, all at once, and asks whether it would take
// what it is to be sent.
func (s surroundings) destinations(ctx context.Context, c *config.Config) []config.Fault {
	found := make([][]config.Fault, len(c.Destination))
	identity := secure.New(c, zap.NewNop())
	var wg sync.WaitGroup
	for i, d := range c.Destination {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, s.echoWithin)
			defer cancel()
			client := dimse.Client{CallingAE: c.Node.AETitle, CalledAE: d.AETitle, Address: d.Address,
				Timeouts: dimse.Timeouts{Connect: s.echoWithin, Closing: s.closeWithin}}
			if d.TLS {
				var err error
				if client.TLS, err = identity.Client(); err != nil {
					return // certificates said so
				}
			}
			where, peer := fmt.Sprintf("[[destination]] %q", d.Name), fmt.Sprintf("%s at %s", d.AETitle, d.Address)
			contexts, by := needed(c.Output, d)
			refused, err := echo(ctx, client, contexts)
			if err != nil {
				problem, remedy := s.unreached(err, c.Node.AETitle, d)
				found[i] = []config.Fault{fault(where, peer+" "+problem, remedy)}
			}
			for _, class := range refused {
				found[i] = append(found[i], fault(where, fmt.Sprintf("%s does not accept %s (%s)", peer, deliver.ClassName(class), class), "let it accept this SOP class, or "+by[class]))
			}
		})
	}
	wg.Wait()
	return slices.Concat(found...)
}

// unreached says why a destination gave no good answer, as the continuation of
// its name, and what to do at which end.
func (s surroundings) unreached(err error, calling string, d config.Destination) (problem, remedy string) {
	var (
		reject  *dimse.RejectError
		name    *net.DNSError
		trust   *tls.CertificateVerificationError
		noTLS   tls.RecordHeaderError
		network net.Error
		op      *net.OpError
	)
	switch {
	case errors.As(err, &reject):
		switch {
		case reject.Source == 1 && reject.Reason == 3:
			return fmt.Sprintf("does not know the AE title %s", calling),
				fmt.Sprintf("enter %s with this machine's address in the list of nodes that %s accepts", calling, d.AETitle)
		case reject.Source == 1 && reject.Reason == 7:
			return "answers, but says that it is not called so", "set this destination's ae_title to the AE title in the peer's own settings (capitals count)"
		case reject.Transient():
			return "has too many associations at the moment", "try again; if it stays so, raise the peer's limit"
		}
		return fmt.Sprintf("rejected the association (result %d, source %d, reason %d)", reject.Result, reject.Source, reject.Reason),
			fmt.Sprintf("look into the peer's log, and whether it lets %s in from this machine's address", calling)
	case errors.As(err, &name):
		return fmt.Sprintf("can't be found: no address is known for the name %q", name.Name), "correct this destination's address or the DNS, or write the IP address"
	case errors.As(err, &trust):
		return fmt.Sprintf("shows a certificate that is not trusted: %v", trust.Err),
			"add the authority that signed it to the file of [tls] client_ca; if the name differs, write this destination's address as it stands in the certificate"
	case errors.As(err, &noTLS):
		return "does not speak TLS", "set this destination's tls = false, or name the peer's TLS port"
	case errors.As(err, &op) && op.Op == "remote error":
		return fmt.Sprintf("broke TLS off: %v", op.Err), "have the peer trust the authority that signed [tls] certificate, and allow TLS 1.2 or 1.3"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "can't be reached: nothing listens there", "start the peer, or correct this destination's address and port"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return fmt.Sprintf("gives no answer within %v", s.echoWithin), "look whether that machine is on, whether a firewall stands between, and whether the port speaks DICOM"
	}
	if d.TLS { // a server of TLS 1.3 that minds our certificate may just hang up
		return fmt.Sprintf("does not answer a C-ECHO: %v", err),
			fmt.Sprintf("look whether the peer trusts the authority that signed [tls] certificate, and lets %s send it Verification (C-ECHO)", calling)
	}
	return fmt.Sprintf("does not answer a C-ECHO: %v", err), fmt.Sprintf("look whether a DICOM peer runs there, and whether it lets %s send it Verification (C-ECHO)", calling)
}
