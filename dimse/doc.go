// Package dimse is DICOM over the network (PS3.7, PS3.8): associations, C-ECHO,
// C-STORE and storage commitment, as provider (Server) and as user (Client).
//
// A Server accepts associations and gives each to its Handler, which answers with
// a Session or refuses. The Session is handed each C-STORE with the data set as a
// stream: nothing is held in memory, and success is said when Store returns it. A
// Session that is a Committer also answers for what it was given (PS3.4 annex J),
// one that is a CommitmentReceiver hears what became of what was sent elsewhere.
//
// A Client's Dial opens an association for a list of presentation contexts. What
// was accepted is on the Conn before anything is sent; Store, Echo and
// RequestCommitment give the peer's status, and an error only where there is none.
//
// Peers are hostile until parsed: every wait has a deadline (Timeouts), all that is
// held a bound (Limits), and every PDU its cell of the standard's state table.
// Package pdu has the bytes, ul the table, dataset the data sets.
package dimse

import "github.com/pulmonode/pulmonode/dimse/dataset"

// ImplementationClassUID and ImplementationVersion name this implementation in
// every association (PS3.7 D.3.3.2).
const (
	ImplementationClassUID = dataset.ImplementationUID
	ImplementationVersion  = dataset.ImplementationVersion
)
