package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/store"
)

// ErrNothing says that a series has nothing to retry or to cancel.
var ErrNothing = errors.New("nothing to do")

// Options are what the node shows. Store, Queue and Metrics are needed.
type Options struct {
	Store        *store.Store
	Queue        *job.Queue
	Destinations []job.Destination
	Metrics      *Metrics
	Version      string
	AETitle      string
	Node         string // its name, where several share the work
	ShowPatient  bool   // name patients and accession numbers

	// Ready lists the parts of the node and whether they are ready; Alive is an
	// error when only a restart helps.
	Ready func(context.Context) []Check
	Alive func() error
	Facts Facts
	// Algorithm names what analyses, or says why nothing does.
	Algorithm func() (result.Algorithm, error)
	// Progress tells how far the analysis of a series is, nil when none runs.
	Progress func(store.Key) *Progress
	// Retry and Cancel do what a person asked for and say what was done; with a
	// destination, only to the deliveries to it. The error is ErrNothing when
	// there was nothing to do, store.ErrNotExist when the series is not there.
	Retry, Cancel func(ctx context.Context, k store.Key, destination string) (string, error)
	// Deliver, likewise, sends again what destinations have confirmed; nil: nothing can be.
	Deliver func(ctx context.Context, k store.Key, destination string) (string, error)

	// Access is who may come in, and where: [admin]. The zero value lets everybody
	// in, on loopback only.
	Access config.Admin
	// Entered is told who came in and who did not; nil: nobody.
	Entered func(Entry)
	// Viewed is told who was shown pictures or the patient of a series, each time;
	// nil: nobody.
	Viewed func(user string, from netip.Addr, k store.Key)

	Log *zap.Logger // nil: none
}

// Server answers over HTTP. It is an http.Handler.
type Server struct {
	opts   Options
	views  views
	census census
	access *access
	http   http.Handler

	started time.Time

	surveying chan struct{} // has one while somebody looks, who alone may use surveyed
	surveyed  *survey
}

// New makes the server.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Ready == nil {
		o.Ready = func(context.Context) []Check { return nil }
	}
	if o.Alive == nil {
		o.Alive = func() error { return nil }
	}
	if o.Algorithm == nil {
		o.Algorithm = func() (result.Algorithm, error) { return result.Algorithm{}, errors.New("no models are loaded") }
	}
	if o.Progress == nil {
		o.Progress = func(store.Key) *Progress { return nil }
	}
	s := &Server{opts: o, views: views{store: o.Store}, access: newAccess(o.Access, o.Entered, o.Log), started: time.Now(),
		surveying: make(chan struct{}, 1)}
	s.census.take = s.countSeries
	o.Metrics.registry.MustRegister(live{
		queue: o.Queue, destinations: o.Destinations, store: o.Store, ready: o.Ready, alive: o.Alive, algorithm: o.Algorithm, census: &s.census, facts: o.Facts,
	})
	s.http = s.handler()
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.http.ServeHTTP(w, r) }

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	f, err := parseFilter(r.URL.RawQuery)
	var list *List
	if err == nil {
		list, err = s.List(r.Context(), f)
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	s.named(r, list.Series...)
	reply(w, http.StatusOK, list)
}

// named tells whose patients a person is shown, where they are.
func (s *Server) named(r *http.Request, list ...Series) {
	for _, one := range list {
		if one.Patient != nil {
			s.viewed(r, store.Key{Study: one.Study, Series: one.Series})
		}
	}
}

func (s *Server) viewed(r *http.Request, k store.Key) {
	if s.opts.Viewed != nil {
		s.opts.Viewed(User(r.Context()), addressOf(r.RemoteAddr), k)
	}
}

// errRequest is a fault of the request.
type errRequest string

func (e errRequest) Error() string { return string(e) }

func (s *Server) detail(w http.ResponseWriter, r *http.Request) {
	d, err := s.Detail(r.Context(), key(r))
	if err != nil {
		s.fail(w, err)
		return
	}
	s.named(r, d.Series)
	reply(w, http.StatusOK, d)
}

func key(r *http.Request) store.Key {
	return store.Key{Study: r.PathValue("study"), Series: r.PathValue("series")}
}

func (s *Server) change(do func(context.Context, store.Key, string) (string, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		k := key(r)
		if err := k.Valid(); err != nil {
			s.fail(w, errRequest(err.Error()))
			return
		}
		destination, err := destinationOf(r)
		if err != nil {
			s.fail(w, err)
			return
		}
		done, err := do(r.Context(), k, destination)
		if err != nil {
			s.fail(w, err)
			return
		}
		reply(w, http.StatusOK, Answer{Done: done})
	}
}

// destinationOf reads the only parameter of a change. What is not understood is a
// fault: a name that is misspelled must not turn one destination into all.
func destinationOf(r *http.Request) (string, error) {
	if err := r.ParseForm(); err != nil {
		return "", errRequest("the parameters are damaged: encode their values")
	}
	given := r.Form["destination"]
	delete(r.Form, "destination")
	switch {
	case len(r.Form) > 0:
		return "", errRequest("there is a parameter that means nothing here: it takes destination")
	case len(given) > 1:
		return "", errRequest("destination is there more than once: leave one")
	case len(given) == 0:
		return "", nil
	case given[0] == "" || len(given[0]) > maxSearch:
		return "", errRequest("destination names none: leave the parameter out for all of them")
	}
	return given[0], nil
}

// failed is statusOf, and tells the log of what is neither the request's fault nor
// the series', unless who asked has gone.
func (s *Server) failed(err error) int {
	status := statusOf(err)
	if status == http.StatusInternalServerError && !errors.Is(err, context.Canceled) {
		s.opts.Log.Warn("admin_failed", zap.Error(err))
	}
	return status
}

// statusOf is the HTTP status for an error.
func statusOf(err error) int {
	switch {
	case errors.As(err, new(errRequest)):
		return http.StatusBadRequest
	case errors.Is(err, store.ErrNotExist):
		return http.StatusNotFound
	case errors.Is(err, ErrNothing):
		return http.StatusConflict
	}
	return http.StatusInternalServerError
}

func (s *Server) fail(w http.ResponseWriter, err error) {
	status, said := s.failed(err), err.Error()
	if status == http.StatusNotFound {
		said = "the node keeps nothing of this name: it never was here, is not made yet, or went when its time was up"
	}
	reply(w, status, Answer{Error: said})
}

func reply(w http.ResponseWriter, status int, body any) {
	b, err := json.MarshalIndent(body, "", "\t")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(b, '\n'))
}
