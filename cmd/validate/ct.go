package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/phantom"
	"github.com/pulmonode/pulmonode/node/store"
)

const rescaleIntercept = -1024

// uid is the same for the same series, kind and index.
func uid(series, kind string, index int) string {
	return store.UIDs{Installation: "validate"}.UID(series, 1, kind, index)
}

func (c *specimen) seriesUID() string { return uid(c.name, "series", 0) }

// hu is a chest: a body with two lungs, and what is denser in them.
func (c *specimen) hu(x, y, z int) int {
	s := &c.scan
	u, v := 2*float64(x)/float64(s.columns-1)-1, 2*float64(y)/float64(s.rows-1)-1
	grain := int(uint32(x*73856093^y*19349663^z*83492791)>>7%31) - 15
	for _, n := range c.nodules {
		if n.holds(x, y, z) {
			return 30 + grain
		}
	}
	for _, middle := range []float64{-0.42, 0.42} {
		if math.Hypot((u-middle)/0.34, v/0.68) < 1 {
			return -850 + grain
		}
	}
	if math.Hypot(u/0.95, v/0.85) < 1 {
		return 40 + grain
	}
	return -1000
}

func (n ellipsoid) holds(x, y, z int) bool {
	d := 0.0
	for a, at := range [3]int{x, y, z} {
		d += math.Pow((float64(at)-n.center[a])/n.radius[a], 2)
	}
	return d <= 1
}

