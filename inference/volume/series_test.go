package volume

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// series is a CT series by its geometry. Its slices are numbered along step.
type series struct {
	slices, rows, columns int
	origin                [3]float64 // centre of the first voxel of slice 0, LPS mm
	orientation           [6]float64
	spacing               [2]float64 // between rows, between columns
	step                  [3]float64 // from slice to slice
	hu                    func(x, y, z int) int
}

// axial is a small series of axial slices whose voxels tell their own place.
func axial() series {
	return series{
		slices: 5, rows: 3, columns: 4,
		origin:      [3]float64{-10, -20, -30},
		orientation: [6]float64{1, 0, 0, 0, 1, 0},
		spacing:     [2]float64{0.5, 0.5},
		step:        [3]float64{0, 0, 2.5},
		hu:          func(x, y, z int) int { return 100*z + 10*y + x },
	}
}

func (s series) position(z int) [3]float64 {
	p := s.origin
	for a := range p {
		p[a] += float64(z) * s.step[a]
	}
	return p
}

func uidOf(z int) string { return fmt.Sprintf("1.2.3.%d", z+1) }

// decimals writes a DS: at most 16 characters a value (PS3.5 6.2).
func decimals(v ...float64) string {
	text := make([]string, len(v))
	for i, x := range v {
		text[i] = strconv.FormatFloat(x, 'f', 6, 64)
	}
	return strings.Join(text, `\`)
}

const rescaleIntercept = -1024

// header is what a scanner says of slice z.
func (s series) header(z int) *dataset.Dataset {
	h := &dataset.Dataset{}
	p := s.position(z)
	h.SetText(dataset.SOPClassUID, "UI", dataset.CTImage)
	h.SetText(dataset.SOPInstanceUID, "UI", uidOf(z))
	h.SetText(dataset.Modality, "CS", "CT")
	h.SetText(dataset.SliceThickness, "DS", "5")
	h.SetText(dataset.StudyInstanceUID, "UI", "1.2.4")
	h.SetText(dataset.SeriesInstanceUID, "UI", "1.2.5")
	h.SetText(dataset.InstanceNumber, "IS", strconv.Itoa(z+1))
	h.SetText(dataset.ImagePositionPatient, "DS", decimals(p[:]...))
	h.SetText(dataset.ImageOrientationPatient, "DS", decimals(s.orientation[:]...))
	h.SetText(dataset.FrameOfReferenceUID, "UI", "1.2.6")
	h.SetText(dataset.PixelSpacing, "DS", decimals(s.spacing[:]...))
	h.SetUint16(dataset.SamplesPerPixel, 1)
	h.SetText(dataset.PhotometricInterpretation, "CS", "MONOCHROME2")
	h.SetUint16(dataset.Rows, uint16(s.rows))
	h.SetUint16(dataset.Columns, uint16(s.columns))
	h.SetUint16(dataset.BitsAllocated, 16)
	h.SetUint16(dataset.BitsStored, 16)
	h.SetUint16(dataset.HighBit, 15)
	h.SetUint16(dataset.PixelRepresentation, 0)
	h.SetText(dataset.RescaleIntercept, "DS", strconv.Itoa(rescaleIntercept))
	h.SetText(dataset.RescaleSlope, "DS", "1")
	return h
}

// pixels are the stored values of slice z.
func (s series) pixels(z int) []byte {
	b := make([]byte, 0, 2*s.rows*s.columns)
	for y := range s.rows {
		for x := range s.columns {
			b = binary.LittleEndian.AppendUint16(b, uint16(s.hu(x, y, z)-rescaleIntercept))
		}
	}
	return b
}

// part10 is the file of a header and its pixels.
func part10(t testing.TB, h *dataset.Dataset, pixels []byte) []byte {
	t.Helper()
	b := dataset.FileMeta(dataset.MetaInfo{
		SOPClassUID: dataset.CTImage, SOPInstanceUID: h.Text(dataset.SOPInstanceUID), TransferSyntax: dataset.ExplicitLE,
	})
	b, err := h.AppendExplicit(b)
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, 0xE0, 0x7F, 0x10, 0x00, 'O', 'W', 0, 0)
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(pixels))), pixels...)
}

func read(t testing.TB, b []byte) *dataset.File {
	t.Helper()
	f, err := dataset.Read(bytes.NewReader(b), int64(len(b)), dataset.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// files are the slices in order; change, where given, edits the header of slice z.
func (s series) files(t testing.TB, change func(z int, h *dataset.Dataset)) []*dataset.File {
	t.Helper()
	list := make([]*dataset.File, s.slices)
	for z := range list {
		h := s.header(z)
		if change != nil {
			change(z, h)
		}
		list[z] = read(t, part10(t, h, s.pixels(z)))
	}
	return list
}

// write puts the series into dir, one file a slice; change is as for files.
func (s series) write(t testing.TB, dir string, change func(z int, h *dataset.Dataset)) {
	t.Helper()
	for z := range s.slices {
		h := s.header(z)
		if change != nil {
			change(z, h)
		}
		path := filepath.Join(dir, fmt.Sprintf("%04d.dcm", z))
		if err := os.WriteFile(path, part10(t, h, s.pixels(z)), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// open reads the headers of the DICOM files in a folder.
func open(t testing.TB, dir string) []*dataset.File {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.dcm"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no DICOM files in %s: %v", dir, err)
	}
	list := make([]*dataset.File, len(paths))
	for i, path := range paths {
		if list[i], err = dataset.Open(path, dataset.Limits{}); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// stack and load are Stack and Load of a series that is as it should be.
func stack(t testing.TB, files []*dataset.File) *Geometry {
	t.Helper()
	g, err := Stack(files)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func load(t testing.TB, files []*dataset.File) *Volume {
	t.Helper()
	v, err := Load(t.Context(), stack(t, files), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// close3 compares places in mm; positions are written with six decimals.
func close3(a, b [3]float64) bool {
	for i := range a {
		if math.Abs(a[i]-b[i]) > 1e-4 {
			return false
		}
	}
	return true
}
