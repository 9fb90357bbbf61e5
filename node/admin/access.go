package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/node/secure"
)

// need is what somebody must be let do to be answered.
type need int

const (
	nothing   need = iota // whoever reaches the listener
	toView                // who may come in
	toOperate             // who may change something
)

// Entry is one try to come in, for the audit trail: the first request of a
// person from an address, and again every quarter of an hour, or a refusal.
type Entry struct {
	Address netip.Addr
	User    string // a name of the password file or of a certificate; "" where nobody known was named
	By      string // "password" or "certificate"
	Refused string // why not, one of a few words; "" when they came in
}

// person is who asks.
type person struct {
	name string
	role Role
}

type personKey struct{}

// User is the name of the person whose request a context belongs to, "" where
// nobody is asked.
func User(ctx context.Context) string { return personOf(ctx).name }

func personOf(ctx context.Context) person {
	p, _ := ctx.Value(personKey{}).(person)
	return p
}

// refusal is why somebody was not let in.
type refusal struct {
	status   int
	word     string // for the log; "" where it is none: a browser asks before it gives a password
	sentence string
	after    time.Duration // when another try makes sense
}

// access decides who may come in. People and programs give a name and a password
// by HTTP Basic, or show a certificate.
//
// Basic and no login form with a session, because everything that asks speaks it
// (browsers, Prometheus, curl, `pulmonode jobs`), so there is one way in to
// review; because there is no session to steal, fix, or keep over a restart; and
// because a password that is changed or taken away holds from the next request.
// It needs TLS, which is demanded off loopback, and protection from requests that
// another site makes a browser send, which the handler has for certificates
// anyway. What it lacks is a button to log out: closing the browser does. Where
// that is not enough, set client_ca alone and give people cards.
type access struct {
	config.Admin
	identity  *secure.Identity // nil without TLS
	passwords *passwords       // nil without a password file
	entered   func(Entry)
	log       *zap.Logger
	seen      memory // certificates that came in lately
}

func newAccess(c config.Admin, entered func(Entry), log *zap.Logger) *access {
	if entered == nil {
		entered = func(Entry) {}
	}
	a := &access{Admin: c, entered: entered, log: log}
	if c.Certificate != "" {
		a.identity = secure.NewAdmin(c, log)
	}
	if c.PasswordFile != "" {
		a.passwords = newPasswords(c.PasswordFile, log)
	}
	return a
}

// admit finds out who asks; a refusal says why they are not let in.
func (a *access) admit(r *http.Request) (person, *refusal) {
	if !a.Asks() {
		return person{role: Operate}, nil
	}
	address := addressOf(r.RemoteAddr)
	if t := r.TLS; t != nil && len(t.VerifiedChains) > 0 {
		leaf := t.VerifiedChains[0][0]
		p := person{name: bounded(leaf.Subject.CommonName), role: Operate}
		if a.seen.fresh(time.Now(), address.String(), string(leaf.Raw)) {
			a.came(Entry{Address: address, User: p.name, By: "certificate"})
		}
		return p, nil
	}
	user, password, given := r.BasicAuth()
	if !given || a.passwords == nil {
		sentence := "give a user name and a password, by HTTP Basic"
		switch {
		case a.passwords == nil:
			sentence = "show a client certificate: an authority of [admin] client_ca signs them"
		case a.ClientCA != "":
			sentence += ", or show a client certificate"
		}
		return person{}, &refusal{status: http.StatusUnauthorized, sentence: sentence}
	}
	p, fresh, no := a.passwords.check(r.Context(), address, user, password)
	switch {
	case no != nil && no.word != "":
		a.came(Entry{Address: address, User: p.name, By: "password", Refused: no.word})
	case no == nil && fresh:
		a.came(Entry{Address: address, User: p.name, By: "password"})
	}
	return p, no
}

// came tells the log and the audit trail.
func (a *access) came(e Entry) {
	fields := []zap.Field{zap.Stringer("address", e.Address), zap.String("user", e.User), zap.String("by", e.By)}
	if e.Refused == "" {
		a.log.Info("admin_entered", fields...)
	} else {
		a.log.Warn("admin_refused", append(fields, zap.String("reason", e.Refused))...)
	}
	a.entered(e)
}

// handshakeFailed tells of a client that TLS did not let in. What the library
// says may quote the client's certificate: only its kind is passed on.
func (a *access) handshakeFailed(address netip.Addr, says string) {
	word := "tls"
	switch {
	case strings.HasSuffix(says, "EOF"), strings.Contains(says, "connection reset"), strings.Contains(says, "HTTP request"), strings.Contains(says, "remote error"):
		return // a port scanner, a browser that was told no, a browser that does not trust this certificate
	case strings.Contains(says, "failed to verify certificate"):
		word = "certificate"
	}
	a.came(Entry{Address: address, By: "certificate", Refused: word})
}

// allow answers with next who may do what it needs.
func (s *Server) allow(n need, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n == nothing {
			next.ServeHTTP(w, r)
			return
		}
		p, no := s.access.admit(r)
		if no == nil && n == toOperate && p.role != Operate {
			no = &refusal{status: http.StatusForbidden, sentence: fmt.Sprintf("user %s may look and not change: the password file gives the role %q", p.name, View)}
			s.access.came(Entry{Address: addressOf(r.RemoteAddr), User: p.name, By: "password", Refused: "role"})
		}
		if no != nil {
			if no.status == http.StatusUnauthorized && s.access.passwords != nil {
				w.Header().Set("WWW-Authenticate", `Basic realm="pulmonode", charset="UTF-8"`)
			}
			if no.after > 0 {
				w.Header().Set("Retry-After", strconv.Itoa(int(no.after/time.Second)))
			}
			s.say(w, r, no.status, no.sentence)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), personKey{}, p)))
	})
}

// addressOf is who asks, without the port; invalid where nobody can tell.
func addressOf(remote string) netip.Addr {
	a, _ := netip.ParseAddrPort(remote)
	return a.Addr().Unmap().WithZone("")
}

// bounded is a name for the log.
func bounded(s string) string {
	s = printable(s)
	if all := []rune(s); len(all) > maxUserName {
		s = string(all[:maxUserName]) + "…"
	}
	return s
}
