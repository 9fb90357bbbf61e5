package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// node is `pulmonode serve` as a process. It has no models: it receives, closes
// series, and skips them.
type node struct {
	address, admin, data, log string
	process                   *exec.Cmd
	ended                     chan error
}

func startNode(ctx context.Context, binary, dir string) (*node, error) {
	dicom, err := freeAddress()
	if err != nil {
		return nil, err
	}
	admin, err := freeAddress()
	if err != nil {
		return nil, err
	}
	n := &node{address: dicom, admin: admin, data: filepath.Join(dir, "data"), log: filepath.Join(dir, "log"), ended: make(chan error, 1)}
	config := filepath.Join(dir, "node.toml")
	text := fmt.Sprintf(`[node]
listen = %q
max_associations = 256
[storage]
data_dir = %q
stop_receiving_below = "1 GiB"
[[source]]
ae_title = "*"
from = ["127.0.0.0/8"]
[complete]
quiet = "1s"
idle = "5s"
[inference]
runtime_library = %q
[admin]
listen = %q
`, dicom, n.data, filepath.Join(dir, "none"), admin)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(n.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	n.process = exec.Command(binary, "serve", "--config", config)
	n.process.Stdout, n.process.Stderr = log, log
	// ctrl-C is for the soak, which then ends the node itself.
	ownGroup(n.process)
	if err := n.process.Start(); err != nil {
		return nil, fmt.Errorf("%w (make build)", err)
	}
	go func() { n.ended <- n.process.Wait() }()
	if err := poll(ctx, func() bool {
		c, err := net.Dial("tcp", dicom)
		if err == nil {
			c.Close()
		}
		return err == nil
	}); err != nil {
		n.kill()
		return nil, fmt.Errorf("the node does not start: %w\n%s", err, n.lastWords())
	}
	return n, nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// poll asks another process until it says yes.
func poll(ctx context.Context, yes func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !yes() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// stop ends the node in order.
func (n *node) stop() error {
	n.process.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-n.ended:
		n.ended <- nil
		if err != nil {
			return fmt.Errorf("the node ended with %w\n%s", err, n.lastWords())
		}
		return nil
	case <-time.After(time.Minute):
		return errors.New("the node did not end within a minute of SIGTERM")
	}
}

// kill ends what stop did not.
func (n *node) kill() {
	n.process.Process.Kill()
	<-n.ended
}

func (n *node) lastWords() string {
	b, _ := os.ReadFile(n.log)
	return string(b[max(0, len(b)-2000):])
}

// reading is the node's own metrics at a moment.
type reading struct{ memory, descriptors, goroutines, open float64 }

func (n *node) read(ctx context.Context) (r reading, err error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.admin+"/metrics", nil)
	if err != nil {
		return r, err
	}
	q.Close = true // a connection that is kept would count
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		return r, err
	}
	defer a.Body.Close()
	found := 0
	lines := bufio.NewScanner(io.LimitReader(a.Body, 1<<20))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		into := map[string]*float64{"process_resident_memory_bytes": &r.memory, "process_open_fds": &r.descriptors,
			"go_goroutines": &r.goroutines, "pulmonode_associations_open": &r.open}[name]
		if into != nil {
			fmt.Sscan(value, into)
			found++
		}
	}
	if found != 4 {
		return r, fmt.Errorf("/metrics has %d of the 4 figures that are watched", found)
	}
	r.memory /= 1 << 20
	return r, lines.Err()
}

// rest waits until the node has no association, and then reads the fewest that
// it holds within some seconds: its own work comes and goes.
func (n *node) rest(ctx context.Context) (least reading, err error) {
	const readings = 60
	done := 0
	perr := poll(ctx, func() bool {
		var now reading
		if now, err = n.read(ctx); err != nil || now.open > 0 {
			return false
		}
		if done == 0 {
			least = now
		}
		least.descriptors, least.goroutines = min(least.descriptors, now.descriptors), min(least.goroutines, now.goroutines)
		done++
		return done == readings
	})
	return least, errors.Join(err, perr)
}

func (r reading) print(w io.Writer, at time.Duration, s *soak, note string) {
	fmt.Fprintf(w, "%8s  %6d confirmed  %5d hostile  %3.0f associations  %4.0f MiB  %3.0f descriptors  %3.0f goroutines  %s\n",
		at.Round(time.Second), s.kept.count(), s.hostile.Load(), r.open, r.memory, r.descriptors, r.goroutines, note)
}

func medianMemory(h []reading) float64 {
	m := make([]float64, len(h))
	for i, r := range h {
		m[i] = r.memory
	}
	slices.Sort(m)
	return m[len(m)/2]
}

// ownGroup keeps ctrl-C from a process that the soak ends itself.
func ownGroup(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
