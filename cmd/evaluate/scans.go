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
	"runtime"
	"slices"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/inference/volume"
)

// place is a nodule that readers outlined in a scan, or that was put into it.
type place struct {
	Center   result.Point     `json:"center_lps_mm"`
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
	name       string
	places     []place
	candidates []int // of stage 1, each the place that it is; -1: none
	found      []found
}

type found struct {
	believed float64 // stage 2's probability that it is a nodule
	place    int     // of the scan; -1: none, a false positive
	center   result.Point
	longMM   float64
	mask     result.Mask
}

// nearMM is how far from a small nodule's centre a finding still is that nodule.
const nearMM = 5

// readScans searches every series below a folder. The truth of series NAME is
// NAME.json in the folder truth; one without is searched for false positives.
// What is wrong at the shipped threshold is added to wrongs, when not nil.
func readScans(ctx context.Context, p *inference.Pipeline, dir, truth string, wrong *wrongs) ([]scan, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return !e.IsDir() })
	bar := progress(len(entries), "scans")
	defer fmt.Fprintln(os.Stderr)
	threshold := p.Thresholds()["nodule"]
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
		if err := s.search(ctx, p, paths); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		if wrong != nil && s.isWrong(threshold) {
			ct, err := load(ctx, paths)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", e.Name(), err)
			}
			wrong.add(&s, ct, threshold)
		}
		scans = append(scans, s)
		bar.Add(1)
	}
	if len(scans) == 0 {
		return nil, fmt.Errorf("%s has no folder with a series", dir)
	}
	return scans, nil
}

// search runs both stages.
func (s *scan) search(ctx context.Context, p *inference.Pipeline, paths []string) error {
	r, err := p.Analyze(ctx, inference.Series{
		Paths: paths, UID: func(kind string, i int) string { return fmt.Sprint(kind, i) },
		Candidate: func(center result.Point) { s.candidates = append(s.candidates, s.nearest(center)) },
	}, nil)
	if err != nil {
		return err
	}
	if r.Outcome == result.OutcomeSkipped {
		return fmt.Errorf("not analysed: %s", r.Reason)
	}
	for _, n := range r.Nodules {
		s.found = append(s.found, found{n.NoduleProb, s.nearest(n.CenterLPS), n.CenterLPS, n.LongAxisMM, n.Mask})
	}
	return nil
}

