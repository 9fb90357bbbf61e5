package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// receiver starts a storage SCP on a port and returns what ends it.
type receiver func(port int) (stop func(), err error)

func (b *bench) receiveStock() row {
	storescu, err := exec.LookPath("storescu")
	if err != nil {
		return row{Skipped: "DCMTK is not installed (make peers)"}
	}
	send := func(port int) *exec.Cmd {
		return b.command(storescu, "-aec", "PULMONODE", "+sd", "+r", "+sp", "*.dcm", "127.0.0.1", strconv.Itoa(port), b.series)
	}
	return b.inTurn(row{Peer: "DCMTK storescp, as installed", Unit: "images/s", Command: "storescu +sd +r +sp *.dcm, as installed, to each"}, true,
		func() (float64, error) { return b.received(b.ourNode, send) },
		func() (float64, error) { return b.received(b.storescp(), send) })
}

func (b *bench) receiveOwn() row {
	storescu, err := exec.LookPath("storescu")
	if err != nil {
		return row{Skipped: "DCMTK is not installed (make peers)"}
	}
	own := func(port int) *exec.Cmd {
		return b.command(b.binary, "send", b.series, "--to", fmt.Sprintf("PULMONODE@127.0.0.1:%d", port))
	}
	tuned := func(port int) *exec.Cmd {
		c := b.command(storescu, "-aec", "PULMONODE", "-pdu", "131072", "+sd", "+r", "+sp", "*.dcm", "127.0.0.1", strconv.Itoa(port), b.series)
		c.Env = append(os.Environ(), "TCP_NODELAY=1")
		return c
	}
	return b.inTurn(row{Peer: "DCMTK pair, tuned", Unit: "images/s", Command: "pulmonode send to pulmonode serve; TCP_NODELAY=1 storescu -pdu 131072 to storescp -pdu 131072"}, true,
		func() (float64, error) { return b.received(b.ourNode, own) },
		func() (float64, error) { return b.received(b.storescp("-pdu", "131072"), tuned) })
}

// received is how many images a second a sender gets confirmed.
func (b *bench) received(start receiver, send func(port int) *exec.Cmd) (float64, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	stop, err := start(port)
	if err != nil {
		return 0, err
	}
	defer stop()
	if err := b.listening(port); err != nil {
		return 0, err
	}
	seconds, err := timed(send(port))
	return float64(b.slices) / seconds, err
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

// ourNode receives and analyses nothing while it is timed.
func (b *bench) ourNode(port int) (func(), error) {
	dir, err := os.MkdirTemp(b.dir, "node-")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "node.toml")
	text := fmt.Sprintf("[node]\nlisten = \"127.0.0.1:%d\"\n[storage]\ndata_dir = %q\nstop_receiving_below = \"100 MiB\"\n[[source]]\nae_title = \"*\"\nfrom = [\"127.0.0.0/8\"]\n[complete]\nquiet = \"1h\"\nidle = \"2h\"\nmax_age = \"3h\"\n[admin]\nlisten = \"127.0.0.1:0\"\n", port, filepath.Join(dir, "data"))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return b.background(dir, b.binary, "serve", "--config", path)
}

func (b *bench) storescp(options ...string) receiver {
	return func(port int) (func(), error) {
		program, err := exec.LookPath("storescp")
		if err != nil {
			return nil, err
		}
		dir, err := os.MkdirTemp(b.dir, "storescp-")
		if err != nil {
			return nil, err
		}
		return b.background(dir, program, append(options, "-od", dir, "-uf", strconv.Itoa(port))...)
	}
}

// background runs a program until stop, then removes its folder.
func (b *bench) background(dir, program string, args ...string) (stop func(), err error) {
	c := b.command(program, args...)
	if err := c.Start(); err != nil {
		return nil, err
	}
	return func() {
		c.Process.Signal(syscall.SIGTERM)
		c.Wait()
		os.RemoveAll(dir)
	}, nil
}
