package check

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/node/secure"
	"github.com/pulmonode/pulmonode/node/secure/securetest"
)

func TestAuditFile(t *testing.T) {
	dir := t.TempDir()
	existing := func(mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), "audit.log")
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		name, file string
		warning    bool
		says       string // "": nothing
	}{
		{"none", "", false, ""},
		{"one that will be made", filepath.Join(dir, "audit.log"), false, ""},
		{"one that is there", existing(0o600), false, ""},
		{"one that others can read", existing(0o644), true, "has the mode 0644"},
		{"one in no folder", filepath.Join(dir, "no", "audit.log"), false, "make it, and give it"},
		{"a folder", dir, false, "is a folder"},
		{"one in a file", filepath.Join(existing(0o600), "audit.log"), false, "not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			faults := plenty().audit(t.Context(), &config.Config{Audit: config.Audit{File: c.file}})
			if c.says == "" {
				if len(faults) != 0 {
					t.Errorf("%v", faults)
				}
				return
			}
			must(t, faults, c.warning, "[audit] file", c.says)
		})
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%v was left behind: %v", left, err)
	}
}

func TestAuditCollector(t *testing.T) {
	ours, strangers := securetest.NewAuthority(t), securetest.NewAuthority(t)
	server, err := secure.New(&config.Config{TLS: ours.Settings(t, "collector")}, zap.NewNop()).Server()
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.(*tls.Conn).Handshake()
			conn.Close()
		}
	}()
	defer func() { l.Close(); <-done }()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := free.Addr().String()
	free.Close()
	for _, c := range []struct {
		name    string
		audit   config.Audit
		warning bool
		says    string
	}{
		{"one that is there", config.Audit{Syslog: "tls://" + l.Addr().String()}, false, ""},
		{"one that is there, by its own authority", config.Audit{Syslog: "tls://" + l.Addr().String(), CA: ours.File}, false, ""},
		{"one that is not trusted", config.Audit{Syslog: "tls://" + l.Addr().String(), CA: strangers.File}, true, "not trusted"},
		{"one by an authority that is not there", config.Audit{Syslog: "tls://" + l.Addr().String(), CA: "/no.pem"}, false, "[audit] ca"},
		{"one that is down", config.Audit{Syslog: "tcp://" + nobody}, true, "nothing listens at " + nobody},
		{"one without a name in the DNS", config.Audit{Syslog: "tcp://nobody.invalid"}, true, "can't be reached"},
		{"one of no kind", config.Audit{Syslog: "x"}, false, ""},
		{"over UDP", config.Audit{Syslog: "udp://" + nobody}, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			faults := plenty().audit(t.Context(), &config.Config{TLS: ours.Settings(t, "node"), Audit: c.audit})
			if c.says == "" {
				if len(faults) != 0 {
					t.Errorf("%v", faults)
				}
				return
			}
			must(t, faults, c.warning, "[audit] syslog", c.says)
		})
	}
}
