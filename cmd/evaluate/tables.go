package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/pulmonode/pulmonode/inference/result"
)

// What Ni et al. print, in percent: their nodules are others (marked by two
// readers and more), so that the columns stand beside each other and no more.
var (
	paper4 = [][2]string{{"3D FCN", "70.62±24.31  43.41±22.21"}, {"V-Net", "71.01±14.02  42.82±15.23"}, {"3D U-Net", "72.80±14.62  41.02±15.65"}, {"3D MU-Net", "73.26±14.11  40.20±15.41"}}
	paper5 = [][2]string{{"2D U-Net", "78.40±14.41  33.01±16.51"}, {"2.5D U-Net", "81.24±14.92  29.62±15.72"}, {"2.5D Attention U-Net", "81.80±16.43  28.68±17.06"}, {"2.5D S-U-Net", "80.81±14.62  30.22±16.15"}, {"2.5D MSU-Net", "83.04±12.96  27.42±14.27"}}
	// accuracy, sensitivity, specificity, AUC
	paper7 = map[string][4]float64{"malignancy": {77.8, 83.4, 76.2, 84.3}, "margin": {75.6, 81.4, 75.0, 83.2}, "texture": {85.2, 92.7, 78.2, 90.6}, "calcification": {87.1, 92.4, 80.0, 90.1}}
	paper9 = map[string][2]string{ // label 0, label 1
		"malignancy": {"82.95±13.56  26.91±14.28", "83.11±12.49  27.82±14.33"}, "margin": {"81.32±16.12  30.57±15.37", "83.67±10.12  24.88±12.51"},
		"texture": {"81.89±14.39  30.12±16.21", "83.71±11.54  25.86±12.38"}, "calcification": {"85.14±11.65  23.15±14.59", "81.10±15.18  31.35±14.07"}}
)

// categories name the labels 0 and 1.
var categories = map[string][2]string{
	"malignancy": {"benign", "malignant"}, "margin": {"fuzzy margin", "clear margin"},
	"texture": {"not or partly solid", "solid"}, "calcification": {"calcified", "not calcified"},
}

func write(w io.Writer, r *report, scores []score) {
	line := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	figure := func(name string) string {
		v, ok := r.figures[name]
		if !ok {
			return "-"
		}
		i := r.intervals[name]
		text := fmt.Sprintf("%.3f (%.3f to %.3f)", v, i[0], i[1])
		if f, ok := r.folds[name]; ok {
			text += fmt.Sprintf(" [folds %.3f to %.3f]", f[0], f[1])
		}
		return text
	}
	line("%d nodules of %d patients, %s %s on %s. Intervals: 95 %%, bootstrap over patients, %d rounds.", r.Nodules, r.Patients, r.Algorithm.Name, r.Algorithm.Version, r.Algorithm.Provider, r.Rounds)
	if r.Folds > 0 {
		line("Cross-validation of %d folds by patient: each nodule was judged by the one network of stage 2 that never saw its patient. In brackets: the lowest and the highest fold.", r.Folds)
		if r.sharedStage1 {
			line("Stage 1 is one network for all folds, which may have seen them: table 4 is not cross-validated.")
		}
	}
	for _, m := range r.Algorithm.Models {
		line("  %s %s, SHA-256 %s", m.Role, m.Version, m.SHA256)
	}
	located := func(s *score) (float64, float64) { return s.located.dice, s.located.overlapError }
	refined := func(s *score) (float64, float64) { return s.refined.dice, s.refined.overlapError }

	line("\nTable 4, stage 1 alone: Dice and overlap error, %%, slices with truth (one cube about the nodule; around the crop its border goes on)")
	line("  %-24s %s%s", "these models", spread(scores, located), perFold(scores, located))
	for _, p := range paper4 {
		line("  %-24s %s", "Ni et al., "+p[0], p[1])
	}
	line("\nTable 5, stage 2: Dice and overlap error, %%, slices with truth, the CT's own voxels")
	line("  %-24s %s%s", "these models", spread(scores, refined), perFold(scores, refined))
	for _, p := range paper5 {
		line("  %-24s %s", "Ni et al., "+p[0], p[1])
	}
	line("  Dice %s; all slices %s; > 10 mm %s", figure("dice_mean"), figure("dice_all_slices"), figure("dice_above_10mm"))
	line("  overlap error %s; share below Dice 0.5: %s", figure("overlap_error_mean"), figure("dice_below_0_5"))
	line("  kept as nodules by stage 2's threshold %.2f: %s", r.Thresholds["nodule"], figure("believed"))

	line("\nTable 6, Dice with each reader, %%, all slices (Ni et al.: 82.90±0.43; readers among themselves 82.51±0.59, on other masks)")
	for _, row := range []struct {
		name string
		of   func(*score) []float64
	}{{"these models and a reader", func(s *score) []float64 { return s.readers }},
		{"two readers", func(s *score) []float64 { return s.between }},
		{"a reader and the consensus that contains him", func(s *score) []float64 { return s.member }}} {
		var list []float64
		for i := range scores {
			if v := row.of(&scores[i]); len(v) > 0 {
				m, _ := moments(v)
				list = append(list, m)
			}
		}
		m, sd := moments(list)
		line("  %-46s %.2f±%.2f", row.name, 100*m, 100*sd)
	}

	line("\nTable 7, characteristics at the shipped thresholds (Ni et al.: accuracy/sensitivity/specificity/AUC, %%)")
	for _, name := range result.Characteristics {
		p := paper7[name]
		line("  %-14s accuracy %s, sensitivity %s, specificity %s", name, figure("accuracy."+name), figure("sensitivity."+name), figure("specificity."+name))
		line("  %-14s AUC %s, Brier %s   (%.1f/%.1f/%.1f/%.1f)", "", figure("auc."+name), figure("brier."+name), p[0], p[1], p[2], p[3])
	}

	line("\nTable 9, stage 2 by characteristic: number, Dice and overlap error, %%")
	for k, name := range result.Characteristics {
		for label, category := range categories[name] {
			of := slices.DeleteFunc(slices.Clone(scores), func(s score) bool { return bit(s.label[k]) != uint(label) })
			line("  %-20s %4d  %-26s Ni et al. %s", category, len(of), spread(of, refined), paper9[name][label])
		}
	}

	line("\nBands of malignancy: above %.2f malignant in %s (Ni et al. 0.947); below %.2f benign in %s (0.941); between them %s",
		result.MalignancyHigh, figure("bands.high_precision"), result.MalignancyLow, figure("bands.low_precision"), figure("bands.indeterminate"))

	line("\nCalibration: mean probability > share with label 1 (nodules)")
	for k, name := range result.Characteristics {
		var cells []string
		for _, b := range reliability(scores, k) {
			cells = append(cells, fmt.Sprintf("%.2f > %.2f (%d)", b.said, b.was, b.n))
		}
		line("  %-14s %s", name, strings.Join(cells, ", "))
	}
}

