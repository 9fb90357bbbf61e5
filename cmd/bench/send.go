package main

import (
	"os/exec"
	"strconv"
)

// send times each sender, tuned, towards one receiver that is nobody's own here
// and keeps nothing.
func (b *bench) send() []row {
	if why := dcmtk.missing(b); why != "" {
		return []row{{Peer: "DCMTK storescp", Skipped: why}}
	}
	sink := func(dir string, port int) (*exec.Cmd, error) {
		return nodelay(b.command("storescp", "--fork", "--ignore", "-pdu", pdu, strconv.Itoa(port)), true), nil
	}
	from := func(p peer) pair {
		return pair{p.name, sink, func(dir string, port int) *exec.Cmd { return p.scu(b, dir, port, true) }, "tuned", p.most}
	}
	var theirs []pair
	rows := b.absent()
	for _, p := range peers {
		if p.missing(b) == "" && p.scu != nil {
			theirs = append(theirs, from(p))
		}
	}
	return append(b.race("each sender to storescp --ignore -pdu "+pdu, from(pulmonode), theirs), rows...)
}
