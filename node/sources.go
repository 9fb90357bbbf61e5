package node

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/pulmonode/pulmonode/config"
)

// source is a [[source]] row.
type source struct {
	aeTitle  string // "*": any
	anywhere bool
	networks []netip.Prefix
	tls      bool
	commitTo string        // where it listens for results of storage commitment; "": nowhere
	reports  chan struct{} // a place for each of them that waits to be reported
	certificate
}

// certificate is the one that a row binds. The zero value binds none.
type certificate struct {
	name string // common name or a DNS name
	sum  [sha256.Size]byte
	by   certificateBy
}

type certificateBy uint8

const (
	byAuthority certificateBy = iota // of [tls] client_ca alone
	byName
	byFingerprint
)

// is reports whether the peer showed the certificate. TLS has verified it by then.
func (c certificate) is(state *tls.ConnectionState) bool {
	if c.by == byAuthority {
		return true
	}
	if state == nil || len(state.PeerCertificates) == 0 {
		return false
	}
	shown := state.PeerCertificates[0]
	if c.by == byFingerprint {
		return sha256.Sum256(shown.Raw) == c.sum
	}
	return shown.Subject.CommonName == c.name || slices.ContainsFunc(shown.DNSNames, func(n string) bool { return strings.EqualFold(n, c.name) })
}

func newSources(rows []config.Source) ([]source, error) {
	var list []source
	for i, row := range rows {
		s := source{aeTitle: row.AETitle, tls: row.TLS || row.Certificate != "", commitTo: row.CommitTo, reports: make(chan struct{}, maxReports)}
		sum, ok, err := row.Fingerprint()
		switch {
		case err != nil:
			return nil, fmt.Errorf("[[source]] number %d: certificate %q is no fingerprint: %w", i+1, row.Certificate, err)
		case ok:
			s.certificate = certificate{sum: sum, by: byFingerprint}
		case row.Certificate != "":
			s.certificate = certificate{name: row.Certificate, by: byName}
		}
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
// can give; it counts only together with where it comes from. Where none does, it
// says what the row that came nearest lacks.
func admits(sources []source, callingAE string, remote net.Addr, secure *tls.ConnectionState) (*source, *sourceRefusal) {
	host := remote.String()
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	address, err := netip.ParseAddr(host)
	address = address.Unmap().WithZone("")
	nearest := 0
	for i := range sources {
		row := &sources[i]
		at := 0
		switch {
		case row.aeTitle != "*" && row.aeTitle != strings.TrimSpace(callingAE):
		case !row.anywhere && (err != nil || !row.within(address)):
			at = 1
		case row.tls && secure == nil:
			at = 2
		case !row.certificate.is(secure):
			at = 3
		default:
			return row, nil
		}
		nearest = max(nearest, at)
	}
	return nil, &sourceRefusals[nearest]
}

// sourceRefusal is what a row lacks: a word for the metrics, a clause for the log,
// and what to do if the peer may send.
type sourceRefusal struct{ word, clause, remedy string }

// sourceRefusals are in the order of looking.
var sourceRefusals = [...]sourceRefusal{
	{"ae_title", "no [[source]] row has this AE title", "add a [[source]] row if it may send"},
	{"network", "the [[source]] rows with this AE title name other networks", "add its address to `from` of the row if it may send"},
	{"tls", "the [[source]] row with this AE title asks for TLS", "have it call the port of [tls] listen, or set tls = false in the row"},
	{"certificate", "the [[source]] row with this AE title names another certificate", "write the one shown here into `certificate` of the row if it is the peer's"},
}

func (s *source) within(a netip.Addr) bool {
	for _, p := range s.networks {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
