package main

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/node/admin"
	"github.com/pulmonode/pulmonode/node/secure/securetest"
)

// jobsAgainst runs `pulmonode jobs`.
func jobsAgainst(args ...string) (string, error) {
	c := jobsCommand()
	var out bytes.Buffer
	c.SetArgs(args)
	c.SetOut(&out)
	c.SetErr(&out)
	c.SilenceUsage, c.SilenceErrors = true, true
	err := c.Execute()
	return out.String(), err
}

func TestJobsComesInByPasswordAndCertificate(t *testing.T) {
	hospital := securetest.NewAuthority(t)
	mine := hospital.Settings(t, "Ann")
	node := func(w http.ResponseWriter, r *http.Request) {
		switch user, password, _ := r.BasicAuth(); {
		case r.URL.Query().Get("state") == "failed":
			http.Redirect(w, r, "https://evil.example/", http.StatusFound)
		case user == "ann" && password == "correct horse battery", r.TLS != nil && len(r.TLS.PeerCertificates) > 0:
			fmt.Fprint(w, `{"series":[],"total":0}`)
		default:
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":"the user name or the password is wrong"}`)
		}
	}
	plain := httptest.NewServer(http.HandlerFunc(node))
	defer plain.Close()
	secured := httptest.NewUnstartedServer(http.HandlerFunc(node))
	secured.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	secured.StartTLS()
	defer secured.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	secret := filepath.Join(t.TempDir(), "secret")
	for path, text := range map[string][]byte{
		ca:     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secured.Certificate().Raw}),
		secret: []byte("correct horse battery\n"),
	} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv(passwordVariable, "incorrect")
	in := []string{"--user", "ann", "--password-file", secret}
	for _, c := range []struct {
		name string
		args []string
		says string // "": it comes in
	}{
		{"over TLS", append(in, "--admin", secured.URL, "--ca", ca), ""},
		{"on this machine, in the clear", append(in, "--admin", plain.URL), ""},
		{"the address without a scheme", append(in, "--admin", strings.TrimPrefix(plain.URL, "http://")), ""},
		{"a certificate", []string{"--admin", secured.URL, "--ca", ca, "--cert", mine.Certificate, "--key", mine.Key}, ""},
		{"the password of the environment", []string{"--admin", secured.URL, "--ca", ca, "--user", "ann"}, "is wrong (--user NAME"},
		{"nobody", []string{"--admin", secured.URL, "--ca", ca}, "--cert and --key"},
		{"an authority that nobody named", append(in, "--admin", secured.URL), "name its authority with --ca FILE"},
		{"TLS to who speaks none", append(in, "--admin", strings.Replace(plain.URL, "http:", "https:", 1)), "speaks no TLS: write http://"},
		{"the clear to who speaks TLS", append(in, "--admin", strings.Replace(secured.URL, "https:", "http:", 1)), "speaks TLS: write https://"},
		{"a password in the clear to another machine", append(in, "--admin", "node1:8042"), "would go in the clear to node1:8042"},
		{"a redirect", append(in, "--admin", plain.URL, "--state", "failed"), "302"},
		{"no address", append(in, "--admin", "ftp://node1"), "is no address of a node"},
		{"a page of it", append(in, "--admin", plain.URL+"/series"), "is no address of a node"},
		{"no password file", []string{"--admin", plain.URL, "--user", "ann", "--password-file", "/nowhere"}, "/nowhere"},
		{"no authority file", append(in, "--admin", secured.URL, "--ca", "/nowhere"), "/nowhere"},
		{"half a certificate", append(in, "--admin", secured.URL, "--ca", ca, "--cert", mine.Certificate), "the client certificate"},
	} {
		out, err := jobsAgainst(append([]string{"list"}, c.args...)...)
		if c.says == "" && (err != nil || !strings.Contains(out, "SERIES")) || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q: %s", c.name, err, c.says, out)
		}
		if err != nil && strings.Contains(err.Error(), "horse") {
			t.Errorf("%s: the password is in the error: %v", c.name, err)
		}
	}
}

func TestTheNodesOwnConfigurationSaysWhereItIs(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:8042": "127.0.0.1:8042", ":8042": "localhost:8042", "0.0.0.0:8042": "localhost:8042", "[::]:8042": "localhost:8042", "node1:8042": "node1:8042",
	} {
		if got := reachable(listen); got != want {
			t.Errorf("%s: asked at %s, want %s", listen, got, want)
		}
	}
}

// What a person cancelled reads so, and every time says of which zone it is.
func TestShowSaysWhoCancelled(t *testing.T) {
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	err := printDetail(&out, &admin.Detail{
		Series:     admin.Series{State: admin.Failed, Sentence: "The analysis was cancelled by a person; retry to have it done."},
		Closings:   []admin.Closing{{Generation: 1, Reason: "geometry", Time: at}},
		Analysis:   &admin.Job{State: "cancelled", Attempt: 1, MaxAttempts: 12},
		Deliveries: []admin.Delivery{{Destination: "pacs", State: "waiting", Job: &admin.Job{Next: &at}}},
	})
	if err != nil || !strings.Contains(out.String(), "cancelled by a person\n") || !strings.Contains(out.String(), "the slices form a whole stack") {
		t.Errorf("%v: %s", err, &out)
	}
	if zone := at.Local().Format(zoned); strings.Count(out.String(), zone) != 2 || !strings.HasSuffix(zone, at.Local().Format(" MST")) {
		t.Errorf("not every time is %q: %s", zone, &out)
	}
}
