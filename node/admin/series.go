package admin

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/store"
)

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
	if err != nil || slices.ContainsFunc(d.Deliveries, Delivery.open) {
		return false, false
	}
	delivered := slices.ContainsFunc(d.Deliveries, Delivery.Sent)
	return d.State == Delivered || d.State == Skipped, d.State == Skipped || d.State == Delivered && delivered
}
