package admin

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// route is one thing that can be asked for.
type route struct {
	method, path string
	needs        need
	handle       http.HandlerFunc
}

// routes lists everything that the listener answers. Whoever adds one says what
// it needs; a test asks for each with every kind of credential.
func (s *Server) routes() []route {
	metrics := promhttp.HandlerFor(s.opts.Metrics.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
	list := []route{
		{"GET", "/healthz", nothing, s.healthz},
		{"GET", "/readyz", nothing, s.readyz},
		{"GET", "/metrics", toView, metrics.ServeHTTP},

		{"GET", "/api/v1/openapi.json", toView, description},
		{"GET", "/api/v1/status", toView, s.status},
		{"GET", "/api/v1/series", toView, s.list},
		{"GET", "/api/v1/series/{study}/{series}", toView, s.detail},
		{"GET", "/api/v1/series/{study}/{series}/{generation}/result", toView, s.resultJSON},
		{"GET", "/api/v1/series/{study}/{series}/{generation}/pictures/{file}", toView, s.apiPicture},
		{"POST", "/api/v1/series/{study}/{series}/retry", toOperate, s.change(s.opts.Retry)},
		{"POST", "/api/v1/series/{study}/{series}/cancel", toOperate, s.change(s.opts.Cancel)},

		{"GET", "/{$}", toView, s.page},
		{"GET", "/series/{study}/{series}", toView, s.seriesPage},
		{"GET", "/series/{study}/{series}/{generation}/{file}", toView, s.picture},
		{"GET", "/series/{study}/{series}/confirm", toView, s.confirm},
		{"POST", "/series/{study}/{series}/retry", toOperate, s.pageChange("retry", s.opts.Retry)},
		{"POST", "/series/{study}/{series}/cancel", toOperate, s.pageChange("cancel", s.opts.Cancel)},
		{"GET", "/static/{file}", toView, s.static},
	}
	if s.opts.Deliver != nil {
		list = append(list, route{"POST", "/api/v1/series/{study}/{series}/deliver", toOperate, s.change(s.opts.Deliver)})
		list = append(list, route{"POST", "/series/{study}/{series}/deliver", toOperate, s.pageChange("deliver", s.opts.Deliver)})
	}
	return list
}

// handler answers the routes, and what is none of them with a sentence.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for _, r := range s.routes() {
		mux.Handle(r.method+" "+r.path, s.allow(r.needs, r.handle))
		methods[r.path] = append(methods[r.path], r.method)
	}
	for path, allowed := range methods {
		slices.Sort(allowed)
		mux.Handle(path, s.allow(toView, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			s.say(w, r, http.StatusMethodNotAllowed, fmt.Sprintf("this takes %s only", strings.Join(allowed, " and ")))
		})))
	}
	mux.Handle("/", s.allow(toView, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.say(w, r, http.StatusNotFound, "there is nothing at this address: the series are at /, the API is at /api/v1/series")
	})))
	sites := http.NewCrossOriginProtection()
	sites.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.say(w, r, http.StatusForbidden, "this came from another web site: use the page itself, or a program that is no browser")
	}))
	return s.guard(sites.Handler(mux))
}

// say answers with a sentence: as JSON below /api/, else for people.
func (s *Server) say(w http.ResponseWriter, r *http.Request, status int, sentence string) {
	if strings.HasPrefix(r.URL.Path, "/api/") || r.URL.Path == "/readyz" {
		reply(w, status, Answer{Error: sentence})
		return
	}
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		s.fault(w, status, sentence)
		return
	}
	http.Error(w, sentence, status)
}
