package main

import (
	"cmp"
	"encoding/json"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/pulmonode/pulmonode/inference/result"
)

// figures are what is said of a set of nodules, by name: "dice_mean",
// "auc.malignancy". One that the set does not give (an AUC of one class alone)
// is missing.
type figures map[string]float64

func (f figures) set(name string, v float64) {
	if !math.IsNaN(v) && !math.IsInf(v, 0) {
		f[name] = v
	}
}

// figure measures a set of nodules.
func figure(scores []score, thresholds map[string]float64) figures {
	f := figures{}
	mean := func(name string, of func(*score) (v float64, counts bool)) {
		sum, n := 0.0, 0.0
		for i := range scores {
			if v, counts := of(&scores[i]); counts {
				sum, n = sum+v, n+1
			}
		}
		f.set(name, sum/n)
	}
	every := func(of func(*score) float64) func(*score) (float64, bool) {
		return func(s *score) (float64, bool) { return of(s), true }
	}
	share := func(of func(*score) bool) func(*score) (float64, bool) {
		return every(func(s *score) float64 { return float64(bit(of(s))) })
	}
	mean("dice_mean", every(func(s *score) float64 { return s.refined.dice }))
	mean("dice_all_slices", every(func(s *score) float64 { return s.refined.diceAll }))
	mean("dice_below_0_5", share(func(s *score) bool { return s.refined.dice < 0.5 }))
	mean("dice_above_10mm", func(s *score) (float64, bool) { return s.refined.dice, s.diameterMM > 10 })
	mean("overlap_error_mean", every(func(s *score) float64 { return s.refined.overlapError }))
	mean("stage1_dice_mean", every(func(s *score) float64 { return s.located.dice }))
	mean("stage1_overlap_error_mean", every(func(s *score) float64 { return s.located.overlapError }))
	mean("believed", share(func(s *score) bool { return s.drawn && s.believed >= thresholds["nodule"] }))

	malignancy := func(s *score) float64 { return s.rated[0] }
	high := func(s *score) bool { return malignancy(s) > result.MalignancyHigh }
	low := func(s *score) bool { return malignancy(s) < result.MalignancyLow }
	mean("bands.high_precision", func(s *score) (float64, bool) { return float64(bit(s.label[0])), high(s) })
	mean("bands.low_precision", func(s *score) (float64, bool) { return float64(bit(!s.label[0])), low(s) })
	mean("bands.indeterminate", share(func(s *score) bool { return !high(s) && !low(s) }))

	for k, name := range result.Characteristics {
		cut := thresholds[name]
		f.set("auc."+name, auc(scores, k))
		mean("brier."+name, every(func(s *score) float64 {
			d := s.rated[k] - float64(bit(s.label[k]))
			return d * d
		}))
		right := func(s *score) float64 { return float64(bit((s.rated[k] >= cut) == s.label[k])) }
		mean("accuracy."+name, every(right))
		mean("sensitivity."+name, func(s *score) (float64, bool) { return right(s), s.label[k] })
		mean("specificity."+name, func(s *score) (float64, bool) { return right(s), !s.label[k] })
	}
	return f
}

// auc is the area under the ROC curve: the share of pairs of a nodule with label
// 1 and one with label 0 that are in the right order, ties counting half.
func auc(scores []score, k int) float64 {
	type one struct {
		p     float64
		label bool
	}
	list := make([]one, len(scores))
	for i, s := range scores {
		list[i] = one{s.rated[k], s.label[k]}
	}
	slices.SortFunc(list, func(a, b one) int { return cmp.Compare(a.p, b.p) })
	var ones, zeros, pairs float64 // zeros: so far
	for i := 0; i < len(list); {
		var here [2]float64
		j := i
		for ; j < len(list) && list[j].p == list[i].p; j++ {
			here[bit(list[j].label)]++
		}
		pairs += here[1] * (zeros + here[0]/2)
		ones, zeros, i = ones+here[1], zeros+here[0], j
	}
	return pairs / (ones * zeros)
}

