package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

func shipped(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../node.toml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What node.toml shows as the default must be the default.
func TestShippedFileIsTheDefault(t *testing.T) {
	got, faults := Parse(shipped(t))
	if Fatal(faults) {
		t.Fatalf("the shipped node.toml has faults: %v", faults)
	}
	if want := Default(); !reflect.DeepEqual(got, want) {
		t.Errorf("node.toml shows\n%+v\nthe defaults are\n%+v", got, want)
	}
}

// Every setting stands in node.toml, if only as an example.
func TestShippedFileNamesEverySetting(t *testing.T) {
	text := shipped(t)
	examples := regexp.MustCompile(`(?m)^# (\[\[|[a-z_]+ = )`).ReplaceAllString(text, "$1")
	c, faults := Parse(examples)
	if Fatal(faults) {
		t.Fatalf("node.toml with its examples switched on has faults: %v", faults)
	}
	if len(c.Source) != 1 || len(c.Destination) != 1 {
		t.Fatalf("the examples were not read: %+v", c)
	}
	for _, key := range Keys() {
		_, name, _ := strings.Cut(key, ".")
		if !strings.Contains(examples, "\n"+name+" = ") {
			t.Errorf("node.toml does not show %s", key)
		}
	}
}

func TestEveryFaultAtOnce(t *testing.T) {
	_, faults := Parse(`
[node]
ae_titel = "X"
listen = 11112
[storage]
keep = "a while"
stop_receiving_below = "much"
max_instance = "1 KiB"
[inferense]
provider = "cpu"
[inference]
runtime_sha256 = ["abc"]
refine_sha256 = "00"
[select]
max_spacing_mm = 99.0
[[source]]
ae_title = "CT1"
from = ["10.1.0.0/99"]
[[destination]]
name = "the pacs"
ae_title = "A VERY LONG AE TITLE"
address = "pacs"
send = ["jpeg"]
[admin]
listen = "0.0.0.0:8042"
`)
	want := []string{
		"node.ae_titel: no setting has this name\n    did you mean node.ae_title?",
		"[node] listen: is a whole number; text in quotes is expected",
		"[storage] keep", "[storage] stop_receiving_below", "[storage] max_instance: is 1 KiB, less than a slice",
		"inferense: no setting has this name\n    did you mean inference?",
		`[inference] runtime_sha256: "abc" is no SHA-256`, `[inference] refine_sha256: "00" is no SHA-256`,
		"[select] max_spacing_mm: 99 is out of range",
		`[[source]] number 1 from: "10.1.0.0/99" is neither`,
		"[[destination]] number 1 name", "[[destination]] number 1 ae_title",
		"[[destination]] number 1 address", `[[destination]] number 1 send: "jpeg" is not allowed`,
		`[admin] listen: "0.0.0.0:8042" is reachable from other machines, and what it says`, `[admin] listen: "0.0.0.0:8042" is reachable from other machines, and nobody`,
	}
	var all []string
	for _, f := range faults {
		all = append(all, f.String())
	}
	text := strings.Join(all, "\n")
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("no fault says %q; all of them:\n%s", w, text)
		}
	}
	if len(faults) != len(want) {
		t.Errorf("%d faults, want %d:\n%s", len(faults), len(want), text)
	}
}

