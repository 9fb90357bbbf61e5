package main

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"fmt"
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
		fmt.Println(now.Unix(), int(now.Sub(began).Seconds()))
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
		var wall, monotonic int64
		if _, err := fmt.Sscan(strings.TrimSpace(line), &wall, &monotonic); err != nil {
			t.Fatal(err)
		}
		if got := time.Unix(wall, 0).Sub(time.Now()) - offset; got.Abs() > time.Minute {
			t.Errorf("stepped by %v the clock is wrong by %v", offset, got)
		}
		if monotonic < 0 || monotonic > 600 {
			t.Errorf("stepped by %v the monotonic clock says %d s", offset, monotonic)
		}
	}
}
