package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Check reports every fault that can be seen in the settings alone. What needs
// the disk, the network or the models is the `check` command's.
func (c *Config) Check() []Fault {
	f := &checker{}
	f.aeTitle("[node] ae_title", c.Node.AETitle)
	f.address("[node] listen", c.Node.Listen)
	f.oneOf("[node] accept", c.Node.Accept, "ct", "any")
	f.between("[node] max_associations", float64(c.Node.MaxAssociations), 1, MaxAssociationsLimit)

	if c.Storage.DataDir == "" {
		f.fault("[storage] data_dir", "is empty", "name a folder on a disk with room for a week of series")
	}
	f.atLeast("[storage] keep", c.Storage.Keep, Duration(time.Hour))
	f.atLeast("[storage] keep_record", c.Storage.KeepRecord, Duration(time.Hour))
	if d := c.Storage.DeleteDeliveredBelow; d != 0 && d < c.Storage.StopReceivingBelow {
		f.warn("[storage] delete_delivered_below", fmt.Sprintf("is %v, and reception stops below %v already", d, c.Storage.StopReceivingBelow),
			"write more than stop_receiving_below, so that room is made before senders are refused")
	}
	if c.Storage.MaxInstance < MiB {
		f.fault("[storage] max_instance", fmt.Sprintf("is %v, less than a slice of 512 x 512 and its header", c.Storage.MaxInstance), "write at least \"1 MiB\"; \"5 GiB\" is more than Pixel Data can have")
	}

	if c.TLS.Listen != "" {
		f.address("[tls] listen", c.TLS.Listen)
		for _, s := range []struct{ key, value string }{{"certificate", c.TLS.Certificate}, {"key", c.TLS.Key}, {"client_ca", c.TLS.ClientCA}} {
			if s.value == "" {
				f.fault("[tls] "+s.key, "is empty while [tls] listen is set", "name the PEM file; TLS is mutual")
			}
		}
	}

	f.sources(c)
	f.destinations(c)

	f.atLeast("[complete] quiet", c.Complete.Quiet, Duration(time.Millisecond))
	f.atLeast("[complete] idle", c.Complete.Idle, c.Complete.Quiet)
	f.atLeast("[complete] max_age", c.Complete.MaxAge, c.Complete.Idle)

	f.between("[select] max_spacing_mm", c.Select.MaxSpacingMM, 0.1, 10)
	f.between("[select] min_slices", float64(c.Select.MinSlices), 4, MaxSlicesLimit)
	f.between("[select] max_slices", float64(c.Select.MaxSlices), float64(c.Select.MinSlices), MaxSlicesLimit)
	f.between("[select] max_oblique_deg", c.Select.MaxObliqueDeg, 0, 30)
	f.oneOf("[select] one_per_study", c.Select.OnePerStudy, "all", "thinnest")

	f.oneOf("[inference] provider", c.Inference.Provider, "auto", "cuda", "cpu")
	for _, sum := range c.Inference.RuntimeSHA256 {
		f.sha256("[inference] runtime_sha256", sum)
	}
	f.sha256("[inference] localize_sha256", c.Inference.LocalizeSHA256)
	f.sha256("[inference] refine_sha256", c.Inference.RefineSHA256)
	f.between("[inference] threads", float64(c.Inference.Threads), 0, 1024)

	f.oneOf("[output] sr", c.Output.SR, "comprehensive3d", "comprehensive", "enhanced")
	f.oneOf("[output] seg", c.Output.SEG, "binary", "fractional", "labelmap")
	f.oneOf("[output] character_set", c.Output.CharacterSet, UTF8, AsReceived)
	f.outputs(&c.Output)

	f.atLeast("[queue] lease", c.Queue.Lease, Duration(3*time.Second))
	f.between("[queue] max_attempts", float64(c.Queue.MaxAttempts), 1, MaxAttemptsLimit)
	if c.Queue.URL != "" {
		if !c.Queue.NamesPostgreSQL() {
			f.fault("[queue] url", "is no PostgreSQL address", `write "postgres://user@host/database", or leave it empty for SQLite in data_dir`)
		}
	} else if c.Queue.PasswordFile != "" {
		f.fault("[queue] password_file", "is for a database that [queue] url names, and there is none", "leave it empty, or set the url")
	}
	if !plainName(c.Node.Name) {
		f.fault("[node] name", fmt.Sprintf("%q is no name of a node", c.Node.Name), fmt.Sprintf("use up to %d letters, digits, '-' and '_', or leave it empty for the machine's name", maxNodeName))
	}

	f.admin(c.Admin)
	f.oneOf("[log] level", c.Log.Level, "debug", "info", "warn", "error")
	f.oneOf("[log] format", c.Log.Format, "console", "json")
	f.audit(c)
	return f.faults
}

