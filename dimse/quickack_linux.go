package dimse

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// quickly acknowledges what arrives at once. A sender that writes a message in
// two small segments waits for the acknowledgement of the first before it sends
// the second (Nagle); the kernel would hold that back by 40 ms, which limits
// stock DCMTK to some 24 images a second. The option does not stay set, so it is
// set again after each read.
func quickly(c net.Conn) net.Conn {
	if t, ok := c.(*net.TCPConn); ok {
		if raw, err := t.SyscallConn(); err == nil {
			return &quickConn{t, raw}
		}
	}
	return c
}

type quickConn struct {
	*net.TCPConn
	raw syscall.RawConn
}

func (q *quickConn) Read(p []byte) (int, error) {
	n, err := q.TCPConn.Read(p)
	q.raw.Control(acknowledge)
	return n, err
}

func acknowledge(fd uintptr) { unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) }