// spread is mean and standard deviation of Dice and overlap error in percent.
func spread(scores []score, of func(*score) (dice, overlapError float64)) string {
	var d, o []float64
	for i := range scores {
		a, b := of(&scores[i])
		d, o = append(d, a), append(o, b)
	}
	dm, ds := moments(d)
	om, os := moments(o)
	return fmt.Sprintf("%.2f±%.2f  %.2f±%.2f", 100*dm, 100*ds, 100*om, 100*os)
}

// perFold is the lowest and highest mean of the folds, as the paper prints them;
// empty without folds.
func perFold(scores []score, of func(*score) (dice, overlapError float64)) string {
	type sums struct{ dice, overlapError, n float64 }
	folds := map[int]sums{}
	for i := range scores {
		f := folds[scores[i].fold]
		d, o := of(&scores[i])
		folds[scores[i].fold] = sums{f.dice + d, f.overlapError + o, f.n + 1}
	}
	if len(folds) < 2 {
		return ""
	}
	var d, o []float64
	for _, f := range folds {
		d, o = append(d, 100*f.dice/f.n), append(o, 100*f.overlapError/f.n)
	}
	return fmt.Sprintf("  (folds %.1f to %.1f, %.1f to %.1f)", slices.Min(d), slices.Max(d), slices.Min(o), slices.Max(o))
}

func moments(list []float64) (mean, sd float64) {
	for _, v := range list {
		mean += v
	}
	mean /= float64(len(list))
	for _, v := range list {
		sd += (v - mean) * (v - mean)
	}
	return mean, math.Sqrt(sd / float64(len(list)))
}

// bin is a tenth of the scale of probabilities.
type bin struct {
	said, was float64 // mean probability, share with label 1
	n         int
}

// reliability lists the tenths that hold a nodule.
func reliability(scores []score, k int) []bin {
	var tenths [10]bin
	for _, s := range scores {
		b := &tenths[min(int(s.rated[k]*10), 9)]
		b.said, b.was, b.n = b.said+s.rated[k], b.was+float64(bit(s.label[k])), b.n+1
	}
	var out []bin
	for _, b := range tenths {
		if b.n > 0 {
			out = append(out, bin{b.said / float64(b.n), b.was / float64(b.n), b.n})
		}
	}
	return out
}
