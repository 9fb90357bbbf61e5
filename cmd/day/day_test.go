package main

import (
	"bytes"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// A slow test: eight series, a kill -9 and a destination that is down, against the
// built command.
func TestShortDay(t *testing.T) {
	if lib := os.Getenv("PULMONODE_RUNTIME_LIBRARY"); lib == "" {
		t.Skip("ONNX Runtime is not installed here (make runtime), so nothing is analysed")
	}
	if testing.Short() {
		t.Skip("a day takes a minute")
	}
	binary := filepath.Join(t.TempDir(), "pulmonode")
	if out, err := exec.Command("go", "build", "-o", binary, "../pulmonode").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	var out bytes.Buffer
	d := day{binary: binary, dir: t.TempDir(), length: 20 * time.Second, drain: 5 * time.Minute, count: 8, out: &out,
		picture: filepath.Join(t.TempDir(), "day.png"),
		faults: []fault{
			{5, "clock two hours back", clockBack},
			{8, "kill -9 between SEG and SR", killAtReport},
			{9, "PACS down for an hour", downForAnHour("pacs")},
		}}
	broken, err := d.run(t.Context())
	for _, b := range broken {
		t.Error(b)
	}
	if err != nil {
		t.Error(err)
	}
	if f, err := os.Open(d.picture); err != nil {
		t.Error(err)
	} else if _, err := png.Decode(f); err != nil {
		t.Error(err)
	}
	if t.Failed() {
		t.Logf("%s", out.Bytes())
	}
}
