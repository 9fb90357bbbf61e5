package audit

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// giveUpSilence has a connection break when what was sent is not acknowledged:
// else the system goes on trying for a quarter of an hour.
func giveUpSilence(network, _ string, c syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	var err error
	if e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence.Milliseconds()))
	}); e != nil {
		return e
	}
	return err
}
