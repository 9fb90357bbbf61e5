// Command evaluate is `make evaluate`: it holds the shipped models, run by the
// node's own preprocessing, against nodules that readers outlined and rated, and
// prints the tables of Ni et al. (QIMS 2022;12:292-309) beside their figures.
//
// A folder holds nodules.npz and index.csv. Each nodule is presented to stage 2
// at the centre of its consensus, as stage 1 would present it, and drawn on its
// own CT voxels; whether the two stages find it in a whole scan is another
// question.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/pulmonode/pulmonode/inference"
)

func main() {
	var o options
	flag.StringVar(&o.data, "data", "", "folder with nodules.npz and index.csv")
	flag.StringVar(&o.json, "json", "evaluate.json", "the file for the figures")
	flag.StringVar(&o.pictures, "pictures", "", "folder for roc.png and calibration.png; empty: none")
	flag.StringVar(&o.keys, "keys", "", "only the nodules whose keys this file lists, one a line")
	flag.StringVar(&o.models.Localize, "localize", "", "model of stage 1; empty: the shipped one")
	flag.StringVar(&o.models.Refine, "refine", "", "model of stage 2; empty: the shipped one")
	flag.StringVar(&o.models.Provider, "provider", "auto", "auto, cuda or cpu")
	flag.IntVar(&o.rounds, "rounds", 1000, "bootstrap rounds over patients for the intervals")
	flag.Usage = func() {
		fmt.Fprintf(os.Stderr, "usage: evaluate -data FOLDER [options]\n\n  for example: go run ./cmd/evaluate -data lidc-nodules -json figures.json -pictures .\n\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if o.data == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	o.models.RuntimeLibrary = os.Getenv("PULMONODE_RUNTIME_LIBRARY")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "evaluate:", err)
		os.Exit(1)
	}
}

type options struct {
	data, json, pictures, keys string
	models                     inference.Options
	rounds                     int
}

func run(ctx context.Context, o options, out io.Writer) error {
	nodules, err := readFolder(o.data)
	if err != nil {
		return err
	}
	if o.keys != "" {
		if nodules, err = only(nodules, o.keys); err != nil {
			return err
		}
	}
	p, err := inference.Open(o.models)
	if err != nil {
		return err
	}
	defer p.Close()
	bar := progressbar.NewOptions(len(nodules), progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription("nodules"),
		progressbar.OptionShowCount(), progressbar.OptionThrottle(time.Second))
	scores := make([]score, 0, len(nodules))
	for i := range nodules {
		s, err := judge(ctx, p, &nodules[i])
		if err != nil {
			return fmt.Errorf("nodule %s: %w", nodules[i].key, err)
		}
		scores = append(scores, s)
		bar.Add(1)
	}
	fmt.Fprintln(os.Stderr)
	r := summarise(scores, p.Thresholds(), o.rounds)
	r.Algorithm = p.Algorithm()
	write(out, r, scores)
	if o.pictures != "" {
		if err := draw(o.pictures, scores); err != nil {
			return err
		}
		fmt.Fprintf(out, "\nPictures: %s, %s\n", filepath.Join(o.pictures, rocPicture), filepath.Join(o.pictures, calibrationPicture))
	}
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(o.json, append(b, '\n'), 0o644)
}
