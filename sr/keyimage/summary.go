package keyimage

import (
	"fmt"
	"image"
	"image/color"

	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/sr/study"
)

// The summary page.
const (
	summaryWidth  = 1480
	summaryMargin = 48
	rowHeight     = 104
	thumb         = 84
	emptyPicture  = 512
	// rowsOfPage keeps a page about as high as it is wide, so that a screen
	// shows it whole and legibly.
	rowsOfPage = 12
)

// sheet is the part of the nodules that one summary page lists.
type sheet struct {
	all       []shown
	from, end int
}

// found says how many nodules there are, of what, and which of them are listed.
func (s sheet) found(partial bool) string {
	words := fmt.Sprintf("%d found", len(s.all))
	if partial {
		words += " in this part"
	}
	if s.end-s.from < len(s.all) {
		words += fmt.Sprintf("; here %d to %d", s.from+1, s.end)
	}
	return words
}

// columns of the table, by where they begin.
var columns = [...]struct {
	name string
	x    int
}{
	{"", summaryMargin},
	{"Nodule", 156},
	{"Slice", 292},
	{"Long × short axis", 376},
	{"Volume", 566},
}

const firstBar, barPitch, barWidth = 708, 184, 158

// summaryPage sums up the series: a row for each nodule, or that none was found,
// then what was searched and by what.
func summaryPage(p pens, r *result.Result, s sheet) *image.RGBA {
	foot, found := footOf(p, r), s.all[s.from:s.end]
	table := 150 + 34 + len(found)*rowHeight
	if len(found) == 0 {
		table = 130 + emptyPicture
	}
	height := table + 40 + len(foot)*29 + 36
	c := newCanvas(p, summaryWidth, height)
	left, right := summaryMargin, summaryWidth-summaryMargin
	c.fill(image.Rect(0, 0, summaryWidth, 104), panel)
	head := "Lung nodules"
	c.text(left, 66, title, white, head)
	w := p.width(caption, study.NotVerified) + 32
	banner := image.Rect(right-w, 34, right, 74)
	c.frame(banner, 8, 2, amber)
	c.text(banner.Min.X+16, banner.Min.Y+26, caption, amber, study.NotVerified)
	if len(found) == 0 {
		c.nonePart(image.Rect(left, 130, right, 130+emptyPicture), r)
	} else {
		c.text(left+p.width(title, head)+18, 66, body, grey, s.found(r.Partial))
		c.tablePart(150, r, found)
	}
	y := table + 30
	c.fill(image.Rect(left, y, right, y+1), rule)
	y += 38
	for _, line := range foot {
		c.text(left, y, line.with, line.by, line.text)
		y += 29
	}
	return c.RGBA
}

// nonePart says that nothing was found, beside a slice to know the series by.
func (c *canvas) nonePart(at image.Rectangle, r *result.Result) {
	x := at.Min.X
	if z, pixels := anySlice(r); pixels != nil {
		box := image.Rect(at.Min.X, at.Min.Y, at.Min.X+emptyPicture, at.Max.Y)
		v := view{grid: r.Grid, slice: z, at: box}
		dy, dx := spacing(r.Grid)
		side := max(float64(r.Grid.Columns)*dx, float64(r.Grid.Rows)*dy)
		v.sx, v.sy = float64(box.Dx())*dx/side, float64(box.Dy())*dy/side
		v.u0 = (float64(r.Grid.Columns) - side/dx) / 2
		v.v0 = (float64(r.Grid.Rows) - side/dy) / 2
		c.paint(v, pixels)
		c.orient(v)
		x = box.Max.X + 48
		c.text(x, at.Max.Y-6, caption, grey, fmt.Sprintf("Shown: slice %d of %d, to know the series by.", z+1, len(r.Grid.Instances)))
	}
	headline := "No nodule found"
	if r.Partial {
		headline = "No nodule found in this part"
	}
	c.text(x, at.Min.Y+70, huge, white, headline)
	y := at.Min.Y + 124
	say := func(by color.RGBA, s string) {
		for _, line := range c.pens.wrap(body, s, at.Max.X-x) {
			c.text(x, y, body, by, line)
			y += 30
		}
		y += 14
	}
	if r.Partial {
		for _, w := range r.Warnings {
			say(amber, "Note: "+w)
		}
	}
	say(white, fmt.Sprintf("The lungs were searched in all %d slices.", len(r.Grid.Instances)))
	say(white, "This does not exclude nodules: the algorithm can miss some. It says nothing about other findings.")
}

