// Package dimse speaks DICOM's network protocol (PS3.7, PS3.8): associations,
// C-ECHO and C-STORE, as provider (Server) and as user (Client).
//
// A Server accepts associations and gives each to its Handler, which answers
// with a Session or refuses. The Session is handed each C-STORE with the data
// set as a stream: nothing is held in memory, and success is said when Store
// returns it. Package pdu has the bytes, package ul the state machine.
//
// A Client's Dial opens an association for a list of presentation contexts.
// What was accepted is on the Conn before anything is sent.
package dimse

import (
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// DefaultMaxPDU is the maximum length of a P-DATA-TF that is offered: large
// enough that its header and system calls no longer count.
const DefaultMaxPDU = 256 << 10

// ImplementationClassUID and ImplementationVersion name this implementation in
// every association (PS3.7 D.3.3.2).
const (
	ImplementationClassUID = dataset.ImplementationUID
	ImplementationVersion  = dataset.ImplementationVersion
)

// Timeouts are the deadlines of an association's phases. A zero field means its
// default, which stands beside it.
type Timeouts struct {
	Request  time.Duration // A-ASSOCIATE-RQ after the connection (ARTIM): 30 s
	Idle     time.Duration // between messages: 5 min
	Message  time.Duration // between PDUs inside a message: 60 s
	Write    time.Duration // a write that the peer does not take: 60 s
	Whole    time.Duration // server, an association from its connection to its end: 6 h
	Closing  time.Duration // the peer closes after a release, reject or abort: 5 s
	Connect  time.Duration // client, the connection: 10 s
	Accept   time.Duration // client, the answer to A-ASSOCIATE-RQ: 30 s
	Response time.Duration // client, the response to a C-STORE or C-ECHO: 2 min
	Release  time.Duration // client, the answer to A-RELEASE-RQ: 10 s
}

func (t Timeouts) withDefaults() Timeouts {
	for _, f := range []struct {
		d  *time.Duration
		is time.Duration
	}{
		{&t.Request, 30 * time.Second}, {&t.Idle, 5 * time.Minute}, {&t.Message, time.Minute}, {&t.Write, time.Minute}, {&t.Whole, 6 * time.Hour},
		{&t.Closing, 5 * time.Second}, {&t.Connect, 10 * time.Second}, {&t.Accept, 30 * time.Second},
		{&t.Response, 2 * time.Minute}, {&t.Release, 10 * time.Second},
	} {
		if *f.d == 0 {
			*f.d = f.is
		}
	}
	return t
}

// keepAlive finds peers that vanished without a word.
const keepAlive = 30 * time.Second
