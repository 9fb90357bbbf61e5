package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"net"
	"sync"
	"time"

	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// object is what a destination holds.
type object struct {
	class, study, transfer string
	sum                    [32]byte
	first                  time.Time
	times                  int
	notice                 bool // it says that it is not for clinical use
	report                 []byte
}

// sink is a destination. It remembers every object by its UID, and whether the
// same UID ever came with other bytes.
type sink struct {
	day         *day
	name, title string
	send        string // its `send` setting
	slow        time.Duration
	odd         bool // answers strangely now and then
	commit      bool // answers for what it takes, and loses some of it first
	address     string

	mu       sync.Mutex
	objects  map[string]*object
	sums     map[string][32]byte // of all that ever came
	faults   []string
	came     int
	asked    int
	lost     int
	hook     func(o *object) // before it answers
	full     bool
	server   *dimse.Server
	answered sync.WaitGroup
}

// up listens, at the same address each time.
func (s *sink) up(ctx context.Context) error {
	var c net.ListenConfig
	at := s.address
	if at == "" {
		at = "127.0.0.1:0"
	}
	l, err := c.Listen(ctx, "tcp", at)
	if err != nil {
		return err
	}
	s.address = l.Addr().String()
	server := &dimse.Server{Handler: s}
	s.mu.Lock()
	s.server = server
	s.mu.Unlock()
	go server.Serve(l)
	return nil
}

// down stops listening and breaks off what is open.
func (s *sink) down() {
	s.mu.Lock()
	server := s.server
	s.mu.Unlock()
	now, cancel := context.WithCancel(context.Background())
	cancel()
	server.Shutdown(now)
}

// Associate lets the node in.
func (s *sink) Associate(_ context.Context, a *dimse.Association) (dimse.Session, error) {
	if s.commit {
		return archive{visit{s, a}}, nil
	}
	return visit{s, a}, nil
}

type visit struct {
	*sink
	association *dimse.Association
}

func (v visit) End(dimse.End) {}

var notices = [][]byte{[]byte("not for clinical use"), []byte("Not for clinical use")}

func (v visit) Store(ctx context.Context, r *dimse.StoreRequest) dimse.Status {
	data, err := io.ReadAll(r.Data)
	if err != nil {
		return dimse.CannotUnderstand
	}
	header, err := dataset.ParseHeader(bytes.NewReader(data), r.TransferSyntaxUID, dataset.Limits{HeaderBytes: 64 << 20, Elements: 1 << 20})
	if err != nil {
		v.fault("%s is unreadable: %v", r.SOPInstanceUID, err)
		return dimse.CannotUnderstand
	}
	o := &object{class: r.SOPClassUID, study: header.Text(dataset.StudyInstanceUID), transfer: r.TransferSyntaxUID, sum: sha256.Sum256(data), first: time.Now()}
	for _, n := range notices {
		o.notice = o.notice || bytes.Contains(data, n)
	}
	if r.SOPClassUID == dataset.Comprehensive3DSR {
		o.report = append(dataset.FileMeta(dataset.MetaInfo{SOPClassUID: r.SOPClassUID, SOPInstanceUID: r.SOPInstanceUID, TransferSyntax: r.TransferSyntaxUID}), data...)
	}
	if pause(ctx, v.slow) != nil {
		return dimse.ProcessingFailure
	}
	status, hook := v.keep(r.SOPInstanceUID, o)
	if hook != nil {
		hook(o)
	}
	return status
}

// strange are the answers of an odd destination: two refusals, two warnings.
var strange = [...]dimse.Status{dimse.OutOfResources, 0xB000, 0x0110, 0xB007}

func (s *sink) keep(uid string, o *object) (dimse.Status, func(*object)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.came++
	status := dimse.Success
	switch {
	case s.full:
		status = dimse.OutOfResources
	case s.odd && s.came%7 == 0:
		status = strange[s.came/7%len(strange)]
	}
	if sum, again := s.sums[uid]; again && sum != o.sum {
		s.faults = append(s.faults, fmt.Sprintf("%s got %s with other bytes than before", s.name, uid))
	}
	s.sums[uid] = o.sum
	if status.Stored() {
		if before := s.objects[uid]; before != nil {
			before.times++
		} else {
			o.times = 1
			s.objects[uid] = o
		}
	}
	return status, s.hook
}

func (s *sink) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, s.name+": "+fmt.Sprintf(format, args...))
}

// room says whether it has room for more.
func (s *sink) room(yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = !yes
}

// holds is what the destination has.
func (s *sink) holds() map[string]*object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.objects)
}

// archive is a destination that answers for what it holds (PS3.4 annex J).
type archive struct{ visit }

// Commit looks what of the request is held. Each twentieth time it finds that it
// has lost an object.
func (a archive) Commit(_ context.Context, r *dimse.CommitmentRequest) dimse.Status {
	answer := &dimse.CommitmentResult{TransactionUID: r.TransactionUID}
	a.mu.Lock()
	if a.asked++; a.asked%20 == 0 && len(r.Instances) > 0 {
		delete(a.objects, r.Instances[0].SOPInstanceUID)
		a.lost++
	}
	for _, i := range r.Instances {
		if a.objects[i.SOPInstanceUID] != nil {
			answer.Committed = append(answer.Committed, i)
		} else {
			answer.Failed = append(answer.Failed, dimse.FailedInstance{Instance: i, Reason: dimse.NoSuchInstance})
		}
	}
	a.mu.Unlock()
	a.answered.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if status, err := a.association.ReportCommitment(ctx, answer); err == nil && status == dimse.Success {
			return
		}
		for ctx.Err() == nil {
			c := dimse.Client{CallingAE: a.title, CalledAE: nodeTitle, Address: a.day.node.DICOM}
			if status, err := c.ReportCommitment(ctx, answer); err == nil && status == dimse.Success {
				return
			}
			pause(ctx, time.Second)
		}
	})
	return dimse.Success
}
