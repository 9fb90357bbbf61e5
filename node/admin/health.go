package admin

import (
	"fmt"
	"net/http"
)

// healthz says whether the node's own work turns: whether a restart would help.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	if err := s.opts.Alive(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// readyz says whether the node would accept a series and could deliver its
// results; with for=receive, whether it would accept one. The second is for a
// load balancer: a node that cannot analyse for now still keeps what it is sent.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	receive := false
	switch r.URL.Query().Get("for") {
	case "":
	case "receive":
		receive = true
	default:
		reply(w, http.StatusBadRequest, Answer{Error: `for is "receive", or is left out`})
		return
	}
	a := Readiness{Ready: true, Checks: []Check{}}
	for _, c := range s.opts.Ready(r.Context()) {
		if !receive || c.Receive {
			a.Checks = append(a.Checks, c)
			a.Ready = a.Ready && c.OK
		}
	}
	status := http.StatusOK
	if !a.Ready {
		status = http.StatusServiceUnavailable
	}
	// A load balancer needs the status alone; what ails the node is for those who
	// may come in. A password that is wrong changes nothing here.
	if _, no := s.access.admit(r); no != nil {
		reply(w, status, struct {
			Ready bool `json:"ready"`
		}{a.Ready})
		return
	}
	reply(w, status, a)
}
