package phantom

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/suyashkumar/dicom"
	"github.com/suyashkumar/dicom/pkg/tag"
)

const (
	ctImageStorage         = "1.2.840.10008.5.1.4.1.1.2" // PS3.4 B.5
	explicitVRLittleEndian = "1.2.840.10008.1.2.1"       // PS3.5 A.2
	implementationClassUID = "2.25.183614738162345087243310284731066135841"
	rescaleIntercept       = -1024
)

// uidSpace is the name space of the derived UIDs.
var uidSpace = uuid.MustParse("6f2b5a1e-3c07-5d0f-9d8e-0c1b8f6f7a52")

// derivedUID is a UID under 2.25 (PS3.5 B.2) from the name-based UUID of name.
func derivedUID(name string) string {
	u := uuid.NewSHA1(uidSpace, []byte(name))
	return "2.25." + new(big.Int).SetBytes(u[:]).String()
}

// validUID checks the form of PS3.5 9.1.
func validUID(s string) bool {
	if len(s) > 64 {
		return false
	}
	for part := range strings.SplitSeq(s, ".") {
		if part == "" || len(part) > 1 && part[0] == '0' || strings.Trim(part, "0123456789") != "" {
			return false
		}
	}
	return true
}

// identity holds the UIDs of a volume.
type identity struct{ study, series, frame, instances string }

func (v *Volume) identity() identity {
	o := v.Options
	o.StudyUID, o.SeriesUID = "", ""
	name := fmt.Sprintf("pulmonode phantom 1 %+v", o)
	id := identity{study: v.Options.StudyUID, series: v.Options.SeriesUID}
	if id.study == "" {
		id.study = derivedUID(name + " study")
	}
	if id.series == "" {
		id.series = derivedUID(name + " series")
	}
	id.frame = derivedUID(id.series + " frame of reference")
	id.instances = id.series + " instance "
	return id
}

// StudyUID is the Study Instance UID of the series.
func (v *Volume) StudyUID() string { return v.identity().study }

// SeriesUID is the Series Instance UID of the series.
func (v *Volume) SeriesUID() string { return v.identity().series }

// SOPInstanceUID is that of slice k.
func (v *Volume) SOPInstanceUID(k int) string {
	return derivedUID(v.identity().instances + strconv.Itoa(k))
}

// WriteSeries writes the volume as CT images, one file a slice (the first is the
// lowest), and truth.json into dir, which it makes. A person of the name is
// fictitious. Files of an earlier phantom in dir are overwritten; where some of
// them would stay, because it had more slices, nothing is written.
func WriteSeries(ctx context.Context, dir string, v *Volume, progress func(done, total int)) error {
	if len(v.HU) == 0 || len(v.HU) != v.Slices*v.Rows*v.Columns {
		return fmt.Errorf("writing a phantom: %d values for %d x %d x %d voxels", len(v.HU), v.Slices, v.Rows, v.Columns)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("writing a phantom: %w", err)
	}
	if _, err := os.Stat(slicePath(dir, v.Slices)); err == nil {
		return fmt.Errorf("writing a phantom: %s holds a series of more than %d slices, which would be mixed with this one: choose an empty folder", dir, v.Slices)
	}
	id := v.identity()
	var done int
	var told sync.Mutex
	err := eachSlice(ctx, v.Slices, func() func(int) error {
		pixels := make([]byte, 2*v.Rows*v.Columns)
		return func(k int) error {
			if err := v.writeSlice(slicePath(dir, k), id, k, pixels); err != nil {
				return fmt.Errorf("writing slice %d of a phantom: %w", k+1, err)
			}
			told.Lock()
			defer told.Unlock()
			done++
			if progress != nil {
				progress(done, v.Slices)
			}
			return nil
		}
	})
	if err != nil {
		return err
	}
	truth, err := json.MarshalIndent(struct {
		Study  string `json:"study_instance_uid"`
		Series string `json:"series_instance_uid"`
		Truth
	}{id.study, id.series, v.Truth}, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "truth.json"), append(truth, '\n'), 0o666)
	}
	if err != nil {
		return fmt.Errorf("writing the truth of a phantom: %w", err)
	}
	return nil
}

func slicePath(dir string, k int) string {
	return filepath.Join(dir, fmt.Sprintf("slice-%04d.dcm", k+1))
}

