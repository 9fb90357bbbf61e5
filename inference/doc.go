// Package inference turns a CT series into findings.
//
// A [Pipeline] holds the two networks. [Pipeline.Analyze] takes the files of one
// series through five steps: the slices are stacked and decoded into one volume
// of Hounsfield units (volume, pixel), resampled to 1 mm, the lungs are found,
// stage 1 searches them for candidates (localize), and stage 2 draws, judges and
// rates each candidate on the CT's own grid (refine). What comes out is a
// [result.Result].
//
// Analyze never says "none" of a series that it did not search completely: a
// step that fails fails the analysis, a series that cannot be analysed by rule
// is skipped with a sentence.
package inference