// admin checks that nobody but this machine reaches the page unasked and in the clear.
func (f *checker) admin(a Admin) {
	f.address("[admin] listen", a.Listen)
	if (a.Certificate == "") != (a.Key == "") {
		f.fault("[admin] certificate", "a certificate and its key belong together", "set both [admin] certificate and [admin] key, or neither")
	}
	if a.ClientCA != "" && a.Certificate == "" {
		f.fault("[admin] client_ca", "clients show certificates over TLS only", "set [admin] certificate and key too")
	}
	host, _, err := net.SplitHostPort(a.Listen)
	if err != nil || isLoopback(host) {
		return
	}
	if a.Certificate == "" && a.Key == "" {
		f.fault("[admin] listen", fmt.Sprintf("%q is reachable from other machines, and what it says would go in the clear", a.Listen),
			`set [admin] certificate and key to PEM files, or listen on "127.0.0.1:8042"`)
	}
	if !a.Asks() {
		f.fault("[admin] listen", fmt.Sprintf("%q is reachable from other machines, and nobody is asked who they are", a.Listen),
			"set [admin] password_file (`pulmonode password --file FILE USER` makes it), or client_ca for client certificates")
	}
}

// outputs checks what each kind of result is called and numbered.
func (f *checker) outputs(o *Output) {
	kinds := []struct {
		name, description string
		number, length    int
	}{
		{"seg", o.SeriesDescriptionSEG, o.SeriesNumberSEG, 48}, // an LO has 64, and a generation takes 16 of them
		{"sr", o.SeriesDescriptionSR, o.SeriesNumberSR, 21},    // as how it ended takes 27
		{"keyimage", o.SeriesDescriptionKeyImage, o.SeriesNumberKeyImage, 48},
		{"kos", o.SeriesDescriptionKOS, o.SeriesNumberKOS, 48},
		{"pdf", o.SeriesDescriptionPDF, o.SeriesNumberPDF, 48},
	}
	seen := map[int]bool{}
	for _, k := range kinds {
		key := "[output] series_number_" + k.name
		f.between(key, float64(k.number), 0, 99999)
		if seen[k.number] {
			f.warn(key, fmt.Sprintf("%d is used twice", k.number), "viewers sort by series number: give each its own")
		}
		seen[k.number] = true
		key = "[output] series_description_" + k.name
		switch {
		case strings.TrimSpace(k.description) == "":
			f.fault(key, "is empty", "say what the series is, or leave the setting out")
		case utf8.RuneCountInString(k.description) > k.length:
			f.fault(key, fmt.Sprintf("has %d characters", utf8.RuneCountInString(k.description)), fmt.Sprintf("use at most %d", k.length))
		case strings.ContainsFunc(k.description, func(r rune) bool { return r == '\\' || r == utf8.RuneError || unicode.IsControl(r) }):
			f.fault(key, "has a backslash or a control character", "leave it out")
		case o.CharacterSet == AsReceived && strings.ContainsFunc(k.description, func(r rune) bool { return r >= 0x80 }):
			f.fault(key, fmt.Sprintf("%q can't be written in the character set of every image", k.description), `use ASCII, or character_set = "utf-8"`)
		}
	}
}

type checker struct{ faults []Fault }

func (f *checker) fault(where, problem, remedy string) {
	f.faults = append(f.faults, Fault{Where: where, Problem: problem, Remedy: remedy})
}

func (f *checker) warn(where, problem, remedy string) {
	f.faults = append(f.faults, Fault{Where: where, Problem: problem, Remedy: remedy, Warning: true})
}

func (f *checker) sources(c *Config) {
	if len(c.Source) == 0 {
		f.warn("[[source]]", "there is none, so every sender is refused", `add one per scanner or PACS: ae_title = "CT1", from = ["10.1.0.0/16"]`)
	}
	for i, s := range c.Source {
		where := fmt.Sprintf("[[source]] number %d ", i+1)
		if s.AETitle == "*" {
			f.warn(where+"ae_title", `"*" lets every AE title in`, "name the sender's AE title")
		} else {
			f.aeTitle(where+"ae_title", s.AETitle)
		}
		if len(s.From) == 0 {
			f.fault(where+"from", "is empty, so no address matches", `list networks, for example from = ["10.1.0.0/16"]`)
		}
		for _, n := range s.From {
			if n == "*" {
				f.warn(where+"from", `"*" lets every address in`, "list the sender's network")
			} else if _, err := ParseNetwork(n); err != nil {
				f.fault(where+"from", fmt.Sprintf("%q is neither a network nor an address", n), `write "10.1.0.0/16" or "10.1.2.3"`)
			}
		}
		if s.CommitTo != "" {
			f.address(where+"commit_to", s.CommitTo)
		}
		if s.TLS && c.TLS.Listen == "" {
			f.fault(where+"tls", "is true, but the node has no TLS listener", "set [tls] listen, certificate, key and client_ca")
		}
		if s.Certificate != "" && c.TLS.Listen == "" {
			f.fault(where+"certificate", "is set, but the node has no TLS listener", "set [tls] listen, certificate, key and client_ca")
		}
		if _, _, err := s.Fingerprint(); err != nil {
			f.fault(where+"certificate", fmt.Sprintf("%q is no fingerprint: %v", s.Certificate, err), `write "sha256:" and what "openssl x509 -noout -fingerprint -sha256 -in FILE" shows, or the certificate's common name`)
		} else if strings.TrimSpace(s.Certificate) != s.Certificate || strings.ContainsAny(s.Certificate, "*\n=") {
			f.fault(where+"certificate", fmt.Sprintf("%q can't be a name", s.Certificate), "write the certificate's common name alone, without CN=, or one of its DNS names")
		}
	}
}

