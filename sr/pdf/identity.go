package pdf

import (
	"strings"
	"sync"
	"time"

	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/sfnt"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// fact is a line of the head of the document.
type fact struct{ name, value string }

// factsOf says whose document it is and of what.
func factsOf(ct *dataset.Dataset) []fact {
	text := func(t dataset.Tag) string {
		s, _ := ct.UTF8(t) // what cannot be decoded stands as U+FFFD, which is not drawable
		s = strings.TrimSpace(s)
		if !drawable(s) {
			return notShown // a number with letters left out is that of another patient
		}
		return s
	}
	day := func(t dataset.Tag) string {
		for _, form := range []string{"20060102", "2006.01.02"} { // the second of ACR-NEMA, PS3.5 6.2
			if at, err := time.Parse(form, ct.Text(t)); err == nil {
				return at.Format("2006-01-02")
			}
		}
		return text(t)
	}
	name, _ := ct.UTF8(dataset.PatientName)
	return []fact{
		{"Patient", nameOf(name)},
		{"Patient ID", text(dataset.PatientID)},
		{"Born", day(dataset.PatientBirthDate)},
		{"Sex", text(dataset.PatientSex)},
		{"Accession number", text(dataset.AccessionNumber)},
		{"Study", strings.TrimSpace(day(dataset.StudyDate) + "  " + text(dataset.StudyDescription))},
		{"Series", text(dataset.SeriesDescription)},
	}
}

// notShown stands for a name or a number that the fonts have not the letters of.
const notShown = "see the header of this object (its script cannot be shown here)"

// nameOf is a person's name (PS3.5 6.2.1) as it is written on paper, by the first
// of its groups that can be drawn.
func nameOf(pn string) string {
	for group := range strings.SplitSeq(pn, "=") {
		parts := strings.Split(group, "^")
		for i := range parts {
			parts[i] = strings.TrimSpace(parts[i])
		}
		family := parts[0]
		given := strings.Join(strings.Fields(strings.Join(parts[1:min(3, len(parts))], " ")), " ")
		shown := strings.Trim(family+", "+given, ", ")
		if shown != "" && drawable(shown) {
			return shown
		}
	}
	if strings.Trim(pn, "^= ") == "" {
		return ""
	}
	return notShown
}

var regular = sync.OnceValues(func() (*sfnt.Font, error) { return sfnt.Parse(goregular.TTF) })

// has says whether the fonts have a letter. Both weights have the same.
func has(r rune) bool {
	f, err := regular()
	if err != nil || r < 0x20 {
		return false
	}
	var b sfnt.Buffer
	glyph, err := f.GlyphIndex(&b, r)
	return err == nil && glyph != 0
}

func drawable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !has(r) })
}

// drawn is s with question marks for what the fonts have not.
func drawn(s string) string {
	return strings.Map(func(r rune) rune {
		if !has(r) {
			return '?'
		}
		return r
	}, s)
}
