package admin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/bcrypt"

	"github.com/pulmonode/pulmonode/config"
)

const (
	rightPassword = "correct horse battery"
	wrongPassword = "incorrect horse battery"
)

// lines are those of a password file with an operator, a viewer and their
// password, hashed as cheaply as the node takes it.
var lines = sync.OnceValue(func() string {
	hash, err := bcrypt.GenerateFromPassword([]byte(rightPassword), leastCost)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("# who looks after the node\nann:%s\n\nbob:%s:view\n", hash, hash)
})

var quickHash = sync.OnceValue(func() []byte {
	hash, err := bcrypt.GenerateFromPassword([]byte(rightPassword), bcrypt.MinCost)
	if err != nil {
		panic(err)
	}
	return hash
})

// quick hashes the same password more cheaply than a file may: hundreds of tries
// are made below.
func quick(a *access) *access {
	if a.passwords != nil {
		users, err := a.passwords.read()
		if err != nil {
			panic(err)
		}
		for name, one := range users {
			one.hash = quickHash()
			users[name] = one
		}
	}
	return a
}

func passwordFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "passwords")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// credential is how a request says who asks.
type credential struct {
	name   string
	change func(*http.Request)
}

func basic(user, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}

var (
	unnamed  = credential{"no credential", nil}
	wrong    = credential{"a wrong password", basic("ann", wrongPassword)}
	stranger = credential{"an unknown name", basic("eve", rightPassword)}
	viewer   = credential{"a viewer", basic("bob", rightPassword)}
	operator = credential{"an operator", basic("ann", rightPassword)}
	card     = credential{"a certificate", func(r *http.Request) {
		leaf := &x509.Certificate{Raw: []byte("card"), Subject: pkix.Name{CommonName: "Ann"}}
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf}}}
	}}
	unverified = credential{"a certificate that nobody verified", func(r *http.Request) {
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Raw: []byte("card")}}}
	}}
)

// let is the status that a credential gets for each need; 0: what the route
// answers who is let in.
type let struct{ nothing, view, operate int }

var (
	everything = let{}
	onlyLook   = let{0, 0, http.StatusForbidden}
	outside    = let{0, http.StatusUnauthorized, http.StatusUnauthorized}
)

// TestWhoMayAskForWhat asks for every route there is with every credential at
// every kind of listener.
func TestWhoMayAskForWhat(t *testing.T) {
	for _, c := range []struct {
		name   string
		access func(t *testing.T) config.Admin
		lets   map[*credential]let
	}{
		{"nobody is asked", func(*testing.T) config.Admin { return config.Admin{} },
			map[*credential]let{&unnamed: everything, &wrong: everything, &operator: everything, &card: everything}},
		{"passwords", func(t *testing.T) config.Admin { return config.Admin{PasswordFile: passwordFile(t, lines())} },
			map[*credential]let{&unnamed: outside, &wrong: outside, &stranger: outside, &viewer: onlyLook, &operator: everything, &unverified: outside}},
		{"certificates", func(*testing.T) config.Admin { return config.Admin{ClientCA: "ca.pem"} },
			map[*credential]let{&unnamed: outside, &operator: outside, &unverified: outside, &card: everything}},
		{"both", func(t *testing.T) config.Admin {
			return config.Admin{PasswordFile: passwordFile(t, lines()), ClientCA: "ca.pem"}
		}, map[*credential]let{&unnamed: outside, &wrong: outside, &viewer: onlyLook, &operator: everything, &card: everything}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			h.instance(key1, 1, "slice")
			for who, lets := range c.lets {
				// Each its own: wrong passwords must not add up.
				h.Server.access = quick(newAccess(c.access(t), nil, zap.NewNop()))
				for _, r := range append(h.routes(), route{"GET", "/nowhere", toView, nil}, route{"DELETE", "/metrics", toView, nil}) {
					h.access.restart()
					path := strings.NewReplacer("{$}", "", "{study}", key1.Study, "{series}", key1.Series, "{generation}", "1", "{file}", "key-1.png").Replace(r.path)
					w := h.ask(r.method, path, who.change)
					want := []int{lets.nothing, lets.view, lets.operate}[r.needs]
					refused := w.Code == http.StatusUnauthorized || w.Code == http.StatusForbidden || w.Code == http.StatusTooManyRequests
					if want == 0 && refused || want != 0 && w.Code != want {
						t.Errorf("%s to %s %s: %d, want %d: %s", who.name, r.method, r.path, w.Code, want, w.Body)
					}
					if w.Code >= 400 && w.Body.Len() == 0 {
						t.Errorf("%s to %s %s: %d without a word", who.name, r.method, r.path, w.Code)
					}
					if asks := w.Header().Get("WWW-Authenticate") != ""; asks != (w.Code == http.StatusUnauthorized && h.access.passwords != nil) {
						t.Errorf("%s to %s %s: asked for a password: %v", who.name, r.method, r.path, asks)
					}
				}
			}
		})
	}
}

// restart gives every address its tries back.
func (a *access) restart() {
	if a.passwords != nil {
		a.passwords.mu.Lock()
		clear(a.passwords.tries)
		a.passwords.mu.Unlock()
	}
}

