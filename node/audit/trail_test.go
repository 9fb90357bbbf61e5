package audit

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/node/secure"
	"github.com/pulmonode/pulmonode/node/secure/securetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hurried is a pace at which a test does not wait; nothing depends on it.
var hurried = pace{dial: time.Minute, write: time.Minute, settle: time.Second, first: time.Millisecond, worst: 20 * time.Millisecond, goodbye: time.Minute}

func hurry(o Options) Options {
	o.Node, o.again = us, time.Millisecond
	settle := o.pace.settle
	o.pace = hurried
	if settle > 0 {
		o.pace.settle = settle
	}
	if o.Limit == 0 {
		o.Limit = 64 << 20
	}
	return o
}

func open(t testing.TB, o Options) *Trail {
	t.Helper()
	trail, err := Open(hurry(o))
	if err != nil {
		t.Fatal(err)
	}
	return trail
}

// numbered is an event that is told from others by its study.
func numbered(i int) Event {
	one := transfer
	one.Study = fmt.Sprintf("1.2.3.%d", i)
	return Received(us, ct1, one, false)
}

func record(trail *Trail, from, to int) {
	for i := from; i < to; i++ {
		trail.Record(numbered(i))
	}
}

// until waits for a condition; the test's own time is the bound.
func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came to pass that %s", what)
		}
	}
}

// collecting is a syslog collector.
type collecting struct {
	t        testing.TB
	listener net.Listener
	packets  net.PacketConn

	mu       sync.Mutex
	messages [][]byte
	conns    map[net.Conn]bool
	done     sync.WaitGroup
}

func collect(t testing.TB, network, address string, profile *tls.Config) *collecting {
	t.Helper()
	c := &collecting{t: t, conns: map[net.Conn]bool{}}
	var err error
	switch network {
	case "udp":
		if c.packets, err = net.ListenPacket("udp", address); err == nil {
			c.done.Go(c.datagrams)
		}
	case "tls":
		c.listener, err = tls.Listen("tcp", address, profile)
	default:
		c.listener, err = net.Listen("tcp", address)
	}
	if err != nil {
		t.Fatal(err)
	}
	if c.listener != nil {
		c.done.Go(c.accept)
	}
	t.Cleanup(c.stop)
	return c
}

func (c *collecting) address() string {
	if c.packets != nil {
		return c.packets.LocalAddr().String()
	}
	return c.listener.Addr().String()
}

func (c *collecting) datagrams() {
	b := make([]byte, 1<<16)
	for {
		n, _, err := c.packets.ReadFrom(b)
		if err != nil {
			return
		}
		c.keep(bytes.Clone(b[:n]))
	}
}

func (c *collecting) accept() {
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			return
		}
		c.mu.Lock()
		c.conns[conn] = true
		c.mu.Unlock()
		c.done.Go(func() {
			defer conn.Close()
			r := bufio.NewReader(conn)
			for {
				digits, err := r.ReadString(' ')
				if err != nil {
					return
				}
				n, err := strconv.Atoi(strings.TrimSuffix(digits, " "))
				if err != nil || n > maxMessage {
					c.t.Errorf("a frame begins with %q", digits)
					return
				}
				m := make([]byte, n)
				if _, err := io.ReadFull(r, m); err != nil {
					return
				}
				c.keep(m)
			}
		})
	}
}

// header is that of PS3.15 A.6.2 on RFC 5424.
var header = regexp.MustCompile(`^<8[45]>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d) pulmonode\.example\.org pulmonode \d+ DICOM\+RFC3881 - \x{FEFF}<\?xml`)

func (c *collecting) keep(m []byte) {
	if !header.Match(m) {
		c.t.Errorf("no message of PS3.15 A.6: %.200q", m)
	}
	c.mu.Lock()
	c.messages = append(c.messages, m)
	c.mu.Unlock()
}

// came are the messages that came so far.
func (c *collecting) came() [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.messages)
}

var numberedStudy = regexp.MustCompile(`ParticipantObjectID="1\.2\.3\.(\d+)"`)

func numbersIn(messages [][]byte) (list []int) {
	for _, m := range messages {
		if found := numberedStudy.FindSubmatch(m); found != nil {
			n, _ := strconv.Atoi(string(found[1]))
			list = append(list, n)
		}
	}
	return list
}

