package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/pulmonode/pulmonode/cmd/internal/serve"
)

// node is the process under test. It has no models: it receives, closes series,
// and skips them.
type node struct {
	serve.Node
	data string
}

func startNode(ctx context.Context, binary, dir string) (*node, error) {
	dicom, err := serve.FreeAddress()
	if err != nil {
		return nil, err
	}
	admin, err := serve.FreeAddress()
	if err != nil {
		return nil, err
	}
	n := &node{data: filepath.Join(dir, "data"), Node: serve.Node{
		Binary: binary, Config: filepath.Join(dir, "node.toml"), Log: filepath.Join(dir, "log"), DICOM: dicom, Admin: admin}}
	text := fmt.Sprintf(`[node]
listen = %q
max_associations = 256
[storage]
data_dir = %q
stop_receiving_below = "1 GiB"
[[source]]
ae_title = "*"
from = ["127.0.0.0/8"]
[complete]
quiet = "1s"
idle = "5s"
[inference]
runtime_library = %q
[admin]
listen = %q
`, dicom, n.data, filepath.Join(dir, "none"), admin)
	if err := os.WriteFile(n.Config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return n, n.Start(ctx)
}

// reading is the node's own metrics at a moment.
type reading struct{ memory, descriptors, goroutines, open float64 }

func (n *node) read(ctx context.Context) (r reading, err error) {
	m, err := n.Metrics(ctx)
	if err != nil {
		return r, err
	}
	for name, into := range map[string]*float64{"process_resident_memory_bytes": &r.memory, "process_open_fds": &r.descriptors,
		"go_goroutines": &r.goroutines, "pulmonode_associations_open": &r.open} {
		v, ok := m[name]
		if !ok {
			return r, fmt.Errorf("/metrics has no %s", name)
		}
		*into = v
	}
	r.memory /= 1 << 20
	return r, nil
}

// rest waits until the node has no association, and then reads the fewest that
// it holds within some seconds: its own work comes and goes.
func (n *node) rest(ctx context.Context) (least reading, err error) {
	const readings = 60
	done := 0
	perr := serve.Poll(ctx, func() bool {
		var now reading
		if now, err = n.read(ctx); err != nil || now.open > 0 {
			return false
		}
		if done == 0 {
			least = now
		}
		least.descriptors, least.goroutines = min(least.descriptors, now.descriptors), min(least.goroutines, now.goroutines)
		done++
		return done == readings
	})
	return least, errors.Join(err, perr)
}

func (r reading) print(w io.Writer, at time.Duration, s *soak, note string) {
	fmt.Fprintf(w, "%8s  %6d confirmed  %5d hostile  %3.0f associations  %4.0f MiB  %3.0f descriptors  %3.0f goroutines  %s\n",
		at.Round(time.Second), s.kept.Count(), s.hostile.Load(), r.open, r.memory, r.descriptors, r.goroutines, note)
}

func medianMemory(h []reading) float64 {
	m := make([]float64, len(h))
	for i, r := range h {
		m[i] = r.memory
	}
	slices.Sort(m)
	return m[len(m)/2]
}
