package dimse

import (
	"net"
	"syscall"
	"testing"
)

// A peer that vanishes without a word, its cable pulled, is found by the kernel's
// probes on both ends' connections: they begin after 30 s without a sign of it,
// and give it up within three minutes.
func TestVanishedPeersAreProbed(t *testing.T) {
	accepted := make(chan net.Conn, 1)
	h := newHandler()
	address := startOn(t, &Server{Handler: h}, watched{listen(t), accepted})
	conn, err := Client{CallingAE: "CASE", Address: address}.Dial(t.Context(), proposal)
	if err != nil {
		t.Fatal(err)
	}
	for end, c := range map[string]net.Conn{"server": <-accepted, "client": conn.t.Conn} {
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			option := func(level, name int) int {
				v, err := syscall.GetsockoptInt(int(fd), level, name)
				if err != nil {
					t.Error(err)
				}
				return v
			}
			on, idle := option(syscall.SOL_SOCKET, syscall.SO_KEEPALIVE), option(syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE)
			interval, count := option(syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL), option(syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT)
			if found := idle + interval*count; on != 1 || idle != 30 || found > 180 {
				t.Errorf("%s: keep-alive %d, after %d s, then %d times every %d s", end, on, idle, count, interval)
			}
		})
	}
	if err := conn.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// watched is a listener that passes its connections on to be looked at.
type watched struct {
	net.Listener
	accepted chan<- net.Conn
}

func (l watched) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.accepted <- c
	}
	return c, err
}
