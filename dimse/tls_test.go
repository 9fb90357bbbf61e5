package dimse

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
)

// What TLS has against a peer is in the error, with its cause in the chain and what
// to do, whether it comes in the handshake or, as the refusal of a certificate does
// from TLS 1.3 on, only after it.
func TestWhyTLSFails(t *testing.T) {
	fixture := httptest.NewTLSServer(nil) // for its certificate
	certificates, roots := fixture.TLS.Certificates, x509.NewCertPool()
	roots.AddCert(fixture.Certificate())
	fixture.Close()
	alert := func(text string) func(error) bool {
		return func(err error) bool {
			var op *net.OpError
			return errors.As(err, &op) && op.Op == "remote error" && strings.Contains(err.Error(), text) && strings.Contains(err.Error(), "have the peer trust")
		}
	}
	for name, test := range map[string]struct {
		server, client *tls.Config
		want           func(error) bool
	}{
		"no certificate, TLS 1.3": {&tls.Config{Certificates: certificates, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots}, &tls.Config{RootCAs: roots}, alert("certificate required")},
		"no certificate, TLS 1.2": {&tls.Config{Certificates: certificates, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots, MaxVersion: tls.VersionTLS12}, &tls.Config{RootCAs: roots}, alert("handshake failure")},
		"a certificate of another authority": {&tls.Config{Certificates: certificates, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool()},
			&tls.Config{RootCAs: roots, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificates[0], nil }}, alert("unknown certificate authority")},
		"no version in common": {&tls.Config{Certificates: certificates, MinVersion: tls.VersionTLS13}, &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS12}, alert("protocol version")},
		"the peer's authority is not trusted": {&tls.Config{Certificates: certificates}, &tls.Config{RootCAs: x509.NewCertPool()}, func(err error) bool {
			return errors.As(err, new(x509.UnknownAuthorityError)) && strings.Contains(err.Error(), "trust the authority that signed the peer's")
		}},
		"the peer has another name": {&tls.Config{Certificates: certificates}, &tls.Config{RootCAs: roots, ServerName: "pacs.example"}, func(err error) bool {
			return errors.As(err, new(x509.HostnameError)) && strings.Contains(err.Error(), "a name that stands in it")
		}},
		"the peer has no TLS": {nil, &tls.Config{RootCAs: roots}, func(err error) bool {
			return errors.As(err, new(tls.RecordHeaderError)) && strings.Contains(err.Error(), "speaks no TLS at this port")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			client := Client{CallingAE: "CASE", CalledAE: "PULMONODE", TLS: test.client, Address: start(t, &Server{Handler: newHandler(), TLS: test.server})}
			if conn, err := client.Dial(t.Context(), proposal); err == nil {
				conn.Abort()
				t.Error("no error")
			} else if !test.want(err) {
				t.Error(err)
			}
		})
	}
}

// A connection that breaks in an operation keeps its cause too.
func TestWhyAConnectionBreaks(t *testing.T) {
	client := scripted(t, func(p *peer) {
		p.accept()
		p.pdu()
		p.Conn.(*net.TCPConn).SetLinger(0) // a reset
	})
	conn, err := client.Dial(t.Context(), proposal)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Echo(t.Context()); !errors.Is(err, errClosed) || !errors.As(err, new(*net.OpError)) {
		t.Error(err)
	}
}
