package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// A slow test: good and hostile peers for some seconds against the built command.
func TestShortSoak(t *testing.T) {
	length := 15 * time.Second
	if testing.Short() {
		length = 3 * time.Second
	}
	binary := filepath.Join(t.TempDir(), "pulmonode")
	if out, err := exec.Command("go", "build", "-o", binary, "../pulmonode").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	var out bytes.Buffer
	s := soak{binary: binary, python: os.Getenv("PULMONODE_PYTHON"), length: length, seed: uint64(time.Now().UnixNano()), out: &out}
	faults, err := s.run(t.Context())
	for _, f := range faults {
		t.Error(f)
	}
	if err != nil {
		t.Error(err)
	}
	if s.hostile.Load() == 0 {
		t.Error("no hostile peer came")
	}
	if t.Failed() {
		t.Logf("%s", out.Bytes())
	}
}

// Growth is found.
func TestGrowthIsFound(t *testing.T) {
	steady := make([]reading, 16)
	leak := make([]reading, 16)
	for i := range steady {
		steady[i].memory = 40 + float64(i%3)
		leak[i].memory = 40 + 4*float64(i)
	}
	at := func(d, g float64) reading { return reading{descriptors: d, goroutines: g} }
	for _, test := range []struct {
		name          string
		before, after reading
		history       []reading
		faults        int
	}{
		{"steady", at(15, 40), at(16, 43), steady, 0},
		{"a descriptor a conversation", at(15, 40), at(80, 40), steady, 1},
		{"a goroutine a conversation", at(15, 40), at(15, 90), steady, 1},
		{"memory", at(15, 40), at(15, 40), leak, 1},
	} {
		if faults := grown(test.before, test.after, test.history); len(faults) != test.faults {
			t.Errorf("%s: %q", test.name, faults)
		}
	}
}
