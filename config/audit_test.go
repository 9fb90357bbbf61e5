package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestCollector(t *testing.T) {
	for text, want := range map[string]string{
		"tls://host:6514": "tls host:6514", "tls://host": "tls host:6514", "tcp://host": "tcp host:601", "udp://[::1]": "udp [::1]:514",
		"": "", "host:514": "", "http://host": "", "tls://": "", "tls://user:word@host": "", "tls://host/path": "", "tls://host?x": "", "tls://ho st": "",
	} {
		network, address, err := Audit{Syslog: text}.Collector()
		if got := strings.TrimSpace(network + " " + address); got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q: %v", text, got, err)
		}
	}
}

func TestAuditSettings(t *testing.T) {
	for text, c := range map[string]struct {
		says  string
		fatal bool
	}{
		``:                                         {"", false},
		`syslog = "tls://c"`:                       {"no collector's certificate is trusted", true},
		"syslog = \"tls://c\"\nca = \"ca.pem\"":    {"", false},
		`syslog = "c:514"`:                         {"no address of a syslog collector", true},
		`syslog = "udp://c"`:                       {"loses messages", false},
		`syslog = "tcp://c"`:                       {"", false},
		"syslog = \"tcp://c\"\npatient = true":     {"in the clear", false},
		"syslog = \"tcp://[::1]\"\npatient = true": {"", false},
		`spool = "1 KiB"`:                          {"[audit] spool: is 1 KiB", true},
		`levels = 3`:                               {"audit.levels: no setting has this name", true},
	} {
		_, faults := Parse("[audit]\n" + text + "\n")
		all := fmt.Sprint(faults)
		if Fatal(faults) != c.fatal || !strings.Contains(all, c.says) || c.says == "" && strings.Contains(all, "[audit]") {
			t.Errorf("%q: %v", text, faults)
		}
	}
}
