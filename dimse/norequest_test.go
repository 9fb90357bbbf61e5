package dimse

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// What is no association request is refused at once, not when ARTIM ends, and
// heard of: TLS on the plain port, plain text on the port with TLS. A connection
// that only comes and goes is nothing to hear of.
func TestConnectionsWithoutARequestAreHeardOf(t *testing.T) {
	heard := make(chan error, 4)
	server := func(profile *tls.Config) string {
		return start(t, &Server{Handler: newHandler(), TLS: profile, NoRequest: func(remote net.Addr, err error) {
			if remote == nil {
				t.Error("nobody")
			}
			heard <- err
		}})
	}
	dial := func(address string) net.Conn {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(patient))
		return c
	}
	plain := server(nil)
	c := dial(plain)
	err := tls.Client(c, &tls.Config{ServerName: "localhost"}).Handshake()
	if !errors.As(err, new(tls.RecordHeaderError)) {
		t.Errorf("a TLS client on the plain port says %v", err)
	}
	c.Close()
	var abort *AbortError
	if err := <-heard; !errors.As(err, &abort) || abort.ByPeer || abort.Reason != 1 {
		t.Errorf("the server heard %v", err)
	}

	c = dial(server(&tls.Config{}))
	c.Write([]byte{1, 0, 0, 0, 0, 68, 0, 1, 0, 0})
	if n, err := io.Copy(io.Discard, c); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("plain text on the port with TLS: %d bytes, %v", n, err)
	}
	c.Close()
	if err := <-heard; !errors.As(err, new(tls.RecordHeaderError)) {
		t.Errorf("the server heard %v", err)
	}

	dial(plain).Close()
	c = dial(plain)
	c.Write(make([]byte, 10))
	io.ReadFull(c, make([]byte, 10)) // the abort
	c.Close()
	if err := <-heard; !errors.As(err, &abort) {
		t.Errorf("a mere visitor was heard of: %v", err)
	}
}
