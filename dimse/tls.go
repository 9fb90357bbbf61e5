package dimse

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
)

// refusedTLS says of an error of TLS what to do, and keeps it in the chain. A
// peer's alert may come in the handshake or, from TLS 1.3 on, in place of the
// answer to the first thing that is said after it. Any other error is returned as
// it is.
func refusedTLS(err error) error {
	var (
		op    *net.OpError
		trust *tls.CertificateVerificationError
		plain tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &op) && op.Op == "remote error":
		return fmt.Errorf("%w: have the peer trust the authority that signed this side's certificate, and allow a version of TLS that both know", err)
	case errors.As(err, &trust):
		return fmt.Errorf("%w: trust the authority that signed the peer's certificate, and call the peer by a name that stands in it", err)
	case errors.As(err, &plain):
		return fmt.Errorf("%w: the peer speaks no TLS at this port: use the one at which it does, or no TLS", err)
	}
	return err
}
