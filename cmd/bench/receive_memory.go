package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"

	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// memoryBar is what a node may hold resident while 64 associations send, MiB.
const memoryBar = 64

// receiveMemory reads from /proc what a node of its own process held at most.
func (b *bench) receiveMemory() []row {
	var rows []row
	for _, load := range []struct {
		command      string
		associations int
		bytes        int64 // of each instance
	}{
		{"64 associations, each in the middle of an instance of 8 MiB at the same time", 64, 8 << 20},
		{"one instance of 4 GiB", 1, 4<<30 - 4<<10},
	} {
		r := row{Peer: fmt.Sprintf("the bar of %d MiB", memoryBar), Unit: "MiB", Theirs: memoryBar, Runs: 1, Associations: load.associations}
		idle, peak, err := b.peak(load.associations, load.bytes)
		if err != nil {
			r.Skipped = err.Error()
		} else {
			r.Ours, r.Ratio = peak, memoryBar/peak
			r.Command = fmt.Sprintf("VmHWM of pulmonode serve, %s; before it %.1f MiB", load.command, idle)
		}
		rows = append(rows, r)
	}
	return rows
}

// peak is a node's greatest resident size before and after associations send an
// instance each; all wait at half until all are there.
func (b *bench) peak(associations int, size int64) (idle, peak float64, err error) {
	dir, err := os.MkdirTemp(b.dir, "memory-")
	if err != nil {
		return 0, 0, err
	}
	defer os.RemoveAll(dir)
	var node *exec.Cmd
	port, stop, err := b.listen(dir, func(dir string, port int) (_ *exec.Cmd, err error) {
		node, err = b.serve(dir, port)
		return node, err
	})
	if err != nil {
		return 0, 0, err
	}
	defer stop()
	if idle, err = resident(node.Process.Pid); err != nil {
		return 0, 0, err
	}
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	half := &meeting{left: associations, all: make(chan struct{})}
	var senders sync.WaitGroup
	errs := make([]error, associations)
	for i := range associations {
		senders.Go(func() {
			if errs[i] = sendGenerated(ctx, port, i, size, half); errs[i] != nil {
				cancel()
			}
		})
	}
	senders.Wait()
	if err := errors.Join(errs...); err != nil {
		return 0, 0, err
	}
	peak, err = resident(node.Process.Pid)
	return idle, peak, err
}

func sendGenerated(ctx context.Context, port, i int, size int64, half *meeting) error {
	client := dimse.Client{CallingAE: "BENCH", CalledAE: "PULMONODE", Address: fmt.Sprintf("127.0.0.1:%d", port)}
	conn, err := client.Dial(ctx, []dimse.Context{{SOPClassUID: dataset.CTImage, TransferSyntaxUIDs: []string{dataset.ExplicitLE}}})
	if err != nil {
		return err
	}
	defer conn.Abort()
	uid := fmt.Sprintf("2.25.4711.%d", i+1)
	d := &dataset.Dataset{}
	d.SetText(dataset.SOPClassUID, "UI", dataset.CTImage)
	d.SetText(dataset.SOPInstanceUID, "UI", uid)
	d.SetText(dataset.StudyInstanceUID, "UI", "2.25.4711")
	d.SetText(dataset.SeriesInstanceUID, "UI", "2.25.4712")
	header, err := d.AppendExplicit(nil)
	if err != nil {
		return err
	}
	header = append(header, 0xE0, 0x7F, 0x10, 0x00, 'O', 'W', 0, 0)
	header = binary.LittleEndian.AppendUint32(header, uint32(size))
	first := io.LimitReader(zeros{}, size/2)
	rest := io.LimitReader(zeros{}, size-size/2)
	status, err := conn.Store(ctx, dimse.StoreObject{
		SOPClassUID: dataset.CTImage, SOPInstanceUID: uid, TransferSyntaxUID: dataset.ExplicitLE,
		Data: io.MultiReader(strings.NewReader(string(header)), first, &waits{ctx, half}, rest),
	})
	if err != nil {
		return err
	}
	if !status.Stored() {
		return fmt.Errorf("the node answers %v", status)
	}
	return conn.Release(ctx)
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// meeting is where as many as are left wait for one another.
type meeting struct {
	mu   sync.Mutex
	left int
	all  chan struct{}
}

// waits is an empty reader that ends when all have come to it.
type waits struct {
	ctx context.Context
	m   *meeting
}

func (w *waits) Read([]byte) (int, error) {
	w.m.mu.Lock()
	if w.m.left--; w.m.left == 0 {
		close(w.m.all)
	}
	w.m.mu.Unlock()
	select {
	case <-w.m.all:
		return 0, io.EOF
	case <-w.ctx.Done():
		return 0, w.ctx.Err()
	}
}

// resident is the greatest resident size that a process had, in MiB.
func resident(pid int) (float64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("memory is read from /proc, which is not here: %w", err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var kib float64
		if n, _ := fmt.Sscanf(s.Text(), "VmHWM: %f kB", &kib); n == 1 {
			return kib / 1024, nil
		}
	}
	return 0, errors.New("/proc says nothing of VmHWM")
}
