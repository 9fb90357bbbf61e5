package sr

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/pulmonode/pulmonode/inference/result"
)

// Table is the report as text that a person reads: how the analysis ended
// first, then the nodules, then what to beware of.
func (r *Report) Table() string {
	var b strings.Builder
	fmt.Fprintln(&b, statement(r.Outcome, len(r.Nodules), r.Partial))
	if r.Reason != "" {
		fmt.Fprintln(&b, printable(r.Reason))
	}
	for _, w := range r.Warnings {
		fmt.Fprintln(&b, "Warning:", printable(w))
	}
	if len(r.Nodules) > 0 {
		fmt.Fprintln(&b)
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprint(t, "ID\tSIDE\tSIZE mm\tVOLUME mm3")
		for _, key := range result.Characteristics {
			fmt.Fprint(t, "\t", strings.ToUpper(key))
		}
		fmt.Fprintln(t)
		for _, n := range r.Nodules {
			side := cmp.Or(strings.TrimSpace(n.Laterality+" "+printable(n.Site)), "-")
			fmt.Fprintf(t, "%s\t%s\t%s x %s\t%s", printable(n.ID), side,
				number(n.LongAxisMM, 1), number(n.ShortAxisMM, 1), number(n.VolumeMM3, 0))
			for _, key := range result.Characteristics {
				fmt.Fprint(t, "\t", n.Characteristics[key])
			}
			fmt.Fprintln(t)
		}
		t.Flush()
		var likely []string
		for _, c := range characteristics {
			likely = append(likely, strings.TrimPrefix(c.phrase, "Probability of "))
		}
		fmt.Fprintf(&b, "In brackets the probability of %s.\n\n", strings.Join(likely, ", "))
	}
	if r.Algorithm.Name != "" {
		fmt.Fprintf(&b, "By %s %s.\n", printable(r.Algorithm.Name), printable(r.Algorithm.Version))
	}
	if r.Verification == "VERIFIED" {
		fmt.Fprintln(&b, "Not for clinical use.")
	} else {
		fmt.Fprintln(&b, notice)
	}
	return b.String()
}

// String is the word and the probability that it was given for.
func (c Characteristic) String() string {
	word := printable(c.Label)
	if word == "" {
		word = "-"
	}
	if c.Probability == nil {
		return word
	}
	switch p := *c.Probability; { // nothing is said to be certain
	case p > 0.994:
		return word + " (>0.99)"
	case p < 0.006:
		return word + " (<0.01)"
	default:
		return fmt.Sprintf("%s (%.2f)", word, p)
	}
}

func number(v *float64, digits int) string {
	if v == nil {
		return "?"
	}
	return fmt.Sprintf("%.*f", digits, *v)
}

// printable keeps what a report says from moving the cursor of a terminal or the
// columns of the table.
func printable(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case r < 0x20 || r >= 0x7F && r < 0xA0:
			return -1
		}
		return r
	}, s))
}
