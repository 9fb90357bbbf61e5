package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// associations are how many send at once; each sends its share of the series.
var associations = []int{1, 4, 16}

// pair is a receiver with a sender: one contender of a row.
type pair struct {
	name  string
	start func(dir string, port int) (*exec.Cmd, error)
	send  func(dir string, port int) *exec.Cmd
	note  string
	most  int // associations; 0: as many as come
}

// receiveStock times what unmodified storescu gets stored, by ours and by each
// peer as it is installed.
func (b *bench) receiveStock() []row {
	if why := dcmtk.missing(b); why != "" {
		return []row{{Peer: "DCMTK storescu", Skipped: why}}
	}
	stock := func(p peer) pair {
		return pair{p.name, func(dir string, port int) (*exec.Cmd, error) { return p.scp(b, dir, port, false) },
			func(dir string, port int) *exec.Cmd { return dcmtk.scu(b, dir, port, false) }, synced(p), p.most}
	}
	var theirs []pair
	rows := b.absent()
	for _, p := range peers {
		if p.missing(b) == "" {
			theirs = append(theirs, stock(p))
		}
	}
	return append(b.explained("DCMTK storescu as installed to each, as installed", stock(pulmonode), theirs), rows...)
}

// receiveOwn times ours at both ends beside each peer, tuned, at both ends.
func (b *bench) receiveOwn() []row {
	own := func(p peer) pair {
		return pair{p.name, func(dir string, port int) (*exec.Cmd, error) { return p.scp(b, dir, port, true) },
			func(dir string, port int) *exec.Cmd { return p.scu(b, dir, port, true) }, "both ends, " + synced(p), p.most}
	}
	theirs := []pair{own(unsynced)}
	rows := b.absent()
	for _, p := range peers {
		if p.missing(b) == "" && p.scu != nil {
			theirs = append(theirs, own(p))
		}
	}
	return append(b.explained("each tuned pair: PDU 128 KiB, TCP_NODELAY", own(pulmonode), theirs), rows...)
}

func synced(p peer) string {
	if p.fsyncs {
		return "fsync"
	}
	return "no fsync"
}

// absent are the rows of the peers that are not to be had here.
func (b *bench) absent() (rows []row) {
	for _, p := range peers {
		if why := p.missing(b); why != "" {
			rows = append(rows, row{Peer: p.name, Skipped: why})
		}
	}
	return rows
}

// explained is a race whose first row says where the time of ours goes.
func (b *bench) explained(command string, ours pair, theirs []pair) []row {
	rows := b.race(command, ours, theirs)
	if len(rows) > 0 && rows[0].Skipped == "" {
		lines, err := b.stages(ours.send)
		if err != nil {
			lines = []string{"where the time goes could not be measured: " + err.Error()}
		}
		rows[0].Stages = lines
	}
	return rows
}

// slowRun is what a run may take, in seconds. A contender that took longer for
// the whole series sends a third of it from then on: what holds it up is the same
// for every image, and a bench that takes an hour is not run.
const slowRun = 8

