package secure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// Refusal says of a handshake that failed on this side why, as a word for the
// metrics and a clause for the log. Neither has anything of the certificate's
// owner. Both are empty where nobody was refused: the peer only knocked, as port
// scanners and load balancers do.
func Refusal(err error) (word, clause string) {
	var (
		plain     tls.RecordHeaderError
		verify    *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		op        *net.OpError
	)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, net.ErrClosed):
		return "", ""
	case errors.As(err, &plain):
		return "plain_text", "it speaks no TLS on the port of [tls] listen"
	case errors.As(err, &authority):
		return "certificate_untrusted", "no authority of [tls] client_ca signed its certificate"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		if time.Now().Before(invalid.Cert.NotBefore) {
			return "certificate_not_yet_valid", "its certificate does not hold yet, by this machine's clock"
		}
		return "certificate_expired", "its certificate has ended"
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return "certificate_usage", "its certificate is not for clients (extended key usage)"
	case errors.As(err, &verify):
		return "certificate_untrusted", "its certificate can't be verified"
	case strings.Contains(err.Error(), "didn't provide a certificate"): // crypto/tls has no type for it
		return "certificate_missing", "it shows no certificate"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "silent", "it was silent during the handshake"
	case errors.As(err, &op) && op.Op == "remote error":
		return "broken_off", "it broke the handshake off: " + op.Err.Error()
	case strings.Contains(err.Error(), "unsupported versions"):
		return "tls_version", "it speaks neither TLS 1.2 nor 1.3"
	case strings.Contains(err.Error(), "cipher suite"):
		return "cipher_suite", "it has none of the cipher suites of BCP 195"
	}
	return "handshake", "the TLS handshake failed: " + err.Error()
}
