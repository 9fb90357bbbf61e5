// Package serve runs `pulmonode serve` as a process that is killed, stopped and
// started again, and reads its metrics.
package serve

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
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Node is the process. Its log goes on over restarts.
type Node struct {
	Binary string // the built command
	Config string // the path of node.toml
	Log    string // the path of the log
	DICOM  string // [node] listen
	Admin  string // [admin] listen
	// Begin starts the process; nil: Start of it.
	Begin func(*exec.Cmd) error

	mu      sync.Mutex
	process *exec.Cmd
	ended   chan error
}

// FreeAddress is a loopback address that nobody listens at.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// Poll asks another process until it says yes, for a minute at most.
func Poll(ctx context.Context, yes func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return Await(ctx, yes)
}

// Await asks until it is yes or ctx ends.
func Await(ctx context.Context, yes func() bool) error {
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

// Start starts the process and waits until it receives.
func (n *Node) Start(ctx context.Context) error {
	log, err := os.OpenFile(n.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	c := exec.Command(n.Binary, "serve", "--config", n.Config)
	c.Stdout, c.Stderr = log, log
	OwnGroup(c)
	begin := n.Begin
	if begin == nil {
		begin = (*exec.Cmd).Start
	}
	if err := begin(c); err != nil {
		return fmt.Errorf("%w (make build)", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	n.mu.Lock()
	n.process, n.ended = c, ended
	n.mu.Unlock()
	if err := Poll(ctx, func() bool {
		c, err := net.Dial("tcp", n.DICOM)
		if err == nil {
			c.Close()
		}
		return err == nil
	}); err != nil {
		n.Kill()
		return fmt.Errorf("the node does not start: %w\n%s", err, n.LastWords())
	}
	return nil
}

// OwnGroup keeps ctrl-C from a process that its parent ends itself.
func OwnGroup(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// take is the process, which whoever takes it ends.
func (n *Node) take() (*exec.Cmd, chan error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c, ended := n.process, n.ended
	n.process = nil
	return c, ended
}

// Stop ends the node in order.
func (n *Node) Stop() error {
	c, ended := n.take()
	if c == nil {
		return nil
	}
	c.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-ended:
		if err != nil {
			return fmt.Errorf("the node ended with %w\n%s", err, n.LastWords())
		}
		return nil
	case <-time.After(time.Minute):
		c.Process.Kill()
		<-ended
		return errors.New("the node did not end within a minute of SIGTERM")
	}
}

// Kill is kill -9: nothing is flushed, nothing is said.
func (n *Node) Kill() {
	if c, ended := n.take(); c != nil {
		c.Process.Kill()
		<-ended
	}
}

// PID is that of the process, 0 while there is none.
func (n *Node) PID() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process == nil {
		return 0
	}
	return n.process.Process.Pid
}

// LastWords is the end of the log.
func (n *Node) LastWords() string {
	b, _ := os.ReadFile(n.Log)
	return string(b[max(0, len(b)-2000):])
}

// Metrics are the node's own of this moment, each with its labels in its name.
func (n *Node) Metrics(ctx context.Context) (map[string]float64, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.Admin+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	q.Close = true // a connection that is kept would count
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	m := map[string]float64{}
	lines := bufio.NewScanner(io.LimitReader(a.Body, 4<<20))
	for lines.Scan() {
		at := strings.LastIndexByte(lines.Text(), ' ')
		if at < 0 || strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		if v, err := strconv.ParseFloat(lines.Text()[at+1:], 64); err == nil {
			m[lines.Text()[:at]] = v
		}
	}
	return m, lines.Err()
}
