package study

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/suyashkumar/dicom"
	"github.com/suyashkumar/dicom/pkg/tag"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// Repertoire is the character set that the text of a result is written in. Our
// own text is ASCII, which is part of every set (PS3.5 6.1.2), so it is only
// the text of the images that differs: in UTF-8 or byte for byte as received.
type Repertoire struct {
	ct         *dataset.Dataset
	asReceived bool
}

// RepertoireOf decides for one result of the images. Text is kept as received
// where that is asked for and all of it can be kept: one value that is too
// long, holds control characters or, in an item, is of another set than the
// rest makes the result one in UTF-8, because it has one character set.
func RepertoireOf(ct *dataset.Dataset, asReceived bool) Repertoire {
	return Repertoire{ct, asReceived && keepable(ct)}
}

// elements are the Specific Character Set (PS3.3 C.12.1.1.2).
func (r Repertoire) elements() []*dicom.Element {
	if !r.asReceived {
		return Item(Text(tag.SpecificCharacterSet, utf8Term))
	}
	if raw := r.ct.Raw(dataset.SpecificCharacterSet); raw != "" {
		return Item(verbatim(tag.SpecificCharacterSet, raw))
	}
	return nil
}

// Copy gives the values of an attribute of the images, or of one of their
// items, as the same attribute of the result; nil where it has none that is
// allowed.
func (r Repertoire) Copy(d *dataset.Dataset, t dataset.Tag) *dicom.Element {
	values := valuesOf(d, t)
	notUID := func(v string) bool { return dataset.ValidUID(v) != nil }
	if len(values) == 0 || t.VR() == "UI" && slices.ContainsFunc(values, notUID) {
		return nil
	}
	if _, free := forms[t.VR()]; free && t.VR() != "CS" && t.VR() != "AE" {
		if r.asReceived {
			return verbatim(written(t), d.Raw(t))
		}
		return inUTF8(written(t), values...)
	}
	return Text(written(t), values...)
}

// Coded gives a coded entry of the images; nil where it is not a whole one.
func (r Repertoire) Coded(d *dataset.Dataset) []*dicom.Element {
	var out []*dicom.Element
	for _, t := range []dataset.Tag{dataset.CodeValue, dataset.LongCodeValue, dataset.URNCodeValue,
		dataset.CodingSchemeDesignator, dataset.CodingSchemeVersion, dataset.CodeMeaning} {
		if e := r.Copy(d, t); e != nil {
			out = append(out, e)
		}
	}
	has := func(tags ...dataset.Tag) bool {
		return slices.ContainsFunc(tags, func(t dataset.Tag) bool { return d.Text(t) != "" })
	}
	if !has(dataset.CodeValue, dataset.LongCodeValue, dataset.URNCodeValue) || !has(dataset.CodeMeaning) ||
		!has(dataset.CodingSchemeDesignator, dataset.URNCodeValue) {
		return nil
	}
	return out
}

// described is text of the configuration.
func (r Repertoire) described(t tag.Tag, s string) *dicom.Element {
	if r.asReceived {
		return Text(t, s)
	}
	return inUTF8(t, s)
}

// keepable says whether every text that may be copied can stand as received.
func keepable(ct *dataset.Dataset) bool {
	sets := ct.CharacterSets()
	ok := true
	check := func(d *dataset.Dataset, tags ...dataset.Tag) {
		ok = ok && slices.Equal(d.CharacterSets(), sets)
		for _, t := range tags {
			ok = ok && standsAsReceived(d, t)
		}
	}
	for _, c := range copies {
		check(ct, c.from)
	}
	check(ct, scanner...)
	for _, p := range ct.Items(dataset.ProcedureCodeSequence) {
		check(p, dataset.CodeValue, dataset.CodeMeaning)
	}
	check(ct, requested...)
	for _, q := range ct.Items(dataset.RequestAttributesSequence) {
		check(q, requested...)
		for _, p := range q.Items(dataset.RequestedProcedureCodeSequence) {
			check(p, dataset.CodeValue, dataset.CodeMeaning)
		}
		for _, t := range issuers {
			for _, i := range q.Items(t) {
				check(i, dataset.LocalNamespaceEntityID)
			}
		}
	}
	return ok
}

// standsAsReceived says whether a value is one of its representation as it is.
// What cannot be decoded is measured in bytes: an archive that was set up for
// images that do not name their set reads it all the same.
func standsAsReceived(d *dataset.Dataset, t dataset.Tag) bool {
	e, f := d.Get(t), forms[t.VR()]
	if e == nil || f == (form{}) {
		return true
	}
	if slices.ContainsFunc(bytes.TrimRight(e.Value, " \x00"), func(c byte) bool {
		line := c == '\r' || c == '\n' || c == '\t' || c == '\f'
		return c < 0x20 && c != 0x1B && !(line && f.lines) || c == 0x7F
	}) {
		return false
	}
	length := utf8.RuneCountInString
	s, err := d.UTF8(t)
	if err != nil {
		s, length = d.Raw(t), func(s string) int { return len(s) }
	}
	values := []string{s}
	if !f.lines {
		values = strings.Split(s, `\`)
	}
	for _, v := range values {
		groups := []string{v}
		if t.VR() == "PN" {
			groups = strings.Split(v, "=")
		}
		if len(groups) > 3 || f.characters > 0 && slices.ContainsFunc(groups, func(g string) bool { return length(g) > f.characters }) {
			return false
		}
	}
	return true
}

// verbatim makes an element of bytes that are of the images' character set.
func verbatim(t tag.Tag, raw string) *dicom.Element {
	if len(raw)%2 == 1 {
		raw += " "
	}
	return element(t, []string{raw})
}