// decimals writes a DS: at most 16 characters a value (PS3.5 6.2).
func decimals(v ...float64) string {
	text := make([]string, len(v))
	for i, x := range v {
		text[i] = strconv.FormatFloat(x, 'f', 6, 64)
	}
	return strings.Join(text, `\`)
}

// position is that of slice z, counted along step.
func (s *scan) position(z int) string {
	var p [3]float64
	for a, from := range [3]float64{-150, -140, -60} {
		p[a] = from + float64(z)*s.step[a]
	}
	return decimals(p[:]...)
}

type text = map[dataset.Tag]string

func set(d *dataset.Dataset, values text) *dataset.Dataset {
	for t, v := range values {
		d.SetText(t, t.VR(), v)
	}
	return d
}

func item(values text) *dataset.Dataset { return set(&dataset.Dataset{}, values) }

// common are the modules of both CT IODs (PS3.3 A.3 and A.38).
func (c *specimen) common() *dataset.Dataset {
	series := c.seriesUID()
	d := item(text{
		dataset.StudyDate: "20260102", dataset.SeriesDate: "20260102", dataset.AcquisitionDate: "20260102", dataset.ContentDate: "20260102",
		dataset.StudyTime: "101500", dataset.SeriesTime: "101600", dataset.AcquisitionTime: "101700", dataset.ContentTime: "101800",
		dataset.AccessionNumber: "A-77", dataset.Modality: "CT", dataset.Manufacturer: "Scanner Works", dataset.ManufacturerModelName: "Ring",
		dataset.DeviceSerialNumber: "1", dataset.SoftwareVersions: "1", dataset.ReferringPhysicianName: "", dataset.StudyDescription: "Chest",
		dataset.SeriesDescription: c.name, dataset.PatientName: c.person.raw, dataset.PatientID: slug(c.name), dataset.PatientBirthDate: "19500401",
		dataset.PatientSex: "F", dataset.BodyPartExamined: "CHEST", dataset.PatientPosition: "HFS", dataset.StudyID: "1",
		dataset.StudyInstanceUID: uid(series, "study", 0), dataset.SeriesInstanceUID: series, dataset.SeriesNumber: "2",
		dataset.FrameOfReferenceUID: uid(series, "frame of reference", 0), dataset.PositionReferenceIndicator: "",
		dataset.PhotometricInterpretation: "MONOCHROME2", dataset.KVP: "120",
	})
	if c.person.charset != "" {
		set(d, text{dataset.SpecificCharacterSet: c.person.charset})
	}
	for t, v := range map[dataset.Tag]int{
		dataset.SamplesPerPixel: 1, dataset.Rows: c.scan.rows, dataset.Columns: c.scan.columns,
		dataset.BitsAllocated: 16, dataset.BitsStored: 12, dataset.HighBit: 11, dataset.PixelRepresentation: 0,
	} {
		d.SetUint16(t, uint16(v))
	}
	return d
}

// write makes the files of the CT in dir.
func (c *specimen) write(ctx context.Context, dir string) error {
	if c.chest != nil {
		v, _, err := phantom.Generate(ctx, *c.chest, nil)
		if err != nil {
			return err
		}
		return phantom.WriteSeries(ctx, dir, v, nil)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	s := &c.scan
	if s.enhanced {
		return c.writeEnhanced(dir)
	}
	for number := range s.slices {
		z := number
		if s.reversed {
			z = s.slices - 1 - number
		}
		d := set(c.common(), text{
			dataset.SOPClassUID: dataset.CTImage, dataset.SOPInstanceUID: uid(c.seriesUID(), "image", number),
			dataset.ImageType: `ORIGINAL\PRIMARY\AXIAL`, dataset.InstanceNumber: strconv.Itoa(number + 1), dataset.AcquisitionNumber: "1",
			dataset.ImagePositionPatient: s.position(z), dataset.ImageOrientationPatient: decimals(s.orientation[:]...),
			dataset.PixelSpacing: decimals(s.spacing[:]...), dataset.SliceThickness: "2.0", dataset.GantryDetectorTilt: decimals(s.tilt),
			dataset.RescaleIntercept: strconv.Itoa(rescaleIntercept), dataset.RescaleSlope: "1", dataset.RescaleType: "HU",
			dataset.WindowCenter: "-400", dataset.WindowWidth: "1500",
		})
		if err := writeFile(filepath.Join(dir, fmt.Sprintf("%04d.dcm", number+1)), d, c.pixels(z)); err != nil {
			return err
		}
	}
	return nil
}

// writeEnhanced makes one Enhanced CT object, its frames in functional groups
// (PS3.3 A.38.1.4).
func (c *specimen) writeEnhanced(dir string) error {
	s := &c.scan
	var frames []*dataset.Dataset
	var pixels []byte
	for z := range s.slices {
		content := item(nil)
		content.SetUint16(dataset.FrameAcquisitionNumber, 1)
		frame := item(nil)
		frame.SetItems(dataset.FrameContentSequence, content)
		frame.SetItems(dataset.PlanePositionSequence, item(text{dataset.ImagePositionPatient: s.position(z)}))
		frames = append(frames, frame)
		pixels = append(pixels, c.pixels(z)...)
	}
	shared := item(nil)
	shared.SetItems(dataset.PixelMeasuresSequence, item(text{dataset.PixelSpacing: decimals(s.spacing[:]...), dataset.SliceThickness: "2.0"}))
	shared.SetItems(dataset.PlaneOrientationSequence, item(text{dataset.ImageOrientationPatient: decimals(s.orientation[:]...)}))
	shared.SetItems(dataset.PixelValueTransformationSequence, item(text{
		dataset.RescaleIntercept: strconv.Itoa(rescaleIntercept), dataset.RescaleSlope: "1", dataset.RescaleType: "HU"}))
	d := set(c.common(), text{
		dataset.SOPClassUID: dataset.EnhancedCT, dataset.SOPInstanceUID: uid(c.seriesUID(), "image", 0), dataset.InstanceNumber: "1",
		dataset.ImageType: `ORIGINAL\PRIMARY\VOLUME\NONE`, dataset.NumberOfFrames: strconv.Itoa(s.slices),
	})
	d.SetItems(dataset.SharedFunctionalGroupsSequence, shared)
	d.SetItems(dataset.PerFrameFunctionalGroupsSequence, frames...)
	return writeFile(filepath.Join(dir, "0001.dcm"), d, pixels)
}

// pixels are the stored values of slice z.
func (c *specimen) pixels(z int) []byte {
	b := make([]byte, 0, 2*c.scan.rows*c.scan.columns)
	for y := range c.scan.rows {
		for x := range c.scan.columns {
			b = binary.LittleEndian.AppendUint16(b, uint16(c.hu(x, y, z)-rescaleIntercept))
		}
	}
	return b
}

func writeFile(path string, d *dataset.Dataset, pixels []byte) error {
	b := dataset.FileMeta(dataset.MetaInfo{
		SOPClassUID: d.Text(dataset.SOPClassUID), SOPInstanceUID: d.Text(dataset.SOPInstanceUID), TransferSyntax: dataset.ExplicitLE,
	})
	d.Set(dataset.PixelData, "OW", pixels)
	b, err := d.AppendExplicit(b)
	if err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Base(path), err)
	}
	return os.WriteFile(path, b, 0o666)
}
