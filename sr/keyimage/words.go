package keyimage

import (
	"cmp"
	"fmt"
	"image/color"
	"math"
	"strings"

	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/sr/study"
)

// characteristics names what each probability is of, as result.Characteristic
// defines it.
var characteristics = [...]struct{ key, words string }{
	{"malignancy", "Malignant"},
	{"margin", "Clear margin"},
	{"texture", "Solid"},
	{"calcification", "No calcification"},
}

// bands are the colours of the malignancy's labels.
var bands = map[string]color.RGBA{"low": green, "indeterminate": amber, "high": red}

// barColor is that of a characteristic's probability.
func barColor(key, label string) color.RGBA {
	if key != "malignancy" {
		return blue
	}
	if c, ok := bands[label]; ok {
		return c
	}
	return grey
}

// marks are the probabilities at which a characteristic's label changes: for
// malignancy those of Ni et al. 2022.
func marks(key string, c result.Characteristic) []float64 {
	if key == "malignancy" {
		return []float64{result.MalignancyLow, result.MalignancyHigh}
	}
	return []float64{c.Threshold}
}

// percent never says that something is certain.
func percent(p float64) string {
	switch n := math.Round(100 * p); {
	case math.IsNaN(p):
		return "?"
	case n < 1:
		return "<1 %"
	case n > 99:
		return ">99 %"
	default:
		return fmt.Sprintf("%.0f %%", n)
	}
}

// side says where a nodule lies.
func side(n *result.Nodule) string {
	switch n.Laterality {
	case "left":
		return "Left lung"
	case "right":
		return "Right lung"
	}
	return "Side not known"
}

// notMeasured stands where a number is none.
const notMeasured = "not measured"

func size(n *result.Nodule) string {
	if !known(n.LongAxisMM) || !known(n.ShortAxisMM) {
		return notMeasured
	}
	return fmt.Sprintf("%.1f × %.1f mm", n.LongAxisMM, n.ShortAxisMM)
}

func diameter(n *result.Nodule) string {
	if !known(n.MaxDiam3DMM) {
		return notMeasured
	}
	return fmt.Sprintf("%.1f mm", n.MaxDiam3DMM)
}

// density is the mean, with the deviation where there is room for it.
func density(n *result.Nodule, deviation bool) string {
	switch {
	case !finite(n.MeanHU) || deviation && !finite(n.SDHU):
		return notMeasured
	case deviation:
		return fmt.Sprintf("%.0f ± %.0f HU", n.MeanHU, n.SDHU)
	}
	return fmt.Sprintf("%.0f HU", n.MeanHU)
}

// known says that v is a length or a volume.
func known(v float64) bool { return finite(v) && v > 0 }

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// volume has the digits that a contour on voxels can mean.
func volume(n *result.Nodule) string {
	if !known(n.VolumeMM3) {
		return notMeasured
	}
	if n.VolumeMM3 < 99.95 {
		return fmt.Sprintf("%.1f mm³", n.VolumeMM3)
	}
	return fmt.Sprintf("%.0f mm³", n.VolumeMM3)
}

// algorithm names the program and its version.
func algorithm(a result.Algorithm) string {
	return strings.TrimSpace(cmp.Or(a.Name, study.Manufacturer) + " " + a.Version)
}

// evaluated says for what the program was evaluated, without which "no nodule"
// means little.
func evaluated(a result.Algorithm) string {
	if a.SmallestMM <= 0 {
		return ""
	}
	return fmt.Sprintf(", which was evaluated for nodules of %g mm and more", a.SmallestMM)
}

// searched says what was looked at.
func searched(r *result.Result) string {
	g := r.Grid
	dy, dx := spacing(g)
	return fmt.Sprintf("%d slices, %.2f mm apart, of %d × %d pixels of %.2f × %.2f mm",
		len(g.Instances), g.SliceDistance(), g.Columns, g.Rows, dx, dy)
}

// counted says from where the numbers of slices count, which are those of the
// grid and may differ from the images' own.
func counted(g *result.Grid) string {
	switch toward(g.Normal()) {
	case "H":
		return " Slices count from the feet."
	case "F":
		return " Slices count from the head."
	}
	return ""
}
