package node

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/node/admin"
	"github.com/pulmonode/pulmonode/node/secure"
	"github.com/pulmonode/pulmonode/node/secure/securetest"
	"github.com/pulmonode/pulmonode/node/series"
)

// atOnce is far below every timeout of the node: ARTIM alone is 30 s.
const atOnce = 5 * time.Second

// secured is a site with a TLS listener, and its authority.
func secured(t *testing.T, sources ...config.Source) (*site, *securetest.Authority, *observer.ObservedLogs) {
	hospital := securetest.NewAuthority(t)
	core, logs := observer.New(zap.WarnLevel)
	s := newSite(t, func(s *site) {
		s.config.TLS = hospital.Settings(t, "node")
		s.config.TLS.Listen = "127.0.0.1:0"
		s.config.Source = append(s.config.Source, sources...)
		s.logger = zap.New(core)
	})
	return s, hospital, logs
}

func (s *site) tlsAddress() string { return s.node.listeners[1].Addr().String() }

// dialTLS opens an association over TLS with the certificate of the settings.
func (s *site) dialTLS(calling string, identity config.TLS) (*dimse.Conn, error) {
	s.t.Helper()
	profile, err := secure.New(&config.Config{TLS: identity}, zap.NewNop()).Client()
	if err != nil {
		s.t.Fatal(err)
	}
	return s.dialWith(calling, s.tlsAddress(), profile)
}

func (s *site) dialWith(calling, address string, profile *tls.Config) (*dimse.Conn, error) {
	client := dimse.Client{CallingAE: calling, CalledAE: s.config.Node.AETitle, Address: address, TLS: profile}
	return client.Dial(s.t.Context(), []dimse.Context{{SOPClassUID: dataset.CTImage, TransferSyntaxUIDs: []string{dataset.ExplicitLE}}})
}

func fingerprintOf(t *testing.T, identity config.TLS) string {
	t.Helper()
	b, err := os.ReadFile(identity.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	return fmt.Sprintf("sha256:%x", sha256.Sum256(block.Bytes))
}

// Both listeners count their associations from 1. A goodbye on one must not vouch
// for the series that the other's brings, which breaks off here.
func TestAssociationOfOneListenerDoesNotEndThatOfTheOther(t *testing.T) {
	hospital := securetest.NewAuthority(t)
	core, logs := observer.New(zap.InfoLevel)
	s := newSite(t, func(s *site) {
		s.config.TLS = hospital.Settings(t, "node")
		s.config.TLS.Listen = "127.0.0.1:0"
		s.config.Source = append(s.config.Source, config.Source{AETitle: "SECURE", From: []string{"127.0.0.1"}, TLS: true})
		s.logger = zap.New(core)
	})
	s.start()
	plain, err := s.dial("CT1")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		sop, data := slice(t, i, nil)
		if status := s.storeOne(plain, sop, data); status != dimse.Success {
			t.Fatalf("slice %d: %v", i, status)
		}
	}
	other, err := s.dialTLS("SECURE", hospital.Settings(t, "scanner"))
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.until("over", func(*admin.Detail) bool { return logs.FilterMessage("association_ended").Len() == 1 })
	plain.Abort()
	s.until("closed", func(*admin.Detail) bool { return logs.FilterMessage("series_closed").Len() == 1 })
	if reason := logs.FilterMessage("series_closed").All()[0].ContextMap()["reason"]; reason != series.ReasonIdle {
		t.Errorf("the series that broke off closed as %q", reason)
	}
}

