package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pulmonode/pulmonode/inference"
	"github.com/pulmonode/pulmonode/inference/result"
)

// place is a nodule that readers outlined in a scan, or that was put into it.
type place struct {
	Center   [3]float64       `json:"center_lps_mm"`
	Diameter float64          `json:"diameter_mm"`
	Ratings  map[string][]int `json:"ratings"`
}

// solid is label 1 of texture (the paper's table 3).
func (p place) solid() bool {
	sum := 0
	for _, r := range p.Ratings["texture"] {
		sum += r
	}
	return float64(sum) >= labelCut[2]*float64(len(p.Ratings["texture"]))
}

// scan is a whole series with what both stages found in it.
type scan struct {
	name   string
	places []place
	found  []found
}

type found struct {
	believed float64 // stage 2's probability that it is a nodule
	place    int     // of the scan; -1: none, a false positive
}

// nearMM is how far from a small nodule's centre a finding still is that nodule.
const nearMM = 5

// readScans searches every series below a folder. The truth of series NAME is
// NAME.json in the folder truth; one without is searched for false positives.
func readScans(ctx context.Context, p *inference.Pipeline, dir, truth string) ([]scan, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return !e.IsDir() })
	bar := progress(len(entries), "scans")
	defer fmt.Fprintln(os.Stderr)
	var scans []scan
	for _, e := range entries {
		s := scan{name: e.Name()}
		paths, err := filepath.Glob(filepath.Join(dir, e.Name(), "*.dcm"))
		if err != nil || len(paths) == 0 {
			return nil, fmt.Errorf("%s has no *.dcm", filepath.Join(dir, e.Name()))
		}
		b, err := os.ReadFile(filepath.Join(truth, e.Name()+".json"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		if err == nil {
			if err := json.Unmarshal(b, &s.places); err != nil {
				return nil, fmt.Errorf("%s.json: %w", e.Name(), err)
			}
		}
		r, err := p.Analyze(ctx, inference.Series{Paths: paths, UID: func(kind string, i int) string { return fmt.Sprint(kind, i) }}, nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		if r.Outcome == result.OutcomeSkipped {
			return nil, fmt.Errorf("%s: not analysed: %s", e.Name(), r.Reason)
		}
		for _, n := range r.Nodules {
			s.found = append(s.found, found{n.NoduleProb, s.nearest(n.CenterLPS)})
		}
		scans = append(scans, s)
		bar.Add(1)
	}
	if len(scans) == 0 {
		return nil, fmt.Errorf("%s has no folder with a series", dir)
	}
	return scans, nil
}

// nearest is the outlined nodule that a finding is, -1 for none.
func (s *scan) nearest(at result.Point) int {
	best, near := -1, math.Inf(1)
	for i, p := range s.places {
		d := math.Sqrt(square(at[0]-p.Center[0]) + square(at[1]-p.Center[1]) + square(at[2]-p.Center[2]))
		if d <= max(nearMM, p.Diameter/2) && d < near {
			best, near = i, d
		}
	}
	return best
}

func square(v float64) float64 { return v * v }

// point is one threshold of a FROC.
type point struct {
	threshold float64
	hit       float64 // share of the nodules
	perScan   float64 // false positives
}

// froc lists the points of falling thresholds, for the nodules that counts.
func froc(scans []scan, counts func(place) bool) []point {
	type one struct {
		found
		scan int
	}
	var all []one
	nodules := 0
	for i, s := range scans {
		for _, f := range s.found {
			all = append(all, one{f, i})
		}
		for _, p := range s.places {
			if counts(p) {
				nodules++
			}
		}
	}
	slices.SortStableFunc(all, func(a, b one) int { return cmp.Compare(b.believed, a.believed) })
	var points []point
	hits, wrong := map[[2]int]bool{}, 0
	for i, f := range all {
		switch {
		case f.place < 0:
			wrong++
		case counts(scans[f.scan].places[f.place]):
			hits[[2]int{f.scan, f.place}] = true
		}
		if i+1 == len(all) || all[i+1].believed < f.believed {
			points = append(points, point{f.believed, float64(len(hits)) / float64(nodules), float64(wrong) / float64(len(scans))})
		}
	}
	return points
}

// sensitivity is the best at no more than so many false positives a scan.
func sensitivity(points []point, perScan float64) float64 {
	best := 0.0
	for _, p := range points {
		if p.perScan <= perScan {
			best = max(best, p.hit)
		}
	}
	return best
}

var falsePositives = []float64{0.5, 1, 2, 4, 8}

func writeScans(w io.Writer, scans []scan, threshold float64) {
	fmt.Fprintf(w, "%d scans. At the shipped threshold of %.2f:\n", len(scans), threshold)
	for _, s := range scans {
		hits, wrong := map[int]bool{}, 0
		for _, f := range s.found {
			if f.believed < threshold {
				continue
			}
			if f.place >= 0 {
				hits[f.place] = true
			} else {
				wrong++
			}
		}
		fmt.Fprintf(w, "  %-24s %d of %d nodules, %d false positives\n", s.name, len(hits), len(s.places), wrong)
	}
	fmt.Fprintf(w, "\nFROC: sensitivity at false positives a scan\n  %-22s %8s", "", "nodules")
	for _, fp := range falsePositives {
		fmt.Fprintf(w, "%8g", fp)
	}
	fmt.Fprintln(w)
	for _, kind := range []struct {
		name string
		is   func(place) bool
	}{
		{"all", func(place) bool { return true }},
		{"4 to 6 mm", func(p place) bool { return p.Diameter >= 4 && p.Diameter < 6 }},
		{"6 mm and more", func(p place) bool { return p.Diameter >= 6 }},
		{"10 mm and more", func(p place) bool { return p.Diameter >= 10 }},
		{"solid", place.solid},
		{"not or partly solid", func(p place) bool { return !p.solid() }},
	} {
		n := 0
		for _, s := range scans {
			for _, p := range s.places {
				if kind.is(p) {
					n++
				}
			}
		}
		if n == 0 {
			continue
		}
		cells := []string{}
		points := froc(scans, kind.is)
		for _, fp := range falsePositives {
			cells = append(cells, fmt.Sprintf("%8.3f", sensitivity(points, fp)))
		}
		fmt.Fprintf(w, "  %-22s %8d%s\n", kind.name, n, strings.Join(cells, ""))
	}
}