func TestTLSIsWholeOrAFault(t *testing.T) {
	const destination = "[[destination]]\nname = \"pacs\"\nae_title = \"PACS\"\naddress = \"pacs:2762\"\ntls = true\n"
	const source = "[[source]]\nae_title = \"CT1\"\nfrom = [\"10.1.0.0/16\"]\ntls = true\n"
	const identity = "[tls]\ncertificate = \"a.pem\"\nkey = \"a.key\"\n"
	const listener = identity + "client_ca = \"ca.pem\"\nlisten = \":2762\"\n"
	for _, c := range []struct{ name, text, says string }{
		{"a destination, and no certificate", destination, "the node has no certificate"},
		{"a destination, and nobody to trust", identity + destination, "set [tls] client_ca"},
		{"a destination, and all of it", identity + "client_ca = \"ca.pem\"\n" + destination, ""},
		{"a listener, and nobody to trust", identity + "listen = \":2762\"\n", "[tls] client_ca: is empty"},
		{"a source, and no listener", identity + source, "set [tls] listen"},
		{"a source's certificate, and no listener", identity + strings.Replace(source, "tls = true", `certificate = "ct1"`, 1), "certificate: is set, but"},
		{"a source's certificate by its name", listener + source + `certificate = "ct1.example.org"`, ""},
		{"a source's certificate by its fingerprint", listener + source + `certificate = "sha256:` + strings.Repeat("ab", 32) + `"`, ""},
		{"a fingerprint as OpenSSL writes it", listener + source + `certificate = "SHA256:` + strings.Repeat("AB:", 31) + `AB"`, ""},
		{"half a fingerprint", listener + source + `certificate = "sha256:` + strings.Repeat("ab", 16) + `"`, "it has 32 digits, a fingerprint has 64"},
		{"a fingerprint of other letters", listener + source + `certificate = "sha256:xy"`, "is no fingerprint"},
		{"any certificate", listener + source + `certificate = "*"`, "can't be a name"},
		{"a distinguished name", listener + source + `certificate = "CN=ct1"`, "without CN="},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, faults := Parse(c.text)
			text := fmt.Sprint(faults)
			if Fatal(faults) != (c.says != "") || !strings.Contains(text, c.says) {
				t.Errorf("%q is not what it says: %s", c.says, text)
			}
		})
	}
}

func TestCommitmentNeedsItsWayBack(t *testing.T) {
	const destination = "[[destination]]\nname = \"pacs\"\nae_title = \"PACS\"\naddress = \"pacs:104\"\ncommit = true\n"
	const source = "[[source]]\nae_title = \"PACS\"\nfrom = [\"10.1.2.3\"]\n"
	for _, c := range []struct {
		name, text, says string
		fatal            bool
	}{
		{"an archive that may not answer", destination, "no [[source]] row lets PACS in", false},
		{"an archive that may", source + destination, "", false},
		{"a source that listens somewhere", source + `commit_to = "10.1.2.3:104"`, "", false},
		{"a source that listens nowhere", source + `commit_to = "ct1"`, `commit_to: "ct1" is no address`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, faults := Parse(c.text)
			text := fmt.Sprint(faults)
			if Fatal(faults) != c.fatal || !strings.Contains(text, c.says) || c.says == "" && strings.Contains(text, "commit") {
				t.Errorf("%q is not what it says: %s", c.says, text)
			}
		})
	}
}

func TestWhatSeriesAreCalledFitsTheirAttribute(t *testing.T) {
	for text, says := range map[string]string{
		`series_description_seg = ""`:                                                       "[output] series_description_seg: is empty",
		`series_description_sr = "a name of twenty-five lett"`:                              "has 26 characters\n    use at most 21",
		`series_description_kos = "a\\b"`:                                                   "backslash",
		`series_description_pdf = "Befund für Menschen"`:                                    "",
		"character_set = \"as received\"\nseries_description_pdf = \"Befund für Menschen\"": "can't be written in the character set of every image",
		`character_set = "latin-1"`:                                                         "character_set",
		`series_number_kos = 9001`:                                                          "9001 is used twice",
	} {
		_, faults := Parse("[output]\n" + text + "\n")
		all := fmt.Sprint(faults)
		if says == "" && strings.Contains(all, "[output]") || !strings.Contains(all, says) {
			t.Errorf("%s: %v", text, faults)
		}
	}
}

func TestDestinationsAreSentWhatTheyAskFor(t *testing.T) {
	const pacs = "[[destination]]\nname = \"pacs\"\nae_title = \"PACS\"\naddress = \"10.1.2.3:104\"\n"
	c, faults := Parse(pacs)
	if Fatal(faults) || c.Sends("kos") || c.Sends("pdf") || !c.Sends("seg") || !c.Sends("keyimage") {
		t.Errorf("%v: %+v", faults, c.Destination)
	}
	c, faults = Parse(pacs + "send = [\"sr\", \"pdf\", \"kos\"]\n")
	if Fatal(faults) || !c.Sends("kos") || !c.Sends("pdf") || c.Sends("seg") {
		t.Errorf("%v: %+v", faults, c.Destination)
	}
}

