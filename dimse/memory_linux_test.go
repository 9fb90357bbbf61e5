package dimse

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// pattern is a data set of any size that nobody holds. Its period is no power of
// two: what is lost, doubled or in the wrong order is seen.
type pattern struct{ at int }

var period = func() []byte {
	b := make([]byte, 1<<20+7)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}()

func (p *pattern) Read(b []byte) (int, error) {
	n := copy(b, period[p.at:])
	p.at = (p.at + n) % len(period)
	return n, nil
}

// Write compares what comes with what was to come.
func (p *pattern) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		n := min(len(rest), len(period)-p.at)
		if !bytes.Equal(rest[:n], period[p.at:p.at+n]) {
			return 0, fmt.Errorf("other bytes than were sent")
		}
		p.at, rest = (p.at+n)%len(period), rest[n:]
	}
	return len(b), nil
}

// An instance of 4 GiB and a little goes through a server that is a process of
// its own and never has more than 32 MiB, of which a Go program has some 10
// before it does anything; and out of a client that allocates 5 MiB in all. It
// takes two seconds; -short, and the race detector, make it 256 MiB.
func TestFourGiBInstance(t *testing.T) {
	const bound, inChild = 32 << 10, "PULMONODE_TEST_RECEIVE" // KiB
	size := int64(4<<30 + 12345)
	if testing.Short() || raceEnabled {
		size = 256<<20 + 12345
	}
	if os.Getenv(inChild) != "" {
		receiveInstances(t)
		return
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), inChild+"=1")
	child.Stderr = os.Stderr
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewScanner(out)
	if !said.Scan() {
		t.Fatal("the receiving process did not begin")
	}
	conn, err := Client{CallingAE: "CASE", CalledAE: "PULMONODE", Address: said.Text()}.Dial(t.Context(), proposal)
	if err != nil {
		t.Fatal(err)
	}
	before := allocated()
	status, err := conn.Store(t.Context(), object(io.LimitReader(&pattern{}, size)))
	if status != Success || err != nil {
		t.Errorf("%v, %v", status, err)
	}
	if cost := allocated() - before; cost > 1<<20+uint64(size>>10) {
		t.Errorf("sending %d MiB allocated %d KiB", size>>20, cost>>10)
	}
	if err := conn.Release(t.Context()); err != nil {
		t.Error(err)
	}
	in.Close()
	var received int64
	var peak int
	if !said.Scan() {
		t.Fatal("the receiving process said nothing of what it received")
	}
	if _, err := fmt.Sscan(said.Text(), &received, &peak); err != nil {
		t.Fatal(err)
	}
	if received != size || peak == 0 || peak > bound && !raceEnabled {
		t.Errorf("%d bytes were received of %d, with a peak of %d KiB; at most %d", received, size, peak, bound)
	}
	io.Copy(io.Discard, out)
	if err := child.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("%d MiB through a process of %d MiB at its peak", size>>20, peak>>10)
}

// receiveInstances serves until its standard input ends. It prints its address,
// then how many bytes came and the most memory it ever had, in KiB.
func receiveInstances(t *testing.T) {
	h := newHandler()
	var received int64
	h.store = func(_ context.Context, r *StoreRequest) Status {
		n, err := io.CopyBuffer(struct{ io.Writer }{&pattern{}}, r.Data, make([]byte, 128<<10))
		if err != nil {
			return CannotUnderstand
		}
		received = n
		return Success
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Handler: h}
	go s.Serve(l)
	fmt.Println(l.Addr())
	io.Copy(io.Discard, os.Stdin)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var peak int
	fmt.Sscan(rest, &peak)
	fmt.Println(received, peak)
}
