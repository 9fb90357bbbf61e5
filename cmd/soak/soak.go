package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pulmonode/pulmonode/cmd/internal/ledger"
)

// soak is one run.
type soak struct {
	binary, python string
	length         time.Duration
	seed           uint64
	out            io.Writer

	dir        string
	node       *node
	kept       ledger.Ledger
	hostile    atomic.Int64 // conversations
	overlooked atomic.Int64 // answers, by pynetdicom
	recording  []byte       // what a good peer says, for those who say it wrong
}

// goodPeers and hostilePeers are how many of each are at work at any time;
// together with what one hostile peer may open they stay below the node's
// max_associations, so that no good peer is ever turned away.
const (
	goodPeers    = 6
	hostilePeers = 8
	samples      = 30 // progress lines
)

// run soaks until the time is over or ctx ends, and says what was wrong.
func (s *soak) run(ctx context.Context) (faults []string, err error) {
	if s.dir, err = os.MkdirTemp("", "pulmonode-soak-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(s.dir)
	if s.node, err = startNode(ctx, s.binary, s.dir); err != nil {
		return nil, err
	}
	defer s.node.Kill()
	if s.recording, err = s.record(ctx); err != nil {
		return nil, fmt.Errorf("recording a conversation: %w", err)
	}
	fmt.Fprintf(s.out, "%d good and %d hostile peers for %v, seed %d\n", goodPeers, hostilePeers, s.length, s.seed)
	begin := time.Now()
	before, err := s.node.rest(ctx)
	if err != nil {
		return nil, err
	}
	working, stop := context.WithTimeout(ctx, s.length)
	defer stop()
	var peers sync.WaitGroup
	for i := range goodPeers {
		peers.Go(func() { s.good(working, i) })
	}
	for i := range hostilePeers {
		peers.Go(func() { s.harm(working, rand.New(rand.NewPCG(s.seed, uint64(i)))) })
	}
	history := s.watch(working, begin)
	peers.Wait()

	// What follows is done after ctrl-C as well.
	calm, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	after, err := s.node.rest(calm)
	if err != nil {
		return nil, err
	}
	after.print(s.out, time.Since(begin), s, "at rest")
	faults = append(s.kept.Failures(), grown(before, after, history)...)
	if err := s.node.Stop(); err != nil {
		faults = append(faults, err.Error())
	}
	stored, lost := s.kept.Check(s.node.data)
	if stored == 0 {
		lost = append(lost, "no instance was stored at all")
	}
	if n := s.overlooked.Load(); n > 0 {
		fmt.Fprintf(s.out, "%d times pynetdicom overlooked an answer that it had received, and gave up\n", n)
	}
	fmt.Fprintf(s.out, "%d instances confirmed, %d of them on disk bit for bit; %d hostile conversations\n", stored, stored-len(lost), s.hostile.Load())
	if faults = append(faults, lost...); len(faults) > 0 {
		fmt.Fprintf(s.out, "the node's log ends with\n%s\n", s.node.LastWords())
	}
	return faults, nil
}

// watch prints a line now and then and returns what it saw.
func (s *soak) watch(ctx context.Context, begin time.Time) (history []reading) {
	tick := time.NewTicker(max(s.length/samples, time.Second))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return history
		case <-tick.C:
		}
		if r, err := s.node.read(ctx); err == nil {
			history = append(history, r)
			r.print(s.out, time.Since(begin), s, "")
		} else if ctx.Err() == nil {
			s.kept.Fail("the node does not answer: " + err.Error())
		}
	}
}

// grown compares the node at rest before and after, and its memory at work in
// the second quarter of the time and in the last.
func grown(before, after reading, history []reading) (faults []string) {
	const few = 8
	if after.descriptors > before.descriptors+few {
		faults = append(faults, fmt.Sprintf("descriptors grew from %.0f to %.0f", before.descriptors, after.descriptors))
	}
	if after.goroutines > before.goroutines+few {
		faults = append(faults, fmt.Sprintf("goroutines grew from %.0f to %.0f", before.goroutines, after.goroutines))
	}
	if n := len(history); n >= 8 {
		early, late := medianMemory(history[n/4:n/2]), medianMemory(history[n-n/4:])
		if late > 1.25*early+8 {
			faults = append(faults, fmt.Sprintf("memory grew from %.0f to %.0f MiB", early, late))
		}
	}
	return faults
}
