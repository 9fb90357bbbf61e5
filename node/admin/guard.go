package admin

import (
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"

	"go.uber.org/zap"
)

// maxBody bounds what a request may bring: forms of a few words.
const maxBody = 64 << 10

// guard sets the headers that keep other sites out, bounds the request and turns
// a fault of the program into a sentence.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		answered := &watched{ResponseWriter: w}
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler {
				panic(p)
			}
			s.opts.Log.Error("admin_panicked", zap.String("method", r.Method), zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			if answered.begun {
				panic(http.ErrAbortHandler) // half an answer must not look whole
			}
			s.say(w, r, http.StatusInternalServerError, "a fault of the program: send the log to the makers")
		}()
		if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && loopback(local.String()) && !names(r.Host) {
			s.say(answered, r, http.StatusForbidden, "ask by the name localhost or the address: another name could be a web page's")
			return
		}
		r.Body = http.MaxBytesReader(answered, r.Body, maxBody)
		next.ServeHTTP(answered, r)
	})
}

// watched knows whether an answer has begun.
type watched struct {
	http.ResponseWriter
	begun bool
}

func (w *watched) WriteHeader(status int) { w.begun = true; w.ResponseWriter.WriteHeader(status) }
func (w *watched) Write(p []byte) (int, error) {
	w.begun = true
	return w.ResponseWriter.Write(p)
}
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func loopback(address string) bool {
	a, err := netip.ParseAddrPort(address)
	return err == nil && a.Addr().Unmap().IsLoopback()
}

// names reports whether a Host header names this machine and nothing else.
func names(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}
