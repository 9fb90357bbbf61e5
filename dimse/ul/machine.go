// Package ul is the DICOM upper layer's state machine (PS3.8 section 9.2): the
// table of states and events as data, in the standard's names, without sockets
// and timers. Who drives it does what the action says.
package ul

import "fmt"

// State is one of the thirteen states of PS3.8 9.2.1.
type State byte

// The states.
const (
	Sta1  State = iota + 1 // idle
	Sta2                   // transport open, awaiting A-ASSOCIATE-RQ
	Sta3                   // awaiting the local association response
	Sta4                   // awaiting the transport to open
	Sta5                   // awaiting A-ASSOCIATE-AC or -RJ
	Sta6                   // association established
	Sta7                   // awaiting A-RELEASE-RP
	Sta8                   // awaiting the local release response
	Sta9                   // release collision, requestor: awaiting the local response
	Sta10                  // release collision, acceptor: awaiting A-RELEASE-RP
	Sta11                  // release collision, requestor: awaiting A-RELEASE-RP
	Sta12                  // release collision, acceptor: awaiting the local response
	Sta13                  // awaiting the transport to close
)

func (s State) String() string { return fmt.Sprintf("Sta%d", byte(s)) }

// Event is one of the nineteen events of PS3.8 table 9-10.
type Event byte

// The events.
const (
	Evt1      Event = iota + 1 // A-ASSOCIATE request primitive
	Evt2                       // transport connect confirmation
	Evt3                       // A-ASSOCIATE-AC received
	Evt4                       // A-ASSOCIATE-RJ received
	Evt5                       // transport connection indication
	Evt6                       // A-ASSOCIATE-RQ received
	Evt7                       // A-ASSOCIATE response primitive, accept
	Evt8                       // A-ASSOCIATE response primitive, reject
	Evt9                       // P-DATA request primitive
	Evt10                      // P-DATA-TF received
	Evt11                      // A-RELEASE request primitive
	Evt12                      // A-RELEASE-RQ received
	Evt13                      // A-RELEASE-RP received
	Evt14                      // A-RELEASE response primitive
	Evt15                      // A-ABORT request primitive
	Evt16                      // A-ABORT received
	Evt17                      // transport connection closed
	Evt18                      // ARTIM timer expired
	Evt19                      // unrecognised or invalid PDU received
	numEvents = iota + 1
)

func (e Event) String() string { return fmt.Sprintf("Evt%d", byte(e)) }

// Action is what a cell of the table says to do (PS3.8 9.2.2).
type Action byte

// The actions.
const (
	AE1  Action = iota + 1 // open the transport
	AE2                    // send A-ASSOCIATE-RQ
	AE3                    // confirm the association
	AE4                    // confirm the rejection, close
	AE5                    // transport is open: start ARTIM
	AE6                    // stop ARTIM; indicate, or send A-ASSOCIATE-RJ and start ARTIM
	AE7                    // send A-ASSOCIATE-AC
	AE8                    // send A-ASSOCIATE-RJ, start ARTIM
	DT1                    // send P-DATA-TF
	DT2                    // indicate P-DATA
	AR1                    // send A-RELEASE-RQ
	AR2                    // indicate the release
	AR3                    // confirm the release, close
	AR4                    // send A-RELEASE-RP, start ARTIM
	AR5                    // stop ARTIM
	AR6                    // indicate P-DATA
	AR7                    // send P-DATA-TF
	AR8                    // indicate the release: a collision
	AR9                    // send A-RELEASE-RP
	AR10                   // confirm the release
	AA1                    // send A-ABORT (service-user), start ARTIM
	AA2                    // stop ARTIM, close
	AA3                    // indicate the abort, close
	AA4                    // indicate A-P-ABORT
	AA5                    // stop ARTIM
	AA6                    // ignore
	AA7                    // send A-ABORT
	AA8                    // send A-ABORT (service-provider), indicate A-P-ABORT, start ARTIM
)

var actionNames = [...]string{"", "AE-1", "AE-2", "AE-3", "AE-4", "AE-5", "AE-6", "AE-7", "AE-8", "DT-1", "DT-2",
	"AR-1", "AR-2", "AR-3", "AR-4", "AR-5", "AR-6", "AR-7", "AR-8", "AR-9", "AR-10",
	"AA-1", "AA-2", "AA-3", "AA-4", "AA-5", "AA-6", "AA-7", "AA-8"}

func (a Action) String() string { return actionNames[a] }

// Machine is one association's place in the table. The zero value is idle.
// Requestor says that this end asked for the association, which decides a
// release collision.
type Machine struct {
	Requestor bool
	state     State
}

// State is where the association stands.
func (m *Machine) State() State {
	if m.state == 0 {
		return Sta1
	}
	return m.state
}

// Do takes an event, moves to the next state and returns the action, which the
// caller carries out. After AE6 the machine is in Sta3; a request that is not
// acceptable is rejected from there by Evt8. It panics where the standard says
// that the event can't happen.
func (m *Machine) Do(e Event) Action {
	a, ok := table[e][m.State()]
	if !ok {
		panic(fmt.Sprintf("ul: %v can't happen in %v", e, m.State()))
	}
	switch a {
	case AE6:
		m.state = Sta3
	case AR8:
		m.state = Sta10
		if m.Requestor {
			m.state = Sta9
		}
	default:
		m.state = next[a]
	}
	return a
}

// Can reports whether an event can happen now: for a primitive of the user that
// may come too late.
func (m *Machine) Can(e Event) bool { _, ok := table[e][m.State()]; return ok }