// has reports whether all of these came, however often.
func (c *collecting) has(from, to int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	came := numbersIn(c.messages)
	for i := from; i < to; i++ {
		if !slices.Contains(came, i) {
			return false
		}
	}
	return true
}

// kill ends it as a crash does: what it was sent and did not read is reset.
func (c *collecting) kill() {
	c.listener.Close()
	c.mu.Lock()
	for conn := range c.conns {
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
		conn.Close()
	}
	c.mu.Unlock()
	c.done.Wait()
}

func (c *collecting) stop() {
	if c.packets != nil {
		c.packets.Close()
	} else {
		c.kill()
	}
	c.done.Wait()
}

func identity(t testing.TB, a *securetest.Authority, name string) *secure.Identity {
	return secure.New(&config.Config{TLS: a.Settings(t, name)}, zap.NewNop())
}

func TestEachWayToACollector(t *testing.T) {
	authority := securetest.NewAuthority(t)
	server, err := identity(t, authority, "collector").Server()
	if err != nil {
		t.Fatal(err)
	}
	profile := func() (*tls.Config, error) { return identity(t, authority, "node").Collector("") }
	for _, network := range []string{"tls", "tcp", "udp"} {
		t.Run(network, func(t *testing.T) {
			c := collect(t, network, "127.0.0.1:0", server)
			trail := open(t, Options{Network: network, Address: c.address(), TLS: profile, Spool: t.TempDir()})
			for i := 0; i < 50; i += 10 { // UDP drops what comes faster than it is read
				record(trail, i, i+10)
				until(t, "all came", func() bool { return c.has(i, i+10) })
			}
			until(t, "nothing waits", func() bool { return trail.Waiting() == 0 })
			record(trail, 50, 60)
			if err := trail.Close(); err != nil {
				t.Error(err)
			}
			until(t, "the last words came", func() bool { return c.has(50, 60) })
			if network != "udp" && trail.Waiting() != 0 {
				t.Errorf("%d bytes wait after a proper goodbye", trail.Waiting())
			}
			if trail.lost.Load() != 0 {
				t.Errorf("%d were lost", trail.lost.Load())
			}
			if got := numbersIn(c.came()); !slices.IsSorted(got) || len(got) != 60 {
				t.Errorf("%d messages came, in the order %v", len(got), got)
			}
		})
	}
}

func TestACollectorThatIsNotTrustedGetsNothing(t *testing.T) {
	stranger, ours := securetest.NewAuthority(t), securetest.NewAuthority(t)
	server, err := identity(t, stranger, "collector").Server()
	if err != nil {
		t.Fatal(err)
	}
	logged, log := observe()
	c := collect(t, "tls", "127.0.0.1:0", server)
	trail := open(t, Options{Network: "tls", Address: c.address(), TLS: func() (*tls.Config, error) { return identity(t, stranger, "node").Collector(ours.File) }, Spool: t.TempDir(), Log: log})
	record(trail, 0, 3)
	until(t, "the log says so", func() bool { return logged.FilterMessage("audit_collector_down").Len() == 1 })
	if err := trail.Close(); err != nil {
		t.Error(err)
	}
	if len(c.came()) != 0 || trail.Waiting() == 0 {
		t.Errorf("%d messages came, %d bytes wait", len(c.came()), trail.Waiting())
	}
}

func observe() (*observer.ObservedLogs, *zap.Logger) {
	core, logged := observer.New(zap.DebugLevel)
	return logged, zap.New(core)
}

// A collector that crashes, stays away and comes back has everything in the end.
func TestACollectorThatIsDownForAWhile(t *testing.T) {
	logged, log := observe()
	first := collect(t, "tcp", "127.0.0.1:0", nil)
	trail := open(t, Options{Network: "tcp", Address: first.address(), Spool: t.TempDir(), Log: log, pace: pace{settle: 4 * time.Second}})
	record(trail, 0, 100)
	until(t, "it had some", func() bool { return len(first.came()) > 0 })
	first.kill()
	record(trail, 100, 300)
	until(t, "the log says that it is down", func() bool { return logged.FilterMessage("audit_collector_down").Len() == 1 })
	second := collect(t, "tcp", first.address(), nil)
	until(t, "all came", func() bool {
		got := append(numbersIn(first.came()), numbersIn(second.came())...)
		slices.Sort(got)
		return len(slices.Compact(got)) == 300
	})
	until(t, "nothing waits", func() bool { return trail.Waiting() == 0 })
	if err := trail.Close(); err != nil {
		t.Error(err)
	}
	if logged.FilterMessage("audit_collector_back").Len() != 1 || trail.lost.Load() != 0 {
		t.Errorf("%d were lost; the log has %v", trail.lost.Load(), logged.All())
	}
}