// race times ours and theirs in turn on each number of associations, and what
// loopback and disk could do in between. The fastest peer's row comes first.
func (b *bench) race(command string, ours pair, theirs []pair) (rows []row) {
	few, err := b.split(16)
	if err != nil {
		return []row{{Skipped: err.Error()}}
	}
	third, err := b.split(3)
	if err != nil {
		return []row{{Skipped: err.Error()}}
	}
	defer fmt.Fprintf(os.Stderr, "\r%60s\r", "")
	for _, n := range associations {
		parts, err := b.split(n)
		if err != nil {
			return append(rows, row{Skipped: err.Error()})
		}
		all := append([]pair{ours}, theirs...)
		times := make([][]float64, len(all))
		failed := make([]error, len(all))
		slow := make([]bool, len(all))
		var limits limitTimes
		for i := range b.runs + 1 {
			if b.ctx.Err() != nil {
				return append(rows, row{Skipped: "it was stopped"})
			}
			fmt.Fprintf(os.Stderr, "\r%d associations, run %d of %d  ", n, i, b.runs)
			for k, p := range all {
				if failed[k] != nil || p.most > 0 && n > p.most {
					continue
				}
				send := parts
				switch {
				case i == 0: // not counted: programs come into memory
					send = few[:1]
				case n == 1 && slow[k]:
					send = third[:1]
				}
				rate, err := b.received(p, send)
				if err != nil {
					failed[k] = err
				} else if i > 0 {
					times[k] = append(times[k], rate)
					slow[k] = slow[k] || float64(b.slices)/rate > slowRun
				}
			}
			if err := b.measure(&limits, parts); err != nil {
				return append(rows, row{Skipped: err.Error()})
			}
		}
		if failed[0] != nil {
			return append(rows, row{Associations: n, Skipped: "ours failed: " + failed[0].Error()})
		}
		var at []row
		for k, p := range theirs {
			r := row{Peer: p.name + ", " + p.note, Unit: "images/s", Associations: n, Command: command}
			if err := failed[k+1]; err != nil {
				r.Skipped = "it failed: " + err.Error()
			} else if len(times[k+1]) == 0 {
				r.Skipped = fmt.Sprintf("it has %d associations at most", p.most)
			} else {
				r = compare(r, true, times[0], times[k+1])
				if n == 1 && slow[k+1] {
					r.Command += "; it is slow, and had a third of the images after its first run"
				}
			}
			at = append(at, r)
		}
		slices.SortStableFunc(at, func(x, y row) int { // what is ours is no peer: it comes last
			if a, b := strings.HasPrefix(x.Peer, unsynced.name), strings.HasPrefix(y.Peer, unsynced.name); a != b {
				return map[bool]int{true: 1, false: -1}[a]
			}
			return cmp.Compare(y.Theirs, x.Theirs)
		})
		if len(at) > 0 {
			at[0].Limits = limits.medians()
		}
		rows = append(rows, at...)
	}
	return rows
}

// split makes n folders that hold the series between them.
func (b *bench) split(n int) (parts []string, err error) {
	files, err := filepath.Glob(filepath.Join(b.series, "*.dcm"))
	if err != nil {
		return nil, err
	}
	for i := range n {
		part := filepath.Join(b.dir, fmt.Sprintf("part-%d-of-%d", i+1, n))
		parts = append(parts, part)
		if err := os.Mkdir(part, 0o700); errors.Is(err, fs.ErrExist) {
			continue // it is there since an earlier row
		} else if err != nil {
			return nil, err
		}
		for k := i; k < len(files); k += n {
			if err := os.Link(files[k], filepath.Join(part, filepath.Base(files[k]))); err != nil {
				return nil, err
			}
		}
	}
	return parts, nil
}

// received is how many images a second the senders, one a part, get confirmed.
func (b *bench) received(p pair, parts []string) (float64, error) {
	dir, err := os.MkdirTemp(b.dir, "receiver-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	port, stop, err := b.listen(dir, p.start)
	if err != nil {
		return 0, err
	}
	defer stop()
	images := 0
	for _, part := range parts {
		files, err := os.ReadDir(part)
		if err != nil {
			return 0, err
		}
		images += len(files)
	}
	var senders sync.WaitGroup
	errs := make([]error, len(parts))
	begin := time.Now()
	for i, part := range parts {
		senders.Go(func() { _, errs[i] = timed(p.send(part, port)) })
	}
	senders.Wait()
	seconds := time.Since(begin).Seconds()
	for _, err := range errs {
		if err != nil {
			return 0, err
		}
	}
	return float64(images) / seconds, nil
}

// listen starts a receiver on a free port and waits until it listens.
func (b *bench) listen(dir string, start func(dir string, port int) (*exec.Cmd, error)) (port int, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, nil, err
	}
	port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	c, err := start(dir, port)
	if err != nil {
		return 0, nil, err
	}
	if err := c.Start(); err != nil {
		return 0, nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	stop = func() {
		c.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			c.Process.Kill()
			<-ended
		}
	}
	if err := b.listening(port); err != nil {
		stop()
		return 0, nil, err
	}
	return port, stop, nil
}

func (b *bench) listening(port int) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 3000 {
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return c.Close()
		}
		select {
		case <-b.ctx.Done():
			return b.ctx.Err()
		case <-tick.C:
		}
	}
	return fmt.Errorf("nothing listens on port %d after a minute", port)
}
