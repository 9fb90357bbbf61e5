package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
)

// report is what a day showed.
type report struct {
	Series      int            `json:"series"`
	Length      string         `json:"length"` // of 24 hours
	Instances   int            `json:"instances_confirmed"`
	Refused     int64          `json:"answers_out_of_resources"`
	Wrong       int64          `json:"wrong_things_refused"`
	States      map[string]int `json:"states"`
	Generations int            `json:"generations"`

	Promises []kept   `json:"promises"`
	Broken   []string `json:"broken"`

	ToFirst      spread  `json:"seconds_to_first_destination"` // from the last instance
	ToAll        spread  `json:"seconds_to_all_destinations"`
	StoreSeconds spread  `json:"seconds_of_a_store"`
	MemoryMiB    float64 `json:"memory_mib_most"`
	Descriptors  float64 `json:"descriptors_most"`

	Events   []event   `json:"events"`
	Delays   []delay   `json:"delays"`
	Samples  []sample  `json:"samples"`
	Capacity *capacity `json:"capacity,omitempty"`
}

type kept struct {
	Promise string `json:"promise"`
	Said    string `json:"said"`
	Kept    bool   `json:"kept"`
}

// delay is how long a series took from its last instance.
type delay struct {
	Series int     `json:"series"`
	Hour   float64 `json:"hour"` // of the last instance
	First  float64 `json:"to_first_destination_s"`
	All    float64 `json:"to_all_destinations_s"`
}

// spread is what many times have in common.
type spread struct {
	N                   int `json:"n"`
	P50, P95, P99, Most float64
}

func spreadOf(v []float64) spread {
	if len(v) == 0 {
		return spread{}
	}
	v = slices.Sorted(slices.Values(v))
	at := func(p float64) float64 { return v[max(int(math.Ceil(p*float64(len(v))))-1, 0)] }
	return spread{N: len(v), P50: at(0.5), P95: at(0.95), P99: at(0.99), Most: v[len(v)-1]}
}

func (r *report) print(out io.Writer) {
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, p := range r.Promises {
		word := "kept"
		if !p.Kept {
			word = "BROKEN"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", word, p.Promise, p.Said)
	}
	w.Flush()
	fmt.Fprintf(out, "\n%d instances of %d series confirmed, %d times the disk was full\n", r.Instances, r.Series, r.Refused)
	w = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "from the last instance, in s\tp50\tp95\tp99\tmost")
	for _, row := range []struct {
		name string
		spread
	}{{"to the first destination", r.ToFirst}, {"to all destinations", r.ToAll}, {"a C-STORE", r.StoreSeconds}} {
		fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%.2f\t%.2f\n", row.name, row.P50, row.P95, row.P99, row.Most)
	}
	w.Flush()
	if r.Capacity != nil {
		r.Capacity.print(out)
	}
}
