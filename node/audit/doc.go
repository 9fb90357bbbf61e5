// Package audit keeps the trail of who sent what, where it went and who was
// turned away, as DICOM audit messages (PS3.15 A.5).
//
// An Event is one message before it is XML; events.go makes those that this node
// reports, codes.go has the codes of PS3.16 that they carry. A message is bounded
// and well-formed whatever the network put into it. As a syslog message
// (RFC 5424) it goes to a file, a line each, and to a collector over TLS
// (RFC 5425), TCP or UDP (RFC 5426); PS3.15 A.6 and A.7 say so.
//
// Recording never waits: an event goes into a bounded queue, from there to the
// file, and into a spool on the disk from which the collector is served. A
// collector that is down loses nothing until the spool is full; a message counts
// as delivered only once the connection that carried it has outlived it for a
// while, so it may come twice. What had to be dropped is counted, logged, and
// told in the trail itself as soon as it goes on.
package audit
