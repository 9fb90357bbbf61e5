package pdf

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"math"
	"strings"

	"codeberg.org/go-pdf/fpdf"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/sr"
	"github.com/pulmonode/pulmonode/sr/keyimage"
	"github.com/pulmonode/pulmonode/sr/study"
)

const heading = "Lung nodules: result of an AI analysis"

// The page, A4, in millimetres; letters in points.
const (
	left, right, top, bottom = 16.0, 194.0, 16.0, 278.0
	line                     = 5.0
	picture                  = 19.0 // side of a nodule's picture
	// pictureDots is the width of the first picture. Each further one is a pixel
	// wider: the library orders pictures by their width, and those of one width as
	// they come out of a map, which would give other bytes each time.
	pictureDots = 240
	rowHeight   = picture + 4
)

// columns of the table, by where they begin.
var columns = []struct {
	name string
	x    float64
}{
	{"Nodule", left + picture + 3}, {"Size", 62}, {"Volume", 92}, {"Density", 117}, {"Probability of", 142},
}

// names say what the probability of a characteristic is of.
var names = map[string]string{"malignancy": "Malignant", "margin": "Clear margin", "texture": "Solid", "calcification": "No calcification"}

// page is the document that is being written.
type page struct {
	*fpdf.Fpdf
	y float64
}

// Document writes the report for people. report is what the structured report
// of the result says.
func Document(ct *dataset.Dataset, r *result.Result, report *sr.Report) ([]byte, error) {
	p := &page{Fpdf: fpdf.New("P", "mm", "A4", "")}
	p.SetCreationDate(r.Closed.Time.UTC())
	p.SetModificationDate(r.Closed.Time.UTC())
	p.SetCatalogSort(true)
	p.SetProducer(study.Manufacturer, true)
	p.SetTitle(heading, true)
	p.SetAuthor(study.NotVerified, true)
	p.SetLang("en")
	p.SetAutoPageBreak(false, 0)
	p.AddUTF8FontFromBytes("go", "", goregular.TTF)
	p.AddUTF8FontFromBytes("go", "B", gobold.TTF)
	p.SetFooterFunc(func() { // every page says it, because pages are parted
		p.SetFont("go", "", 8)
		p.SetTextColor(90, 90, 90)
		p.Text(left, 288, study.NotVerified)
		p.Text(right-15, 288, fmt.Sprintf("Page %d", p.PageNo()))
	})
	p.next()
	p.head(ct)
	p.findings(report)
	if len(report.Nodules) > 0 {
		if err := p.table(r, report); err != nil {
			return nil, fmt.Errorf("writing the document: %w", err)
		}
	}
	p.foot(r, report)
	var b bytes.Buffer
	if err := p.Output(&b); err != nil {
		return nil, fmt.Errorf("writing the document: %w", err)
	}
	return b.Bytes(), nil
}

// next begins a page.
func (p *page) next() {
	p.AddPage()
	p.y = top
}

// room begins a page where less than height is left of this one.
func (p *page) room(height float64) {
	if p.y+height > bottom {
		p.next()
	}
}

// write writes a line at x, below what stands there.
func (p *page) write(x float64, style string, size float64, grey int, s string) {
	p.SetFont("go", style, size)
	p.SetTextColor(grey, grey, grey)
	p.Text(x, p.y, drawn(s))
}

// say writes a paragraph.
func (p *page) say(style string, size float64, grey int, s string) {
	p.SetFont("go", style, size)
	for _, l := range p.SplitText(drawn(strings.Join(strings.Fields(s), " ")), right-left) {
		p.room(line)
		p.y += line
		p.write(left, style, size, grey, l)
	}
}

func (p *page) head(ct *dataset.Dataset) {
	p.y += 4
	p.write(left, "B", 15, 0, heading)
	p.SetDrawColor(190, 120, 0)
	p.SetLineWidth(0.4)
	p.RoundedRect(left, p.y+4, right-left, 9, 1.5, "1234", "D")
	p.y += 10
	p.SetFont("go", "B", 10)
	p.SetTextColor(150, 90, 0)
	p.Text(left+4, p.y, study.NotVerified)
	p.y += 5
	for _, f := range factsOf(ct) {
		if f.value == "" {
			f.value = "-"
		}
		p.y += line
		p.write(left, "", 9, 110, f.name)
		p.SetFont("go", "", 9.5)
		lines := p.SplitText(f.value, right-left-34) // one line: a head that grows hides the findings
		p.write(left+34, "", 9.5, 0, lines[0])
	}
	p.y += 3
	p.SetDrawColor(200, 200, 200)
	p.Line(left, p.y, right, p.y)
	p.y += 2
}

