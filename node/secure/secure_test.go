package secure

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

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
	server, err := of(node).Server()
	if err != nil {
		t.Fatal(err)
	}
	client, err = of(peer).Client()
	if err != nil {
		t.Fatal(err)
	}
	return server, client
}

func of(s config.TLS) *Identity { return New(&config.Config{TLS: s}, zap.NewNop()) }

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
	now := time.Now()
	// The server names whom it trusts; a client that minds would show nothing else.
	showing := func(s config.TLS) func(*tls.Config) {
		pair, err := tls.LoadX509KeyPair(s.Certificate, s.Key)
		if err != nil {
			t.Fatal(err)
		}
		return func(c *tls.Config) {
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
	}
	for _, c := range []struct {
		name   string
		client func(c *tls.Config)
		word   string
		says   string // the server
	}{
		{"a client without a certificate", func(c *tls.Config) { c.Certificates = nil }, "certificate_missing", "certificate"},
		{"a client whose certificate another authority signed", showing(stranger.Settings(t, "scanner")), "certificate_untrusted", "unknown authority"},
		{"a client whose certificate has ended", showing(hospital.SettingsFor(t, "scanner", now.AddDate(-1, 0, 0), now.Add(-time.Hour))), "certificate_expired", "expired"},
		{"a client whose certificate does not hold yet", showing(hospital.SettingsFor(t, "scanner", now.Add(time.Hour), now.AddDate(1, 0, 0))), "certificate_not_yet_valid", "not yet valid"},
		{"a client with a certificate for servers", showing(hospital.SettingsFor(t, "scanner", now.Add(-time.Hour), now.AddDate(1, 0, 0), func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		})), "certificate_usage", "incompatible key usage"},
		{"TLS 1.1", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, "tls_version", "version"},
		{"TLS 1.2 without AEAD", func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
		}, "cipher_suite", "cipher suite"},
		{"TLS 1.2 without forward secrecy", func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}
		}, "cipher_suite", "cipher suite"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, client := both(t, node, peer)
			c.client(client)
			m := handshake(t, server, client)
			if m.serverErr == nil || !strings.Contains(m.serverErr.Error(), c.says) {
				t.Fatalf("the server says %v, not %q", m.serverErr, c.says)
			}
			if m.clientErr == nil {
				t.Error("the client believes that it was let in")
			}
			word, clause := Refusal(m.serverErr)
			if word != c.word || clause == "" || strings.Contains(clause, "scanner") || strings.Contains(clause, "authority\"") {
				t.Errorf("refused as %q: %q", word, clause)
			}
		})
	}
}

// The suites of the profile are those of BCP 195 that crypto/tls itself thinks safe.
func TestEverySuiteHasAEADAndEphemeralKeys(t *testing.T) {
	safe := map[uint16]string{}
	for _, s := range tls.CipherSuites() {
		safe[s.ID] = s.Name
	}
	for _, id := range CipherSuites() {
		name := safe[id]
		if !strings.Contains(name, "ECDHE") || !strings.Contains(name, "GCM") && !strings.Contains(name, "POLY1305") {
			t.Errorf("%s (%q)", tls.CipherSuiteName(id), name)
		}
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
	core, logs := observer.New(zap.InfoLevel)
	server, err := New(&config.Config{TLS: node}, zap.New(core)).Server()
	if err != nil {
		t.Fatal(err)
	}
	_, client := both(t, node, hospital.Settings(t, "scanner"))
	seen := func(want string) {
		t.Helper()
		m := handshake(t, server, client)
		if m.serverErr != nil || m.clientErr != nil {
			t.Fatalf("server: %v, client: %v", m.serverErr, m.clientErr)
		}
		if got := m.asClient.PeerCertificates[0].Subject.CommonName; got != want {
			t.Errorf("the client saw %q, not %q", got, want)
		}
	}
	logged := func(want ...string) {
		t.Helper()
		var got []string
		for _, e := range logs.TakeAll() {
			got = append(got, e.Message)
		}
		if !slices.Equal(got, want) {
			t.Errorf("logged %q, not %q", got, want)
		}
	}
	seen("node")
	logged()
	hospital.Sign(t, node.Certificate, node.Key, "renewed", time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))
	seen("renewed")
	logged("certificate_renewed")

	// What is broken keeps the former, and is logged once, not with each connection.
	whole, err := os.ReadFile(node.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	for _, broken := range []struct {
		name   string
		damage func() error
	}{
		{"half a certificate", func() error { return os.WriteFile(node.Certificate, whole[:len(whole)/2], 0o600) }},
		{"no certificate", func() error { return os.Remove(node.Certificate) }},
		{"a new certificate before its key", func() error {
			hospital.Sign(t, node.Certificate, filepath.Join(t.TempDir(), "later.key"), "newest", time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))
			return nil
		}},
	} {
		if err := broken.damage(); err != nil {
			t.Fatal(err)
		}
		seen("renewed")
		seen("renewed")
		if t.Failed() {
			t.Fatal(broken.name)
		}
		logged("certificate_not_renewed")
	}
	hospital.Sign(t, node.Certificate, node.Key, "newest", time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))
	seen("newest")
	logged("certificate_renewed")

	// The authority changes: who was welcome is no longer, resumed or not.
	client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	seen("newest") // leaves a session to resume
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
	logged("certificate_renewed")

	// An authority file broken in the renewal lets nobody in whom the former did not.
	if err := os.WriteFile(node.ClientCA, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := handshake(t, server, client).serverErr; err == nil {
		t.Error("an empty authority file let in who was refused before")
	}
	logged("certificate_not_renewed")
}

