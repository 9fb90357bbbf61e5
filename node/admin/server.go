package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"sync"
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

	surveying sync.Mutex
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
	s := &Server{opts: o, views: views{store: o.Store}, access: newAccess(o.Access, o.Entered, o.Log), started: time.Now()}
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

// List returns the series that pass the filter, the latest change first.
func (s *Server) List(ctx context.Context, f Filter) (*List, error) {
	list := &List{Series: []Series{}}
	err := s.each(ctx, f.wants, func(d *Detail, v *view) {
		if f.passes(&d.Series, v.brought) {
			list.Series = append(list.Series, d.Series)
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list.Series, func(a, b Series) int { return placeOf(&a).compare(placeOf(&b)) })
	list.Total = len(list.Series)
	if f.After != nil {
		behind, found := slices.BinarySearchFunc(list.Series, *f.After, func(one Series, p place) int { return placeOf(&one).compare(p) })
		if found {
			behind++
		}
		list.Series = list.Series[behind:]
	}
	if n := cmp.Or(f.Limit, defaultLimit); len(list.Series) > n {
		list.Series = list.Series[:n]
		list.Next = placeOf(&list.Series[n-1]).cursor()
	}
	return list, nil
}

// each tells of every series that is wanted, in no order.
func (s *Server) each(ctx context.Context, wanted func(store.Key) bool, tell func(*Detail, *view)) error {
	keys, err := s.opts.Store.Series()
	if err != nil {
		return err
	}
	jobs, err := s.opts.Queue.Jobs(ctx, "", "")
	if err != nil {
		return err
	}
	byKey := map[store.Key][]job.Job{}
	for _, j := range jobs {
		k := store.Key{Study: j.Study, Series: j.Series}
		byKey[k] = append(byKey[k], j)
	}
	for _, k := range keys {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !wanted(k) {
			continue
		}
		v, err := s.views.get(k)
		if errors.Is(err, store.ErrNotExist) {
			continue // removed since the listing
		}
		if err != nil {
			return err
		}
		tell(s.derive(k, v, byKey[k]), v)
	}
	records, err := s.opts.Store.AllRemoved()
	if err != nil {
		return err
	}
	for _, r := range records {
		if wanted(r.Key) {
			tell(deleted(r), &view{})
		}
	}
	return nil
}

func (s *Server) derive(k store.Key, v *view, jobs []job.Job) *Detail {
	d := derive(k, v, jobs, s.opts.Destinations, s.opts.Progress(k))
	if s.opts.ShowPatient && v.brought != nil {
		d.Patient = &v.brought.patient
	}
	return &d
}

// Detail returns everything about a series; the error is store.ErrNotExist
// when it is not there.
func (s *Server) Detail(ctx context.Context, k store.Key) (*Detail, error) {
	if err := k.Valid(); err != nil {
		return nil, errRequest(err.Error())
	}
	d, err := s.stand(ctx, k)
	if errors.Is(err, store.ErrNotExist) {
		r, err := s.opts.Store.Removed(k)
		if err != nil {
			return nil, err
		}
		return deleted(*r), nil
	}
	if err != nil {
		return nil, err
	}
	first, last, err := arrived(s.opts.Store, k)
	if err != nil {
		return nil, err
	}
	if !first.IsZero() {
		d.FirstInstance, d.LastInstance = &first, &last
	}
	return d, nil
}

// stand is Detail of a series that is here, without when its instances came.
func (s *Server) stand(ctx context.Context, k store.Key) (*Detail, error) {
	// The queue first: what ends between the two looks is then in the files.
	jobs, err := s.opts.Queue.Jobs(ctx, k.Study, k.Series)
	if err != nil {
		return nil, err
	}
	v, err := s.views.get(k)
	if err != nil {
		return nil, err
	}
	return s.derive(k, v, jobs), nil
}

// Settled reports whether nothing more is to be done for a series, and whether it
// can be spared before its time: its results are at a destination, or there were
// none to send.
func (s *Server) Settled(ctx context.Context, k store.Key) (settled, spare bool) {
	d, err := s.stand(ctx, k)
	if err != nil || slices.ContainsFunc(d.Deliveries, func(one Delivery) bool { return one.State != "delivered" && one.State != "unconfigured" }) {
		return false, false
	}
	delivered := slices.ContainsFunc(d.Deliveries, func(one Delivery) bool { return one.State == "delivered" })
	return d.State == Delivered || d.State == Skipped, d.State == Skipped || d.State == Delivered && delivered
}

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
	status := statusOf(err)
	if status == http.StatusInternalServerError {
		s.opts.Log.Warn("admin_failed", zap.Error(err))
	}
	said := err.Error()
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
