package node

import (
	"crypto/tls"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/node/secure"
)

// serverTLS is the profile of the encrypted listener.
func serverTLS(c *config.Config) (*tls.Config, error) { return secure.Server(c) }

// clientTLS makes the profile of connections to a destination; nil without TLS.
func clientTLS(c *config.Config, d config.Destination) func() (*tls.Config, error) {
	if !d.TLS {
		return nil
	}
	return func() (*tls.Config, error) { return secure.Client(c) }
}