// A destination's connection uses the renewed certificate too, and the former
// while the new one is broken.
func TestClientsAreRenewedAsWell(t *testing.T) {
	hospital := securetest.NewAuthority(t)
	s := hospital.Settings(t, "node")
	server, _ := both(t, hospital.Settings(t, "pacs"), s)
	identity := of(s)
	shown := func(want string) {
		t.Helper()
		client, err := identity.Client()
		if err != nil {
			t.Fatal(err)
		}
		if m := handshake(t, server, client); m.serverErr != nil || m.asServer.PeerCertificates[0].Subject.CommonName != want {
			t.Errorf("the server saw %v, %v", m.asServer.PeerCertificates, m.serverErr)
		}
	}
	shown("node")
	hospital.Sign(t, s.Certificate, s.Key, "renewed", time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))
	shown("renewed")
	if err := os.Truncate(s.Key, 20); err != nil {
		t.Fatal(err)
	}
	shown("renewed")
}

// The page lets a client without a certificate as far as a sentence, and none
// with a stranger's.
func TestThePageAsksForCertificatesWhereItHasAnAuthority(t *testing.T) {
	hospital, stranger := securetest.NewAuthority(t), securetest.NewAuthority(t)
	s := hospital.Settings(t, "node")
	bare := func(c *tls.Config) { c.Certificates = nil }
	other := stranger.Settings(t, "eve")
	foreign, err := tls.LoadX509KeyPair(other.Certificate, other.Key)
	if err != nil {
		t.Fatal(err)
	}
	strange := func(c *tls.Config) {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &foreign, nil }
	}
	for _, c := range []struct {
		name      string
		authority string
		client    func(*tls.Config)
		refused   bool
		known     int // certificates that the server verified
	}{
		{"no authority, no certificate", "", bare, false, 0},
		{"no authority, a certificate that nobody asked for", "", func(*tls.Config) {}, false, 0},
		{"an authority, no certificate", s.ClientCA, bare, false, 0},
		{"an authority, its certificate", s.ClientCA, func(*tls.Config) {}, false, 1},
		{"an authority, a stranger's certificate", s.ClientCA, strange, true, 0},
	} {
		server, err := NewAdmin(config.Admin{Certificate: s.Certificate, Key: s.Key, ClientCA: c.authority}, zap.NewNop()).Server()
		if err != nil {
			t.Fatal(err)
		}
		_, client := both(t, s, hospital.Settings(t, "browser"))
		c.client(client)
		m := handshake(t, server, client)
		if (m.serverErr != nil) != c.refused || len(m.asServer.VerifiedChains) != c.known {
			t.Errorf("%s: %v, %d verified", c.name, m.serverErr, len(m.asServer.VerifiedChains))
		}
	}
	if _, err := NewAdmin(config.Admin{Certificate: "/nowhere.pem", Key: s.Key}, zap.NewNop()).Server(); err == nil || !strings.HasPrefix(err.Error(), "[admin] certificate") {
		t.Errorf("a missing file: %v", err)
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
		{"no key", func(s *config.TLS) { s.Key = "/nowhere.key" }, "[tls] key: open /nowhere.key"},
		{"no authority", func(s *config.TLS) { s.ClientCA = "/nowhere.pem" }, "[tls] client_ca: open /nowhere.pem"},
		{"a key for an authority", func(s *config.TLS) { s.ClientCA = s.Key }, "[tls] client_ca: the file holds no PEM certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := good
			c.change(&s)
			_, serverErr := of(s).Server()
			_, clientErr := of(s).Client()
			for _, err := range []error{serverErr, clientErr} {
				if err == nil || !strings.HasPrefix(err.Error(), c.says) {
					t.Errorf("%v, not %q", err, c.says)
				}
			}
		})
	}
}
