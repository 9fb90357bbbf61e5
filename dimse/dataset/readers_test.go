package dataset_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	grail "github.com/grailbio/go-dicom"
	"github.com/suyashkumar/dicom"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// ctSlice is a Part 10 file with a header of the size that scanners write and
// the pixels of a slice of 512 x 512.
func ctSlice(t testing.TB) []byte {
	t.Helper()
	const uid = "1.2.826.0.1.3680043.9.7.1"
	var d dataset.Dataset
	d.SetText(dataset.ImageType, "CS", "ORIGINAL", "PRIMARY", "AXIAL")
	d.SetText(dataset.SOPClassUID, "UI", dataset.CTImage)
	d.SetText(dataset.SOPInstanceUID, "UI", uid)
	d.SetText(dataset.Modality, "CS", "CT")
	d.SetText(dataset.PatientName, "PN", "PHANTOM^CHEST")
	d.SetText(dataset.StudyInstanceUID, "UI", uid+".1")
	d.SetText(dataset.SeriesInstanceUID, "UI", uid+".2")
	d.SetText(dataset.ImagePositionPatient, "DS", "-175.5", "-175.5", "-117.5")
	d.SetText(dataset.ImageOrientationPatient, "DS", "1", "0", "0", "0", "1", "0")
	d.SetText(dataset.PixelSpacing, "DS", "0.703125", "0.703125")
	d.SetUint16(dataset.SamplesPerPixel, 1)
	d.SetText(dataset.PhotometricInterpretation, "CS", "MONOCHROME2")
	d.SetUint16(dataset.Rows, 512)
	d.SetUint16(dataset.Columns, 512)
	d.SetUint16(dataset.BitsAllocated, 16)
	d.SetUint16(dataset.BitsStored, 12)
	d.SetUint16(dataset.HighBit, 11)
	d.SetUint16(dataset.PixelRepresentation, 0)
	d.SetText(dataset.RescaleIntercept, "DS", "-1024")
	d.SetText(dataset.RescaleSlope, "DS", "1")
	for i := range 60 { // what vendors add
		d.SetText(dataset.Tag(0x00091001+i), "LO", fmt.Sprintf("private value %d of a vendor", i))
	}
	d.Set(dataset.PixelData, "OW", make([]byte, 512*512*2))
	b, err := d.AppendExplicit(dataset.FileMeta(dataset.MetaInfo{SOPClassUID: dataset.CTImage, SOPInstanceUID: uid, TransferSyntax: dataset.ExplicitLE}))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Two independent readers find in our files what was put in.
func TestOtherReadersReadWhatIsWritten(t *testing.T) {
	data := ctSlice(t)
	theirs, err := dicom.Parse(bytes.NewReader(data), int64(len(data)), nil, dicom.SkipPixelData())
	if err != nil {
		t.Fatal(err)
	}
	second, err := grail.ReadDataSet(bytes.NewReader(data), grail.ReadOptions{DropPixelData: true})
	if err != nil {
		t.Fatal(err)
	}
	ours, err := dataset.Read(bytes.NewReader(data), int64(len(data)), dataset.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(ours.Header.Elements); n < 80 || len(theirs.Elements) < n || len(second.Elements) < n {
		t.Errorf("%d elements, suyashkumar/dicom has %d, grailbio/go-dicom %d", n, len(theirs.Elements), len(second.Elements))
	}
	for _, e := range second.Elements {
		tag := dataset.Tag(uint32(e.Tag.Group)<<16 | uint32(e.Tag.Element))
		if e.VR != "UI" && e.VR != "CS" || tag.Group() == 2 {
			continue
		}
		if got, err := e.GetStrings(); err != nil || len(got) == 0 || got[0] != ours.Header.Text(tag) {
			t.Errorf("%v is %q to us, %q, %v to grailbio/go-dicom", tag, ours.Header.Text(tag), got, err)
		}
	}
}

// The cost of a slice's header to each reader:
//
//	go test -run '^$' -bench BenchmarkReaders ./dimse/dataset
func BenchmarkReaders(b *testing.B) {
	data := ctSlice(b)
	path := filepath.Join(b.TempDir(), "slice.dcm")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		b.Fatal(err)
	}
	run := func(name string, read func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := read(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("dataset, header", func() error {
		_, err := dataset.Open(path, dataset.Limits{})
		return err
	})
	run("suyashkumar, header", func() error {
		_, err := dicom.ParseFile(path, nil, dicom.SkipPixelData())
		return err
	})
	run("suyashkumar, all", func() error {
		_, err := dicom.ParseFile(path, nil)
		return err
	})
}
