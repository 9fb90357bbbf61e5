package main_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHealth(t *testing.T) {
	s := newServer(t, "")
	health := func(want string, good bool, args ...string) {
		t.Helper()
		out, err := command(t, append([]string{"health", "--config", s.config()}, args...)...).CombinedOutput()
		if (err == nil) != good || !strings.Contains(string(out), want) {
			t.Errorf("health %v: %v, %s; want %q", args, err, out, want)
		}
	}
	health("alive", true)
	health("ready", true, "--ready")
	s.stop()
	health("pulmonode serve", false)

	// A node that answers and is not well, and what is no node.
	for answer, says := range map[string]string{
		`{"ready":false,"checks":[{"name":"disk","sentence":"no room"},{"name":"queue","ok":true}]}`: "disk: no room",
		`<html>`: "no pulmonode",
	} {
		other := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, answer)
		}))
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", s.http))
		if err != nil {
			t.Fatal(err)
		}
		other.Listener.Close()
		other.Listener = l
		other.Start()
		health(says, false, "--ready")
		other.Close()
	}

	bad := filepath.Join(t.TempDir(), "bad.toml")
	if err := os.WriteFile(bad, []byte("[node]\nlisen = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := command(t, "health", "--config", bad).CombinedOutput(); err == nil || !strings.Contains(string(out), "node.listen") {
		t.Errorf("health on a faulty configuration: %v, %s", err, out)
	}
}