func (v *Volume) writeSlice(path string, id identity, k int, pixels []byte) error {
	slice := v.HU[k*v.Rows*v.Columns : (k+1)*v.Rows*v.Columns]
	for i, hu := range slice {
		binary.LittleEndian.PutUint16(pixels[2*i:], uint16(min(max(int(hu)-rescaleIntercept, 0), 4095)))
	}
	elements, err := v.elements(id, k, pixels)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<16)
	err = dicom.Write(w, dicom.Dataset{Elements: elements})
	if e := w.Flush(); err == nil {
		err = e
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// ds writes a decimal string of at most 16 characters (PS3.5 6.2).
func ds(values ...float64) []string {
	out := make([]string, len(values))
	for i, v := range values {
		s := strconv.FormatFloat(v, 'f', 6, 64)
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
		if s == "-0" {
			s = "0"
		}
		out[i] = s
	}
	return out
}

// elements are the modules of the CT Image IOD (PS3.3 A.3).
func (v *Volume) elements(id identity, k int, pixels []byte) ([]*dicom.Element, error) {
	o := v.Options
	z := v.Origin[2] + float64(k)*v.SpacingZ
	instance := derivedUID(id.instances + strconv.Itoa(k))
	kernel := "SOFT"
	if o.Kernel == KernelSharp {
		kernel = "SHARP"
	}
	text := func(s string) []string { return []string{s} }
	none := []string{}
	const date, clock = "20260101", "120000"
	rows := []struct {
		tag   tag.Tag
		value any
	}{
		{tag.FileMetaInformationVersion, []byte{0, 1}},
		{tag.MediaStorageSOPClassUID, text(ctImageStorage)},
		{tag.MediaStorageSOPInstanceUID, text(instance)},
		{tag.TransferSyntaxUID, text(explicitVRLittleEndian)},
		{tag.ImplementationClassUID, text(implementationClassUID)},
		{tag.ImplementationVersionName, text("PULMONODE")},

		{tag.SpecificCharacterSet, text("ISO_IR 100")},
		{tag.ImageType, []string{"ORIGINAL", "PRIMARY", "AXIAL"}},
		{tag.InstanceCreationDate, text(date)},
		{tag.InstanceCreationTime, text(clock)},
		{tag.SOPClassUID, text(ctImageStorage)},
		{tag.SOPInstanceUID, text(instance)},
		{tag.StudyDate, text(date)},
		{tag.SeriesDate, text(date)},
		{tag.AcquisitionDate, text(date)},
		{tag.ContentDate, text(date)},
		{tag.StudyTime, text(clock)},
		{tag.SeriesTime, text(clock)},
		{tag.AcquisitionTime, text(clock)},
		{tag.ContentTime, text(clock)},
		{tag.AccessionNumber, none},
		{tag.Modality, text("CT")},
		{tag.Manufacturer, text("pulmonode")},
		{tag.ReferringPhysicianName, none},
		{tag.StudyDescription, text("Phantom chest CT")},
		{tag.SeriesDescription, text(fmt.Sprintf("Phantom %g mm %s", v.SpacingZ, o.Kernel))},
		{tag.ManufacturerModelName, text("phantom")},
		{tag.PatientName, text("PHANTOM^CHEST")},
		{tag.PatientID, text(fmt.Sprintf("PHANTOM-%d", o.Seed))},
		{tag.PatientBirthDate, none},
		{tag.PatientSex, text("O")},
		{tag.BodyPartExamined, text("CHEST")},
		{tag.SliceThickness, ds(v.SpacingZ)},
		{tag.KVP, text("120")},
		{tag.DeviceSerialNumber, text(strconv.FormatUint(o.Seed, 10))},
		{tag.SoftwareVersions, text("1")},
		{tag.ReconstructionDiameter, ds(float64(v.Columns) * v.PixelSpacing)},
		{tag.GantryDetectorTilt, text("0")},
		{tag.ConvolutionKernel, text(kernel)},
		{tag.PatientPosition, text("HFS")},
		{tag.StudyInstanceUID, text(id.study)},
		{tag.SeriesInstanceUID, text(id.series)},
		{tag.StudyID, text("1")},
		{tag.SeriesNumber, text("1")},
		{tag.AcquisitionNumber, text("1")},
		{tag.InstanceNumber, text(strconv.Itoa(k + 1))},
		{tag.ImagePositionPatient, ds(v.Origin[0], v.Origin[1], z)},
		{tag.ImageOrientationPatient, []string{"1", "0", "0", "0", "1", "0"}},
		{tag.FrameOfReferenceUID, text(id.frame)},
		{tag.PositionReferenceIndicator, none},
		{tag.SliceLocation, ds(z)},
		{tag.SamplesPerPixel, []int{1}},
		{tag.PhotometricInterpretation, text("MONOCHROME2")},
		{tag.Rows, []int{v.Rows}},
		{tag.Columns, []int{v.Columns}},
		{tag.PixelSpacing, ds(v.PixelSpacing, v.PixelSpacing)},
		{tag.BitsAllocated, []int{16}},
		{tag.BitsStored, []int{12}},
		{tag.HighBit, []int{11}},
		{tag.PixelRepresentation, []int{0}},
		{tag.WindowCenter, []string{"-600", "40"}},
		{tag.WindowWidth, []string{"1500", "400"}},
		{tag.RescaleIntercept, text(strconv.Itoa(rescaleIntercept))},
		{tag.RescaleSlope, text("1")},
		{tag.RescaleType, text("HU")},
		{tag.PixelData, dicom.PixelDataInfo{IntentionallyUnprocessed: true, UnprocessedValueData: pixels}},
	}
	out := make([]*dicom.Element, len(rows))
	for i, r := range rows {
		e, err := dicom.NewElement(r.tag, r.value)
		if err != nil {
			return nil, fmt.Errorf("element %v: %w", r.tag, err)
		}
		out[i] = e
	}
	return out, nil
}