// A collector that takes connections and reads nothing, as one that hangs does,
// must not look as if it had read.
func TestACollectorThatClosesAtOnceHasNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	accepted := make(chan struct{}, 1000)
	done.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
			select {
			case accepted <- struct{}{}:
			default:
			}
		}
	})
	trail := open(t, Options{Network: "tcp", Address: l.Addr().String(), Spool: t.TempDir(), pace: pace{settle: time.Minute}})
	record(trail, 0, 5)
	for range 3 {
		<-accepted
	}
	l.Close()
	done.Wait()
	c := collect(t, "tcp", l.Addr().String(), nil)
	until(t, "all came", func() bool { return c.has(0, 5) })
	if err := trail.Close(); err != nil {
		t.Error(err)
	}
}

// What a spool has no room for is the oldest; it is counted, logged, and told in
// the trail.
func TestASpoolThatIsFull(t *testing.T) {
	logged, log := observe()
	told := 0
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0") // to have a port at which nobody listens
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	const all = 2000
	o := Options{Network: "tcp", Address: address, Spool: dir, Limit: 1 << 20, Log: log, Lost: func(n int) { told += n }}
	trail := open(t, o)
	for i := range all {
		record(trail, i, i+1)
		until(t, "it is written", func() bool { // so that none is lost on the way to the disk
			q := trail.queues[0]
			q.mu.Lock()
			defer q.mu.Unlock()
			return len(q.waiting) == 0
		})
	}
	until(t, "something was lost", func() bool { return trail.lost.Load() > 0 })
	if err := trail.Close(); err != nil {
		t.Error(err)
	}
	gone := int(trail.lost.Load())
	if gone == 0 || gone >= all || told != gone || logged.FilterMessage("audit_lost").Len() != 1 {
		t.Errorf("%d of %d are lost, %d told; the log has %v", gone, all, told, logged.All())
	}
	size := int64(0)
	files, _ := filepath.Glob(filepath.Join(dir, "spool-0", "*"))
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has the mode %v", f, info.Mode())
		}
	}
	if size > o.Limit+1<<10 {
		t.Errorf("the spool has %d bytes of %d", size, o.Limit)
	}
	c := collect(t, "tcp", address, nil)
	trail = open(t, o)
	until(t, "the rest came", func() bool { return c.has(all-1, all) && trail.Waiting() == 0 })
	trail.Close()
	came := numbersIn(c.came())
	slices.Sort(came)
	told = bytes.Count(bytes.Join(c.came(), nil), []byte(`csd-code="110133"`))
	if came[0] != gone-told && told == 0 || told == 0 {
		t.Errorf("the first that came is %d, %d were lost, which the trail says %d times", came[0], gone, told)
	}
}

// A process that is killed leaves its spool, from which the next goes on. This test
// runs itself as that process.
func TestAProcessThatIsKilled(t *testing.T) {
	const env = "PULMONODE_AUDIT_TEST_SPOOL"
	const n = 100
	if dir := os.Getenv(env); dir != "" {
		trail, err := Open(hurry(Options{Network: "tcp", Address: "127.0.0.1:1", Spool: dir}))
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		record(trail, 0, n)
		for q := trail.queues[0]; ; time.Sleep(time.Millisecond) {
			q.mu.Lock()
			empty := len(q.waiting) == 0
			q.mu.Unlock()
			if s := trail.spool; empty {
				s.mu.Lock()
				kept := 0
				for _, one := range s.segments {
					kept += one.messages
				}
				s.mu.Unlock()
				if kept == n {
					break
				}
			}
		}
		fmt.Println("kept")
		select {}
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), env+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "kept\n" {
		t.Errorf("%q %v", line, err)
	}
	// While it lives, another node on the same folder has a spool of its own.
	neighbour := open(t, Options{Network: "tcp", Address: "127.0.0.1:1", Spool: dir})
	if !strings.HasSuffix(neighbour.spool.dir, "spool-1") {
		t.Errorf("two processes write to %s", neighbour.spool.dir)
	}
	record(neighbour, n, n+5)
	neighbour.Close()
	cmd.Process.Signal(syscall.SIGKILL)
	cmd.Wait()
	c := collect(t, "tcp", "127.0.0.1:0", nil)
	trail := open(t, Options{Network: "tcp", Address: c.address(), Spool: dir})
	until(t, "all came, and what the neighbour left", func() bool { return c.has(0, n+5) })
	if err := trail.Close(); err != nil {
		t.Error(err)
	}
}