// A row binds AE title, network and certificate, all three.
func TestSourcesBindTheCertificate(t *testing.T) {
	hospital := securetest.NewAuthority(t)
	ct1, ct2, ct3 := hospital.Settings(t, "ct1.example.org"), hospital.Settings(t, "ct2.example.org"), hospital.Settings(t, "ct3.example.org")
	core, logs := observer.New(zap.WarnLevel)
	s := newSite(t, func(s *site) {
		s.config.TLS = hospital.Settings(t, "node")
		s.config.TLS.Listen = "127.0.0.1:0"
		s.logger = zap.New(core)
		s.config.Source = []config.Source{
			{AETitle: "NAMED", From: []string{"127.0.0.1"}, Certificate: "ct1.example.org"},
			{AETitle: "PRINTED", From: []string{"127.0.0.1"}, Certificate: strings.ToUpper(fingerprintOf(t, ct2))},
			{AETitle: "ANYONE", From: []string{"127.0.0.1"}, TLS: true},
			{AETitle: "FAR", From: []string{"192.0.2.0/24"}, Certificate: "ct1.example.org"},
			{AETitle: "*", From: []string{"127.0.0.1"}, Certificate: "ct3.example.org"},
		}
	})
	s.start()
	for _, c := range []struct {
		calling string
		with    config.TLS
		reason  string // "" is let in
	}{
		{"NAMED", ct1, ""},
		{"NAMED", ct2, "names another certificate"},
		{"PRINTED", ct2, ""},
		{"PRINTED", ct1, "names another certificate"},
		{"ANYONE", ct1, ""},
		{"ANYONE", ct2, ""},
		{"FAR", ct1, "names another certificate"}, // the row for "*" came nearest
		{"OTHER", ct3, ""},
		{"OTHER", ct1, "names another certificate"},
	} {
		conn, err := s.dialTLS(c.calling, c.with)
		if c.reason == "" {
			if err != nil {
				t.Errorf("%s: %v", c.calling, err)
			} else if err := conn.Release(t.Context()); err != nil {
				t.Error(err)
			}
			continue
		}
		if reject := (*dimse.RejectError)(nil); !errors.As(err, &reject) || reject.Result != 1 || reject.Source != 1 || reject.Reason != 3 {
			t.Errorf("%s: %v", c.calling, err)
		}
		told := logs.FilterMessage("association_refused").All()
		logs.TakeAll()
		if len(told) != 1 || !strings.Contains(fmt.Sprint(told[0].ContextMap()["reason"]), c.reason) || told[0].ContextMap()["certificate"] != fingerprintOf(t, c.with) ||
			!strings.Contains(fmt.Sprint(told[0].ContextMap()["do"]), "`certificate`") {
			t.Errorf("%s: logged %v", c.calling, told)
		}
	}
	if _, err := s.dial("NAMED"); err == nil {
		t.Error("a row that binds a certificate let a peer in without TLS")
	}
}

