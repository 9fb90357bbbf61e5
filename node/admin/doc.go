// Package admin shows the node to people and programs: health, readiness,
// metrics, the API that `pulmonode jobs` speaks, and a page with the node at a
// glance, the series, their states, findings and deliveries, and buttons.
//
// The state of a series is never stored. It is read from the files (instances,
// closings, generations, receipts) and the queue, so it cannot disagree with
// them. Every state comes with a sentence.
//
// The page is made whole by the node (templates, static) and needs no script.
// With one it asks for itself again every few seconds and puts what has changed
// in its place (static/live.js). However many look, the series are gone through
// by one of them at a time (survey).
//
// What may be asked for is one table (routes), each row with what it needs:
// nothing, to view, or to operate. Who may is [admin]'s to say: on loopback
// everybody unless it names a password file or an authority; any other address is
// opened only with TLS and one of the two. Requests that change something must
// come from the page itself or from a program, never from another site, and on
// loopback the Host must name this machine, so that a web page cannot reach it by
// a name that it makes resolve here.
package admin
