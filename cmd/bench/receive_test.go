package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain lets the rows start this program as a receiver.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-plain" {
		main()
		return
	}
	os.Exit(m.Run())
}

// small is a bench of a few small slices and one run.
func small(t *testing.T) *bench {
	t.Helper()
	b := &bench{ctx: t.Context(), python: os.Getenv("PULMONODE_PYTHON"), dir: t.TempDir(), slices: 40, runs: 1}
	b.binary, b.series = filepath.Join(b.dir, "pulmonode"), filepath.Join(b.dir, "ct")
	if out, err := exec.Command("go", "build", "-o", b.binary, "../pulmonode").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	c := b.command(b.binary, "phantom", "--out", b.series, "--slices", fmt.Sprint(b.slices), "--spacing", "5", "--size", "64", "--nodules", "1")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("phantom: %v\n%s", err, out)
	}
	return b
}

// What one of ours sends to one of ours is timed on each number of associations,
// beside the same without fsync, and every peer has a row or a reason.
func TestRowsOfReceiving(t *testing.T) {
	b := small(t)
	defer func(all []int, p []peer) { associations, peers = all, p }(associations, peers)
	associations = []int{1, 3}
	nobody := peer{name: "nobody", missing: func(*bench) string { return "there is none" }}
	peers = []peer{nobody}
	rows := b.receiveOwn()
	if len(rows) != 3 {
		t.Fatalf("%+v", rows)
	}
	for i, n := range associations {
		r := rows[i]
		if r.Skipped != "" || r.Associations != n || r.Ours <= 0 || r.Theirs <= 0 || r.Runs != 1 || !strings.HasPrefix(r.Peer, unsynced.name) {
			t.Errorf("%+v", r)
		}
		if l := r.Limits; l == nil || l.Loopback <= 0 || l.Fsync <= 0 || l.Durable <= 0 {
			t.Errorf("limits: %+v", l)
		}
	}
	if s := rows[0].Stages; len(s) < 9 || !strings.Contains(strings.Join(s, "\n"), "% fsync folder") {
		t.Errorf("stages: %q", s)
	}
	if r := rows[2]; r.Peer != "nobody" || r.Skipped != "there is none" {
		t.Errorf("%+v", r)
	}
}

// A node that is sent to at once on many associations shows what it held.
func TestPeakOfMemory(t *testing.T) {
	idle, peak, err := small(t).peak(4, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if idle <= 0 || peak < idle {
		t.Errorf("%v MiB at rest, %v MiB at most", idle, peak)
	}
}