// ParseNetwork reads "10.1.0.0/16" or a single address.
func ParseNetwork(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		return p.Masked(), err
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// destinationName bounds what becomes a queue's name, a folder's name and a
// metric's label.
var destinationName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)

func (f *checker) destinations(c *Config) {
	if len(c.Destination) == 0 {
		f.warn("[[destination]]", "there is none, so results stay on disk", `add the PACS: name = "pacs", ae_title = "PACS", address = "10.1.2.3:104"`)
	}
	seen := map[string]bool{}
	for i := range c.Destination {
		d := &c.Destination[i]
		where := fmt.Sprintf("[[destination]] number %d ", i+1)
		if !destinationName.MatchString(d.Name) {
			f.fault(where+"name", fmt.Sprintf("%q can't be a name", d.Name), "use up to 32 of a-z, 0-9, - and _")
		}
		if seen[d.Name] {
			f.fault(where+"name", fmt.Sprintf("%q is used twice", d.Name), "give each destination its own name")
		}
		seen[d.Name] = true
		f.aeTitle(where+"ae_title", d.AETitle)
		f.address(where+"address", d.Address)
		if d.Send == nil {
			d.Send = slices.Clone(defaultOutputs)
		}
		if len(d.Send) == 0 {
			f.fault(where+"send", "is empty", `list what to send: ["seg", "sr", "keyimage"]`)
		}
		for _, s := range d.Send {
			f.oneOf(where+"send", s, Outputs...)
		}
		if d.TLS && (c.TLS.Certificate == "" || c.TLS.Key == "") {
			f.fault(where+"tls", "is true, but the node has no certificate", "set [tls] certificate and key")
		}
		if d.TLS && c.TLS.ClientCA == "" {
			f.fault(where+"tls", "is true, but the node trusts no authority", "set [tls] client_ca to the PEM file of the authority that signed this destination's certificate")
		}
		if d.Commit && !slices.ContainsFunc(c.Source, func(s Source) bool { return s.AETitle == "*" || s.AETitle == d.AETitle }) {
			f.warn(where+"commit", fmt.Sprintf("is true, but no [[source]] row lets %s in, and most archives answer on an association of their own", d.AETitle),
				fmt.Sprintf("add one: ae_title = %q, from = [its address]", d.AETitle))
		}
	}
}

// aeTitle checks PS3.5 6.2's AE: 1 to 16 characters, no backslash or control
// characters, not only spaces.
func (f *checker) aeTitle(where, s string) {
	bad := strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '\\' })
	if t := strings.TrimSpace(s); t == "" || len(s) > 16 || bad {
		f.fault(where, fmt.Sprintf("%q is no AE title", s), "use 1 to 16 printable ASCII characters without backslash")
	}
}

// sha256 checks a hash that a file must have; "" asks for none.
func (f *checker) sha256(where, s string) {
	if b, err := hex.DecodeString(s); err != nil || len(b) != sha256.Size && s != "" {
		f.fault(where, fmt.Sprintf("%q is no SHA-256", s), "write the 64 digits that `sha256sum FILE` shows")
	}
}

func (f *checker) address(where, s string) {
	_, port, err := net.SplitHostPort(s)
	if err != nil || port == "" {
		f.fault(where, fmt.Sprintf("%q is no address", s), `write "host:port" or ":port"`)
		return
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		f.fault(where, fmt.Sprintf("%q is no port", port), "write a number from 1 to 65535")
	}
}

func (f *checker) oneOf(where, s string, allowed ...string) {
	if !slices.Contains(allowed, s) {
		f.fault(where, fmt.Sprintf("%q is not allowed", s), fmt.Sprintf("use one of %q", allowed))
	}
}

func (f *checker) between(where string, v, low, high float64) {
	if !(v >= low && v <= high) {
		f.fault(where, fmt.Sprintf("%v is out of range", v), fmt.Sprintf("use %v to %v", low, high))
	}
}

func (f *checker) atLeast(where string, d, low Duration) {
	if d < low {
		f.fault(where, fmt.Sprintf("%v is too short", d), fmt.Sprintf("use at least %v", low))
	}
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
