package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/node/admin"
)

func healthCommand() *cobra.Command {
	var path string
	var ready bool
	c := &cobra.Command{
		Use:   "health",
		Short: "Ask the node on this machine whether it is alive, or ready",
		Long: `Asks /healthz of the node's admin address, with --ready /readyz, and says in a
sentence what is wrong. The exit code is 0 when all is well and 1 otherwise: for
scripts and containers.`,
		Example: "  pulmonode health\n  pulmonode health --ready --config /etc/pulmonode/node.toml",
		Args:    exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, faults := config.Load(path)
			if config.Fatal(faults) {
				return errors.New(fmt.Sprint(faults[slices.IndexFunc(faults, func(f config.Fault) bool { return !f.Warning })]))
			}
			said, err := askHealth(c.Context(), cfg.Admin, ready)
			if err == nil {
				fmt.Fprintln(c.OutOrStdout(), said)
			}
			return err
		},
	}
	configFlag(c, &path)
	c.Flags().BoolVar(&ready, "ready", false, "ask whether it would receive and could deliver, too")
	return c
}

// askHealth asks the admin listener of this machine's node; everybody may.
func askHealth(ctx context.Context, a config.Admin, ready bool) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	host, port, err := net.SplitHostPort(a.Listen)
	if err != nil {
		return "", err
	}
	if at, err := netip.ParseAddr(host); host == "" || err == nil && at.IsUnspecified() {
		host = "127.0.0.1"
	}
	url, client := "http://"+net.JoinHostPort(host, port), &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if a.Certificate != "" {
		url = "https" + strings.TrimPrefix(url, "http")
		client.Transport = &http.Transport{DisableKeepAlives: true, TLSClientConfig: onlyThis(a)}
	}
	path := "/healthz"
	if ready {
		path = "/readyz"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+path, nil)
	if err != nil {
		return "", err
	}
	answer, err := client.Do(r)
	if err != nil {
		return "", fmt.Errorf("no node answers at %s: is `pulmonode serve` running? (%w)", a.Listen, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return "", err
	}
	var parts admin.Readiness
	if ready {
		if err := json.Unmarshal(body, &parts); err != nil {
			return "", fmt.Errorf("what answers at %s is no pulmonode: %w", a.Listen, err)
		}
	}
	if answer.StatusCode == http.StatusOK {
		return map[bool]string{false: "alive", true: "ready"}[ready], nil
	}
	var wrong []error
	for _, part := range parts.Checks {
		if !part.OK {
			wrong = append(wrong, fmt.Errorf("%s: %s", part.Name, part.Sentence))
		}
	}
	if len(wrong) == 0 {
		wrong = append(wrong, errors.New(strings.TrimSpace(string(body))))
	}
	return "", errors.Join(wrong...)
}

// onlyThis trusts the certificate that the node itself shows and no other: it is
// asked by an address that need not be in it.
func onlyThis(a config.Admin) *tls.Config {
	return &tls.Config{
		InsecureSkipVerify: true, // VerifyConnection does
		VerifyConnection: func(s tls.ConnectionState) error {
			own, err := tls.LoadX509KeyPair(a.Certificate, a.Key)
			if err != nil {
				return err
			}
			if !slices.Equal(own.Certificate[0], s.PeerCertificates[0].Raw) {
				return errors.New("it shows another certificate than [admin] certificate")
			}
			return nil
		},
	}
}
