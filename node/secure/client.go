package secure

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// AdminClient is the profile of a program that asks a node's page: authorities it
// trusts besides the system's, PEM files of which it takes those that are named,
// and its own certificate, where it has one.
func AdminClient(authorities []string, certificate, key string) (*tls.Config, error) {
	t := profile()
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	t.RootCAs = pool
	for _, path := range authorities {
		if path == "" {
			continue
		}
		pem, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no PEM certificate", path)
		}
	}
	if certificate != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, fmt.Errorf("the client certificate: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}
