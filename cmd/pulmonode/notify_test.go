package main_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What systemd hears of a node: that it is ready once it receives, that it is
// alive, how it is, and that it stops.
func TestServeTellsSystemd(t *testing.T) {
	dir, err := os.MkdirTemp("", "notify") // a socket's path has 107 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "s"))
	t.Setenv("WATCHDOG_USEC", "300000")
	s := newServer(t, "")

	var told []string
	hear := func(what string) {
		t.Helper()
		socket.SetReadDeadline(time.Now().Add(time.Minute))
		b := make([]byte, 4096)
		for {
			n, err := socket.Read(b)
			if err != nil {
				t.Fatalf("systemd was told %q and not %q: %v", told, what, err)
			}
			told = append(told, string(b[:n]))
			if strings.Contains(string(b[:n]), what) {
				return
			}
		}
	}
	hear("READY=1")
	if told[0] != "READY=1" {
		t.Errorf("the first that systemd was told is %q", told[0])
	}
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.dicom))
	if err != nil {
		t.Errorf("ready, but it does not receive: %v", err)
	} else {
		c.Close()
	}
	hear("WATCHDOG=1")
	hear("WATCHDOG=1")
	hear(fmt.Sprintf("STATUS=PULMONODE receives on 127.0.0.1:%d", s.dicom))
	stopped := make(chan struct{})
	go func() { s.stop(); close(stopped) }()
	hear("STOPPING=1")
	<-stopped
}
