package dimse

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http/httptest"
	"testing"
)

// Under TLS too it is the TCP connection that acknowledges at once, on both ends.
func TestTLSAcknowledgesAtOnce(t *testing.T) {
	fixture := httptest.NewTLSServer(nil) // for its certificate
	certificates, roots := fixture.TLS.Certificates, x509.NewCertPool()
	roots.AddCert(fixture.Certificate())
	fixture.Close()
	h := newHandler()
	client := Client{CallingAE: "CASE", TLS: &tls.Config{RootCAs: roots}, Address: start(t, &Server{Handler: h, TLS: &tls.Config{Certificates: certificates}})}
	conn, err := client.Dial(t.Context(), proposal)
	if err != nil {
		t.Fatal(err)
	}
	for end, c := range map[string]net.Conn{"server": h.association().conn.t.Conn, "client": conn.t.Conn} {
		if below := c.(*tls.Conn).NetConn(); !isQuick(below) {
			t.Errorf("%s: TLS is over a %T", end, below)
		}
	}
	if err := conn.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

func isQuick(c net.Conn) bool { _, ok := c.(*quickConn); return ok }
