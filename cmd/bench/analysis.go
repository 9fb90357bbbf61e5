package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/volume"
)

// pipelineBar is what the analysis of 300 slices on 2 cores may take, seconds.
const pipelineBar = 45

// peer runs one of the Python peers, which prints the seconds of its work.
func (b *bench) peer(script string, args ...string) (float64, error) {
	c := b.command(b.python, append([]string{filepath.Join("testdata", "bench", script)}, args...)...)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return 0, err
	}
	var seconds float64
	err = json.Unmarshal(out, &seconds)
	return seconds, err
}

func (b *bench) noPython() bool {
	_, err := os.Stat(b.python)
	return err != nil
}

// load reads and decodes the series and resamples it to 1 mm.
func (b *bench) load() row {
	if b.noPython() {
		return row{Skipped: "SimpleITK is not installed (make bench installs it)"}
	}
	threads := runtime.NumCPU()
	return b.inTurn(row{Peer: "SimpleITK", Unit: "s", Command: fmt.Sprintf("load, decode and resample %d slices to 1 mm, %d threads", b.slices, threads)}, false,
		func() (float64, error) { return b.ourLoad(threads) },
		func() (float64, error) { return b.peer("load.py", b.series, fmt.Sprint(threads)) })
}

func (b *bench) ourLoad(threads int) (float64, error) {
	paths, err := filepath.Glob(filepath.Join(b.series, "*.dcm"))
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	files := make([]*dataset.File, len(paths))
	for i, p := range paths {
		if files[i], err = dataset.Open(p, dataset.Limits{}); err != nil {
			return 0, err
		}
	}
	g, err := volume.Stack(files)
	if err != nil {
		return 0, err
	}
	v, err := volume.Load(b.ctx, g, threads, nil)
	if err != nil {
		return 0, err
	}
	v.Resample1mm(threads)
	return time.Since(begin).Seconds(), nil
}

// pipeline times the whole analysis of a folder, from files to documents.
func (b *bench) pipeline() row {
	r := row{Peer: fmt.Sprintf("the bar of %d s", pipelineBar), Unit: "s", Theirs: pipelineBar,
		Command: fmt.Sprintf("pulmonode analyze, %d slices of 512x512, %d cores", b.slices, runtime.NumCPU())}
	return b.inTurn(r, false,
		func() (float64, error) {
			return timed(b.command(b.binary, "analyze", b.series, "--out", filepath.Join(b.dir, "out"), "--force"))
		},
		func() (float64, error) { return pipelineBar, nil })
}
