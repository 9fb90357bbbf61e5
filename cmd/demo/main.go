// Command demo is `make demo`: a test PACS and a node on free loopback ports, a
// phantom chest CT with real nodules (or a series of one's own) sent by
// C-STORE, and what came back held against the truth. It exits 0 only when the
// documents arrived in the test PACS and every nodule of the phantom was found.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/phantom"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/admin"
)

func main() {
	ct := flag.String("ct", "", "folder with a CT series of one's own, instead of the phantom")
	binary := flag.String("pulmonode", "bin/pulmonode", "the built command")
	within := flag.Duration("within", 15*time.Minute, "how long to wait for the result")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGPIPE) // none may leave a node behind
	defer stop()
	err := demo(ctx, *binary, *ct, *within)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		fmt.Fprintln(os.Stderr, "demo: stopped")
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context, binary, ct string, within time.Duration) error {
	begin := time.Now()
	dir, err := os.MkdirTemp("", "pulmonode-demo-")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()

	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	pacsDir := filepath.Join(dir, "pacs")
	stopPACS, err := startPACS(ctx, pacsDir, ports[0])
	if err != nil {
		return err
	}
	defer stopPACS()

	n := node{binary: binary, dir: dir, dicom: ports[1], http: ports[2]}
	stopNode, err := n.start(ctx, ports[0])
	if err != nil {
		return err
	}
	defer stopNode()

	var truth *phantom.Truth
	if ct == "" {
		ct = filepath.Join(dir, "ct")
		if err := run(ctx, binary, "phantom", "--out", ct); err != nil {
			return err
		}
		if truth, err = readJSON[phantom.Truth](filepath.Join(ct, "truth.json")); err != nil {
			return err
		}
	}
	if err := run(ctx, binary, "send", ct, "--to", fmt.Sprintf("PULMONODE@127.0.0.1:%d", n.dicom)); err != nil {
		return err
	}
	series, err := n.wait(ctx)
	if err != nil {
		return err
	}

	arrived, err := documents(pacsDir)
	if err != nil {
		return err
	}
	found, generation, err := n.result(series)
	if err != nil {
		return err
	}
	fmt.Printf("\n%s\n", series.Sentence)
	var missed int
	if truth != nil {
		missed = printBesideTruth(truth, found)
	} else {
		printFound(found)
	}
	pictures, err := linkPictures(generation, dir)
	if err != nil {
		return err
	}
	fmt.Printf("\nAll of it lies in %s (%s removes it):\n", dir, "rm -r "+dir)
	fmt.Printf("  %-22s %s\n", "CT", ct)
	for _, a := range arrived {
		fmt.Printf("  %-22s %s\n", a.what, a.path)
	}
	for _, p := range pictures {
		fmt.Printf("  %-22s %s\n", "picture", p)
	}
	fmt.Printf("The report as a table: %s sr %s\n", binary, first(arrived, dataset.Comprehensive3DSR))
	fmt.Printf("Not for clinical use. %.0f s in all.\n", time.Since(begin).Seconds())

	switch {
	case first(arrived, dataset.Comprehensive3DSR) == "":
		return errors.New("no SR arrived in the test PACS")
	case found.Outcome == result.OutcomeNodules && first(arrived, dataset.SegmentationStorage) == "":
		return errors.New("no SEG arrived in the test PACS")
	case missed > 0:
		return fmt.Errorf("%d of %d nodules were not found", missed, len(truth.Nodules))
	}
	return nil
}

// linkPictures gives the pictures of a result short paths.
func linkPictures(generation, dir string) (short []string, err error) {
	pictures, err := filepath.Glob(filepath.Join(generation, "*.png"))
	for _, p := range pictures {
		link := filepath.Join(dir, filepath.Base(p))
		err = errors.Join(err, os.Symlink(p, link))
		short = append(short, link)
	}
	return short, err
}

// run runs a command of ours with its output and progress on the terminal.
func run(ctx context.Context, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, args[0], err)
	}
	return nil
}

func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all open until the last is had, so that none is given twice
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

