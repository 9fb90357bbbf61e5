package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"

	"github.com/pulmonode/pulmonode/inference/result"
)

const (
	rocPicture         = "roc.png"
	calibrationPicture = "calibration.png"
	pictureSide        = 12 * vg.Centimeter
)

// drawCurves writes the ROC curves and the reliability curves.
func drawCurves(dir string, scores []score) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, p := range []struct {
		file, title, x, y string
		of                func(k int) plotter.XYs
	}{
		{rocPicture, "ROC", "1 - specificity", "sensitivity", func(k int) plotter.XYs { return roc(scores, k) }},
		{calibrationPicture, "Calibration", "probability", "share with label 1", func(k int) plotter.XYs {
			var xy plotter.XYs
			for _, b := range reliability(scores, k) {
				xy = append(xy, plotter.XY{X: b.said, Y: b.was})
			}
			return xy
		}},
	} {
		picture := plot.New()
		picture.Title.Text, picture.X.Label.Text, picture.Y.Label.Text = p.title, p.x, p.y
		picture.X.Min, picture.X.Max, picture.Y.Min, picture.Y.Max = 0, 1, 0, 1
		picture.Legend.Top, picture.Legend.Left = p.file == calibrationPicture, p.file == calibrationPicture
		picture.Add(plotter.NewGrid())
		var lines []any
		for k, name := range result.Characteristics {
			label := name
			if p.file == rocPicture {
				label = fmt.Sprintf("%s, %.3f", name, auc(scores, k))
			}
			lines = append(lines, label, p.of(k))
		}
		if err := plotutil.AddLines(picture, lines...); err != nil {
			return fmt.Errorf("draw %s: %w", p.file, err)
		}
		if err := picture.Save(pictureSide, pictureSide, filepath.Join(dir, p.file)); err != nil {
			return fmt.Errorf("draw %s: %w", p.file, err)
		}
	}
	return nil
}

// roc are the points of the curve, from (0, 0) to (1, 1).
func roc(scores []score, k int) plotter.XYs {
	sorted := slices.Clone(scores)
	slices.SortFunc(sorted, func(a, b score) int { return cmp.Compare(b.rated[k], a.rated[k]) })
	var total, so [2]float64
	for _, s := range sorted {
		total[bit(s.label[k])]++
	}
	xy := plotter.XYs{{}}
	for i, s := range sorted {
		so[bit(s.label[k])]++
		if i+1 == len(sorted) || sorted[i+1].rated[k] != s.rated[k] {
			xy = append(xy, plotter.XY{X: so[0] / max(total[0], 1), Y: so[1] / max(total[1], 1)})
		}
	}
	return xy
}
