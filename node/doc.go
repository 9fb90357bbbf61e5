// Package node is a running pulmonode: it puts the rooms together and gives
// them a life.
//
// Start locks the data folder, empties incoming/, opens the queue (or makes it
// anew), takes up the series that were open, reconciles the queue with the
// files, and opens the listeners last: by the time a peer is answered, all that
// was promised to peers before is in hand again. Models load beside that;
// reception does not wait for them, analyses do.
//
// An instance goes from its association through Receiver into the store, is
// durable, and is confirmed. The tracker closes its series; the closing becomes
// an analysis, the analysis a generation of files, the generation a delivery
// for each destination. Each step reads what it needs from the files and ends
// in a durable file, so it may be repeated from any point.
//
// When the context ends the node stops accepting, finishes the instances that
// are under way, and stops its workers within a bound. What they had not
// finished is found again at the next start.
package node