// background starts a program and returns what ends it. Its output goes to a file.
func background(ctx context.Context, log, name string, args ...string) (stop func(), ended <-chan error, err error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, nil, err
	}
	c := exec.CommandContext(ctx, name, args...)
	c.Stdout, c.Stderr = f, f
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 10 * time.Second
	if err := c.Start(); err != nil {
		f.Close()
		return nil, nil, err
	}
	done := make(chan error, 1)
	gone := make(chan struct{})
	go func() {
		done <- c.Wait()
		f.Close()
		close(gone)
	}()
	return func() { c.Process.Signal(syscall.SIGTERM); <-gone }, done, nil
}

// startPACS is DCMTK's storescp where it is installed, else our own receiver.
func startPACS(ctx context.Context, dir string, port int) (stop func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if program, err := exec.LookPath("storescp"); err == nil {
		stop, _, err := background(ctx, dir+".log", program, "-v", "-aet", "TESTPACS", "-od", dir, "-uf", fmt.Sprint(port))
		if err != nil {
			return nil, err
		}
		fmt.Printf("test PACS: DCMTK storescp on port %d\n", port)
		return stop, nil
	}
	stop, err = receive(dir, port)
	if err == nil {
		fmt.Printf("test PACS: our own receiver on port %d (DCMTK is not installed)\n", port)
	}
	return stop, err
}

// node is the pulmonode under demonstration.
type node struct {
	binary, dir string
	dicom, http int
}

func (n *node) start(ctx context.Context, pacs int) (stop func(), err error) {
	configuration := filepath.Join(n.dir, "node.toml")
	text := fmt.Sprintf(`[node]
listen = "127.0.0.1:%d"
[storage]
data_dir = %q
stop_receiving_below = "100 MiB"
[[source]]
ae_title = "*"
from = ["127.0.0.0/8"]
[[destination]]
name = "testpacs"
ae_title = "TESTPACS"
address = "127.0.0.1:%d"
[complete]
quiet = "2s"
[admin]
listen = "127.0.0.1:%d"
`, n.dicom, filepath.Join(n.dir, "data"), pacs, n.http)
	if err := os.WriteFile(configuration, []byte(text), 0o644); err != nil {
		return nil, err
	}
	log := filepath.Join(n.dir, "node.log")
	stop, ended, err := background(ctx, log, n.binary, "serve", "--config", configuration)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r, err := http.Get(n.url("/readyz"))
			if err != nil {
				continue
			}
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				fmt.Printf("node: PULMONODE on port %d, status page http://127.0.0.1:%d, log %s\n", n.dicom, n.http, log)
				return stop, nil
			}
		case err := <-ended:
			text, _ := os.ReadFile(log)
			return nil, fmt.Errorf("the node did not start: %v\n%s", err, text)
		case <-ctx.Done():
			stop()
			return nil, fmt.Errorf("the node was not ready: %w; its log is %s", ctx.Err(), log)
		}
	}
}

func (n *node) url(path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", n.http, path) }

// wait says each new state of the series until it has ended.
func (n *node) wait(ctx context.Context) (*admin.Series, error) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	begin := time.Now()
	var said admin.State
	for {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the result: %w; the log is %s", context.Cause(ctx), filepath.Join(n.dir, "node.log"))
		case <-tick.C:
		}
		r, err := http.Get(n.url("/api/v1/series"))
		if err != nil {
			return nil, fmt.Errorf("asking the node: %w", err)
		}
		var list admin.List
		err = json.NewDecoder(r.Body).Decode(&list)
		r.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("asking the node: %w", err)
		}
		if len(list.Series) == 0 {
			continue
		}
		s := list.Series[0]
		if s.State != said {
			said = s.State
			fmt.Printf("%5.1f s  %s\n", time.Since(begin).Seconds(), s.State)
		}
		switch s.State {
		case admin.Delivered:
			return &s, nil
		case admin.Skipped, admin.Failed:
			return nil, fmt.Errorf("the series was %s: %s", s.State, s.Sentence)
		}
	}
}

