package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// Echo opens an association with a peer, sends C-ECHO and releases.
func Echo(ctx context.Context, c dimse.Client) error {
	conn, err := c.Dial(ctx, []dimse.Context{{SOPClassUID: dataset.Verification, TransferSyntaxUIDs: []string{dataset.ImplicitLE}}})
	if err != nil {
		return err
	}
	status, err := conn.Echo(ctx)
	if err != nil {
		conn.Abort()
		return err
	}
	if err := conn.Release(ctx); err != nil {
		return err
	}
	if status != dimse.Success {
		return fmt.Errorf("the peer answers C-ECHO with %v", status)
	}
	return nil
}

// TLSClient is how this node speaks to a destination: nil without TLS.
func TLSClient(c *config.Config, d config.Destination) (*tls.Config, error) {
	if !d.TLS {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(c.TLS.Certificate, c.TLS.Key)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(c.TLS.ClientCA)
	if err != nil {
		return nil, err
	}
	roots.AppendCertsFromPEM(pem)
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}
