//go:build !linux

package dimse

import "net"

// quickly is for Linux, whose kernel delays acknowledgements.
func quickly(c net.Conn) net.Conn { return c }
