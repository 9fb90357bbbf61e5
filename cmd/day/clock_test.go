//go:build linux

package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain lets the test's own program be the process whose clock is stepped: it
// says both of its clocks whenever it is asked.
func TestMain(m *testing.M) {
	if os.Getenv("DAY_TEST_SAYS_THE_TIME") == "" {
		os.Exit(m.Run())
	}
	began := time.Now()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		now := time.Now()
		var other unix.Timeval
		if err := unix.Gettimeofday(&other); err != nil { // as C programs ask
			panic(err)
		}
		var third unix.Time_t
		if _, err := unix.Time(&third); err != nil {
			panic(err)
		}
		fmt.Println(now.Unix(), other.Sec, third, int(now.Sub(began).Seconds()))
	}
}

// The wall clock of another process is stepped both ways; its monotonic clock
// and everybody else's wall clock go on.
func TestClockIsStepped(t *testing.T) {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "DAY_TEST_SAYS_THE_TIME=1")
	c.SysProcAttr = &syscall.SysProcAttr{}
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var k clock
	if err := k.begin(c); err != nil {
		t.Skipf("no clock of another process can be stepped here: %v", err)
	}
	defer func() {
		in.Close()
		c.Wait()
	}()
	lines := bufio.NewReader(out)
	for _, offset := range []time.Duration{0, time.Hour, -time.Hour, 25 * time.Minute} {
		if err := k.set(offset); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(in)
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		var walls [3]int64
		var monotonic int64
		if _, err := fmt.Sscan(strings.TrimSpace(line), &walls[0], &walls[1], &walls[2], &monotonic); err != nil {
			t.Fatal(err)
		}
		for i, wall := range walls {
			if got := time.Until(time.Unix(wall, 0)) - offset; got.Abs() > time.Minute {
				t.Errorf("stepped by %v the clock asked in way %d is wrong by %v", offset, i, got)
			}
		}
		if monotonic < 0 || monotonic > 600 {
			t.Errorf("stepped by %v the monotonic clock says %d s", offset, monotonic)
		}
	}
}
