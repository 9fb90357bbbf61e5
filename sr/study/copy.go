package study

import (
	"regexp"
	"slices"
	"strings"

	"github.com/suyashkumar/dicom"
	"github.com/suyashkumar/dicom/pkg/tag"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// copies are the attributes that a result has from its images.
var copies = []struct {
	from     dataset.Tag
	required bool // type 2: written empty where the images have none
}{
	{dataset.PatientName, true}, // PS3.3 C.7.1.1
	{dataset.PatientID, true},
	{dataset.IssuerOfPatientID, false},
	{dataset.PatientBirthDate, true},
	{dataset.PatientSex, true},
	{dataset.PatientAge, false}, // PS3.3 C.7.2.2
	{dataset.PatientSize, false},
	{dataset.PatientWeight, false},
	{dataset.StudyID, true}, // PS3.3 C.7.2.1
	{dataset.StudyDate, true},
	{dataset.StudyTime, true},
	{dataset.AccessionNumber, true},
	{dataset.ReferringPhysicianName, true},
	{dataset.StudyDescription, false},
}

// copied gives the attributes of the table.
func (r Repertoire) copied() []*dicom.Element {
	var out []*dicom.Element
	for _, c := range copies {
		if e := r.Copy(r.ct, c.from); e != nil {
			out = append(out, e)
		} else if c.required {
			out = append(out, Text(written(c.from)))
		}
	}
	return out
}

// written is a tag as the writer names it.
func written(t dataset.Tag) tag.Tag { return tag.Tag{Group: t.Group(), Element: uint16(t)} }

// syntax is what values of representations other than free text look like
// (PS3.5 6.2). What does not look so is not copied.
var syntax = map[string]*regexp.Regexp{
	"AS": regexp.MustCompile(`^[0-9]{3}[DWMY]$`),
	"CS": regexp.MustCompile(`^[A-Z0-9_ ]{1,16}$`),
	"DA": regexp.MustCompile(`^[0-9]{8}$`),
	"DS": regexp.MustCompile(`^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$`),
	"TM": regexp.MustCompile(`^([01][0-9]|2[0-3])([0-5][0-9]([0-5][0-9](\.[0-9]{1,6})?)?)?$`),
	"UI": regexp.MustCompile(`^[0-9.]{1,64}$`),
}

// older are the forms of ACR-NEMA, which PS3.5 6.2 asks readers to understand.
var older = map[string]*strings.Replacer{
	"CS": strings.NewReplacer("m", "M", "f", "F", "o", "O"), // only Patient's Sex is copied
	"DA": strings.NewReplacer(".", ""),
	"TM": strings.NewReplacer(":", ""),
}

func looksLikeUID(s string) bool { return syntax["UI"].MatchString(s) }

// valuesOf are the values of an attribute of the images, in UTF-8; none where
// it is absent, empty or not what its representation allows.
func valuesOf(ct *dataset.Dataset, t dataset.Tag) []string {
	vr := t.VR()
	form, coded := syntax[vr]
	if !coded {
		// What could not be decoded stands as U+FFFD, which Text makes a question mark.
		s, _ := ct.UTF8(t)
		if strings.TrimSpace(s) == "" {
			return nil
		}
		if forms[vr].lines {
			return []string{s}
		}
		return strings.Split(s, `\`)
	}
	values := ct.Texts(t)
	for i, v := range values {
		if r := older[vr]; r != nil && !form.MatchString(v) {
			values[i] = r.Replace(v)
		}
	}
	if slices.ContainsFunc(values, func(v string) bool { return len(v) > 16 && vr == "DS" || !form.MatchString(v) }) {
		return nil
	}
	return values
}
