package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pulmonode/pulmonode/cmd/internal/ledger"
	"github.com/pulmonode/pulmonode/cmd/internal/serve"
	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// again is when a sender whom the node refused or left tries again.
const again = 700 * time.Millisecond

var ctContext = []dimse.Context{{SOPClassUID: dataset.CTImage, TransferSyntaxUIDs: []string{dataset.ExplicitLE}}}

// sender is a modality that sends one arrival. It remembers nothing but what the
// node confirmed, and goes on until that is everything.
type sender struct {
	day   *day
	title string
	habit habit
}

func (d *day) senderOf(h habit) sender {
	return sender{day: d, title: fmt.Sprintf("CT%d", h+1), habit: h}
}

// comes sends an arrival. An error means that the day ended before all of it was
// confirmed.
func (s sender) comes(ctx context.Context, a arrival) error {
	var all []ledger.Instance
	for _, p := range a.series {
		some, err := s.day.make(p)
		if err != nil {
			return err
		}
		all = append(all, some...)
	}
	random := rand.New(rand.NewPCG(1, uint64(a.series[0].number)))
	switch s.habit {
	case oneSlice:
		for _, i := range all {
			if err := s.persist(ctx, 0, i); err != nil {
				return err
			}
		}
		return nil
	case several:
		var parts sync.WaitGroup
		errs := make([]error, 4)
		for n := range errs {
			var part []ledger.Instance
			for k := n; k < len(all); k += len(errs) {
				part = append(part, all[k])
			}
			parts.Go(func() { errs[n] = s.persist(ctx, 0, part...) })
		}
		parts.Wait()
		return errors.Join(errs...)
	case slow:
		return s.persist(ctx, s.day.hours(0.4)/time.Duration(len(all)), all...)
	case twice:
		if err := s.persist(ctx, 0, all...); err != nil {
			return err
		}
		if err := s.persist(ctx, 0, all...); err != nil {
			return err
		}
		if err := pause(ctx, s.day.hours(1)); err != nil {
			return err
		}
		return s.persist(ctx, 0, all...)
	case late:
		first, rest := all[:len(all)-2], all[len(all)-2:]
		if err := s.persist(ctx, 0, first...); err != nil {
			return err
		}
		if err := serve.Await(ctx, func() bool { return s.day.closings(all[0]) > 0 }); err != nil {
			return err
		}
		return s.persist(ctx, 0, rest...)
	case interleaved:
		random.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
		s.breakOff(ctx, all[:len(all)/3])
		return s.persist(ctx, 0, all...)
	case wrong:
		s.mistakes(ctx, all)
	}
	return s.persist(ctx, 0, all...)
}

// persist sends until every instance was confirmed.
func (s sender) persist(ctx context.Context, every time.Duration, all ...ledger.Instance) error {
	left := all
	for {
		left = s.send(ctx, every, left)
		if len(left) == 0 {
			return nil
		}
		if err := pause(ctx, again); err != nil {
			return fmt.Errorf("%s could not send %d instances of %s: %w", s.title, len(left), left[0].Series, err)
		}
	}
}

// send sends on one association and returns what was not confirmed.
func (s sender) send(ctx context.Context, every time.Duration, all []ledger.Instance) (left []ledger.Instance) {
	conn, err := s.dial(ctx)
	if err != nil {
		return all
	}
	defer conn.Abort()
	for n, i := range all {
		status, err := s.store(ctx, conn, dataset.CTImage, i)
		switch {
		case err != nil:
			return append(left, all[n:]...)
		case status == dimse.Success:
		case status == dimse.OutOfResources:
			s.day.refused.Add(1)
			left = append(left, i)
		default:
			s.day.kept.Fail(fmt.Sprintf("%s was answered %v for %s", s.title, status, i.UID))
			left = append(left, i)
		}
		if pause(ctx, every) != nil {
			return append(left, all[n+1:]...)
		}
	}
	conn.Release(ctx)
	return left
}

// breakOff sends and aborts.
func (s sender) breakOff(ctx context.Context, all []ledger.Instance) {
	conn, err := s.dial(ctx)
	if err != nil {
		return
	}
	for _, i := range all {
		if _, err := s.store(ctx, conn, dataset.CTImage, i); err != nil {
			break
		}
	}
	conn.Abort()
}

func (s sender) dial(ctx context.Context) (*dimse.Conn, error) {
	return dimse.Client{CallingAE: s.title, CalledAE: nodeTitle, Address: s.day.node.DICOM}.Dial(ctx, ctContext)
}

// store sends one instance, and notes what was confirmed and how long it took.
func (s sender) store(ctx context.Context, conn *dimse.Conn, class string, i ledger.Instance) (dimse.Status, error) {
	began := time.Now()
	status, err := conn.Store(ctx, dimse.StoreObject{SOPClassUID: class, SOPInstanceUID: i.UID, TransferSyntaxUID: dataset.ExplicitLE, Data: bytes.NewReader(i.Data)})
	if err == nil {
		s.day.waited(began, time.Since(began))
	}
	if err == nil && status == dimse.Success {
		s.day.confirm(i)
	}
	return status, err
}

// mistakes are what the node must refuse.
func (s sender) mistakes(ctx context.Context, all []ledger.Instance) {
	refused := func(what string, c dimse.Client, contexts []dimse.Context) {
		c.Address = s.day.node.DICOM
		conn, err := c.Dial(ctx, contexts)
		if err == nil {
			s.day.kept.Fail("an association was opened by " + what)
			conn.Abort()
		}
		s.day.wrongs.Add(1)
	}
	refused("a stranger", dimse.Client{CallingAE: "STRANGER", CalledAE: nodeTitle}, ctContext)
	refused("one who calls another", dimse.Client{CallingAE: s.title, CalledAE: "ANOTHER"}, ctContext)
	if conn, err := (dimse.Client{CallingAE: s.title, CalledAE: nodeTitle, Address: s.day.node.DICOM}).Dial(ctx, []dimse.Context{
		{SOPClassUID: dataset.SecondaryCapture, TransferSyntaxUIDs: []string{dataset.ExplicitLE}}, ctContext[0]}); err == nil {
		if len(conn.Accepted(dataset.SecondaryCapture)) > 0 {
			s.day.kept.Fail("pictures are taken by a node for CT")
		}
		conn.Abort()
	}
	conn, err := s.dial(ctx)
	if err != nil {
		return
	}
	defer conn.Abort()
	other := all[0]
	other.UID += ".7" // the data set has another
	cut := all[0]
	cut.UID, cut.Data = all[0].UID, all[0].Data[:len(all[0].Data)/3]
	noise := ledger.Instance{UID: "2.25.4711", Data: bytes.Repeat([]byte{0xFE, 0x07}, 500)}
	path := ledger.Instance{UID: "../../etc/passwd", Data: all[0].Data}
	for _, i := range []ledger.Instance{other, cut, noise, path} {
		s.day.wrongs.Add(1)
		status, err := conn.Store(ctx, dimse.StoreObject{SOPClassUID: dataset.CTImage, SOPInstanceUID: i.UID, TransferSyntaxUID: dataset.ExplicitLE, Data: bytes.NewReader(i.Data)})
		if err != nil {
			return
		}
		if status == dimse.Success {
			s.day.kept.Fail(fmt.Sprintf("a broken data set was confirmed as %s", i.UID))
		}
	}
	conn.Release(ctx)
}

// pause lets time pass; an error says that the day ended first.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
