package secure

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/node/secure/securetest"
)

// meeting is what each side says of it, and whom it saw.
type meeting struct {
	serverErr, clientErr error
	asServer, asClient   tls.ConnectionState
}

// handshake lets a client and a server meet over loopback, sends a byte each
// way: in TLS 1.3 a refused client learns of it only then.
func handshake(t *testing.T, server, client *tls.Config) (m meeting) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ping := func(c *tls.Conn) error {
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		if err := c.Handshake(); err != nil {
			return err
		}
		if _, err := c.Write([]byte{1}); err != nil {
			return err
		}
		_, err := io.ReadFull(c, make([]byte, 1))
		return err
	}
	answered := make(chan error, 1)
	go func() {
		raw, err := l.Accept()
		if err == nil {
			c := tls.Server(raw, server)
			err = ping(c)
			m.asServer = c.ConnectionState()
		}
		answered <- err
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	client = client.Clone()
	client.ServerName = "127.0.0.1"
	c := tls.Client(raw, client)
	m.clientErr = ping(c)
	m.asClient = c.ConnectionState()
	m.serverErr = <-answered
	return m
}

func both(t *testing.T, node, peer config.TLS) (server, client *tls.Config) {
	t.Helper()
	server, err := Server(&config.Config{TLS: node})
	if err != nil {
		t.Fatal(err)
	}
	client, err = Client(&config.Config{TLS: peer})
	if err != nil {
		t.Fatal(err)
	}
	return server, client
}

func TestClientAndServerShakeHandsWithBothCertificates(t *testing.T) {
	hospital := securetest.NewAuthority(t)
	server, client := both(t, hospital.Settings(t, "node"), hospital.Settings(t, "scanner"))
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			client := client.Clone()
			client.MaxVersion = version
			m := handshake(t, server, client)
			if m.serverErr != nil || m.clientErr != nil {
				t.Fatalf("server: %v, client: %v", m.serverErr, m.clientErr)
			}
			if got := m.asServer.PeerCertificates[0].Subject.CommonName; got != "scanner" {
				t.Errorf("the server saw %q", got)
			}
			if got := m.asClient.PeerCertificates[0].Subject.CommonName; got != "node" {
				t.Errorf("the client saw %q", got)
			}
			if m.asClient.Version != version {
				t.Errorf("they speak %s", tls.VersionName(m.asClient.Version))
			}
		})
	}
}

func TestWhatTheProfileDoesNotAllowIsRefused(t *testing.T) {
	hospital, stranger := securetest.NewAuthority(t), securetest.NewAuthority(t)
	node, peer := hospital.Settings(t, "node"), hospital.Settings(t, "scanner")
	for _, c := range []struct {
		name   string
		client func(c *tls.Config)
		says   string // the server
	}{
		{"a client without a certificate", func(c *tls.Config) { c.Certificates = nil }, "certificate"},
		{"a client whose certificate another authority signed", func(c *tls.Config) {
			other, err := Client(&config.Config{TLS: stranger.Settings(t, "scanner")})
			if err != nil {
				t.Fatal(err)
			}
			// The server names whom it trusts; a client that minds would send none.
			c.Certificates, c.GetClientCertificate = nil, func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &other.Certificates[0], nil }
		}, "unknown authority"},
		{"a client whose certificate has ended", func(c *tls.Config) {
			dir := t.TempDir()
			file, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "c.key")
			hospital.Sign(t, file, key, "scanner", time.Now().AddDate(-1, 0, 0), time.Now().Add(-time.Hour))
			pair, err := tls.LoadX509KeyPair(file, key)
			if err != nil {
				t.Fatal(err)
			}
			c.Certificates = []tls.Certificate{pair}
		}, "expired"},
		{"TLS 1.1", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, "version"},
		{"TLS 1.2 without AEAD", func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
		}, "cipher suite"},
		{"TLS 1.2 without forward secrecy", func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}
		}, "cipher suite"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, client := both(t, node, peer)
			c.client(client)
			m := handshake(t, server, client)
			if m.serverErr == nil || !strings.Contains(m.serverErr.Error(), c.says) {
				t.Errorf("the server says %v, not %q", m.serverErr, c.says)
			}
			if m.clientErr == nil {
				t.Error("the client believes that it was let in")
			}
		})
	}
}

func TestTheClientRefusesAStrangersServer(t *testing.T) {
	hospital, stranger := securetest.NewAuthority(t), securetest.NewAuthority(t)
	server, _ := both(t, stranger.Settings(t, "pacs"), stranger.Settings(t, "pacs"))
	_, client := both(t, hospital.Settings(t, "node"), hospital.Settings(t, "node"))
	if err := handshake(t, server, client).clientErr; err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("the client says %v", err)
	}
}

func TestRenewedFilesHoldFromTheNextConnection(t *testing.T) {
	hospital := securetest.NewAuthority(t)
	node := hospital.Settings(t, "node")
	server, client := both(t, node, hospital.Settings(t, "scanner"))
	seen := func() string {
		t.Helper()
		m := handshake(t, server, client)
		if m.serverErr != nil || m.clientErr != nil {
			t.Fatalf("server: %v, client: %v", m.serverErr, m.clientErr)
		}
		return m.asClient.PeerCertificates[0].Subject.CommonName
	}
	if got := seen(); got != "node" {
		t.Fatalf("the client saw %q", got)
	}

	hospital.Sign(t, node.Certificate, node.Key, "renewed", time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))
	if got := seen(); got != "renewed" {
		t.Errorf("after the renewal the client saw %q", got)
	}

	// The authority changes: who was welcome is no longer, resumed or not.
	client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	seen() // leaves a session to resume
	other, err := os.ReadFile(securetest.NewAuthority(t).File)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(node.ClientCA, other, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := handshake(t, server, client).serverErr; err == nil {
		t.Error("a client of the former authority was let in")
	}

	// A file broken in the renewal refuses, it does not let everybody in.
	if err := os.WriteFile(node.ClientCA, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := handshake(t, server, client).serverErr; err == nil || !strings.Contains(err.Error(), "[tls] client_ca") {
		t.Errorf("with an empty authority file the server says %v", err)
	}
}

func TestMissingFilesAreNamedAtTheStart(t *testing.T) {
	good := securetest.NewAuthority(t).Settings(t, "node")
	for _, c := range []struct {
		name   string
		change func(s *config.TLS)
		says   string
	}{
		{"no certificate", func(s *config.TLS) { s.Certificate = "/nowhere.pem" }, "[tls] certificate: open /nowhere.pem"},
		{"no key", func(s *config.TLS) { s.Key = "/nowhere.key" }, "[tls] certificate: open /nowhere.key"},
		{"no authority", func(s *config.TLS) { s.ClientCA = "/nowhere.pem" }, "[tls] client_ca: open /nowhere.pem"},
		{"a key for an authority", func(s *config.TLS) { s.ClientCA = s.Key }, "[tls] client_ca: the file holds no PEM certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := good
			c.change(&s)
			_, serverErr := Server(&config.Config{TLS: s})
			_, clientErr := Client(&config.Config{TLS: s})
			for _, err := range []error{serverErr, clientErr} {
				if err == nil || !strings.HasPrefix(err.Error(), c.says) {
					t.Errorf("%v, not %q", err, c.says)
				}
			}
		})
	}
}