// Everybody who should not come in is told so at once, logged without a name and
// counted; and the node goes on receiving.
func TestWhoMayNotUseTheTLSListener(t *testing.T) {
	s, hospital, logs := secured(t, config.Source{AETitle: "SECURE", From: []string{"127.0.0.1"}, TLS: true})
	s.start()
	good := hospital.Settings(t, "scanner")
	now := time.Now()
	showing := func(identity config.TLS) func() error {
		pair, err := tls.LoadX509KeyPair(identity.Certificate, identity.Key)
		if err != nil {
			t.Fatal(err)
		}
		return func() error {
			profile, err := secure.New(&config.Config{TLS: good}, zap.NewNop()).Client()
			if err != nil {
				t.Fatal(err)
			}
			profile.Certificates = nil
			profile.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
			_, err = s.dialWith("SECURE", s.tlsAddress(), profile)
			return err
		}
	}
	for _, c := range []struct {
		name string
		dial func() error
		word string
	}{
		{"another authority's certificate", showing(securetest.NewAuthority(t).Settings(t, "Somebody")), "certificate_untrusted"},
		{"an ended certificate", showing(hospital.SettingsFor(t, "Somebody", now.AddDate(-1, 0, 0), now.Add(-time.Hour))), "certificate_expired"},
		{"a certificate of tomorrow", showing(hospital.SettingsFor(t, "Somebody", now.Add(24*time.Hour), now.AddDate(1, 0, 0))), "certificate_not_yet_valid"},
		{"no certificate", func() error {
			profile, err := secure.New(&config.Config{TLS: good}, zap.NewNop()).Client()
			if err != nil {
				t.Fatal(err)
			}
			profile.Certificates = nil
			_, err = s.dialWith("SECURE", s.tlsAddress(), profile)
			return err
		}, "certificate_missing"},
		{"no [[source]] row", func() error { _, err := s.dialTLS("UNLISTED", good); return err }, "ae_title"},
		{"plain text on the port with TLS", func() error { _, err := s.dialWith("SECURE", s.tlsAddress(), nil); return err }, "plain_text"},
		{"TLS on the plain port", func() error {
			profile, err := secure.New(&config.Config{TLS: good}, zap.NewNop()).Client()
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.dialWith("SECURE", s.node.Addr().String(), profile)
			return err
		}, "not_dicom"},
		{"a row with TLS on the plain port", func() error { _, err := s.dial("SECURE"); return err }, "tls"},
	} {
		t.Run(c.name, func(t *testing.T) {
			began := time.Now()
			err := c.dial()
			if took := time.Since(began); err == nil || took > atOnce {
				t.Errorf("refused with %v after %v", err, took)
			}
			counted(t, s, c.word, 1)
		})
	}
	for _, e := range logs.All() {
		if line := fmt.Sprint(e.Message, e.ContextMap()); strings.Contains(line, "Somebody") || strings.Contains(line, "scanner") {
			t.Errorf("logged with a name: %s", line)
		}
	}
	if n := logs.FilterMessage("connection_refused").Len() + logs.FilterMessage("association_refused").Len(); n != 8 {
		t.Errorf("%d refusals were logged: %v", n, logs.All())
	}
	conn, err := s.dialTLS("SECURE", good)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// counted waits for the refusals of a word to be n in the metrics.
func counted(t *testing.T, s *site, word string, n int) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	line := regexp.MustCompile(fmt.Sprintf(`(?m)^pulmonode_refusals_total\{reason="%s"\} (\d+)$`, word))
	var text string
	for range 1000 {
		s.get("/metrics", &text)
		if m := line.FindStringSubmatch(text); m != nil && m[1] == fmt.Sprint(n) {
			return
		}
		<-tick.C
	}
	t.Errorf("the metrics never counted %d refusals %q", n, word)
}

// tool finds one of DCMTK's, or skips.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed: apt install dcmtk", name)
	}
	if help, _ := exec.Command(path, "--help").CombinedOutput(); !strings.Contains(string(help), "--enable-tls") {
		t.Skipf("this %s was built without TLS", name)
	}
	return path
}

func identityArgs(s config.TLS) []string {
	return []string{"+tls", s.Key, s.Certificate, "+cf", s.ClientCA}
}

