package main

import (
	"bytes"
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
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

// What was confirmed and is missing, or has other bytes on disk, is found.
func TestCheckFindsLoss(t *testing.T) {
	data := t.TempDir()
	var l ledger
	keep := func(uid string, sent, kept []byte) {
		l.confirm(instance{study: "1", series: "1.1", uid: uid, data: sent})
		folder := filepath.Join(data, "series", "1", "1.1", "instances")
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		meta := dataset.FileMeta(dataset.MetaInfo{SOPClassUID: dataset.CTImage, SOPInstanceUID: uid, TransferSyntax: dataset.ExplicitLE})
		if err := os.WriteFile(filepath.Join(folder, uid+".dcm"), append(meta, kept...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	element := func(v string) []byte { return append([]byte("\x08\x00\x60\x00CS\x02\x00"), v...) } // (0008,0060) Modality
	keep("1.1.1", element("CT"), element("CT"))
	keep("1.1.2", element("CT"), element("MR"))
	l.confirmed["1.1.3"] = entry{"1", "1.1", sha256.Sum256(nil)}
	n, lost := l.check(data)
	said := strings.Join(lost, "\n")
	if n != 3 || len(lost) != 2 || !strings.Contains(said, "1.1.2 was confirmed: it has other bytes") || !strings.Contains(said, "1.1.3 was confirmed: open") {
		t.Errorf("%d confirmed:\n%s", n, said)
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
