package study

import (
	"hash/fnv"
	"image/color"
	"strconv"
	"strings"

	"github.com/pulmonode/pulmonode/inference/result"
)

// Color is a colour as screens and as segmentations know it.
type Color struct {
	RGB color.RGBA
	// Lab is CIE L*a*b* (D50) in the integers of PS3.3 C.10.7.1.1.
	Lab [3]int
}

// colors tell nodules apart on grey lungs, also for most people who do not see
// all colours. A nodule has the same one in the segmentation and the pictures.
var colors = [...]Color{
	{color.RGBA{255, 200, 40, 255}, [3]int{54588, 34510, 53078}},  // amber
	{color.RGBA{80, 190, 255, 255}, [3]int{48093, 29992, 22318}},  // sky
	{color.RGBA{90, 220, 120, 255}, [3]int{51692, 18292, 42812}},  // green
	{color.RGBA{255, 120, 180, 255}, [3]int{44572, 47682, 31125}}, // pink
	{color.RGBA{255, 140, 60, 255}, [3]int{45686, 42661, 48198}},  // orange
	{color.RGBA{180, 150, 255, 255}, [3]int{44931, 41397, 20475}}, // violet
	{color.RGBA{60, 220, 210, 255}, [3]int{52472, 22037, 31128}},  // turquoise
	{color.RGBA{255, 95, 90, 255}, [3]int{40508, 48442, 42057}},   // red
}

// ColorOf is the colour of a nodule. It follows the number in the nodule's ID,
// which is kept over generations, and never its place in the result: that
// changes with what was found beside it. Colours repeat.
func ColorOf(n *result.Nodule) Color {
	digits := n.ID[len(strings.TrimRight(n.ID, "0123456789")):]
	if number, err := strconv.ParseUint(digits, 10, 64); err == nil && number > 0 {
		return colors[(number-1)%uint64(len(colors))]
	}
	h := fnv.New64a() // an ID that we did not give
	h.Write([]byte(n.ID))
	return colors[h.Sum64()%uint64(len(colors))]
}
