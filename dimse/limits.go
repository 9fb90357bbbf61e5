package dimse

import (
	"github.com/pulmonode/pulmonode/dimse/pdu"
)

// DefaultMaxPDU is the maximum length of a P-DATA-TF that is offered: large
// enough that its header and system calls no longer count.
const DefaultMaxPDU = 256 << 10

// Limits bounds what peers may cost. A zero field means its default. A Client
// has no use for Associations and Connections.
type Limits struct {
	// Associations are open at once; more are rejected "local limit exceeded", and
	// may come again. Each has 64 KiB of buffers, and whatever its Session keeps.
	// Default 64.
	Associations int

	// Connections are open at once, those included that have not asked for an
	// association yet, or were refused and do not close. One more takes the place of
	// the one that has waited longest without a request, else it is closed itself,
	// without a word, and Server.NoRequest told. Each may hold a Request. Default
	// 2 * Associations + 16.
	Connections int

	// PDU is the longest P-DATA-TF that is offered and taken (PS3.8 D.1). It is
	// never held whole. Default 256 KiB.
	PDU uint32

	// Request is the longest A-ASSOCIATE-RQ or -AC, which is held whole: 128
	// contexts with every known transfer syntax are half of the default. Default
	// and most 128 KiB.
	Request uint32

	// Contexts are the presentation contexts of a request. Default and most 128:
	// their IDs are the odd numbers of a byte (PS3.8 9.3.2.2).
	Contexts int

	// UserItems are the sub-items of the user information, known or not. A request
	// may have three for each of its SOP classes, for role selection and the two
	// extended negotiations (PS3.7 D.3.3), and a handful besides. Default 512.
	UserItems int

	// Command is the longest command set, which is held whole; that of a C-STORE
	// has some 300 bytes. Default 16 KiB.
	Command int

	// Fragments are those a command set may come in: empty ones are legal and cost
	// time. Default 4096.
	Fragments int

	// DataSet is the longest data set that is held whole: those of storage
	// commitment, with some 100 bytes an instance. Default 1 MiB, for 10,000
	// instances. Data sets of a C-STORE are not held, and have no bound here.
	DataSet int
}

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		n          *int
		is, atMost int
	}{
		{&l.Associations, 64, 0}, {&l.Contexts, 128, 128}, {&l.UserItems, 512, 0},
		{&l.Command, 16 << 10, 0}, {&l.Fragments, 4096, 0}, {&l.DataSet, 1 << 20, 0},
	} {
		if *f.n == 0 || f.atMost != 0 && *f.n > f.atMost {
			*f.n = f.is
		}
	}
	if l.Connections == 0 {
		l.Connections = 2*l.Associations + 16
	}
	if l.PDU == 0 {
		l.PDU = DefaultMaxPDU
	}
	if l.Request == 0 || l.Request > pdu.MaxAssociate {
		l.Request = pdu.MaxAssociate
	}
	return l
}

// bounds are those that package pdu holds a request against.
func (l Limits) bounds() pdu.Bounds {
	return pdu.Bounds{Contexts: l.Contexts, UserItems: l.UserItems}
}