// findings says how the analysis ended.
func (p *page) findings(report *sr.Report) {
	p.y += 2
	for i, c := range report.Comments {
		if i == 0 {
			p.say("B", 12, 0, c)
		} else {
			p.say("", 9, 60, c)
		}
	}
	if report.Reason != "" {
		p.say("", 10, 0, report.Reason)
	}
	for _, w := range report.Warnings {
		p.say("", 9.5, 0, "Note: "+w)
	}
	p.y += 3
}

func (p *page) table(r *result.Result, report *sr.Report) error {
	p.titles()
	for i, n := range report.Nodules {
		if p.y+rowHeight > bottom {
			p.next()
			p.titles()
		}
		if i < len(r.Nodules) && r.Nodules[i].ID == n.ID {
			drawing, err := keyimage.Close(r, i, pictureDots+i)
			if err != nil {
				return err
			}
			if err := p.place(fmt.Sprintf("nodule %d", i+1), drawing); err != nil {
				return err
			}
		}
		p.row(n)
	}
	return nil
}

func (p *page) titles() {
	p.y += line
	for _, c := range columns {
		p.write(c.x, "", 8, 110, c.name)
	}
	p.y += 2
}

// place puts a drawing at the left of the row.
func (p *page) place(name string, drawing *image.RGBA) error {
	var b bytes.Buffer
	if err := png.Encode(&b, drawing); err != nil {
		return err
	}
	o := fpdf.ImageOptions{ImageType: "PNG"}
	p.RegisterImageOptionsReader(name, o, &b)
	p.ImageOptions(name, left, p.y+1, picture, picture, false, o, 0, "")
	return p.Error()
}

func (p *page) row(n sr.Nodule) {
	from := p.y
	cell := func(column int, lines ...string) {
		p.y = from + 1
		for i, l := range lines {
			p.y += line - 0.4
			if i == 0 && column < 4 {
				p.write(columns[column].x, "B", 9.5, 0, l)
			} else {
				p.write(columns[column].x, "", 8.5, 50, l)
			}
		}
	}
	side := "side not known"
	if n.Laterality != "" {
		side = n.Laterality + " lung"
	}
	cell(0, n.ID, side)
	cell(1, measured("%.1f x %.1f mm", n.LongAxisMM, n.ShortAxisMM), "long x short axis", "3D "+measured("%.1f mm", n.MaxDiam3DMM))
	cell(2, measured("%.0f mm³", n.VolumeMM3))
	cell(3, measured("%.0f HU", n.MeanHU), "SD "+measured("%.0f", n.SDHU))
	var judged []string
	for _, key := range result.Characteristics {
		c := n.Characteristics[key]
		word := c.Label
		if word == "" {
			word = "not judged"
		}
		judged = append(judged, fmt.Sprintf("%s %s (%s)", names[key], percent(c.Probability), word))
	}
	cell(4, judged...)
	p.y = from + rowHeight
	p.SetDrawColor(225, 225, 225)
	p.SetLineWidth(0.2)
	p.Line(left, p.y-1, right, p.y-1)
}

// measured writes numbers, or that they are none.
func measured(format string, values ...*float64) string {
	var given []any
	for _, v := range values {
		if v == nil {
			return "not measured"
		}
		given = append(given, *v)
	}
	return fmt.Sprintf(format, given...)
}

// percent never says that something is certain.
func percent(p *float64) string {
	if p == nil {
		return "?"
	}
	switch n := math.Round(100 * *p); {
	case n < 1:
		return "<1 %"
	case n > 99:
		return ">99 %"
	default:
		return fmt.Sprintf("%.0f %%", n)
	}
}

// foot says what the findings rest on.
func (p *page) foot(r *result.Result, report *sr.Report) {
	p.y += 2
	if len(report.Nodules) > 0 {
		p.say("", 8.5, 60, fmt.Sprintf("Malignancy: below %.0f %% low, above %.0f %% high, between indeterminate. Probabilities are the algorithm's.",
			100*result.MalignancyLow, 100*result.MalignancyHigh))
	}
	switch report.Outcome {
	case result.OutcomeNodules:
		p.say("", 8.5, 60, "Further nodules can have been missed. Other findings were not looked for.")
	case result.OutcomeNone:
		p.say("", 9.5, 0, "This does not exclude nodules: the algorithm can miss some. Other findings were not looked for.")
	}
	if a := report.Algorithm; a.Name != "" {
		p.say("", 8.5, 60, strings.TrimSpace(fmt.Sprintf("Algorithm: %s %s", a.Name, a.Version))+".")
		for _, m := range a.Models {
			p.say("", 8, 90, fmt.Sprintf("Model %s %s, sha256 %s", m.Role, m.Version, m.SHA256))
		}
	}
	of := fmt.Sprintf("Made of the structured report %s of %s.", report.SOPInstanceUID, r.Closed.Time.UTC().Format("2006-01-02 15:04 MST"))
	if r.Generation > 1 {
		of += fmt.Sprintf(" Generation %d: it replaces the results before it.", r.Generation)
	}
	p.say("", 8, 90, of)
}
