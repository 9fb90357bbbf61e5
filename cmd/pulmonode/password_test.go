package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pulmonode/pulmonode/node/admin"
)

// terminal is a terminal that a person sits at.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminal can be had here: %v", err)
	}
	t.Cleanup(func() { person.Close() })
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Skipf("no terminal can be had here: %v", err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

// prompts types the next answer each time something is asked, as soon as the
// terminal shows no more of what is typed.
type prompts struct {
	person  *os.File
	answers chan string
}

func (p prompts) Write(b []byte) (int, error) {
	if strings.HasSuffix(string(b), ": ") {
		go func() {
			for {
				t, err := unix.IoctlGetTermios(int(p.person.Fd()), unix.TCGETS)
				if err != nil || t.Lflag&unix.ECHO == 0 {
					break
				}
				runtime.Gosched()
			}
			fmt.Fprintln(p.person, <-p.answers)
		}()
	}
	return len(b), nil
}

func TestPasswordsAreAskedForTwice(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers []string
		says    string // "": the first answer is taken
	}{
		{"the same twice", []string{"correct horse battery", "correct horse battery"}, ""},
		{"two that differ", []string{"correct horse battery", "correct horse"}, "not the same"},
		{"nothing", []string{"", ""}, "no password was typed"},
	} {
		person, program := terminal(t)
		answers := make(chan string, 2)
		for _, a := range c.answers {
			answers <- a
		}
		close(answers)
		got, err := askPassword(program, prompts{person, answers})
		if c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) || c.says == "" && (err != nil || got != c.answers[0]) {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
		program.Close()
		if shown, _ := io.ReadAll(person); strings.Contains(string(shown), "horse") {
			t.Errorf("%s: the password was shown: %q", c.name, shown)
		}
	}
}

func TestPasswordThroughAPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "passwords")
	command := func(in string, args ...string) (string, error) {
		c := passwordCommand()
		var out bytes.Buffer
		c.SetArgs(append(args, "--file", path))
		c.SetIn(strings.NewReader(in))
		c.SetOut(&out)
		c.SetErr(&out)
		c.SilenceUsage, c.SilenceErrors = true, true
		err := c.Execute()
		return out.String(), err
	}
	if out, err := command("correct horse battery\n", "ann"); err != nil || !strings.Contains(out, "is new") || strings.Contains(out, "horse") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := command("correct horse battery", "bob", "--role", "view"); err != nil || strings.Contains(out, "is new") {
		t.Errorf("%v: %s", err, out)
	}
	if err := admin.CheckPasswords(path); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		name, in string
		args     []string
		says     string
	}{
		{"nothing", "", []string{"ann"}, "no password came"},
		{"a short one", "short\n", []string{"ann"}, "at least 12"},
		{"another role", "correct horse battery\n", []string{"ann", "--role", "root"}, "no role is called"},
		{"nobody", "x", nil, "needs USER"},
		{"who is not there", "", []string{"eve", "--remove"}, "has no user eve"},
	} {
		if _, err := command(c.in, c.args...); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, not %q", c.name, err, c.says)
		}
	}
	if out, err := command("", "bob", "--remove"); err != nil || !strings.Contains(out, "may not come in") {
		t.Errorf("%v: %s", err, out)
	}
}
