package admin

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/node/secure"
	"github.com/pulmonode/pulmonode/node/secure/securetest"
)

// serving lets a house answer at a listener until the test ends.
func (h *house) serving() net.Addr {
	h.t.Helper()
	l, err := h.Listen(h.t.Context())
	h.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- h.Serve(ctx, l) }()
	h.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("serve: %v", err)
		}
	})
	return l.Addr()
}

// TestTheListenerOverTLS asks over a real connection: with a certificate, with a
// password, with neither, with a stranger's certificate, and in the clear.
func TestTheListenerOverTLS(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	hospital, foreign := securetest.NewAuthority(t), securetest.NewAuthority(t)
	s := hospital.Settings(t, "node")
	h := newHouse(t)
	refused := make(chan Entry, 10)
	h.Server.access = newAccess(config.Admin{
		Listen: "127.0.0.1:0", Certificate: s.Certificate, Key: s.Key, ClientCA: s.ClientCA, PasswordFile: passwordFile(t, lines()),
	}, func(e Entry) {
		if e.Refused != "" {
			refused <- e
		}
	}, zap.New(core))
	address := h.serving().String()

	card := func(of *securetest.Authority) *tls.Certificate {
		mine := of.Settings(t, "Ann")
		pair, err := tls.LoadX509KeyPair(mine.Certificate, mine.Key)
		h.must(err)
		return &pair
	}
	authorities, err := secure.Authorities(hospital.File)
	h.must(err)
	ask := func(certificate *tls.Certificate, change func(*http.Request)) (*http.Response, error) {
		t.Helper()
		profile := &tls.Config{RootCAs: authorities, NextProtos: []string{"h2", "http/1.1"}}
		if certificate != nil {
			profile.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
		}
		client := http.Client{Transport: &http.Transport{TLSClientConfig: profile, DisableKeepAlives: true}}
		r, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+address+"/api/v1/series", nil)
		h.must(err)
		if change != nil {
			change(r)
		}
		w, err := client.Do(r)
		if err == nil {
			io.Copy(io.Discard, w.Body)
			w.Body.Close()
		}
		return w, err
	}
	for name, c := range map[string]struct {
		certificate *tls.Certificate
		change      func(*http.Request)
		want        int
	}{
		"nothing":          {nil, nil, http.StatusUnauthorized},
		"a password":       {nil, operator.change, http.StatusOK},
		"a wrong password": {nil, wrong.change, http.StatusUnauthorized},
		"a certificate":    {card(hospital), nil, http.StatusOK},
	} {
		w, err := ask(c.certificate, c.change)
		if err != nil || w.StatusCode != c.want || w.ProtoMajor != 1 {
			t.Errorf("%s: %v %v, want %d over HTTP/1.1", name, w, err, c.want)
			continue
		}
		// It holds for all ports of a host: the Grafana or Orthanc beside the node
		// would be lost to the browser. The node has no port without TLS to protect.
		if w.Header.Get("Strict-Transport-Security") != "" {
			t.Errorf("%s: the browser is told that everything at this host speaks TLS", name)
		}
	}
	if e := <-refused; e.Refused != "password" {
		t.Errorf("heard %+v", e)
	}
	if _, err := ask(card(foreign), nil); err == nil {
		t.Error("a stranger's certificate was taken")
	}
	if e := <-refused; e.Refused != "certificate" || e.Address != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("heard %+v", e)
	}
	for _, e := range logs.All() {
		if e.Message == "admin_entered" && e.ContextMap()["by"] == "certificate" && e.ContextMap()["user"] != "Ann" {
			t.Errorf("the log does not name who came in: %v", e.ContextMap())
		}
	}
	clear, err := http.Get("http://" + address + "/healthz")
	h.must(err)
	clear.Body.Close()
	if clear.StatusCode != http.StatusBadRequest {
		t.Errorf("in the clear: %d", clear.StatusCode)
	}
}

// What the settings' own check refuses is not opened either, should a name turn
// out to be another machine's address.
func TestNoListenerForEverybody(t *testing.T) {
	s := securetest.NewAuthority(t).Settings(t, "node")
	for _, c := range []struct {
		name string
		a    config.Admin
		says string
	}{
		{"in the clear", config.Admin{Listen: "0.0.0.0:0", PasswordFile: passwordFile(t, lines())}, "set [admin] certificate and key"},
		{"nobody is asked", config.Admin{Listen: "0.0.0.0:0", Certificate: s.Certificate, Key: s.Key}, "set [admin] password_file or client_ca"},
		{"no password file", config.Admin{Listen: "127.0.0.1:0", PasswordFile: "/nowhere"}, "[admin] password_file: open /nowhere"},
		{"a broken password file", config.Admin{Listen: "127.0.0.1:0", PasswordFile: passwordFile(t, "ann")}, "line 1 has no bcrypt hash"},
		{"no certificate", config.Admin{Listen: "127.0.0.1:0", Certificate: "/nowhere", Key: s.Key}, "[admin] certificate: open /nowhere"},
		{"a port in use", config.Admin{Listen: taken(t)}, "choose another port"},
	} {
		h := newHouse(t)
		h.Server.access = newAccess(c.a, nil, zap.NewNop())
		l, err := h.Listen(t.Context())
		if err == nil {
			l.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, not %q", c.name, err, c.says)
		}
	}
}

func taken(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// Who opens many connections and says nothing keeps nobody out who comes when
// one of them has ended.
func TestConnectionsAreBounded(t *testing.T) {
	h := newHouse(t)
	h.Server.access = newAccess(config.Admin{Listen: "127.0.0.1:0"}, nil, zap.NewNop())
	address := h.serving().String()
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", address)
		h.must(err)
		t.Cleanup(func() { c.Close() })
		h.must(c.SetDeadline(time.Now().Add(30 * time.Second)))
		return c
	}
	healthy := func(c net.Conn) bool {
		if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			return false
		}
		w, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return false
		}
		w.Body.Close()
		return w.StatusCode == http.StatusOK
	}
	var held []net.Conn
	for range maxOfOneAddress {
		c := dial()
		if !healthy(c) {
			t.Fatalf("connection %d was closed", len(held)+1)
		}
		held = append(held, c)
	}
	if healthy(dial()) {
		t.Fatal("one more than the bound was answered")
	}
	held[0].Close()
	for deadline := time.Now().Add(30 * time.Second); !healthy(dial()); {
		if time.Now().After(deadline) {
			t.Fatal("nobody is let in though one has gone")
		}
	}
}
