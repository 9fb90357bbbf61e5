// Package secure is the one place where this node's TLS is made, as listener
// and as client: BCP 195 (PS3.15 B.9 and later), TLS 1.2 or 1.3 with forward
// secrecy, certificates on both sides of DICOM. What `pulmonode check` tries is thereby
// what the node does.
package secure

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"

	"go.uber.org/zap"

	"github.com/pulmonode/pulmonode/config"
)

// Identity is this node's certificate, and the authorities it trusts, as their
// files last held them whole. The files are read for each connection, so a
// renewed certificate needs no restart. While they hold something broken, as
// between the writing of a certificate and that of its key, the former ones go
// on, and the log says so.
type Identity struct {
	section  string // of node.toml that names the files
	settings config.TLS
	clients  tls.ClientAuthType
	log      *zap.Logger

	mu             sync.Mutex
	seen           contents // what was looked at last
	err            error    // why that is broken
	server, client *tls.Config
}

// contents are those of the certificate, its key and the authorities.
type contents [3][]byte

func (c contents) equal(d contents) bool {
	for i := range c {
		if !bytes.Equal(c[i], d[i]) {
			return false
		}
	}
	return true
}

// New is the identity that [tls] names. Nothing is read yet.
func New(c *config.Config, log *zap.Logger) *Identity {
	return &Identity{section: "[tls]", settings: c.TLS, clients: tls.RequireAndVerifyClientCert, log: log}
}

// NewAdmin is that of the page and its API. Where [admin] client_ca is set,
// certificates of clients are asked for and verified; who shows none gets as far
// as a sentence that says so, or gives a password.
func NewAdmin(c config.Admin, log *zap.Logger) *Identity {
	i := &Identity{section: "[admin]", settings: config.TLS{Certificate: c.Certificate, Key: c.Key, ClientCA: c.ClientCA}, log: log}
	if c.ClientCA != "" {
		i.clients = tls.VerifyClientCertIfGiven
	}
	return i
}

// Server is the profile of the encrypted listener. The files must be whole now,
// so that a wrong path shows at the start.
func (i *Identity) Server() (*tls.Config, error) {
	if err := i.refresh(); err != nil {
		return nil, err
	}
	t := profile()
	t.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.refreshLocked()
		return i.server, nil
	}
	return t, nil
}

// Client is the profile of one connection to a destination: ask for it anew for
// each.
func (i *Identity) Client() (*tls.Config, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.refreshLocked()
	if i.client == nil {
		return nil, i.err
	}
	return i.client.Clone(), nil
}

// refresh looks at the files; an error is what is wrong with them now.
func (i *Identity) refresh() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.refreshLocked()
	return i.err
}

func (i *Identity) refreshLocked() {
	found, err := i.read()
	if err == nil && i.err == nil && i.server != nil && found.equal(i.seen) {
		return
	}
	var server, client *tls.Config
	if err == nil {
		server, client, err = i.profiles(found)
	}
	switch former := i.server != nil; {
	case err != nil && former && (i.err == nil || i.err.Error() != err.Error()):
		i.log.Error("certificate_not_renewed", zap.Error(err), zap.String("do", "the former one goes on until the files of "+i.section+" are whole: `pulmonode check` says what they need"))
	case err == nil && former:
		i.log.Info("certificate_renewed")
	}
	if i.seen, i.err = found, err; err == nil {
		i.server, i.client = server, client
	}
}

func (i *Identity) read() (c contents, err error) {
	for at, file := range []struct{ key, path string }{
		{"certificate", i.settings.Certificate}, {"key", i.settings.Key}, {"client_ca", i.settings.ClientCA},
	} {
		if file.path == "" && i.clients == tls.NoClientCert && file.key == "client_ca" {
			continue
		}
		if c[at], err = os.ReadFile(file.path); err != nil {
			return c, fmt.Errorf("%s %s: %w", i.section, file.key, err)
		}
	}
	return c, nil
}

// profiles are those of the listener and of a client with these files.
func (i *Identity) profiles(c contents) (server, client *tls.Config, err error) {
	pair, err := tls.X509KeyPair(c[0], c[1])
	if err != nil {
		return nil, nil, fmt.Errorf("%s certificate: %w", i.section, err)
	}
	server, client = profile(), profile()
	server.Certificates, client.Certificates = []tls.Certificate{pair}, []tls.Certificate{pair}
	if i.clients == tls.NoClientCert {
		return server, client, nil
	}
	authorities, err := authoritiesOf(c[2])
	if err != nil {
		return nil, nil, fmt.Errorf("%s client_ca: %w", i.section, err)
	}
	server.ClientCAs, server.ClientAuth = authorities, i.clients
	client.RootCAs = authorities
	return server, client, nil
}

// profile is what both sides have in common. TLS 1.2 only with AEAD and
// ephemeral keys (BCP 195, section 4.2); TLS 1.3 has nothing else.
func profile() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, CipherSuites: CipherSuites()}
}

// CipherSuites are those taken in TLS 1.2.
func CipherSuites() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}

// Authorities reads the certificates of a PEM file.
func Authorities(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return authoritiesOf(pem)
}

func authoritiesOf(pem []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("the file holds no PEM certificate")
	}
	return pool, nil
}