// load reads the CT that was searched, for pictures.
func load(ctx context.Context, paths []string) (*volume.Volume, error) {
	files := make([]*dataset.File, len(paths))
	for i, path := range paths {
		var err error
		if files[i], err = dataset.Open(path, dataset.Limits{}); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	g, err := volume.Stack(files)
	if err != nil {
		return nil, err
	}
	return volume.Load(ctx, g, runtime.GOMAXPROCS(0), nil)
}

// loser is the stage that lost a nodule.
type loser int

const (
	nobody loser = iota
	stage1
	stage2
)

func (l loser) String() string {
	return [...]string{"found", "no candidate of stage 1", "turned down by stage 2"}[l]
}

// lost says who lost each nodule of the scan at a threshold: stage 1, which gave
// no candidate there, or stage 2, which drew nothing or did not believe it.
func (s *scan) lost(threshold float64) []loser {
	out := make([]loser, len(s.places))
	for i := range out {
		switch f := s.best(i); {
		case f != nil && f.believed >= threshold:
		case f != nil || slices.Contains(s.candidates, i):
			out[i] = stage2
		default:
			out[i] = stage1
		}
	}
	return out
}

// best is the most believed finding that is nodule i; nil: there is none.
func (s *scan) best(i int) *found {
	var out *found
	for k := range s.found {
		if f := &s.found[k]; f.place == i && (out == nil || f.believed > out.believed) {
			out = f
		}
	}
	return out
}

// alarms counts the false positives at a threshold.
func (s *scan) alarms(threshold float64) int {
	n := 0
	for i := range s.found {
		if s.found[i].place < 0 && s.found[i].believed >= threshold {
			n++
		}
	}
	return n
}

func (s *scan) isWrong(threshold float64) bool {
	return s.alarms(threshold) > 0 || slices.ContainsFunc(s.lost(threshold), func(l loser) bool { return l != nobody })
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

// kinds are the rows of the FROC.
var kinds = []struct {
	key, name string
	is        func(place) bool
}{
	{"all", "all", func(place) bool { return true }},
	{"4_to_6_mm", "4 to 6 mm", func(p place) bool { return p.Diameter >= 4 && p.Diameter < 6 }},
	{"above_6_mm", "6 mm and more", func(p place) bool { return p.Diameter >= 6 }},
	{"above_10_mm", "10 mm and more", func(p place) bool { return p.Diameter >= 10 }},
	{"solid", "solid", place.solid},
	{"subsolid", "not or partly solid", func(p place) bool { return !p.solid() }},
}

// operating is what both stages give at one threshold of stage 2.
type operating struct {
	Threshold   float64 `json:"threshold"`
	Sensitivity float64 `json:"sensitivity"`
	PerScan     float64 `json:"false_positives_per_scan"`
	Lost        struct {
		Stage1 int `json:"stage1"`
		Stage2 int `json:"stage2"`
	} `json:"lost"`
}

func operate(scans []scan, threshold float64) operating {
	o := operating{Threshold: threshold}
	nodules, alarms := 0, 0
	for i := range scans {
		alarms += scans[i].alarms(threshold)
		for _, by := range scans[i].lost(threshold) {
			nodules++
			switch by {
			case stage1:
				o.Lost.Stage1++
			case stage2:
				o.Lost.Stage2++
			}
		}
	}
	if nodules > 0 {
		o.Sensitivity = rounded(1 - float64(o.Lost.Stage1+o.Lost.Stage2)/float64(nodules))
	}
	o.PerScan = rounded(float64(alarms) / float64(len(scans)))
	return o
}

// rounded is to four digits: more mean nothing.
func rounded(v float64) float64 { return math.Round(v*1e4) / 1e4 }

// scanReport is the JSON file of whole scans.
type scanReport struct {
	Scans     int                           `json:"scans"`
	Nodules   int                           `json:"nodules"`
	Algorithm result.Algorithm              `json:"algorithm"`
	Shipped   operating                     `json:"at_shipped_threshold"`
	Operating []operating                   `json:"at_thresholds"`
	FROC      map[string]map[string]float64 `json:"froc"` // kind, then false positives a scan; "nodules": their number
}

// thresholds are those that the report compares with the shipped one.
var thresholds = []float64{0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9}

func summariseScans(scans []scan, algorithm result.Algorithm, shipped float64) *scanReport {
	r := &scanReport{Scans: len(scans), Algorithm: algorithm, Shipped: operate(scans, shipped), FROC: map[string]map[string]float64{}}
	for _, t := range thresholds {
		r.Operating = append(r.Operating, operate(scans, t))
	}
	for _, s := range scans {
		r.Nodules += len(s.places)
	}
	for _, kind := range kinds {
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
		row, points := map[string]float64{"nodules": float64(n)}, froc(scans, kind.is)
		for _, fp := range falsePositives {
			row[fmt.Sprint(fp)] = rounded(sensitivity(points, fp))
		}
		r.FROC[kind.key] = row
	}
	return r
}

func (r *scanReport) write(w io.Writer, scans []scan) {
	threshold := r.Shipped.Threshold
	fmt.Fprintf(w, "%d scans. At the shipped threshold of %.2f:\n", r.Scans, threshold)
	for i := range scans {
		s := &scans[i]
		hits := 0
		for _, by := range s.lost(threshold) {
			if by == nobody {
				hits++
			}
		}
		fmt.Fprintf(w, "  %-24s %d of %d nodules, %d false positives\n", s.name, hits, len(s.places), s.alarms(threshold))
	}
	fmt.Fprintf(w, "  missed: %d had no candidate of stage 1, %d were turned down by stage 2\n", r.Shipped.Lost.Stage1, r.Shipped.Lost.Stage2)
	fmt.Fprintf(w, "\nThresholds of stage 2\n  %-12s %12s %24s %16s %16s\n", "", "sensitivity", "false positives a scan", "lost by stage 1", "lost by stage 2")
	for _, o := range append(slices.Clone(r.Operating), r.Shipped) {
		name := fmt.Sprintf("%.2f", o.Threshold)
		if o == r.Shipped {
			name += " shipped"
		}
		fmt.Fprintf(w, "  %-12s %12.3f %24.2f %16d %16d\n", name, o.Sensitivity, o.PerScan, o.Lost.Stage1, o.Lost.Stage2)
	}
	fmt.Fprintf(w, "\nFROC: sensitivity at false positives a scan\n  %-22s %8s", "", "nodules")
	for _, fp := range falsePositives {
		fmt.Fprintf(w, "%8g", fp)
	}
	fmt.Fprintln(w)
	for _, kind := range kinds {
		row, ok := r.FROC[kind.key]
		if !ok {
			continue
		}
		fmt.Fprintf(w, "  %-22s %8.0f", kind.name, row["nodules"])
		for _, fp := range falsePositives {
			fmt.Fprintf(w, "%8.3f", row[fmt.Sprint(fp)])
		}
		fmt.Fprintln(w)
	}
}
