package main

import (
	"fmt"
	"strconv"

	"github.com/pulmonode/pulmonode/cmd/internal/ledger"
	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// Each patient's name, number, accession number and date of birth begin with one
// of these, which stand in no log, metric or page.
var secrets = []string{"SECRETPERSON", "SECRETID", "SECRETACC", "19511224"}

// flaw is why a series is not analysed; sound ones have none.
type flaw string

const (
	sound     flaw = ""
	thick     flaw = "thick slices"
	few       flaw = "few slices"
	localizer flaw = "localizers"
	derived   flaw = "derived images"
	gap       flaw = "slices missing"
)

// says is what the sentence of a series that was skipped for its flaw has in it.
var says = map[flaw]string{thick: "5.0 mm", few: "20", localizer: "localizer", derived: "DERIVED", gap: "slices are missing"}

// instances makes the slices of a series in the order of their places. Study and
// series have UIDs of the number alone, so the same number is the same series.
func instances(a *anatomy, number int, f flaw) ([]ledger.Instance, error) {
	study, series := studyUID(number), seriesUID(number)
	kind := []string{"ORIGINAL", "PRIMARY", "AXIAL"}
	switch f {
	case localizer:
		kind[2] = "LOCALIZER"
	case derived:
		kind = []string{"DERIVED", "SECONDARY", "REFORMATTED"}
	}
	n, spacing := len(a.planes), a.sliceMM
	if f == few {
		n = 20
	}
	if f == thick {
		spacing = 5
	}
	left, top := -float64(a.columns-1)/2*a.pixelMM, -float64(a.rows-1)/2*a.pixelMM
	var all []ledger.Instance
	for k := range n {
		if f == gap && k > 20 && k < 25 {
			continue
		}
		uid := fmt.Sprintf("%s.%d", series, k+1)
		d := &dataset.Dataset{}
		for _, e := range []struct {
			tag    dataset.Tag
			vr     string
			values []string
		}{
			{dataset.SpecificCharacterSet, "CS", []string{"ISO_IR 100"}},
			{dataset.ImageType, "CS", kind},
			{dataset.SOPClassUID, "UI", []string{dataset.CTImage}},
			{dataset.SOPInstanceUID, "UI", []string{uid}},
			{dataset.StudyDate, "DA", []string{"20261124"}},
			{dataset.StudyTime, "TM", []string{"070000"}},
			{dataset.AccessionNumber, "SH", []string{fmt.Sprintf("%s%d", secrets[2], number)}},
			{dataset.Modality, "CS", []string{"CT"}},
			{dataset.Manufacturer, "LO", []string{"pulmonode"}},
			{dataset.ReferringPhysicianName, "PN", []string{""}},
			{dataset.PatientName, "PN", []string{fmt.Sprintf("%s^NUMBER%d", secrets[0], number)}},
			{dataset.PatientID, "LO", []string{fmt.Sprintf("%s%d", secrets[1], number)}},
			{dataset.PatientBirthDate, "DA", []string{secrets[3]}},
			{dataset.PatientSex, "CS", []string{"O"}},
			{dataset.BodyPartExamined, "CS", []string{"CHEST"}},
			{dataset.SliceThickness, "DS", []string{decimal(spacing)}},
			{dataset.PatientPosition, "CS", []string{"HFS"}},
			{dataset.StudyInstanceUID, "UI", []string{study}},
			{dataset.SeriesInstanceUID, "UI", []string{series}},
			{dataset.StudyID, "SH", []string{"1"}},
			{dataset.SeriesNumber, "IS", []string{"1"}},
			{dataset.InstanceNumber, "IS", []string{strconv.Itoa(k + 1)}},
			{dataset.ImagePositionPatient, "DS", []string{decimal(left), decimal(top), decimal(float64(k) * spacing)}},
			{dataset.ImageOrientationPatient, "DS", []string{"1", "0", "0", "0", "1", "0"}},
			{dataset.FrameOfReferenceUID, "UI", []string{study + ".9"}},
			{dataset.PhotometricInterpretation, "CS", []string{"MONOCHROME2"}},
			{dataset.PixelSpacing, "DS", []string{decimal(a.pixelMM), decimal(a.pixelMM)}},
			{dataset.RescaleIntercept, "DS", []string{"-1024"}},
			{dataset.RescaleSlope, "DS", []string{"1"}},
		} {
			d.SetText(e.tag, e.vr, e.values...)
		}
		for tag, v := range map[dataset.Tag]int{
			dataset.SamplesPerPixel: 1, dataset.Rows: a.rows, dataset.Columns: a.columns, dataset.BitsAllocated: 16,
			dataset.BitsStored: 12, dataset.HighBit: 11, dataset.PixelRepresentation: 0,
		} {
			d.SetUint16(tag, uint16(v))
		}
		d.Set(dataset.PixelData, "OW", a.planes[k])
		data, err := d.AppendExplicit(nil)
		if err != nil {
			return nil, err
		}
		all = append(all, ledger.Instance{Study: study, Series: series, UID: uid, Data: data})
	}
	return all, nil
}

func studyUID(number int) string  { return fmt.Sprintf("2.25.20261124.%d", number) }
func seriesUID(number int) string { return studyUID(number) + ".1" }

// decimal writes a DS.
func decimal(v float64) string { return strconv.FormatFloat(v, 'g', 10, 64) }