// DCMTK's storescu sends a series over TLS, in both versions of it, and is
// refused at once with the wrong certificate, without TLS, and on the wrong port.
func TestDCMTKSendsOverTLS(t *testing.T) {
	storescu := tool(t, "storescu")
	s, hospital, _ := secured(t, config.Source{AETitle: "STORESCU", From: []string{"127.0.0.1"}, Certificate: "scanner"})
	s.start()
	scanner := hospital.Settings(t, "scanner")
	dir := t.TempDir()
	for i := range 4 {
		sop, data := slice(t, i, nil)
		meta := dataset.FileMeta(dataset.MetaInfo{SOPClassUID: dataset.CTImage, SOPInstanceUID: sop, TransferSyntax: dataset.ExplicitLE})
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.dcm", i)), append(meta, data...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	send := func(address string, args ...string) (string, error) {
		host, port, _ := net.SplitHostPort(address)
		began := time.Now()
		out, err := exec.CommandContext(t.Context(), storescu, slices.Concat(args, []string{"-aec", "PULMONODE", "+sd", host, port, dir})...).CombinedOutput()
		if took := time.Since(began); took > 2*atOnce {
			t.Errorf("storescu %q took %v", args, took)
		}
		return string(out), err
	}
	for _, profile := range []string{"--profile-bcp195-nd", "--profile-bcp195", "--profile-bcp195-ex"} {
		if out, err := send(s.tlsAddress(), append(identityArgs(scanner), profile)...); err != nil {
			t.Errorf("%s: %v\n%s", profile, err, out)
		}
	}
	if d := s.untilState(admin.Delivered); d.Instances != 4 {
		t.Errorf("%d instances came", d.Instances)
	}
	stranger := securetest.NewAuthority(t).Settings(t, "scanner")
	stranger.ClientCA = scanner.ClientCA // it trusts the node, the node not it
	for _, try := range []struct {
		name, address string
		args          []string
		word          string
	}{
		{"a stranger's certificate", s.tlsAddress(), identityArgs(stranger), "certificate_untrusted"},
		{"a certificate that no row names", s.tlsAddress(), identityArgs(hospital.Settings(t, "other")), "certificate"},
		{"anonymous", s.tlsAddress(), []string{"+tla", "+cf", scanner.ClientCA}, "certificate_missing"},
		{"the retired profile without AEAD", s.tlsAddress(), append(identityArgs(scanner), "--profile-aes"), "cipher_suite"},
		{"no TLS", s.tlsAddress(), nil, "plain_text"},
		{"TLS on the port without", s.node.Addr().String(), identityArgs(scanner), "not_dicom"},
		{"no TLS where the row binds a certificate", s.node.Addr().String(), nil, "tls"},
	} {
		out, err := send(try.address, try.args...)
		if err == nil {
			t.Errorf("%s was let in:\n%s", try.name, out)
		}
		counted(t, s, try.word, 1)
	}
}

// DCMTK's storescp takes the results over TLS, asks for our certificate, and one
// that the node does not trust gets nothing.
func TestDCMTKIsDeliveredToOverTLS(t *testing.T) {
	storescp := tool(t, "storescp")
	s, hospital, logs := secured(t)
	listen := func(identity config.TLS) (address, dir string) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address, dir = l.Addr().String(), t.TempDir()
		_, port, _ := net.SplitHostPort(address)
		l.Close() // storescp takes the port; deliveries are tried again until it listens
		cmd := exec.CommandContext(t.Context(), storescp, append(identityArgs(identity), "-od", dir, port)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		return address, dir
	}
	stranger := securetest.NewAuthority(t).Settings(t, "pacs")
	stranger.ClientCA = hospital.File
	good, taken := listen(hospital.Settings(t, "pacs"))
	bad, nothing := listen(stranger)
	s.config.Queue.MaxAttempts = 60
	s.parts.backoff.Base, s.parts.backoff.Cap = 50*time.Millisecond, 50*time.Millisecond
	s.config.Destination = []config.Destination{
		{Name: "good", AETitle: "PACS", Address: good, Send: config.Outputs, TLS: true},
		{Name: "bad", AETitle: "PACS", Address: bad, Send: config.Outputs, TLS: true},
	}
	s.start()
	s.send(0, 4)
	s.until("delivered to one and tried at the other", func(d *admin.Detail) bool {
		return delivery(d, "good").State == "delivered" && strings.Contains(delivery(d, "bad").Sentence, "certificate")
	})
	if files, _ := filepath.Glob(filepath.Join(taken, "*")); len(files) != 3 {
		t.Errorf("storescp has %v", files)
	}
	if files, _ := filepath.Glob(filepath.Join(nothing, "*")); len(files) != 0 {
		t.Errorf("a stranger has %v", files)
	}
	for _, e := range logs.FilterMessage("delivered").All() {
		if e.ContextMap()["destination"] == "bad" {
			t.Error("logged as delivered to a stranger")
		}
	}
}
