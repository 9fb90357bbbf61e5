// Command bench is `make bench`: each row times pulmonode and a peer in turn, in
// one run on one machine, and prints the medians and their ratio. It writes
// bench.json. A row that can't run here says why.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// row is one line of the table. Ours and Theirs are medians in Unit; Ratio is
// how many times better ours is.
type row struct {
	Name    string  `json:"name"`
	Peer    string  `json:"peer"`
	Ratio   float64 `json:"ratio"`
	Ours    float64 `json:"ours"`
	Theirs  float64 `json:"theirs"`
	Unit    string  `json:"unit"`
	Runs    int     `json:"runs"`
	Spread  string  `json:"spread,omitempty"` // lowest to highest of ours / of theirs
	Command string  `json:"command,omitempty"`
	Skipped string  `json:"skipped,omitempty"`

	// Rows of the network only.
	Associations int      `json:"associations,omitempty"`
	Limits       *limits  `json:"limits,omitempty"`
	Stages       []string `json:"stages,omitempty"` // where the time of an image goes
}

type bench struct {
	ctx    context.Context
	binary string
	python string
	dir    string // temporary
	slices int
	runs   int
	calls  int    // of a network, a run
	series string // the phantom that rows share
}

func main() {
	b := &bench{python: os.Getenv("PULMONODE_PYTHON")}
	only := flag.String("only", "", "run only the rows whose names begin so")
	out := flag.String("out", "bench.json", "the file to write")
	flag.StringVar(&b.binary, "pulmonode", "bin/pulmonode", "the built command")
	flag.IntVar(&b.slices, "slices", 300, "slices of the CT series")
	flag.IntVar(&b.runs, "runs", 5, "runs of each side")
	flag.IntVar(&b.calls, "calls", 40, "calls of a network in a run of infer-cpu; a whole scan has some hundreds")
	port := flag.String("plain", "", "only receive on this port into the folder named last, without fsync; a row starts it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b.ctx = ctx
	run := func() error { return b.run(*only, *out) }
	if *port != "" {
		run = func() error { return plain{flag.Arg(0)}.receive(ctx, *port) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (b *bench) run(only, out string) error {
	var err error
	if b.dir, err = os.MkdirTemp("", "pulmonode-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	b.series = filepath.Join(b.dir, "ct")
	c := b.command(b.binary, "phantom", "--out", b.series, "--slices", fmt.Sprint(b.slices), "--spacing", fmt.Sprint(300/float64(b.slices)))
	if text, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("phantom: %w\n%s", err, text)
	}
	rows := []struct {
		name string
		run  func() []row
	}{
		{"receive-stock-sender", b.receiveStock},
		{"receive-own-sender", b.receiveOwn},
		{"receive-memory", b.receiveMemory},
		{"send", b.send},
		{"documents", one(b.documents)},
		{"load", one(b.load)},
		{"infer-cpu", b.infer},
		{"pipeline-cpu", one(b.pipeline)},
	}
	warnIfBusy()
	var table []row
	for _, r := range rows {
		if !strings.HasPrefix(r.name, only) || b.ctx.Err() != nil {
			continue
		}
		for _, line := range r.run() {
			line.Name = r.name
			table = append(table, line)
			line.print()
		}
	}
	text, err := json.MarshalIndent(table, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(out, append(text, '\n'), 0o644)
}

// one makes a function of one row one of several.
func one(f func() row) func() []row { return func() []row { return []row{f()} } }

// warnIfBusy says when others are at work on the machine: figures then mean little.
func warnIfBusy() {
	var load float64
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return // not Linux
	}
	if _, err := fmt.Sscan(string(text), &load); err == nil && load > float64(runtime.NumCPU())+1 {
		fmt.Printf("the machine is busy: load %.1f on %d cores\n", load, runtime.NumCPU())
	}
}

func (r row) print() {
	on := ""
	if r.Associations > 0 {
		on = fmt.Sprintf(" on %d", r.Associations)
	}
	if r.Skipped != "" {
		fmt.Printf("%-22s %s%s skipped: %s\n", r.Name, r.Peer, on, r.Skipped)
		return
	}
	r.Peer += on
	defer func() {
		if r.Limits != nil {
			fmt.Printf("%24slimits: loopback %.0f (ours %.0f %%), write and fsync %.0f (%.0f %%), with rename and folder %.0f (%.0f %%)\n", "",
				r.Limits.Loopback, 100*r.Ours/r.Limits.Loopback, r.Limits.Fsync, 100*r.Ours/r.Limits.Fsync, r.Limits.Durable, 100*r.Ours/r.Limits.Durable)
		}
		for _, s := range r.Stages {
			fmt.Printf("%24s%s\n", "", s)
		}
	}()
	fmt.Printf("%-22s %8.2f x %-28s ours %.4g, theirs %.4g %s (%s; %d runs)\n%24s%s\n", r.Name, r.Ratio, r.Peer, r.Ours, r.Theirs, r.Unit, r.Spread, r.Runs, "", r.Command)
}

func (b *bench) command(name string, args ...string) *exec.Cmd {
	return exec.CommandContext(b.ctx, name, args...)
}

// inTurn runs ours and theirs alternately, after one uncounted run of each, and
// fills in the medians. Each returns a figure in the row's unit; with
// higherIsBetter the ratio is ours over theirs, else theirs over ours.
func (b *bench) inTurn(r row, higherIsBetter bool, ours, theirs func() (float64, error)) row {
	var a, p []float64
	for i := range b.runs + 1 {
		x, err := ours()
		if err != nil {
			return row{Skipped: "ours failed: " + err.Error()}
		}
		y, err := theirs()
		if err != nil {
			return row{Skipped: r.Peer + " failed: " + err.Error()}
		}
		if i > 0 {
			a, p = append(a, x), append(p, y)
		}
	}
	return compare(r, higherIsBetter, a, p)
}

// compare fills in what the runs of both sides say.
func compare(r row, higherIsBetter bool, a, p []float64) row {
	r.Runs = len(a)
	r.Ours, r.Theirs = median(a), median(p)
	r.Spread = fmt.Sprintf("%.4g-%.4g / %.4g-%.4g", slices.Min(a), slices.Max(a), slices.Min(p), slices.Max(p))
	if higherIsBetter {
		r.Ratio = r.Ours / r.Theirs
	} else {
		r.Ratio = r.Theirs / r.Ours
	}
	return r
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// timed is how long a command takes, in seconds.
func timed(c *exec.Cmd) (float64, error) {
	begin := time.Now()
	if out, err := c.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", c.Args[0], err, out)
	}
	return time.Since(begin).Seconds(), nil
}
