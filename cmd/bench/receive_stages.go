package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"time"

	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/node/store"
)

// stages says where the time of an image goes on one association: the node's
// server, parser and store, run here with a clock between their steps.
func (b *bench) stages(send func(dir string, port int) *exec.Cmd) ([]string, error) {
	whole, err := b.split(1)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.dir, "stages-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	w := &watch{spent: map[string]time.Duration{}}
	s, err := store.Open(dir, store.Options{StopReceivingBelow: 100 << 20, Before: w.before})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	w.store = s
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &dimse.Server{Handler: w}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	_, sent := timed(send(whole[0], l.Addr().(*net.TCPAddr).Port))
	shut := server.Shutdown(b.ctx)
	<-served
	if err := errors.Join(sent, shut); err != nil {
		return nil, err
	}
	if w.images != b.slices {
		return nil, fmt.Errorf("%d of %d images were stored", w.images, b.slices)
	}
	var all time.Duration
	for _, d := range w.spent {
		all += d
	}
	share := func(d time.Duration, of string) string {
		return fmt.Sprintf("%5.1f %% %s", 100*d.Seconds()/all.Seconds(), of)
	}
	disk := all - w.spent[waiting] - w.spent[reading] - w.spent[other]
	lines := []string{fmt.Sprintf("of %.2f ms an image, in a run with clocks:", all.Seconds()*1e3/float64(w.images))}
	for _, name := range []string{waiting, reading, other, "create", "write", "fsync", "rename", "fsync folder"} {
		lines = append(lines, share(w.spent[name], name))
	}
	return append(lines, share(disk, "is the disk in all")), nil
}

// Stages that are not steps of the store.
const (
	waiting = "turn-around: response, sender, next command"
	reading = "read from the socket, with waiting for the bytes"
	other   = "parse the header, and the rest"
)

// watch is one association's clock: each moment belongs to the stage that began last.
type watch struct {
	store  *store.Store
	spent  map[string]time.Duration
	stage  string
	since  time.Time
	images int
}

func (w *watch) turn(stage string) {
	now := time.Now()
	if w.stage != "" {
		w.spent[w.stage] += now.Sub(w.since)
	}
	w.stage, w.since = stage, now
}

// before hears of the store's steps, but for those at its opening.
func (w *watch) before(step, _ string) error {
	if w.stage != "" {
		w.turn(step)
	}
	return nil
}

func (w *watch) Associate(context.Context, *dimse.Association) (dimse.Session, error) { return w, nil }

func (w *watch) End(dimse.End) { w.stage = "" }

func (w *watch) Store(_ context.Context, q *dimse.StoreRequest) dimse.Status {
	w.turn(other)
	defer w.turn(waiting)
	in, err := w.store.Create(dataset.MetaInfo{SOPClassUID: q.SOPClassUID, SOPInstanceUID: q.SOPInstanceUID, TransferSyntax: q.TransferSyntaxUID})
	if err != nil {
		return dimse.OutOfResources
	}
	defer in.Discard()
	parser := dataset.NewHeaderParser(q.TransferSyntaxUID, dataset.Limits{})
	buffer := make([]byte, 128<<10)
	for {
		w.turn(reading)
		n, err := q.Data.Read(buffer)
		w.turn(other)
		if _, err := parser.Write(buffer[:n]); err != nil {
			return dimse.CannotUnderstand
		}
		if _, err := in.Write(buffer[:n]); err != nil {
			return dimse.OutOfResources
		}
		if err == io.EOF {
			break
		} else if err != nil {
			return dimse.CannotUnderstand
		}
	}
	w.turn(other)
	header, err := parser.Finish()
	if err != nil {
		return dimse.CannotUnderstand
	}
	if _, err := in.Commit(store.Key{Study: header.Text(dataset.StudyInstanceUID), Series: header.Text(dataset.SeriesInstanceUID)}, q.SOPInstanceUID); err != nil {
		return dimse.OutOfResources
	}
	w.images++
	return dimse.Success
}
