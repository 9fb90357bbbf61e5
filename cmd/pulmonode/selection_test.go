package main_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/suyashkumar/dicom"
	"github.com/suyashkumar/dicom/pkg/tag"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/node/admin"
)

// slice is what a test says of one CT image; the zero value is an axial slice.
type slice struct {
	class, modality string
	imageType       []string
	orientation     [6]float64
	position        [3]float64
	hu              func(x, y int) int // nil: water
}

const testSide = 64 // rows and columns of the test's images, 5 mm a pixel

// write makes a Part 10 file of it.
func (s slice) write(t *testing.T, path, series string, number int) {
	t.Helper()
	if s.class == "" {
		s.class = dataset.CTImage
	}
	if s.modality == "" {
		s.modality = "CT"
	}
	if s.imageType == nil {
		s.imageType = []string{"ORIGINAL", "PRIMARY", "AXIAL"}
	}
	if s.orientation == [6]float64{} {
		s.orientation = [6]float64{1, 0, 0, 0, 1, 0}
	}
	uid := fmt.Sprintf("%s.%d", series, number)
	pixels := make([]byte, 2*testSide*testSide)
	for i := range testSide * testSide {
		hu := 0
		if s.hu != nil {
			hu = s.hu(i%testSide, i/testSide)
		}
		binary.LittleEndian.PutUint16(pixels[2*i:], uint16(int16(hu)))
	}
	floats := func(v ...float64) []string {
		out := make([]string, len(v))
		for i := range v {
			out[i] = fmt.Sprintf("%g", v[i])
		}
		return out
	}
	ds := dicom.Dataset{}
	add := func(tg tag.Tag, v any) {
		e, err := dicom.NewElement(tg, v)
		if err != nil {
			t.Fatal(err)
		}
		ds.Elements = append(ds.Elements, e)
	}
	add(tag.MediaStorageSOPClassUID, []string{s.class})
	add(tag.MediaStorageSOPInstanceUID, []string{uid})
	add(tag.TransferSyntaxUID, []string{dataset.ExplicitLE})
	add(tag.ImageType, s.imageType)
	add(tag.SOPClassUID, []string{s.class})
	add(tag.SOPInstanceUID, []string{uid})
	add(tag.Modality, []string{s.modality})
	add(tag.PatientName, []string{"PHANTOM^TEST"})
	add(tag.PatientID, []string{"TEST"})
	add(tag.StudyInstanceUID, []string{series + ".0"})
	add(tag.SeriesInstanceUID, []string{series})
	add(tag.InstanceNumber, []string{fmt.Sprint(number)})
	add(tag.ImagePositionPatient, floats(s.position[:]...))
	add(tag.ImageOrientationPatient, floats(s.orientation[:]...))
	add(tag.FrameOfReferenceUID, []string{series + ".9"})
	add(tag.SamplesPerPixel, []int{1})
	add(tag.PhotometricInterpretation, []string{"MONOCHROME2"})
	add(tag.Rows, []int{testSide})
	add(tag.Columns, []int{testSide})
	add(tag.PixelSpacing, floats(5, 5))
	add(tag.BitsAllocated, []int{16})
	add(tag.BitsStored, []int{16})
	add(tag.HighBit, []int{15})
	add(tag.PixelRepresentation, []int{1})
	add(tag.RescaleIntercept, []string{"0"})
	add(tag.RescaleSlope, []string{"1"})
	add(tag.PixelData, dicom.PixelDataInfo{IntentionallyUnprocessed: true, UnprocessedValueData: pixels})
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := dicom.Write(f, ds); err != nil {
		t.Fatal(err)
	}
}

// axial is a stack of n slices, each mm apart, as changed by change.
func axial(n int, mm float64, change func(i int, s *slice)) []slice {
	all := make([]slice, n)
	for i := range all {
		all[i].position = [3]float64{-160, -160, float64(i) * mm}
		if change != nil {
			change(i, &all[i])
		}
	}
	return all
}

// head is a skull of bone around brain, with air outside: no lungs.
func head(x, y int) int {
	r := math.Hypot(float64(x-testSide/2)*5, float64(y-testSide/2)*5)
	switch {
	case r < 70:
		return 35
	case r < 80:
		return 900
	default:
		return -1000
	}
}

// What is no thin axial chest CT ends as skipped, with a sentence that says
// why, and never as "no nodules".
func TestEverySeriesThatIsNotAnalysedSaysWhy(t *testing.T) {
	needRuntime(t)
	coronal := [6]float64{1, 0, 0, 0, 0, -1}
	cases := []struct {
		name   string
		slices []slice
		says   string
	}{
		{"5 mm", axial(60, 5, nil), "5.0 mm"},
		{"localiser", axial(2, 100, func(_ int, s *slice) { s.imageType = []string{"ORIGINAL", "PRIMARY", "LOCALIZER"} }), "ocali"},
		{"gap", axial(60, 2, func(i int, s *slice) {
			if i >= 30 {
				s.position[2] += 10
			}
		}), "slices are missing"},
		{"two orientations", axial(60, 2, func(i int, s *slice) {
			if i >= 30 {
				s.orientation = [6]float64{0.9848, 0.1736, 0, -0.1736, 0.9848, 0}
			}
		}), "orientation"},
		{"duplicate positions", axial(60, 2, func(i int, s *slice) {
			if i == 30 {
				s.position[2] = 2 * 29
			}
		}), "position"},
		{"coronal MPR", axial(60, 2, func(i int, s *slice) {
			s.imageType = []string{"DERIVED", "SECONDARY", "REFORMATTED"}
			s.orientation, s.position = coronal, [3]float64{-160, 2 * float64(i), 160}
		}), ""},
		{"MR", axial(60, 2, func(_ int, s *slice) { s.class, s.modality = "1.2.840.10008.5.1.4.1.1.4", "MR" }), "MR"},
		{"head", axial(60, 2, func(_ int, s *slice) { s.hu = head }), "lung"},
	}
	p := newPACS(t)
	s := newServer(t, "accept = \"any\"\n", destination{"pacs", "PACS", p.port})
	for i, c := range cases {
		dir := t.TempDir()
		for k, one := range c.slices {
			one.write(t, filepath.Join(dir, fmt.Sprintf("%03d.dcm", k)), seriesUID(i), k+1)
		}
		s.send(dir)
	}
	s.ends(len(cases), 3*time.Minute)
	for i, c := range cases {
		out, err := command(t, "jobs", "show", seriesUID(i), "--config", s.config()).CombinedOutput()
		if err != nil {
			t.Errorf("%s: jobs show: %v\n%s", c.name, err, out)
			continue
		}
		t.Logf("%s:\n%s", c.name, out)
		if !strings.Contains(string(out), string(admin.Skipped)) || !strings.Contains(string(out), c.says) {
			t.Errorf("%s: jobs show does not say %q and %q:\n%s", c.name, admin.Skipped, c.says, out)
		}
		for _, word := range []string{"no nodule", "0 nodule", "none"} {
			if strings.Contains(strings.ToLower(string(out)), word) {
				t.Errorf("%s reads as no nodules:\n%s", c.name, out)
			}
		}
	}
	if sent := len(p.seen()); sent != 0 {
		t.Errorf("%d documents were sent for series that were not analysed", sent)
	}
}

func seriesUID(i int) string { return fmt.Sprintf("1.2.826.0.1.3680043.10.999.%d", i+1) }