// anySlice is the first slice that pixels were kept of.
func anySlice(r *result.Result) (int, *result.Pixels) {
	for z := range r.Grid.Instances {
		if p := r.Slices[z]; p != nil && p.Rows == r.Grid.Rows && p.Columns == r.Grid.Columns && len(p.HU) == p.Rows*p.Columns {
			return z, p
		}
	}
	return 0, nil
}

func (c *canvas) tablePart(y int, r *result.Result, found []shown) {
	for _, col := range columns {
		c.text(col.x, y, caption, grey, col.name)
	}
	for k, ch := range characteristics {
		c.text(firstBar+k*barPitch, y, caption, grey, ch.words)
	}
	y += 20
	for i, s := range found {
		c.rowPart(y, r, s)
		if y += rowHeight; i < len(found)-1 {
			c.fill(image.Rect(summaryMargin, y-1, summaryWidth-summaryMargin, y), rule)
		}
	}
}

// rowPart draws a nodule's row of the table.
func (c *canvas) rowPart(y int, r *result.Result, s shown) {
	n, by := s.nodule, study.ColorOf(s.nodule).RGB
	picture := image.Rect(summaryMargin, y+10, summaryMargin+thumb, y+10+thumb)
	v := closeView(r.Grid, s, picture)
	c.paint(v, s.pixels)
	c.contour(v, &n.Mask, 2, by)
	line, under := y+48, y+76
	c.text(columns[1].x, line, value, by, c.pens.fit(value, n.ID, columns[2].x-columns[1].x-8))
	c.text(columns[1].x, under, caption, grey, c.pens.fit(caption, side(n), columns[2].x-columns[1].x-4))
	c.text(columns[2].x, line, body, white, fmt.Sprint(s.slice+1))
	c.text(columns[2].x, under, caption, grey, fmt.Sprintf("of %d", len(r.Grid.Instances)))
	c.text(columns[3].x, line, strong, white, size(n))
	c.text(columns[3].x, under, caption, grey, "3D "+diameter(n))
	c.text(columns[4].x, line, strong, white, volume(n))
	c.text(columns[4].x, under, caption, grey, "mean "+density(n, false))
	for k, ch := range characteristics {
		x := firstBar + k*barPitch
		p, ok := n.Characteristics[ch.key]
		if !ok {
			c.text(x, line, body, grey, "not judged")
			continue
		}
		c.text(x, line, strong, white, percent(p.Probability))
		c.textRight(x+barWidth, line, caption, grey, p.Label)
		c.bar(image.Rect(x, y+62, x+barWidth, y+70), ch.key, p, true)
	}
}

// footLine is a line of text below the table.
type footLine struct {
	with pen
	by   color.RGBA
	text string
}

// footOf says what was searched, by what, and what a reader should know of it.
func footOf(p pens, r *result.Result) []footLine {
	width := summaryWidth - 2*summaryMargin
	var out []footLine
	say := func(with pen, by color.RGBA, s string) {
		for _, line := range p.wrap(with, s, width) {
			out = append(out, footLine{with, by, line})
		}
	}
	say(body, white, "Searched: "+searched(r)+"."+counted(r.Grid))
	say(body, white, "Algorithm: "+algorithm(r.Algorithm)+evaluated(r.Algorithm)+".")
	if r.Generation > 1 {
		say(body, white, fmt.Sprintf("Generation %d, of %s: it replaces the results before it. A nodule that was found before keeps its number.",
			r.Generation, r.Closed.Time.UTC().Format("2006-01-02 15:04 MST")))
	}
	for _, m := range r.Algorithm.Models {
		say(caption, grey, fmt.Sprintf("Model %s %s, sha256 %s", m.Role, m.Version, m.SHA256))
	}
	if len(r.Nodules) > 0 {
		say(caption, grey, fmt.Sprintf("Probabilities are the algorithm's, with the marks where its words change. Malignancy: below %.0f %% low, above %.0f %% high, between indeterminate.",
			100*result.MalignancyLow, 100*result.MalignancyHigh))
	}
	for _, w := range r.Warnings {
		say(body, amber, "Note: "+w)
	}
	return out
}