// interval is from the 2.5th to the 97.5th percentile.
type interval [2]float64

// bootstrap draws patients with replacement, all nodules of a patient together,
// and returns the 95 % interval of each figure. The draws are the same at every
// run.
func bootstrap(scores []score, thresholds map[string]float64, rounds int) map[string]interval {
	of := map[string][]score{}
	for _, s := range scores {
		of[s.patient] = append(of[s.patient], s)
	}
	patients := slices.Sorted(maps.Keys(of))
	rng := rand.New(rand.NewPCG(2022, 292))
	drawn := map[string][]float64{}
	for range rounds {
		var sample []score
		for range patients {
			sample = append(sample, of[patients[rng.IntN(len(patients))]]...)
		}
		for name, v := range figure(sample, thresholds) {
			drawn[name] = append(drawn[name], v)
		}
	}
	out := map[string]interval{}
	for name, list := range drawn {
		slices.Sort(list)
		at := func(q float64) float64 { return list[int(math.Round(q*float64(len(list)-1)))] }
		out[name] = interval{at(0.025), at(0.975)}
	}
	return out
}

// report is the JSON file: figures by name, those of the characteristics nested,
// and the intervals in the same shape.
type report struct {
	Nodules, Patients int
	Algorithm         result.Algorithm
	Thresholds        map[string]float64
	Rounds            int
	Folds             int  // of a cross-validation; 0: none
	sharedStage1      bool // the folds have none of their own
	figures           figures
	intervals         map[string]interval
	folds             map[string]interval // lowest and highest of the folds
}

// MarshalJSON writes figures to four digits: more mean nothing.
func (r *report) MarshalJSON() ([]byte, error) {
	out := nest(r.figures, func(v float64) any { return jsonNumber(v) })
	out["interval_95"] = nest(r.intervals, func(v interval) any { return []json.Number{jsonNumber(v[0]), jsonNumber(v[1])} })
	if r.Folds > 0 {
		out["folds"] = r.Folds
		out["folds_min_max"] = nest(r.folds, func(v interval) any { return []json.Number{jsonNumber(v[0]), jsonNumber(v[1])} })
	}
	out["nodules"], out["patients"], out["bootstrap_rounds"] = r.Nodules, r.Patients, r.Rounds
	out["algorithm"], out["thresholds"] = r.Algorithm, r.Thresholds
	return json.Marshal(out)
}

func digits(v float64) string { return strconv.FormatFloat(v, 'f', 4, 64) }

func jsonNumber(v float64) json.Number { return json.Number(digits(v)) }

func nest[V any](flat map[string]V, as func(V) any) map[string]any {
	out := map[string]any{}
	for name, v := range flat {
		group, key, nested := strings.Cut(name, ".")
		if !nested {
			out[name] = as(v)
			continue
		}
		if out[group] == nil {
			out[group] = map[string]any{}
		}
		out[group].(map[string]any)[key] = as(v)
	}
	return out
}

// summarise fills the figures in; thresholds and algorithm are there.
func (r *report) summarise(scores []score, rounds int) {
	patients := map[string]bool{}
	for _, s := range scores {
		patients[s.patient] = true
	}
	r.Nodules, r.Patients, r.Rounds = len(scores), len(patients), rounds
	r.figures, r.intervals = figure(scores, r.Thresholds), bootstrap(scores, r.Thresholds, rounds)
	if r.Folds > 0 {
		r.folds = spans(scores, r.Thresholds)
	}
}

// spans gives the lowest and the highest of each figure over the folds.
func spans(scores []score, thresholds map[string]float64) map[string]interval {
	folds := map[int][]score{}
	for _, s := range scores {
		folds[s.fold] = append(folds[s.fold], s)
	}
	out := map[string]interval{}
	for _, of := range folds {
		for name, v := range figure(of, thresholds) {
			if i, ok := out[name]; ok {
				out[name] = interval{min(i[0], v), max(i[1], v)}
			} else {
				out[name] = interval{v, v}
			}
		}
	}
	return out
}
