// Command evaluate is `make evaluate`: it holds the shipped models, run by the
// node's own preprocessing, against nodules that readers outlined and rated, and
// prints the tables of Ni et al. (QIMS 2022;12:292-309) beside their figures.
//
// A folder holds nodules.npz and index.csv. Each nodule is presented to stage 2
// at the centre of its consensus, as stage 1 would present it, and drawn on its
// own CT voxels; whether the two stages find it in a whole scan is another
// question, which -series asks.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/pulmonode/pulmonode/inference"
)

func main() {
	var o options
	flag.StringVar(&o.data, "data", "", "folder with nodules.npz and index.csv")
	flag.StringVar(&o.json, "json", "", "the file for the figures; empty: evaluate.json, with -series scans.json")
	flag.StringVar(&o.pictures, "pictures", "", "folder for pictures: roc.png, calibration.png and failures.png, with -series missed.png; empty: none")
	flag.StringVar(&o.keys, "keys", "", "only the nodules whose keys this file lists, one a line")
	flag.StringVar(&o.folds, "folds", "", "cross-validation: folder of folders, each with refine.onnx, localize.onnx where it has its own, and keys.txt, the nodules that these never saw")
	flag.StringVar(&o.scores, "scores", "", "a CSV file for what was said of each nodule; empty: none")
	flag.StringVar(&o.series, "series", "", "instead of -data: folder of folders, each a whole CT series, to find nodules in")
	flag.StringVar(&o.truth, "truth", "", "with -series: folder of NAME.json, the nodules of series NAME (center_lps_mm, diameter_mm, ratings)")
	flag.StringVar(&o.models.Localize, "localize", "", "model of stage 1; empty: the shipped one")
	flag.StringVar(&o.models.Refine, "refine", "", "model of stage 2; empty: the shipped one")
	flag.StringVar(&o.models.Provider, "provider", "auto", "auto, cuda or cpu")
	flag.IntVar(&o.rounds, "rounds", 1000, "bootstrap rounds over patients for the intervals")
	flag.Usage = func() {
		fmt.Fprintf(os.Stderr, "usage: evaluate -data FOLDER [options]\n\n  for example: go run ./cmd/evaluate -data lidc-nodules -json figures.json -pictures .\n\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if (o.data == "") == (o.series == "") || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	o.models.KeepAll = true
	o.models.RuntimeLibrary = os.Getenv("PULMONODE_RUNTIME_LIBRARY")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "evaluate:", err)
		os.Exit(1)
	}
}

type options struct {
	data, json, pictures, keys, folds, scores, series, truth string
	models                                                   inference.Options
	rounds                                                   int
}

func run(ctx context.Context, o options, out io.Writer) error {
	if o.series != "" {
		return o.scans(ctx, out)
	}
	nodules, err := readFolder(o.data)
	if err != nil {
		return err
	}
	tests, err := o.tests(nodules)
	if err != nil {
		return err
	}
	total := 0
	for _, t := range tests {
		total += len(t.nodules)
	}
	bar := progress(total, "nodules")
	var scores []score
	var r *report
	for fold, t := range tests {
		p, err := inference.Open(t.models)
		if err != nil {
			return err
		}
		judged, err := judgeAll(ctx, p, t.nodules, fold, func() { bar.Add(1) })
		thresholds, algorithm := p.Thresholds(), p.Algorithm()
		if err := errors.Join(err, p.Close()); err != nil {
			return err
		}
		if r == nil {
			r = &report{Thresholds: thresholds, Algorithm: algorithm}
			if o.folds != "" {
				r.Folds = len(tests)
				r.sharedStage1 = slices.ContainsFunc(tests, func(t test) bool { return t.models.Localize == o.models.Localize })
			}
		}
		for _, m := range algorithm.Models {
			if !slices.Contains(r.Algorithm.Models, m) {
				r.Algorithm.Models = append(r.Algorithm.Models, m)
			}
		}
		if !maps.Equal(r.Thresholds, thresholds) {
			return fmt.Errorf("%s has other thresholds than the fold before: %v, %v", t.models.Refine, thresholds, r.Thresholds)
		}
		scores = append(scores, judged...)
	}
	fmt.Fprintln(os.Stderr)
	r.summarise(scores, o.rounds)
	write(out, r, scores)
	if o.scores != "" {
		if err := list(o.scores, scores); err != nil {
			return err
		}
	}
	if o.pictures != "" {
		if err := drawCurves(o.pictures, scores); err != nil {
			return err
		}
		if err := drawFailures(o.pictures, scores); err != nil {
			return err
		}
		fmt.Fprintf(out, "\nPictures in %s: %s, %s, %s\n", o.pictures, rocPicture, calibrationPicture, failuresPicture)
	}
	return writeJSON(cmp.Or(o.json, "evaluate.json"), r)
}

// progress is a bar on standard error.
func progress(total int, what string) *progressbar.ProgressBar {
	return progressbar.NewOptions(total, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionThrottle(time.Second))
}

func (o options) scans(ctx context.Context, out io.Writer) error {
	p, err := inference.Open(o.models)
	if err != nil {
		return err
	}
	defer p.Close()
	var wrong *wrongs
	if o.pictures != "" {
		wrong = &wrongs{}
	}
	scans, err := readScans(ctx, p, o.series, o.truth, wrong)
	if err != nil {
		return err
	}
	threshold := p.Thresholds()["nodule"]
	r := summariseScans(scans, p.Algorithm(), threshold)
	r.write(out, scans)
	if wrong != nil {
		if err := wrong.draw(o.pictures, len(scans), threshold); err != nil {
			return err
		}
		fmt.Fprintf(out, "\nPicture: %s\n", filepath.Join(o.pictures, missedPicture))
	}
	return writeJSON(cmp.Or(o.json, "scans.json"), r)
}

func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// test is a pair of models and the nodules they are held against.
type test struct {
	models  inference.Options
	nodules []nodule
}

func (o options) tests(nodules []nodule) ([]test, error) {
	var err error
	if o.keys != "" {
		if nodules, err = only(nodules, o.keys); err != nil {
			return nil, err
		}
	}
	if o.folds == "" {
		return []test{{o.models, nodules}}, nil
	}
	lists, err := filepath.Glob(filepath.Join(o.folds, "*", "keys.txt"))
	if err != nil || len(lists) == 0 {
		return nil, fmt.Errorf("%s has no folder with keys.txt: make it with `make crossvalidate`", o.folds)
	}
	var tests []test
	seen := map[string]string{}
	for _, file := range lists {
		t := test{models: o.models}
		if t.nodules, err = only(nodules, file); err != nil {
			return nil, err
		}
		for _, n := range t.nodules {
			if other := seen[n.patient]; other != "" && other != file {
				return nil, fmt.Errorf("patient %s is in %s and in %s: patients cross no fold", n.patient, other, file)
			}
			seen[n.patient] = file
		}
		dir := filepath.Dir(file)
		t.models.Refine = filepath.Join(dir, "refine.onnx")
		if own := filepath.Join(dir, "localize.onnx"); exists(own) {
			t.models.Localize = own
		}
		tests = append(tests, t)
	}
	return tests, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
