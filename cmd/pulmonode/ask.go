package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/node/admin"
	"github.com/pulmonode/pulmonode/node/secure"
)

// asker asks a running node through its admin address.
type asker struct {
	config, admin      string
	user, passwordFile string
	ca                 string
	cert, key          string

	client *http.Client // once it is known how
	base   string
	secret string
}

// passwordVariable is where the password may stand: not among the arguments, which
// every user of the machine can read.
const passwordVariable = "PULMONODE_PASSWORD"

func (a *asker) flags(c *cobra.Command) {
	f := c.PersistentFlags()
	f.StringVar(&a.config, "config", "node.toml", "the node's configuration, for its admin address")
	f.StringVar(&a.admin, "admin", "", "the admin address itself, for example 127.0.0.1:8042 or https://node1:8042")
	f.StringVar(&a.user, "user", "", "the name to come in by; its password is in "+passwordVariable+" or --password-file")
	f.StringVar(&a.passwordFile, "password-file", "", "a file whose first line is the password")
	f.StringVar(&a.ca, "ca", "", "PEM file of the authority that signed the node's certificate, where the system does not trust it")
	f.StringVar(&a.cert, "cert", "", "PEM file of a client certificate to come in by")
	f.StringVar(&a.key, "key", "", "PEM file of its key")
}

// prepare finds out where the node is and how to come in.
func (a *asker) prepare() error {
	if a.client != nil {
		return nil
	}
	address, authorities := a.admin, []string{a.ca}
	if address == "" {
		c, faults := config.Load(a.config)
		if config.Fatal(faults) {
			return fmt.Errorf("%v (or name the node with --admin HOST:PORT)", faults[0])
		}
		address = reachable(c.Admin.Listen)
		if c.Admin.Certificate != "" {
			address = "https://" + address
			authorities = append(authorities, c.Admin.Certificate) // one that signed itself is trusted here
		}
	}
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.User != nil || u.RawQuery != "" {
		return usageError{fmt.Errorf("--admin %q is no address of a node: write HOST:PORT or https://HOST:PORT", a.admin)}
	}
	if a.secret, err = a.password(); err != nil {
		return err
	}
	if a.user != "" && u.Scheme == "http" && !here(u.Hostname()) {
		return usageError{fmt.Errorf("the password would go in the clear to %s: write https://%s", u.Host, u.Host)}
	}
	profile := (*tls.Config)(nil)
	if u.Scheme == "https" {
		if profile, err = secure.AdminClient(authorities, a.cert, a.key); err != nil {
			return err
		}
	}
	a.base = u.Scheme + "://" + u.Host
	a.client = &http.Client{
		Timeout:       30 * time.Second,
		Transport:     &http.Transport{TLSClientConfig: profile, Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return nil
}

// reachable is an address to ask a listener at that may listen on all.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// here reports whether a host is this machine.
func here(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func (a *asker) password() (string, error) {
	if a.passwordFile == "" {
		return os.Getenv(passwordVariable), nil
	}
	f, err := os.Open(a.passwordFile)
	if err != nil {
		return "", fmt.Errorf("the password: %w", err)
	}
	defer f.Close()
	line, err := bufio.NewReader(io.LimitReader(f, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("the password: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// maxAnswer bounds what is read of an answer; a thousand series are below 1 MiB.
const maxAnswer = 16 << 20

// ask sends a request and decodes the answer.
func (a *asker) ask(ctx context.Context, method, path string, into any) ([]byte, error) {
	if err := a.prepare(); err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, method, a.base+path, nil)
	if err != nil {
		return nil, usageError{err}
	}
	if a.user != "" {
		r.SetBasicAuth(a.user, a.secret)
	}
	answer, err := a.client.Do(r)
	if err != nil {
		return nil, a.unanswered(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("reading the node's answer: %w", err)
	}
	if answer.StatusCode >= 300 {
		return nil, refused(answer, body)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return nil, fmt.Errorf("what answers at %s is no pulmonode: %w", a.base, err)
	}
	return body, nil
}

// unanswered says why no answer came, and what to do.
func (a *asker) unanswered(err error) error {
	var untrusted *tls.CertificateVerificationError
	var plain tls.RecordHeaderError
	switch {
	case errors.As(err, &untrusted):
		return fmt.Errorf("the certificate that %s shows is not trusted: name its authority with --ca FILE (%w)", a.base, untrusted.Err)
	case errors.As(err, &plain), strings.Contains(err.Error(), "HTTP response to HTTPS client"):
		return fmt.Errorf("what answers at %s speaks no TLS: write http://", a.base)
	case strings.Contains(err.Error(), "remote error: tls"):
		return fmt.Errorf("the node does not take this client's certificate: show one that an authority of its [admin] client_ca signed (%w)", err)
	}
	return fmt.Errorf("no node answers at %s: is `pulmonode serve` running? (%w)", a.base, err)
}

// refused is what the node said instead of an answer.
func refused(answer *http.Response, body []byte) error {
	var said admin.Answer
	switch {
	case json.Unmarshal(body, &said) != nil || said.Error == "":
		if strings.Contains(string(body), "HTTP request to an HTTPS server") {
			return errors.New("the node speaks TLS: write https://")
		}
		return fmt.Errorf("the node says: %s", answer.Status)
	case answer.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("the node says: %s (--user NAME, with the password in %s or --password-file; or --cert and --key)", said.Error, passwordVariable)
	}
	return fmt.Errorf("the node says: %s", said.Error)
}
