package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"

	"github.com/pulmonode/pulmonode/inference"
	"github.com/pulmonode/pulmonode/inference/refine"
	"github.com/pulmonode/pulmonode/inference/result"
)

// overlap compares two contours voxel by voxel: on the slices where the truth is,
// and on all.
type overlap struct {
	dice         float64 // slices with truth
	diceAll      float64
	overlapError float64 // 1 - intersection / union, slices with truth
}

// score is what the pipeline made of a nodule.
type score struct {
	*nodule
	fold     int     // of a cross-validation
	refined  overlap // stage 2, on the CT's own grid
	located  overlap // stage 1 alone, its cube cut at 0.5
	readers  []float64
	between  []float64 // Dice of each pair of readers
	member   []float64 // Dice of each reader and the consensus that contains him
	drawn    bool
	mask     *result.Mask    // nil: nothing was drawn
	measured refine.Measures // of what was drawn
	believed float64         // probability that it is a nodule
	rated    [4]float64      // calibrated probabilities of label 1
}

const cubeThreshold = 0.5

func judgeAll(ctx context.Context, p *inference.Pipeline, nodules []nodule, fold int, done func()) ([]score, error) {
	var scores []score
	for i := range nodules {
		s, err := judge(ctx, p, &nodules[i])
		if err != nil {
			return nil, fmt.Errorf("nodule %s: %w", nodules[i].key, err)
		}
		s.fold = fold
		scores = append(scores, s)
		done()
	}
	return scores, nil
}

// list writes a line a nodule.
func list(path string, scores []score) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := csv.NewWriter(f)
	row := []string{"key", "patient", "fold", "diameter_mm", "drawn", "nodule", "dice", "dice_all_slices", "overlap_error", "stage1_dice", "predicted_diameter_mm", "predicted_mean_hu"}
	for _, name := range result.Characteristics {
		row = append(row, name, name+"_label")
	}
	w.Write(row)
	for i := range scores {
		s := &scores[i]
		row := []string{s.key, s.patient, strconv.Itoa(s.fold), digits(s.diameterMM), strconv.FormatBool(s.drawn), exact(s.believed),
			digits(s.refined.dice), digits(s.refined.diceAll), digits(s.refined.overlapError), digits(s.located.dice), "", ""}
		if s.drawn {
			row[len(row)-2], row[len(row)-1] = digits(sphere(s.measured.VolumeMM3)), digits(s.measured.MeanHU)
		}
		for k := range s.rated {
			row = append(row, exact(s.rated[k]), strconv.Itoa(int(bit(s.label[k]))))
		}
		w.Write(row)
	}
	w.Flush()
	return w.Error()
}

// sphere is the diameter of the ball of a volume, mm: index.csv's diameter_mm of
// the consensus.
func sphere(mm3 float64) float64 { return math.Cbrt(6 * mm3 / math.Pi) }

func exact(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

func judge(ctx context.Context, p *inference.Pipeline, n *nodule) (score, error) {
	s := score{nodule: n}
	at, truth := n.candidate()
	found, err := p.Outline(ctx, n.ct, at)
	if err != nil {
		return s, err
	}
	drawn := make([]bool, len(truth))
	if found != nil {
		s.drawn, s.mask, s.believed = true, &found.Mask, found.Probability
		s.measured = refine.Measure(n.ct.Grid, &found.Mask, func(x, y, z int) int16 { return n.ct.HU[(z*n.ct.NY+y)*n.ct.NX+x] })
		for k := range s.rated {
			s.rated[k] = found.Characteristics[k].Probability
		}
		for i := range drawn {
			drawn[i] = found.Mask.At(i%n.ct.NX, i/n.ct.NX%n.ct.NY, i/(n.ct.NX*n.ct.NY))
		}
	} else {
		s.rated = [4]float64{0.5, 0.5, 0.5, 0.5} // nothing is said of what was not drawn
	}
	cube, err := p.Cube(ctx, n.ct, at.Center)
	if err != nil {
		return s, err
	}
	located := make([]bool, len(truth))
	for i, v := range cube {
		located[i] = v >= cubeThreshold
	}
	plane := n.ct.NX * n.ct.NY
	s.refined, s.located = compare(drawn, truth, plane), compare(located, truth, plane)
	masks := make([][]bool, n.readers)
	for r := range masks {
		masks[r] = make([]bool, len(truth))
		for i, b := range n.outlines {
			masks[r][i] = b>>r&1 == 1
		}
		s.readers = append(s.readers, dice(drawn, masks[r]))
		s.member = append(s.member, dice(masks[r], truth))
		for q := range r {
			s.between = append(s.between, dice(masks[r], masks[q]))
		}
	}
	return s, nil
}

// candidate is the consensus as stage 1 would hand it on, and its voxels.
func (n *nodule) candidate() (refine.Candidate, []bool) {
	truth := make([]bool, len(n.outlines))
	c := refine.Candidate{Score: 1}
	size := [3]int{n.ct.NX, n.ct.NY, n.ct.NZ}
	for a := range c.Min {
		c.Min[a] = float64(size[a])
	}
	voxels := 0.0
	for i := range truth {
		if truth[i] = n.consensus(i); !truth[i] {
			continue
		}
		voxels++
		for a, v := range [3]int{i % n.ct.NX, i / n.ct.NX % n.ct.NY, i / (n.ct.NX * n.ct.NY)} {
			c.Center[a] += float64(v)
			c.Min[a], c.Max[a] = min(c.Min[a], float64(v)-0.5), max(c.Max[a], float64(v)+0.5)
		}
	}
	for a := range c.Center {
		c.Center[a] /= voxels
	}
	return c, truth
}

func compare(drawn, truth []bool, plane int) overlap {
	var a, b, both int // on slices with truth
	var outside int    // drawn on the others
	for z := 0; z < len(truth); z += plane {
		var da, db, dboth int
		for i := z; i < z+plane; i++ {
			if drawn[i] {
				da++
			}
			if truth[i] {
				db++
				if drawn[i] {
					dboth++
				}
			}
		}
		if db == 0 {
			outside += da
			continue
		}
		a, b, both = a+da, b+db, both+dboth
	}
	return overlap{
		dice:         2 * float64(both) / float64(a+b),
		diceAll:      2 * float64(both) / float64(a+b+outside),
		overlapError: 1 - float64(both)/float64(a+b-both),
	}
}

func dice(a, b []bool) float64 {
	var na, nb, both uint
	for i := range a {
		x, y := bit(a[i]), bit(b[i])
		na, nb, both = na+x, nb+y, both+x&y
	}
	if na+nb == 0 {
		return 1
	}
	return 2 * float64(both) / float64(na+nb)
}

func bit(b bool) uint {
	if b {
		return 1
	}
	return 0
}