// The page is open on loopback; anywhere else it is encrypted and asks.
func TestThePageIsNotForEverybody(t *testing.T) {
	const certificate = "certificate = \"a.pem\"\nkey = \"a.key\"\n"
	const clear, unasked = "in the clear", "nobody is asked"
	for _, c := range []struct {
		name, text string
		says       []string
	}{
		{"loopback", "listen = \"127.0.0.1:8042\"", nil},
		{"loopback by IPv6", "listen = \"[::1]:8042\"", nil},
		{"loopback with a password", "password_file = \"p\"", nil},
		{"another address", "listen = \"10.1.2.3:8042\"", []string{clear, unasked}},
		{"every address", "listen = \":8042\"", []string{clear, unasked}},
		{"a name", "listen = \"node1:8042\"", []string{clear, unasked}},
		{"TLS alone", "listen = \":8042\"\n" + certificate, []string{unasked}},
		{"a password alone", "listen = \":8042\"\npassword_file = \"p\"", []string{clear}},
		{"TLS and a password", "listen = \":8042\"\npassword_file = \"p\"\n" + certificate, nil},
		{"TLS and client certificates", "listen = \":8042\"\nclient_ca = \"ca.pem\"\n" + certificate, nil},
		{"client certificates without TLS", "client_ca = \"ca.pem\"", []string{"over TLS only"}},
		{"a certificate without its key", "certificate = \"a.pem\"", []string{"belong together"}},
	} {
		_, faults := Parse("[admin]\n" + c.text + "\n")
		var said []string
		for _, f := range faults {
			if !f.Warning {
				said = append(said, f.String())
			}
		}
		if len(said) != len(c.says) {
			t.Errorf("%s: %q, want %q", c.name, said, c.says)
			continue
		}
		for i, says := range c.says {
			if !strings.Contains(said[i], says) {
				t.Errorf("%s: %q does not say %q", c.name, said[i], says)
			}
		}
	}
}

// Who may send is denied unless listed, and the administrator is told so, as of
// every row that lists more than a peer.
func TestDefaultDenyIsTold(t *testing.T) {
	for text, says := range map[string]string{
		"": "so every sender is refused",
		"[[source]]\nae_title = \"*\"\nfrom = [\"10.1.0.0/16\"]\n": "lets every AE title in",
		"[[source]]\nae_title = \"CT1\"\nfrom = [\"*\"]\n":         "lets every address in",
		"[[source]]\nae_title = \"CT1\"\n":                         "so no address matches",
	} {
		if _, faults := Parse(text); !strings.Contains(fmt.Sprint(faults), says) {
			t.Errorf("%q: nothing says %q: %v", text, says, faults)
		}
	}
}

func TestBrokenFileNamesTheLine(t *testing.T) {
	_, faults := Parse("[node]\nae_title = \"X\"\nlisten = :11112\n")
	if len(faults) != 1 || faults[0].Where != "line 3" {
		t.Errorf("got %v", faults)
	}
}

func TestMissingFile(t *testing.T) {
	_, faults := Load(filepath.Join(t.TempDir(), "none.toml"))
	if len(faults) != 1 || !strings.Contains(faults[0].Remedy, "--config") {
		t.Errorf("got %v", faults)
	}
}

func TestWords(t *testing.T) {
	for text, want := range map[string]time.Duration{"5s": 5 * time.Second, "7d": 168 * time.Hour, "1h30m": 90 * time.Minute, "0s": 0} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d.Std() != want {
			t.Errorf("%q: %v %v", text, d, err)
		}
	}
	for text, want := range map[string]Size{"5 GiB": 5 << 30, "500MB": 5e8, "1.5 KiB": 1536, "42": 42} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%q: %v %v", text, s, err)
		}
	}
	for _, bad := range []string{"", "x", "-1", "5 parsecs", "99999999999 TiB"} {
		var d Duration
		var s Size
		if d.UnmarshalText([]byte(bad)) == nil || s.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("[node]\nlisten = 1\n[[source]]\nfrom = [\"*\"]\n[a.b]\nc = 1")
	f.Fuzz(func(t *testing.T, text string) {
		if c, _ := Parse(text); c == nil {
			t.Fatal("no configuration")
		}
	})
}

// The whole of the shipped node.toml, read and checked:
//
//	go test -run '^$' -bench BenchmarkParse ./config
func BenchmarkParse(b *testing.B) {
	text, err := os.ReadFile(filepath.Join("..", "node.toml"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, faults := Parse(string(text)); Fatal(faults) {
			b.Fatal(faults)
		}
	}
}