// What was delivered is not sent again by the next run.
func TestDeliveredMessagesStayDelivered(t *testing.T) {
	dir := t.TempDir()
	c := collect(t, "tcp", "127.0.0.1:0", nil)
	o := Options{Network: "tcp", Address: c.address(), Spool: dir}
	trail := open(t, o)
	record(trail, 0, 20)
	until(t, "nothing waits", func() bool { return trail.Waiting() == 0 && c.has(0, 20) })
	trail.Close()
	trail = open(t, o)
	record(trail, 20, 21)
	until(t, "the new one came", func() bool { return c.has(20, 21) })
	trail.Close()
	if got := numbersIn(c.came()); len(got) != 21 {
		t.Errorf("%d messages came: %v", len(got), got)
	}
}

// A power cut leaves half a message, or zeros where one was to be.
func TestASpoolWithATornEnd(t *testing.T) {
	for name, tail := range map[string]string{"half a message": "900 <85>1 2026", "zeros": "\x00\x00\x00\x00\x00\x00\x00\x00"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			trail := open(t, Options{Network: "tcp", Address: "127.0.0.1:1", Spool: dir})
			record(trail, 0, 10)
			trail.Close()
			files, _ := filepath.Glob(filepath.Join(dir, "spool-0", "*"+segmentSuffix))
			f, err := os.OpenFile(files[0], os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			f.WriteString(tail)
			f.Close()
			c := collect(t, "tcp", "127.0.0.1:0", nil)
			trail = open(t, Options{Network: "tcp", Address: c.address(), Spool: dir})
			record(trail, 10, 20)
			until(t, "all came", func() bool { return c.has(0, 20) })
			trail.Close()
			if trail.lost.Load() != 1 {
				t.Errorf("%d are counted as lost", trail.lost.Load())
			}
		})
	}
}

// A part of the spool that cannot be read is lost, and the rest comes.
func TestASpoolThatIsDamaged(t *testing.T) {
	logged, log := observe()
	gate := collect(t, "tcp", "127.0.0.1:0", nil)
	s, err := openSpool(t.TempDir(), 1<<20, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := os.WriteFile(filepath.Join(filepath.Dir(s.dir), "spool-stray"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	gone := 0
	s.lost = func(n int) { gone += n }
	trail := &Trail{opts: hurry(Options{})}
	add := func(i int) {
		q := &queue{form: frame}
		trail.queues = []*queue{q}
		trail.Record(numbered(i))
		if err := s.add(q.waiting[0], 1); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 6 {
		add(i)
		if i == 1 || i == 3 {
			s.out.Close() // begin another segment
			s.out = nil
		}
	}
	damaged := s.path(s.segments[1].number)
	if err := os.WriteFile(damaged, make([]byte, s.segments[1].size), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &collector{network: "tcp", address: gate.address(), spool: s, log: log, pace: hurried}
	ctx, stop := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { c.run(ctx) })
	until(t, "the rest came", func() bool { return gate.has(0, 2) && gate.has(4, 6) })
	stop()
	done.Wait()
	if gone != 2 || logged.FilterMessage("audit_spool_damaged").Len() != 1 {
		t.Errorf("%d are lost; the log has %v", gone, logged.All())
	}
	other, err := openSpool(filepath.Dir(s.dir), 1<<20, func(int) {})
	if err != nil {
		t.Fatal("beside a stray file:", err)
	}
	other.close()
}

// A write that fails leaves the spool as it was.
func TestADiskThatIsFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("there is no /dev/full")
	}
	s, err := openSpool(t.TempDir(), 1<<20, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := s.add(frame([]byte("one")), 1); err != nil {
		t.Fatal(err)
	}
	disk := s.out
	s.out = full
	if err := s.add(frame([]byte("two")), 1); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
	full.Close()
	s.out = disk
	if err := s.add(frame([]byte("three")), 1); err != nil {
		t.Fatal(err)
	}
	frames, _, err := s.read(position{})
	if err != nil || string(frames) != "3 one5 three" {
		t.Errorf("%q %v", frames, err)
	}
}

func TestAFileOnAFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("there is no /dev/full")
	}
	logged, log := observe()
	trail := open(t, Options{File: "/dev/full", Log: log})
	record(trail, 0, 1)
	until(t, "the log says so", func() bool { return logged.FilterMessage("audit_not_written").Len() == 1 })
	record(trail, 1, maxQueued+500)
	if trail.lost.Load() == 0 {
		t.Error("more waits than may")
	}
	if err := trail.Close(); err != nil {
		t.Error(err)
	}
	if gone := trail.lost.Load(); gone < maxQueued+500 || logged.FilterMessage("audit_not_written").Len() != 1 {
		t.Errorf("%d are counted as lost; the log has %d lines", gone, logged.Len())
	}
}

// Nobody waits for the trail, whatever hangs.
func TestRecordingDoesNotWait(t *testing.T) {
	hangs := make(chan struct{})
	gone := 0
	q := &queue{what: "a disk that hangs", form: func(b []byte) []byte { return b }, lost: func(n int) { gone += n }, log: zap.NewNop(),
		add:     func([]byte, int) error { <-hangs; return nil },
		arrived: make(chan struct{}, 1), stopped: make(chan struct{}), done: make(chan struct{})}
	go q.run()
	for range 2 * maxQueued {
		q.push(make([]byte, 100))
	}
	big := make([]byte, maxMessage)
	for range maxBytes/maxMessage + 1 {
		q.push(big)
	}
	q.mu.Lock()
	if gone == 0 || q.bytes > maxBytes || len(q.waiting) > maxQueued {
		t.Errorf("%d are lost, %d wait with %d bytes", gone, len(q.waiting), q.bytes)
	}
	q.mu.Unlock()
	close(hangs)
	close(q.stopped)
	<-q.done
}

func lines(t *testing.T, path string) [][]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
}

func TestTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	trail := open(t, Options{File: path})
	record(trail, 0, 10)
	until(t, "all are in", func() bool { return len(numbersIn(lines(t, path))) == 10 })
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	// It is rotated: moved away, and the next line begins a new one.
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	record(trail, 10, 15)
	until(t, "there is a new file", func() bool { _, err := os.Stat(path); return err == nil && len(numbersIn(lines(t, path))) == 5 })
	// And by a copy of it that is emptied.
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	record(trail, 15, 16)
	until(t, "the line is in", func() bool { return len(numbersIn(lines(t, path))) == 1 })
	if err := trail.Close(); err != nil {
		t.Error(err)
	}
	for _, line := range slices.Concat(lines(t, path), lines(t, path+".1")) {
		if !header.Match(line) {
			t.Errorf("no message of RFC 5424: %.100q", line)
		}
	}
	if n := len(numbersIn(lines(t, path+".1"))); n != 10 || trail.lost.Load() != 0 {
		t.Errorf("%d of 10 are in the first file, %d are lost", n, trail.lost.Load())
	}
}

func TestATrailThatNobodyWants(t *testing.T) {
	trail, err := Open(Options{})
	if err != nil || trail != nil {
		t.Fatal(trail, err)
	}
	trail.Record(numbered(1))
	if trail.Waiting() != 0 || trail.Close() != nil {
		t.Error("it is not nothing")
	}
}

func TestATrailThatCanNotBeKept(t *testing.T) {
	for name, o := range map[string]Options{
		"a file in no folder":       {File: filepath.Join(t.TempDir(), "no", "audit.log")},
		"a spool that is no folder": {Network: "tcp", Spool: "/dev/null"},
	} {
		if trail, err := Open(hurry(o)); err == nil || !strings.Contains(err.Error(), "audit") {
			t.Errorf("%s: %v %v", name, trail, err)
		}
	}
}

// A connection over which nothing is acknowledged must break before what it
// carries counts as delivered.
func TestSilenceBreaksBeforeItSettles(t *testing.T) {
	if silence >= unhurried.settle {
		t.Errorf("%v of silence, %v to settle", silence, unhurried.settle)
	}
	if _, err := Dial(context.Background(), "tls", "127.0.0.1:1", func() (*tls.Config, error) { return nil, errors.New("no files") }); err == nil || err.Error() != "no files" {
		t.Errorf("%v", err)
	}
}
