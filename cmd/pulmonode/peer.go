package main

import (
	"fmt"
	"net"
	"strings"
)

// peer is a DICOM peer as the command line names it: AE@host:port.
type peer struct{ aeTitle, address string }

func parsePeer(s string) (peer, error) {
	title, address, ok := strings.Cut(s, "@")
	if _, port, err := net.SplitHostPort(address); !ok || title == "" || len(title) > 16 || err != nil || port == "" {
		return peer{}, usageError{fmt.Errorf("%q names no peer: write AE@host:port, for example PACS@10.1.2.3:104", s)}
	}
	return peer{title, address}, nil
}