// What everybody may ask for is written here once more, so that a route which
// asks for nothing is meant to, and none that changes something is for viewers.
func TestOnlyHealthIsForEverybody(t *testing.T) {
	var open []string
	for _, r := range newHouse(t).routes() {
		if r.needs == nothing {
			open = append(open, r.path)
		}
		if changes := r.method != "GET"; changes != (r.needs == toOperate) {
			t.Errorf("%s %s has need %d", r.method, r.path, r.needs)
		}
	}
	if slices.Sort(open); !slices.Equal(open, []string{"/healthz", "/readyz"}) {
		t.Errorf("%q are for everybody", open)
	}
}

func TestReadinessSaysWhyOnlyToWhoMayComeIn(t *testing.T) {
	h := newHouse(t)
	h.Server.access = newAccess(config.Admin{PasswordFile: passwordFile(t, lines())}, nil, zap.NewNop())
	h.ready = []Check{{Name: "disk", Sentence: "no room on /data"}}
	for who, tells := range map[*credential]bool{&unnamed: false, &wrong: false, &viewer: true} {
		w := h.ask("GET", "/readyz", who.change)
		if w.Code != http.StatusServiceUnavailable || strings.Contains(w.Body.String(), "no room") != tells {
			t.Errorf("%s: %d %s", who.name, w.Code, w.Body)
		}
	}
}

// clocked is an access with a clock of its own.
func clocked(t *testing.T, entered func(Entry), log *zap.Logger) (*access, *time.Time) {
	t.Helper()
	a := quick(newAccess(config.Admin{PasswordFile: passwordFile(t, lines())}, entered, log))
	now := time.Unix(1e9, 0)
	a.passwords.now = func() time.Time { return now }
	return a, &now
}

func (a *access) try(address string, who credential) (person, *refusal) {
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = address
	if who.change != nil {
		who.change(r)
	}
	return a.admit(r)
}

// Guessing is slow, loud once, and no hindrance to other addresses or to who is
// in already.
func TestGuessingIsLimited(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	var heard []Entry
	a, now := clocked(t, func(e Entry) { heard = append(heard, e) }, zap.New(core))
	const bad, good = "[2001:db8::1]:1", "10.1.2.3:2"
	is := func(address string, who credential, want int) {
		t.Helper()
		status := http.StatusOK
		if _, no := a.try(address, who); no != nil {
			status = no.status
		}
		if status != want {
			t.Fatalf("%s from %s: %d, want %d", who.name, address, status, want)
		}
	}
	is(bad, viewer, http.StatusOK) // is in before the guessing begins
	for range freeTries {
		is(bad, wrong, http.StatusUnauthorized)
	}
	for range 5 {
		is(bad, wrong, http.StatusTooManyRequests)
		is(bad, operator, http.StatusTooManyRequests)                  // who guessed right learns nothing
		is("[2001:db8::ffff]:9", operator, http.StatusTooManyRequests) // of the same /64
	}
	is(bad, viewer, http.StatusOK)
	is(good, operator, http.StatusOK)
	is("[2001:db8:0:1::1]:9", operator, http.StatusOK)
	*now = now.Add(tryEvery)
	is(bad, operator, http.StatusOK)
	is(bad, stranger, http.StatusUnauthorized)
	is(bad, stranger, http.StatusTooManyRequests)

	refused := logs.FilterMessage("admin_refused").Len()
	if want := freeTries + 1 + 1 + 1; refused != want {
		t.Errorf("%d refusals are logged, want %d", refused, want)
	}
	if len(heard) != logs.Len() {
		t.Errorf("the audit trail heard %d of %d", len(heard), logs.Len())
	}
	for _, e := range logs.All() {
		if text := fmt.Sprint(e.ContextMap()); strings.Contains(text, "eve") || strings.Contains(text, "horse") {
			t.Errorf("the log has what was typed: %s", text)
		}
	}
	if want := (Entry{Address: netip.MustParseAddr("2001:db8::1"), User: "ann", By: "password", Refused: "password"}); heard[1] != want {
		t.Errorf("heard %+v, want %+v", heard[1], want)
	}
}

