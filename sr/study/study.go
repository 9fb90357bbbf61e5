// Package study writes what every result object has in common: whose images
// were analysed, in which study the result belongs, and what made it. The
// segmentation, the report and the key images add their own modules and let
// Write make a file of them.
//
// Identity is copied from one header of the analysed series, transcoded to UTF-8
// or kept in the images' own character set, so that an archive puts the result
// beside its images. A header may be as odd as it likes: a value that cannot be
// used becomes an empty one, because a result that is lost helps nobody. Nothing
// private is copied. What we say ourselves is ASCII.
//
// The elements are those of github.com/suyashkumar/dicom. The constructors here
// (Text, Ints, Sequence, ...) take their value representation from the data
// dictionary and panic on an attribute that is not in it, which is a mistake of
// the program and never of the data.
package study

import (
	"fmt"
	"time"

	"github.com/suyashkumar/dicom"
	"github.com/suyashkumar/dicom/pkg/tag"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
)

// Manufacturer stands in General Equipment and wherever the maker is named.
const Manufacturer = "pulmonode"

// NotVerified is said in every document that a person may look at.
const NotVerified = "AI result - not verified - not for clinical use"

// Object says what a result object is.
type Object struct {
	SOPClassUID       string
	SOPInstanceUID    string
	SeriesInstanceUID string
	Modality          string // "SEG", "SR", "OT"
	SeriesNumber      int
	SeriesDescription string
	InstanceNumber    int
	// AsReceived keeps the text of the images in their own character set where
	// it can be kept; else it is in UTF-8.
	AsReceived bool
	// Time is the closing time of the generation. It stands in all dates and
	// times, so that the same input gives the same bytes.
	Time      time.Time
	Algorithm result.Algorithm
	DeviceUID string // of the installation; may be empty
}

// OfGeneration is a Series Description that tells a later generation's series
// from those that it replaces, which stay in the archive.
func OfGeneration(description string, generation int) string {
	if generation <= 1 {
		return description
	}
	return fmt.Sprintf("%s, generation %d", description, generation)
}

// Elements are the modules that all result objects share: SOP Common (PS3.3
// C.12.1), Patient (C.7.1.1), General Study and Patient Study (C.7.2), General
// Series (C.7.3.1), General and Enhanced General Equipment (C.7.5) with
// Contributing Equipment. ct is the header of any image of the analysed series.
func Elements(ct *dataset.Dataset, o Object) ([]*dicom.Element, error) {
	uids := []struct{ name, uid string }{
		{"SOP Class UID", o.SOPClassUID},
		{"SOP Instance UID", o.SOPInstanceUID},
		{"Series Instance UID", o.SeriesInstanceUID},
	}
	for _, u := range uids {
		if err := dataset.ValidUID(u.uid); err != nil {
			return nil, fmt.Errorf("the result's %s: %w", u.name, err)
		}
	}
	study := ct.Text(dataset.StudyInstanceUID)
	if !looksLikeUID(study) {
		return nil, fmt.Errorf("the images have no usable Study Instance UID: the result would belong nowhere")
	}
	clock := localTime(ct, o.Time)
	r := RepertoireOf(ct, o.AsReceived)
	out := append(r.elements(),
		Text(tag.InstanceCreationDate, date(clock)),
		Text(tag.InstanceCreationTime, daytime(clock)),
		Text(tag.SOPClassUID, o.SOPClassUID),
		Text(tag.SOPInstanceUID, o.SOPInstanceUID),
		Integer(tag.InstanceNumber, o.InstanceNumber),
		Text(tag.StudyInstanceUID, study),
		Text(tag.Modality, o.Modality),
		Text(tag.SeriesInstanceUID, o.SeriesInstanceUID),
		Integer(tag.SeriesNumber, o.SeriesNumber),
		Text(tag.SeriesDate, date(clock)),
		Text(tag.SeriesTime, daytime(clock)),
		r.described(tag.SeriesDescription, o.SeriesDescription),
	)
	if zone, ok := zoneOf(ct); ok {
		out = append(out, Text(tag.TimezoneOffsetFromUTC, zone))
	}
	out = append(out, r.copied()...)
	out = append(out, equipment(o)...)
	return append(out, r.contributing(o, clock)), nil
}

// ContentTime gives Content Date and Content Time, which images and reports
// have in modules of their own.
func ContentTime(ct *dataset.Dataset, t time.Time) []*dicom.Element {
	t = localTime(ct, t)
	return []*dicom.Element{Text(tag.ContentDate, date(t)), Text(tag.ContentTime, daytime(t))}
}
