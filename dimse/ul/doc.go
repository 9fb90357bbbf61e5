// Package ul is the DICOM upper layer of PS3.8 section 9.2: its states, events
// and actions under the standard's own names, and table 9-10 as data.
//
// [Machine] holds one association's state. Whoever owns the connection tells it
// what happened ([Machine.Do]) and is told in an [Effect] what the standard asks
// for: what to send, what to tell the user, what to do with the ARTIM timer and
// the transport. The package opens no socket and starts no timer, so each of the
// 13 x 19 cells is tested by itself.
//
// A cell that table 9-10 leaves empty cannot be reached; [Machine.Do] then
// returns an error, which is a fault of the caller, never of the peer.
package ul