func TestTheMemoryOfGuessersIsBounded(t *testing.T) {
	a, now := clocked(t, nil, zap.NewNop())
	p := a.passwords
	spent := netip.MustParseAddr("10.255.0.1")
	for range freeTries {
		p.try(spent)
	}
	for i := range maxAddresses * 2 {
		p.try(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	if len(p.tries) > maxAddresses {
		t.Errorf("%d addresses are remembered", len(p.tries))
	}
	if left, _ := p.try(spent); left {
		t.Error("whoever has many addresses gets the tries of one back")
	}
	*now = now.Add(time.Hour)
	p.try(netip.MustParseAddr("192.0.2.1"))
	if len(p.tries) > 1 {
		t.Errorf("%d addresses are remembered after an hour", len(p.tries))
	}
}

// Of many that try at once a few are hashed, some wait, the rest are told to come
// again.
func TestHashingIsBounded(t *testing.T) {
	a, _ := clocked(t, nil, zap.NewNop())
	for range maxHashing {
		a.passwords.hashing <- struct{}{}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	here := netip.MustParseAddr("10.1.2.3")
	if _, _, no := a.passwords.check(gone, here, "ann", rightPassword); no == nil || no.status != http.StatusServiceUnavailable {
		t.Errorf("who waited until the request ended: %+v", no)
	}
	for range maxQueued {
		a.passwords.queued <- struct{}{}
	}
	if _, no := a.try("10.9.9.9:1", operator); no == nil || no.status != http.StatusServiceUnavailable || no.after == 0 {
		t.Errorf("one more than may wait: %+v", no)
	}
	for range maxHashing {
		<-a.passwords.hashing
	}
	<-a.passwords.queued
	for range 2 * maxHashing { // each leaves its place to the next
		if _, no := a.try("10.9.9.9:1", wrong); no == nil || no.status != http.StatusUnauthorized {
			t.Errorf("when there is room again: %+v", no)
		}
	}
}

// The file is looked at with each request: what was taken away holds at once,
// and so does what was broken.
func TestThePasswordFileIsReadWhenItChanges(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	a, _ := clocked(t, nil, zap.New(core))
	path := a.PasswordFile
	at := time.Unix(1e9, 0)
	write := func(text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		at = at.Add(time.Second)
		for _, err := range []error{os.Chmod(path, mode), os.Chtimes(path, at, at)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	is := func(what string, who credential, want int) {
		t.Helper()
		status := http.StatusOK
		if _, no := a.try("10.1.2.3:1", who); no != nil {
			status = no.status
		}
		if status != want {
			t.Errorf("%s: %s: %d, want %d", what, who.name, status, want)
		}
	}
	is("at first", operator, http.StatusOK)
	is("at first", viewer, http.StatusOK)
	write(strings.Split(lines(), "\n")[1]+"\n", 0o600)
	is("taken out", viewer, http.StatusUnauthorized)
	is("left in", operator, http.StatusOK)
	write("ann\n", 0o600)
	is("broken", operator, http.StatusServiceUnavailable)
	is("broken", operator, http.StatusServiceUnavailable)
	write(lines(), 0o640)
	is("readable by others", operator, http.StatusServiceUnavailable)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	is("gone", operator, http.StatusServiceUnavailable)
	write(lines(), 0o600)
	is("mended", viewer, http.StatusOK)
	if n := logs.FilterMessage("password_file_unusable").Len(); n != 3 {
		t.Errorf("%d times it is logged that the file cannot be used, want 3: once for each fault", n)
	}
}

// Another site must not make a browser send a password that it keeps, or a
// certificate.
func TestOtherSitesCannotUseWhatTheBrowserKeeps(t *testing.T) {
	h := newHouse(t)
	h.Server.access = newAccess(config.Admin{PasswordFile: passwordFile(t, lines()), ClientCA: "ca.pem"}, nil, zap.NewNop())
	for _, who := range []credential{operator, card} {
		for name, c := range map[string]struct {
			header, value string
			want          int
		}{
			"the page itself": {"Sec-Fetch-Site", "same-origin", http.StatusOK},
			"another site":    {"Sec-Fetch-Site", "cross-site", http.StatusForbidden},
			"a subdomain":     {"Sec-Fetch-Site", "same-site", http.StatusForbidden},
			"an old browser":  {"Origin", "https://evil.example", http.StatusForbidden},
		} {
			w := h.ask("POST", path1+"/retry", func(r *http.Request) {
				who.change(r)
				r.Header.Set(c.header, c.value)
			})
			if w.Code != c.want {
				t.Errorf("%s from %s: %d, want %d", who.name, name, w.Code, c.want)
			}
		}
	}
}

func TestFaultsOfTheProgramAreOneSentence(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	h := newHouse(t)
	h.opts.Log = zap.New(core)
	h.http = h.guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/half" {
			w.Write([]byte("{"))
		}
		panic("secret")
	}))
	w := h.ask("GET", "/api/v1/series", nil)
	var a Answer
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != http.StatusInternalServerError || a.Error == "" || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("%d %v: %s", w.Code, err, w.Body)
	}
	if logs.FilterMessage("admin_panicked").Len() != 1 {
		t.Errorf("logged: %v", logs.All())
	}
	defer func() {
		if recover() != http.ErrAbortHandler {
			t.Error("half an answer was ended as if it were whole")
		}
	}()
	h.ask("GET", "/api/half", nil)
}

func FuzzHost(f *testing.F) {
	for _, s := range []string{"localhost:8042", "[::1]:8042", "127.0.0.1", "[::ffff:127.0.0.1]:1", "evil.example", "127.0.0.1.evil.example:80", "localhost.", "[", "::1%lo"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if !names(host) {
			return
		}
		u, err := url.Parse("http://" + host + "/") // as a browser reads it
		if err != nil || strings.EqualFold(u.Hostname(), "localhost") {
			return
		}
		if ip, err := netip.ParseAddr(u.Hostname()); err != nil || !ip.Unmap().IsLoopback() {
			t.Errorf("%q names this machine, and leads to %q", host, u.Hostname())
		}
	})
}
