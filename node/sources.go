package node

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/pulmonode/pulmonode/config"
)

// source is a [[source]] row.
type source struct {
	aeTitle  string // "*": any
	anywhere bool
	networks []netip.Prefix
	tls      bool
}

func newSources(rows []config.Source) ([]source, error) {
	var list []source
	for i, row := range rows {
		s := source{aeTitle: row.AETitle, tls: row.TLS}
		for _, from := range row.From {
			if from == "*" {
				s.anywhere = true
				continue
			}
			p, err := netip.ParsePrefix(from)
			if err != nil {
				a, aerr := netip.ParseAddr(from)
				if aerr != nil {
					return nil, fmt.Errorf("[[source]] number %d: from %q is neither a network nor an address: write \"10.1.0.0/16\" or \"10.1.2.3\"", i+1, from)
				}
				a = a.Unmap()
				p = netip.PrefixFrom(a, a.BitLen())
			}
			s.networks = append(s.networks, p.Masked())
		}
		list = append(list, s)
	}
	return list, nil
}

// label is the source's name in the metrics: bounded by the configuration.
func (s *source) label() string { return s.aeTitle }

// admits says which row lets the peer in. The AE title is a label that anyone
// can give; it counts only together with where it comes from. nil refuses, with
// the reason as a word for the metrics and a clause for the log.
func admits(sources []source, callingAE string, remote net.Addr, secure bool) (s *source, reason, clause string) {
	host := remote.String()
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	address, err := netip.ParseAddr(host)
	address = address.Unmap().WithZone("")
	reason, clause = "ae_title", "no [[source]] row has this AE title"
	for i := range sources {
		row := &sources[i]
		if row.aeTitle != "*" && row.aeTitle != strings.TrimSpace(callingAE) {
			continue
		}
		if !row.anywhere && (err != nil || !row.within(address)) {
			if reason != "tls" {
				reason, clause = "network", "the [[source]] rows with this AE title name other networks"
			}
			continue
		}
		if row.tls && !secure {
			reason, clause = "tls", "the [[source]] row with this AE title asks for TLS"
			continue
		}
		return row, "", ""
	}
	return nil, reason, clause
}

func (s *source) within(a netip.Addr) bool {
	for _, p := range s.networks {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
