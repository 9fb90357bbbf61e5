// Package admin shows the node to people and programs: health, readiness,
// metrics, the API that `pulmonode jobs` speaks, and a page with the series,
// their states, their pictures and a button to try again.
//
// The state of a series is never stored. It is read from the files (instances,
// closings, generations, receipts) and the queue, so it cannot disagree with
// them. Every state comes with a sentence.
//
// The listener is on loopback unless configured otherwise: there is no login,
// and the pictures are a patient's. Requests that change something must come
// from the page itself or from a program, never from another site, and on
// loopback the Host must name this machine, so that a web page cannot reach it
// by a name that it makes resolve here.
package admin
