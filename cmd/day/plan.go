package main

import "math"

// A day's pattern: how many series come in each hour, in proportion. The scanners
// start at seven, the morning is full, noon is quiet, the night has emergencies.
var pattern = [24]float64{1, 1, 1, 1, 1, 1, 2, 5, 10, 12, 12, 9, 4, 5, 9, 9, 8, 5, 3, 2, 1, 1, 1, 1}

// habit is how a sender sends.
type habit int

const (
	oneAssociation habit = iota
	oneSlice             // an association for each slice
	several              // four associations at once for one series
	slow                 // the slices trickle in
	twice                // everything again at once, and once more an hour later
	late                 // two slices after the series was closed
	interleaved          // two series slice by slice, broken off in the middle and taken up again
	wrong                // other SOP classes, wrong AE titles, broken data sets, series that can't be analysed
	habits
)

var habitNames = [habits]string{"one association a series", "one association a slice", "four associations at once", "slow",
	"everything twice", "late slices", "two series interleaved, aborted and resumed", "wrong objects"}

// arrival is a series, or two that are interleaved, and when it comes.
type arrival struct {
	hour   float64
	habit  habit
	series []planned
}

type planned struct {
	number  int
	flaw    flaw
	whole   bool // a chest of the usual size
	anatomy int
}

// plan spreads n series over the day. The same n gives the same day.
func plan(n, whole, anatomies int) (all []arrival) {
	total := 0.
	for _, p := range pattern {
		total += p
	}
	flawed := []flaw{thick, few, localizer, derived, gap}
	pair := -1 // the arrival whose second series is still to come
	for i := range n {
		p := planned{number: i + 1, anatomy: i % anatomies}
		h := habit(i) % habits
		// Half of what scanners send is not for the node: scouts, thick slices, reformats.
		if turn := i / int(habits) % 5; h == wrong || turn == 1 || turn == 3 {
			p.flaw = flawed[(i+i/int(habits))%len(flawed)]
		}
		if h == interleaved && pair >= 0 {
			all[pair].series = append(all[pair].series, p)
			pair = -1
			continue
		}
		want, hour := (float64(i)+0.5)/float64(n)*total, 0
		for ; hour < 23 && want > pattern[hour]; hour++ {
			want -= pattern[hour]
		}
		all = append(all, arrival{hour: float64(hour) + math.Min(want/pattern[hour], 1), habit: h, series: []planned{p}})
		if h == interleaved {
			pair = len(all) - 1
		}
	}
	// The chests of the usual size come when little else does.
	for i, k := 0, 0; i < len(all) && k < whole; i++ {
		if a := &all[i]; a.habit == oneAssociation && a.series[0].flaw == sound && a.hour >= []float64{1, 12, 19}[k] {
			a.series[0].whole = true
			k++
		}
	}
	return all
}
