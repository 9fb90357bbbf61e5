package secure

import (
	"crypto/tls"
	"fmt"
)

// Collector is the profile of one connection to the collector of the audit trail
// (PS3.15 A.6, RFC 5425). The file names the authorities of its certificate; empty:
// those of [tls] client_ca. This node shows its own certificate where it has one.
func (i *Identity) Collector(ca string) (*tls.Config, error) {
	key := "[audit] ca"
	if ca == "" {
		key, ca = "[tls] client_ca", i.settings.ClientCA
	}
	authorities, err := Authorities(ca)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	t := profile()
	t.RootCAs = authorities
	if i.settings.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(i.settings.Certificate, i.settings.Key)
		if err != nil {
			return nil, fmt.Errorf("[tls] certificate: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}
