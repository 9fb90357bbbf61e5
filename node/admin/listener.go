package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Bounds of connections: a browser opens six, a node is looked at by a few people
// and programs. Each costs some 50 KiB.
const (
	maxConnections   = 256
	maxOfOneAddress  = 64 // a proxy, or everything on this machine, is one address
	readHeaderWithin = 10 * time.Second
	readWithin       = 30 * time.Second
	writeWithin      = 60 * time.Second
	idleWithin       = 60 * time.Second
	maxHeader        = 64 << 10
)

// Listen opens the listener that [admin] names. What it needs must be whole now:
// the certificate, the password file. An address that other machines reach is
// opened only with TLS and somebody who is asked, whatever the settings say.
func (s *Server) Listen(ctx context.Context) (net.Listener, error) {
	a := s.access
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", a.Admin.Listen)
	if err != nil {
		return nil, fmt.Errorf("[admin] listen: %w: choose another port, or stop what listens there", err)
	}
	secured, err := a.secure(l)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return secured, nil
}

func (a *access) secure(l net.Listener) (net.Listener, error) {
	if !loopback(l.Addr().String()) {
		switch {
		case a.identity == nil:
			return nil, fmt.Errorf("[admin] listen: %s is reachable from other machines: set [admin] certificate and key", l.Addr())
		case !a.Asks():
			return nil, fmt.Errorf("[admin] listen: %s is reachable from other machines: set [admin] password_file or client_ca", l.Addr())
		}
	}
	if a.passwords != nil {
		if _, err := a.passwords.read(); err != nil {
			return nil, fmt.Errorf("[admin] password_file: %w", err)
		}
	}
	l = &bounds{Listener: l, of: map[netip.Addr]int{}}
	if a.identity == nil {
		return l, nil
	}
	profile, err := a.identity.Server()
	if err != nil {
		return nil, err
	}
	return tls.NewListener(l, profile), nil
}

// Serve answers on l until ctx ends, then finishes the requests that run. It
// speaks HTTP/1.1 only: a connection is one request at a time, so the bounds on
// connections are those on requests.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	defer s.census.close()
	server := &http.Server{
		Handler:           s,
		Protocols:         new(http.Protocols),
		ReadHeaderTimeout: readHeaderWithin,
		ReadTimeout:       readWithin,
		WriteTimeout:      writeWithin,
		IdleTimeout:       idleWithin,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(handshakes{s.access}, "", 0),
	}
	server.Protocols.SetHTTP1(true)
	stopped := make(chan error, 1)
	end := context.AfterFunc(ctx, func() {
		bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err := server.Shutdown(bound)
		if err != nil {
			err = server.Close()
		}
		stopped <- err
	})
	err := server.Serve(l)
	if end() {
		return fmt.Errorf("the admin listener %s ended: %w", l.Addr(), err)
	}
	return <-stopped
}

// handshakes picks the failed TLS handshakes from what net/http logs, which tells
// of them nowhere else.
type handshakes struct{ access *access }

func (h handshakes) Write(line []byte) (int, error) {
	what, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "http: TLS handshake error from ")
	if !ok {
		h.access.log.Debug("admin_http", zap.String("says", bounded(string(line))))
		return len(line), nil
	}
	if remote, says, ok := strings.Cut(what, ": "); ok {
		h.access.handshakeFailed(addressOf(remote), says)
	}
	return len(line), nil
}

// bounds is a listener that closes at once what is too much, so that who opens
// many connections keeps nobody else out.
type bounds struct {
	net.Listener

	mu  sync.Mutex
	all int
	of  map[netip.Addr]int
}

func (b *bounds) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if counted := b.count(c); counted != nil {
			return counted, nil
		}
		c.Close()
	}
}

// count takes a connection in, nil when it is too much.
func (b *bounds) count(c net.Conn) net.Conn {
	from := addressOf(c.RemoteAddr().String())
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all >= maxConnections || b.of[from] >= maxOfOneAddress {
		return nil
	}
	b.all++
	b.of[from]++
	return &counted{Conn: c, closed: sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.all--
		if b.of[from]--; b.of[from] == 0 {
			delete(b.of, from)
		}
	})}
}

type counted struct {
	net.Conn
	closed func()
}

func (c *counted) Close() error {
	c.closed()
	return c.Conn.Close()
}
