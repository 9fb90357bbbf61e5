// Package deliver sends the results of a generation to a destination: one
// association, presentation contexts for exactly the SOP classes that are
// sent, Explicit VR Little Endian first and Implicit as a second choice, to
// which data sets are converted on the fly.
//
// Each success status becomes a receipt, a durable file, before the next object
// is sent. What has a receipt is not sent again, so an interrupted delivery
// goes on where it ended; what was sent without its receipt having reached the
// disk goes out once more with the same UIDs and the same bytes, which is the
// same object to the peer.
//
// A table says which answers of a peer are success, which are worth another
// attempt and which no attempt can mend (PS3.4 B.2.3, PS3.7 annex C). The
// latter end the delivery at once with a sentence on what to configure.
package deliver
