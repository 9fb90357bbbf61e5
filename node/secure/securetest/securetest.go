// Package securetest makes certificates for tests.
package securetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/config"
)

// Authority signs certificates.
type Authority struct {
	File string // its own certificate, PEM

	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewAuthority makes one, valid for a century.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{File: filepath.Join(t.TempDir(), "authority.pem")}
	a.certificate = template("authority", time.Now().Add(-time.Hour), time.Now().AddDate(100, 0, 0))
	a.certificate.IsCA, a.certificate.BasicConstraintsValid = true, true
	a.certificate.KeyUsage = x509.KeyUsageCertSign
	a.key = newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, a.certificate, a.certificate, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, a.File, "CERTIFICATE", der)
	return a
}

// Sign writes a certificate for 127.0.0.1 and its key, both PEM.
func (a *Authority) Sign(t testing.TB, certificate, key, name string, from, to time.Time, change ...func(*x509.Certificate)) {
	t.Helper()
	k := newKey(t)
	c := template(name, from, to)
	for _, f := range change {
		f(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.certificate, k.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, certificate, "CERTIFICATE", der)
	if der, err = x509.MarshalPKCS8PrivateKey(k); err != nil {
		t.Fatal(err)
	}
	write(t, key, "PRIVATE KEY", der)
}

// Settings are those of a node with a certificate of this authority, which it
// trusts too.
func (a *Authority) Settings(t testing.TB, name string) config.TLS {
	t.Helper()
	return a.SettingsFor(t, name, time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))
}

// SettingsFor is Settings with a certificate that holds from then to then, and
// is otherwise as changed.
func (a *Authority) SettingsFor(t testing.TB, name string, from, to time.Time, change ...func(*x509.Certificate)) config.TLS {
	t.Helper()
	dir := t.TempDir()
	s := config.TLS{Certificate: filepath.Join(dir, "node.pem"), Key: filepath.Join(dir, "node.key"), ClientCA: a.File}
	a.Sign(t, s.Certificate, s.Key, name, from, to, change...)
	return s
}

func template(name string, from, to time.Time) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func write(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
