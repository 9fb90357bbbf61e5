package config

import (
	"errors"
	"net"
	"net/url"
)

// Audit is the audit trail (PS3.15 A.5). Off while File and Syslog are empty.
type Audit struct {
	File    string `toml:"file"`    // a line for each message
	Syslog  string `toml:"syslog"`  // the collector
	CA      string `toml:"ca"`      // of its certificate; empty: [tls] client_ca
	Spool   Size   `toml:"spool"`   // what may wait for it on the disk
	Patient bool   `toml:"patient"` // name patients
	Site    string `toml:"site"`    // Audit Enterprise Site ID
}

// minSpool is some hundred messages.
const minSpool = MiB

// collectorPorts are those of a syslog URL that names none: RFC 5425, RFC 6587 and
// RFC 5426.
var collectorPorts = map[string]string{"tls": "6514", "tcp": "601", "udp": "514"}

// Collector splits Syslog into "tls", "tcp" or "udp" and an address.
func (a Audit) Collector() (network, address string, err error) {
	u, err := url.Parse(a.Syslog)
	if err != nil {
		return "", "", errors.New("is no URL")
	}
	port, ok := collectorPorts[u.Scheme]
	if !ok || u.Hostname() == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", "", errors.New("is no address of a syslog collector")
	}
	if u.Port() != "" {
		port = u.Port()
	}
	return u.Scheme, net.JoinHostPort(u.Hostname(), port), nil
}

func (f *checker) audit(c *Config) {
	a := c.Audit
	if a.Spool < minSpool {
		f.fault("[audit] spool", "is "+a.Spool.String()+", a few messages", `write at least "1 MiB"; "64 MiB" keeps some 30,000 messages`)
	}
	if a.Syslog == "" {
		return
	}
	network, address, err := a.Collector()
	if err != nil {
		f.fault("[audit] syslog", err.Error(), `write "tls://host:6514", or "tcp://" or "udp://"`)
		return
	}
	host, _, _ := net.SplitHostPort(address)
	switch {
	case network == "tls" && a.CA == "" && c.TLS.ClientCA == "":
		f.fault("[audit] ca", "is empty, so no collector's certificate is trusted", "name the PEM file of the authority that signed it")
	case network != "tls" && a.Patient && !isLoopback(host):
		f.warn("[audit] patient", "is true, and the collector is reached in the clear", `use "tls://", or leave patients out`)
	case network == "udp":
		f.warn("[audit] syslog", "goes over UDP, which loses messages and says nothing", `use "tls://" or "tcp://" if the collector takes it`)
	}
}