// result reads result.json of the last generation and says where it lies.
func (n *node) result(s *admin.Series) (*result.Result, string, error) {
	folders, _ := filepath.Glob(filepath.Join(n.dir, "data", "series", s.Study, s.Series, "generation-*"))
	if len(folders) == 0 {
		return nil, "", errors.New("the node keeps no result")
	}
	last := folders[len(folders)-1]
	r, err := readJSON[result.Result](filepath.Join(last, "result.json"))
	return r, last, err
}

func readJSON[T any](path string) (*T, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	v := new(T)
	if err := json.Unmarshal(text, v); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

type document struct{ class, what, path string }

var documentNames = map[string]string{
	dataset.SegmentationStorage: "segmentation (SEG)",
	dataset.Comprehensive3DSR:   "structured report (SR)",
	dataset.SecondaryCapture:    "key image",
}

// documents lists what the test PACS holds.
func documents(dir string) ([]document, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []document
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		f, err := dataset.Open(path, dataset.Limits{})
		if err != nil {
			return nil, fmt.Errorf("the test PACS holds an unreadable file: %w", err)
		}
		class := f.Header.Text(dataset.SOPClassUID)
		all = append(all, document{class, documentNames[class], path})
	}
	return all, nil
}

func first(all []document, class string) string {
	for _, a := range all {
		if a.class == class {
			return a.path
		}
	}
	return ""
}

// printBesideTruth prints each true nodule with what was found there, then what
// was found elsewhere, and returns how many were missed. Found is a finding
// whose centre lies within the true nodule's radius, or 5 mm for small ones.
func printBesideTruth(truth *phantom.Truth, r *result.Result) (missed int) {
	used := make([]bool, len(r.Nodules))
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\t\tcentre (LPS mm)\tdiameter mm\tmalignant\tclear margin\tsolid\tno calcification")
	for _, n := range truth.Nodules {
		l := n.Labels
		fmt.Fprintf(w, "%d\ttruth\t%s\t%.1f\t%s\t%s\t%s\t%s\n", n.ID, place(n.CenterLPS), n.DiameterMM,
			yes(l["malignancy"]), yes(l["margin"]), yes(l["texture"]), yes(l["calcification"]))
		best, near := -1, math.Max(5, n.DiameterMM/2)
		for i, f := range r.Nodules {
			if d := distance(n.CenterLPS, f.CenterLPS); !used[i] && d <= near {
				best, near = i, d
			}
		}
		if best < 0 {
			missed++
			fmt.Fprintf(w, "\tNOT FOUND\t\t\t\t\t\t\n")
			continue
		}
		used[best] = true
		row(w, &r.Nodules[best])
	}
	wrong := 0
	for i := range r.Nodules {
		if !used[i] {
			wrong++
			fmt.Fprintf(w, "elsewhere")
			row(w, &r.Nodules[i])
		}
	}
	w.Flush()
	if wrong > 0 {
		fmt.Printf("What is found elsewhere is no nodule: %d false positive(s). The model card says what to expect of the models.\n", wrong)
	}
	return missed
}

func printFound(r *result.Result) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\t\tcentre (LPS mm)\tdiameter mm\tmalignant\tclear margin\tsolid\tno calcification")
	for i := range r.Nodules {
		row(w, &r.Nodules[i])
	}
	w.Flush()
}

func row(w *tabwriter.Writer, n *result.Nodule) {
	fmt.Fprintf(w, "\tfound %s\t%s\t%.1f", n.ID, place(n.CenterLPS), math.Cbrt(6*n.VolumeMM3/math.Pi))
	for _, c := range result.Characteristics {
		fmt.Fprintf(w, "\t%.0f %%", 100*n.Characteristics[c].Probability)
	}
	fmt.Fprintln(w)
}

func place(p [3]float64) string { return fmt.Sprintf("%.0f, %.0f, %.0f", p[0], p[1], p[2]) }

func distance(a, b [3]float64) float64 {
	return math.Sqrt((a[0]-b[0])*(a[0]-b[0]) + (a[1]-b[1])*(a[1]-b[1]) + (a[2]-b[2])*(a[2]-b[2]))
}

func yes(label int) string {
	if label == 1 {
		return "yes"
	}
	return "no"
}
