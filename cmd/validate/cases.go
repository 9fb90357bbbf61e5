package main

import (
	"math"

	"github.com/pulmonode/pulmonode/inference/phantom"
	"github.com/pulmonode/pulmonode/inference/result"
)

// person is a Patient's Name as a scanner writes it, and as people read it.
type person struct{ charset, raw, utf8 string }

var (
	ascii   = person{"", "Doe^Jane", "Doe^Jane"}
	latin   = person{"ISO_IR 100", "M\xfcller^J\xf6rg", "Müller^Jörg"}
	chinese = person{"GB18030", "Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", "Wang^XiaoDong=王^小东"} // PS3.5 annex J
	arabic  = person{"ISO_IR 127", "\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1", "قباني^لنزار"}   // PS3.5 annex H, text order
)

// ellipsoid is a nodule in voxels of the CT: x, y, z.
type ellipsoid struct{ center, radius [3]float64 }

func ball(x, y, z, r float64) ellipsoid {
	return ellipsoid{[3]float64{x, y, z}, [3]float64{r, r, r}}
}

// scan is the geometry of a CT.
type scan struct {
	rows, columns, slices int
	orientation           [6]float64 // row, then column cosines
	spacing               [2]float64 // between rows, between columns, mm
	step                  [3]float64 // from slice to slice, mm
	reversed              bool       // numbered from the head to the feet
	enhanced              bool       // one multi-frame object
	tilt                  float64    // of the gantry, degrees
}

// specimen is a CT and what the analysis says of it.
type specimen struct {
	name    string
	scan    scan
	person  person
	nodules []ellipsoid
	ending  func(*result.Result) // for results that are not plain findings
	golden  bool                 // short enough for its report in words to be kept
	chest   *phantom.Options     // a chest with real nodules in place of ellipsoids
	viewed  bool                 // in the browser too
}

var axial = scan{
	rows: 120, columns: 128, slices: 16,
	orientation: [6]float64{1, 0, 0, 0, 1, 0}, spacing: [2]float64{2.5, 2.5}, step: [3]float64{0, 0, 2},
}

// with is the plain scan with something else about it.
func with(change func(*scan)) scan {
	s := axial
	change(&s)
	return s
}

func short(s *scan) { s.slices = 5 }

// oblique turns the slices about all three axes.
func oblique(s *scan) {
	a, b := 0.2, 0.3
	sa, ca := math.Sincos(a)
	sb, cb := math.Sincos(b)
	row := [3]float64{ca, sa, 0}
	column := [3]float64{-sa * cb, ca * cb, sb}
	s.orientation = [6]float64{row[0], row[1], row[2], column[0], column[1], column[2]}
	normal := [3]float64{row[1]*column[2] - row[2]*column[1], row[2]*column[0] - row[0]*column[2], row[0]*column[1] - row[1]*column[0]}
	s.step = [3]float64{2 * normal[0], 2 * normal[1], 2 * normal[2]}
}

// tilted leans the gantry: the table moves along z, not along the normal.
func tilted(s *scan) {
	s.tilt = 15
	sin, cos := math.Sincos(s.tilt * math.Pi / 180)
	s.orientation = [6]float64{1, 0, 0, 0, cos, -sin}
}

// lattice is n nodules in rows of ten, in several layers of slices.
func lattice(n int) []ellipsoid {
	var out []ellipsoid
	for i := range n {
		out = append(out, ball(19+10*float64(i%10), 22+15*float64(i/10), 4+2*float64(i%5), 2.5+float64(i%3)/2))
	}
	return out
}

var (
	one   = []ellipsoid{ball(40, 60, 8, 5)}
	two   = []ellipsoid{{[3]float64{34, 54, 7}, [3]float64{6, 4, 5}}, ball(92, 66, 10, 4)}
	eight = []ellipsoid{
		ball(30, 45, 4, 3), ball(38, 70, 6, 4), {[3]float64{45, 55, 8}, [3]float64{6, 3, 4}}, ball(33, 60, 12, 2),
		ball(90, 50, 5, 5), ball(98, 72, 8, 3), {[3]float64{85, 62, 9}, [3]float64{3, 6, 2}}, ball(95, 58, 11, 4),
	}
)

var cases = []specimen{
	{name: "no nodule", scan: axial, person: ascii, ending: none},
	{name: "one nodule", scan: axial, person: ascii, nodules: one},
	{name: "8 nodules", scan: axial, person: ascii, nodules: eight, viewed: true},
	{name: "60 nodules", scan: axial, person: ascii, nodules: lattice(60)},
	{name: "touching nodules", scan: axial, person: ascii, nodules: []ellipsoid{ball(36, 60, 8, 4), ball(44, 60, 8, 4), ball(40, 67, 9, 4)}},
	{name: "nodule in one slice", scan: with(short), person: ascii, nodules: []ellipsoid{{[3]float64{40, 60, 2}, [3]float64{4, 3, 0.5}}}, golden: true},
	{name: "odd matrix", scan: with(func(s *scan) { s.rows, s.columns, s.slices = 101, 127, 15 }), person: ascii, nodules: []ellipsoid{ball(38, 50, 7, 5), ball(90, 52, 8, 3)}, viewed: true},
	{name: "slices from the head", scan: with(func(s *scan) { s.reversed = true }), person: ascii, nodules: two, viewed: true},
	{name: "oblique", scan: with(oblique), person: ascii, nodules: two, viewed: true},
	{name: "anisotropic", scan: with(func(s *scan) { s.spacing, s.step = [2]float64{2.1, 1.7}, [3]float64{0, 0, 3} }), person: ascii, nodules: two},
	{name: "gantry tilt", scan: with(tilted), person: ascii, nodules: two, viewed: true},
	{name: "enhanced CT", scan: with(func(s *scan) { s.enhanced = true }), person: ascii, nodules: two, viewed: true},
	{name: "Latin name", scan: axial, person: latin, nodules: two},
	{name: "Chinese name", scan: axial, person: chinese, nodules: two},
	{name: "Arabic name", scan: axial, person: arabic, nodules: two},
	{name: "phantom chest", person: person{utf8: "PHANTOM^CHEST"}, chest: &phantom.Options{Seed: 7, Slices: 24, SpacingZ: 5, Nodules: 5, NoiseHU: 6}, viewed: true},
	{name: "no nodule in a part", scan: with(short), person: latin, golden: true, ending: func(r *result.Result) {
		none(r)
		r.Partial, r.Warnings = true, []string{"The lungs are not wholly in view."}
	}},
	{name: "second generation", scan: axial, person: ascii, nodules: one, ending: func(r *result.Result) {
		r.Generation, r.Predecessor, r.PredecessorSeries = 2, uid(r.Series.SeriesInstanceUID, "sr", 0), uid(r.Series.SeriesInstanceUID, "sr series", 0)
	}},
	{name: "not attempted", scan: with(short), person: ascii, golden: true, ending: ended(result.OutcomeSkipped, "Slices are 5.0 mm apart; at most 3.0 mm are analysed: ask for the thin reconstruction.")},
	{name: "failed", scan: with(short), person: ascii, golden: true, ending: ended(result.OutcomeFailed, "Slice 12 could not be decoded: send the series again.")},
}

func none(r *result.Result) { r.Outcome = result.OutcomeNone }

// ended is an analysis that was not done.
func ended(o result.Outcome, why string) func(*result.Result) {
	return func(r *result.Result) {
		r.Outcome, r.Reason, r.Grid, r.Algorithm = o, why, nil, result.Algorithm{}
	}
}
