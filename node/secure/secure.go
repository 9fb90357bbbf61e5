// Package secure is the one place where this node's TLS is made, as listener
// and as client: BCP 195 (PS3.15 B.9 and later), TLS 1.2 or 1.3 with forward
// secrecy, certificates on both sides. What `pulmonode check` tries is thereby
// what the node does.
package secure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/pulmonode/pulmonode/config"
)

// Server is the profile of the encrypted listener. The files are read for each
// connection, so a renewed certificate needs no restart; they must be readable
// now as well, so that a wrong path shows at the start.
func Server(c *config.Config) (*tls.Config, error) {
	load := func(*tls.ClientHelloInfo) (*tls.Config, error) {
		t, authority, err := identity(c)
		if err != nil {
			return nil, err
		}
		t.ClientCAs, t.ClientAuth = authority, tls.RequireAndVerifyClientCert
		return t, nil
	}
	if _, err := load(nil); err != nil {
		return nil, err
	}
	t := profile()
	t.GetConfigForClient = load
	return t, nil
}

// Client is the profile of one connection to a destination. It reads the files:
// ask for it anew for each connection.
func Client(c *config.Config) (*tls.Config, error) {
	t, authority, err := identity(c)
	if err != nil {
		return nil, err
	}
	t.RootCAs = authority
	return t, nil
}

// identity is the profile with this node's certificate, and whom it trusts.
func identity(c *config.Config) (*tls.Config, *x509.CertPool, error) {
	pair, err := tls.LoadX509KeyPair(c.TLS.Certificate, c.TLS.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("[tls] certificate: %w", err)
	}
	authority, err := Authorities(c.TLS.ClientCA)
	if err != nil {
		return nil, nil, fmt.Errorf("[tls] client_ca: %w", err)
	}
	t := profile()
	t.Certificates = []tls.Certificate{pair}
	return t, authority, nil
}

// profile is what both sides have in common. TLS 1.2 only with AEAD and
// ephemeral keys (BCP 195, section 4.2); TLS 1.3 has nothing else.
func profile() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
	}
}

// Authorities reads the certificates of a PEM file.
func Authorities(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("the file holds no PEM certificate")
	}
	return pool, nil
}
