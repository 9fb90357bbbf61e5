package admin

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/bcrypt"
)

// Bounds of trying passwords.
const (
	// freeTries is how many wrong ones an address may give at once, and tryEvery
	// when it may give one more: 8640 guesses a day.
	freeTries = 10
	tryEvery  = 10 * time.Second
	// maxAddresses bounds the memory of who tried; beyond it those go that have
	// tried least.
	maxAddresses = 4096
	// maxHashing is how many are hashed at a time, and maxQueued how many may wait
	// for that: hashing takes a quarter of a second of a processor that the
	// analysis wants too.
	maxHashing, maxQueued = 2, 16
	// rememberFor is how long who was let in is not hashed again: a page asks for
	// twenty pictures.
	rememberFor = 15 * time.Minute
	maxEntered  = 1024
)

// passwords checks names and passwords against the password file. The file is
// looked at with each request, so a change holds at once. One that is broken lets
// nobody in until it is mended.
type passwords struct {
	path string
	log  *zap.Logger
	now  func() time.Time

	known   memory
	hashing chan struct{}
	queued  chan struct{}

	mu    sync.Mutex
	file  os.FileInfo // what was read last
	users map[string]account
	err   error // why it cannot be used
	tries map[netip.Prefix]tries
}

// tries are those that an address has left, as of a time.
type tries struct {
	left float64
	at   time.Time
	told bool // that none is left
}

func newPasswords(path string, log *zap.Logger) *passwords {
	return &passwords{path: path, log: log, now: time.Now, tries: map[netip.Prefix]tries{},
		hashing: make(chan struct{}, maxHashing), queued: make(chan struct{}, maxQueued)}
}

// read looks whether the file has changed and returns its users.
func (p *passwords) read() (map[string]account, error) {
	info, err := os.Stat(p.path)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil && p.file != nil && os.SameFile(info, p.file) && info.ModTime().Equal(p.file.ModTime()) && info.Size() == p.file.Size() && info.Mode() == p.file.Mode() {
		return p.users, p.err
	}
	users, err := readPasswords(p.path)
	switch {
	case err != nil && (p.err == nil || p.err.Error() != err.Error()):
		p.log.Error("password_file_unusable", zap.Error(err), zap.String("do", "mend [admin] password_file: until then it lets nobody in"))
	case err == nil && (p.err != nil || p.file != nil):
		p.log.Info("password_file_read", zap.Int("users", len(users)))
	}
	p.file, p.users, p.err = info, users, err
	return users, err
}

// check says who this is; fresh, that they were not let in from this address
// lately.
func (p *passwords) check(ctx context.Context, from netip.Addr, user, password string) (who person, fresh bool, no *refusal) {
	users, err := p.read()
	if err != nil {
		return who, false, &refusal{status: http.StatusServiceUnavailable, sentence: "the password file cannot be used: the node's log says why", after: tryEvery}
	}
	wrong := &refusal{status: http.StatusUnauthorized, word: "password", sentence: "the user name or the password is wrong"}
	a, exists := users[user]
	if exists {
		who.name, who.role = user, a.role
	} else {
		wrong.word = "user" // and not which: people write passwords into the wrong field
		for _, other := range users {
			a = other // so that an unknown name takes as long as a known one
			break
		}
	}
	key := []string{from.String(), user, password, string(a.hash)}
	if exists && p.known.has(p.now(), key...) {
		return who, false, nil
	}
	left, last := p.try(from)
	if !left {
		no = &refusal{status: http.StatusTooManyRequests, sentence: "too many wrong passwords came from this address: wait a moment", after: tryEvery}
		if last {
			no.word = "too_many_tries"
		}
		return who, false, no
	}
	if len(password) > maxPassword {
		return who, false, wrong
	}
	select {
	case p.queued <- struct{}{}:
		defer func() { <-p.queued }()
	default:
		return who, false, &refusal{status: http.StatusServiceUnavailable, sentence: "many passwords are being checked: try again", after: time.Second}
	}
	select {
	case p.hashing <- struct{}{}:
		defer func() { <-p.hashing }()
	case <-ctx.Done():
		return who, false, &refusal{status: http.StatusServiceUnavailable, sentence: "the request ended"}
	}
	if err := bcrypt.CompareHashAndPassword(a.hash, []byte(password)); err != nil || !exists {
		return who, false, wrong
	}
	p.giveBack(from)
	return who, p.known.fresh(p.now(), key...), nil
}

// try takes one of the tries of an address; last says that there is none left and
// there was before.
func (p *passwords) try(from netip.Addr) (left, last bool) {
	now, at := p.now(), network(from)
	p.mu.Lock()
	defer p.mu.Unlock()
	t, known := p.tries[at]
	if !known {
		p.makeRoom(now)
		t = tries{left: freeTries, at: now}
	}
	t.left = min(freeTries, t.left+now.Sub(t.at).Seconds()/tryEvery.Seconds())
	t.at = now
	left, last = t.left >= 1, t.left < 1 && !t.told
	if t.told = !left; left {
		t.left--
	}
	p.tries[at] = t
	return left, last
}

// giveBack returns the try of somebody who was right.
func (p *passwords) giveBack(from netip.Addr) {
	at := network(from)
	p.mu.Lock()
	defer p.mu.Unlock()
	if t, ok := p.tries[at]; ok {
		t.left = min(freeTries, t.left+1)
		p.tries[at] = t
	}
}

// makeRoom forgets those that have all their tries back, and if there is none of
// them those that have most.
func (p *passwords) makeRoom(now time.Time) {
	if len(p.tries) < maxAddresses {
		return
	}
	maps.DeleteFunc(p.tries, func(_ netip.Prefix, t tries) bool { return now.Sub(t.at) > freeTries*tryEvery })
	for len(p.tries) >= maxAddresses {
		var most netip.Prefix
		left := -1.0
		for at, t := range p.tries {
			if t.left > left {
				most, left = at, t.left
			}
		}
		delete(p.tries, most)
	}
}

// network is what counts as one address: a household has a /64 of IPv6.
func network(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	n, _ := a.Prefix(bits)
	return n
}

// memory remembers for a while who was let in, as a keyed hash of everything that
// decided it: of a password nothing can be read from it, and one that was changed
// or taken away is not in it.
type memory struct {
	mu     sync.Mutex
	secret [sha256.Size]byte
	at     map[[sha256.Size]byte]time.Time
}

func (m *memory) sum(parts []string) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, m.secret[:])
	for _, s := range parts {
		h.Write(binary.AppendUvarint(nil, uint64(len(s))))
		h.Write([]byte(s))
	}
	h.Sum(sum[:0])
	return sum
}

// has reports whether it was remembered lately.
func (m *memory) has(now time.Time, parts ...string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at == nil {
		return false
	}
	at, ok := m.at[m.sum(parts)]
	return ok && now.Sub(at) < rememberFor
}

// fresh remembers it, and reports whether it was not remembered lately.
func (m *memory) fresh(now time.Time, parts ...string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at == nil {
		m.at = map[[sha256.Size]byte]time.Time{}
		rand.Read(m.secret[:])
	}
	sum := m.sum(parts)
	if at, ok := m.at[sum]; ok && now.Sub(at) < rememberFor {
		return false
	}
	if len(m.at) >= maxEntered {
		clear(m.at)
	}
	m.at[sum] = now
	return true
}
