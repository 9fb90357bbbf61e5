package node

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/pulmonode/pulmonode/config"
)

// serverTLS is the profile of the encrypted listener: BCP 195 (PS3.15 B.9 and
// later), TLS 1.2 or 1.3 with forward secrecy, certificates on both sides. The
// files are read for each connection, so a renewed certificate needs no restart.
func serverTLS(c *config.Config) (*tls.Config, error) {
	load := func(*tls.ClientHelloInfo) (*tls.Config, error) {
		pair, err := tls.LoadX509KeyPair(c.TLS.Certificate, c.TLS.Key)
		if err != nil {
			return nil, fmt.Errorf("[tls] certificate: %w", err)
		}
		authority, err := certificates(c.TLS.ClientCA)
		if err != nil {
			return nil, err
		}
		t := profile()
		t.Certificates, t.ClientCAs, t.ClientAuth = []tls.Certificate{pair}, authority, tls.RequireAndVerifyClientCert
		return t, nil
	}
	if _, err := load(nil); err != nil {
		return nil, err
	}
	t := profile()
	t.GetConfigForClient = load
	return t, nil
}

// clientTLS makes the profile of connections to a destination; nil without TLS.
func clientTLS(c *config.Config, d config.Destination) func() (*tls.Config, error) {
	if !d.TLS {
		return nil
	}
	return func() (*tls.Config, error) {
		pair, err := tls.LoadX509KeyPair(c.TLS.Certificate, c.TLS.Key)
		if err != nil {
			return nil, fmt.Errorf("[tls] certificate: %w", err)
		}
		authority, err := certificates(c.TLS.ClientCA)
		if err != nil {
			return nil, err
		}
		t := profile()
		t.Certificates, t.RootCAs = []tls.Certificate{pair}, authority
		return t, nil
	}
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

func certificates(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("[tls] client_ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("[tls] client_ca: %w", errors.New("the file holds no PEM certificate"))
	}
	return pool, nil
}
