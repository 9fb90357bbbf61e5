package admin

import (
	"strings"
	"time"
	"unicode"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/node/store"
)

// Patient is whose series it is. Shown only with [admin] show_patient.
type Patient struct {
	Name            string `json:"name"` // as PS3.5 6.2 writes it, in UTF-8
	ID              string `json:"id"`
	BirthDate       string `json:"birth_date"` // YYYYMMDD
	AccessionNumber string `json:"accession_number"`
}

// brought is what the instances of a series say of it: the same in each of them.
type brought struct {
	source  string // AE title of who sent it
	patient Patient
}

// whatCame is what a file of a series says of it.
func whatCame(f *dataset.File) *brought {
	if f == nil {
		return nil
	}
	return &brought{
		source: printable(f.Meta.Text(dataset.SourceApplicationEntityTitle)),
		patient: Patient{
			Name: text(f.Header, dataset.PatientName), ID: text(f.Header, dataset.PatientID),
			BirthDate: text(f.Header, dataset.PatientBirthDate), AccessionNumber: text(f.Header, dataset.AccessionNumber),
		},
	}
}

// text is a value of a header for people: characters that could not be decoded
// stand as U+FFFD.
func text(header *dataset.Dataset, t dataset.Tag) string {
	s, _ := header.UTF8(t)
	return printable(s)
}

// maxText bounds a value that is shown: the three groups of a person name have
// 64 characters each (PS3.5 6.2).
const maxText = 3*64 + 2

// printable leaves what could rearrange a page or a terminal out of a text that
// a sender wrote: controls, and marks that turn the direction of writing.
func printable(s string) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.Is(unicode.C, r) {
			return -1
		}
		return r
	}, s))
	if all := []rune(s); len(all) > maxText {
		s = string(all[:maxText]) + "…"
	}
	return s
}

// sought reports whether a series is what a person looks for: its accession
// number, or the beginning of its study's or its own UID. Accession numbers are
// not found by their beginnings: where they are not shown, nobody shall be able
// to guess one character by character.
func (b *brought) sought(k store.Key, search string) bool {
	return strings.HasPrefix(k.Series, search) || strings.HasPrefix(k.Study, search) ||
		b != nil && b.patient.AccessionNumber != "" && strings.EqualFold(b.patient.AccessionNumber, search)
}

// arrived is when the first and the last instance of a series came; zero times
// when none is there.
func arrived(s *store.Store, k store.Key) (first, last time.Time, err error) {
	all, err := s.Instances(k)
	for _, in := range all {
		if first.IsZero() || in.Modified.Before(first) {
			first = in.Modified
		}
		if in.Modified.After(last) {
			last = in.Modified
		}
	}
	return first, last, err
}
