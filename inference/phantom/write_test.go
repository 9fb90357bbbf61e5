package phantom

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	grailbio "github.com/grailbio/go-dicom"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// tiny is what else can be asked for.
var tiny = Options{Seed: math.MaxUint64, Slices: 7, SpacingZ: 10.0 / 3, Rows: 24, Columns: 20, Kernel: KernelSharp, StudyUID: "1.2.3", SeriesUID: "1.2.3.4"}

func written(t *testing.T, v *Volume) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := WriteSeries(t.Context(), dir, v, nil); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestTheSeriesReadsBackAsItWasMade(t *testing.T) {
	v := chest(t, small)
	dir := written(t, v)
	instances := map[string]bool{}
	for k := range v.Slices {
		f, err := dataset.Open(slicePath(dir, k), dataset.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		h := f.Header
		for tag, want := range map[dataset.Tag]string{
			dataset.SOPClassUID: ctImageStorage, dataset.StudyInstanceUID: v.StudyUID(), dataset.SeriesInstanceUID: v.SeriesUID(),
			dataset.SOPInstanceUID: v.SOPInstanceUID(k), dataset.Modality: "CT", dataset.PatientName: "PHANTOM^CHEST",
		} {
			if got := h.Text(tag); got != want {
				t.Errorf("slice %d: %v is %q, not %q", k, tag, got, want)
			}
		}
		if got := f.Meta.Text(dataset.MediaStorageSOPInstanceUID); got != v.SOPInstanceUID(k) || f.TransferSyntax != explicitVRLittleEndian {
			t.Errorf("slice %d: the meta information says %q in %q", k, got, f.TransferSyntax)
		}
		for _, tag := range []dataset.Tag{dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID, dataset.FrameOfReferenceUID} {
			if err := dataset.ValidUID(h.Text(tag)); err != nil {
				t.Errorf("slice %d: %v: %v", k, tag, err)
			}
		}
		instances[h.Text(dataset.SOPInstanceUID)] = true
		for tag, want := range map[dataset.Tag]int{dataset.Rows: v.Rows, dataset.Columns: v.Columns, dataset.InstanceNumber: k + 1, dataset.BitsStored: 12} {
			if got, ok := h.Int(tag); !ok || got != want {
				t.Errorf("slice %d: %v is %d, not %d", k, tag, got, want)
			}
		}
		place := v.place(0, 0, k)
		for tag, want := range map[dataset.Tag][]float64{
			dataset.ImagePositionPatient: place[:], dataset.ImageOrientationPatient: {1, 0, 0, 0, 1, 0},
			dataset.PixelSpacing: {v.PixelSpacing, v.PixelSpacing}, dataset.SliceThickness: {v.SpacingZ},
			dataset.RescaleIntercept: {rescaleIntercept}, dataset.RescaleSlope: {1},
		} {
			got, err := h.Floats(tag)
			if err != nil || len(got) != len(want) {
				t.Fatalf("slice %d: %v is %v, not %v: %v", k, tag, got, want, err)
			}
			for i := range want {
				if math.Abs(got[i]-want[i]) > 1e-6 {
					t.Errorf("slice %d: %v is %v, not %v", k, tag, got, want)
				}
			}
		}
		b, err := os.ReadFile(f.Path)
		if err != nil {
			t.Fatal(err)
		}
		sameValues(t, v, k, b[f.Pixel.Offset:][:f.Pixel.Length])
	}
	if len(instances) != v.Slices {
		t.Errorf("%d instances in %d files", len(instances), v.Slices)
	}
}

func sameValues(t *testing.T, v *Volume, k int, pixels []byte) {
	t.Helper()
	slice := v.HU[k*v.Rows*v.Columns:][:v.Rows*v.Columns]
	if len(pixels) != 2*len(slice) {
		t.Fatalf("slice %d: %d bytes of pixels", k, len(pixels))
	}
	for i, hu := range slice {
		if got := int(binary.LittleEndian.Uint16(pixels[2*i:])) + rescaleIntercept; got != int(hu) {
			t.Fatalf("slice %d, pixel %d: %d HU, not %d", k, i, got, hu)
		}
	}
}

// A reader that shares nothing with the writer, nor with ours.
func TestAnotherReaderReadsTheSame(t *testing.T) {
	v := chest(t, small)
	dir := written(t, v)
	for _, k := range []int{0, v.Slices / 2, v.Slices - 1} {
		d, err := grailbio.ReadDataSetFromFile(slicePath(dir, k), grailbio.ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		text := func(name string) (values []string) {
			e, err := d.FindElementByName(name)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if values, err = e.GetStrings(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return values
		}
		if got := text("SOPInstanceUID"); len(got) != 1 || got[0] != v.SOPInstanceUID(k) {
			t.Errorf("slice %d is %q", k, got)
		}
		p := v.place(0, 0, k)
		if got, want := strings.Join(text("ImagePositionPatient"), `\`), strings.Join(ds(p[:]...), `\`); got != want {
			t.Errorf("slice %d lies at %s, not at %s", k, got, want)
		}
		e, err := d.FindElementByName("PixelData")
		if err != nil {
			t.Fatal(err)
		}
		info, ok := e.Value[0].(grailbio.PixelDataInfo)
		if !ok || len(info.Frames) != 1 {
			t.Fatalf("slice %d has no pixels: %T", k, e.Value[0])
		}
		sameValues(t, v, k, info.Frames[0])
	}
}

// dciodvfy of dicom3tools knows the rules of the CT Image IOD.
func TestSlicesFollowTheStandard(t *testing.T) {
	validator, err := exec.LookPath("dciodvfy")
	if err != nil {
		t.Skip("dciodvfy is not installed (Debian: dicom3tools)")
	}
	for name, v := range map[string]*Volume{"soft": chest(t, small), "sharp, odd spacing, largest seed": chest(t, tiny)} {
		t.Run(name, func(t *testing.T) {
			out, err := exec.Command(validator, "-new", slicePath(written(t, v), v.Slices-1)).CombinedOutput()
			if err != nil && len(out) == 0 {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(out)) {
				if strings.HasPrefix(line, "Error") {
					t.Error(strings.TrimSpace(line))
				}
			}
		})
	}
}

func TestTheTruthIsWrittenBesideTheSlices(t *testing.T) {
	v := chest(t, small)
	text, err := os.ReadFile(filepath.Join(written(t, v), "truth.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Study  string `json:"study_instance_uid"`
		Series string `json:"series_instance_uid"`
		Truth
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got.Study != v.StudyUID() || got.Series != v.SeriesUID() || len(got.Nodules) != len(v.Truth.Nodules) {
		t.Fatalf("it is of %s, %s, with %d nodules", got.Study, got.Series, len(got.Nodules))
	}
	for i, n := range got.Nodules {
		want := v.Truth.Nodules[i]
		if n.CenterLPS != want.CenterLPS || n.DiameterMM != want.DiameterMM || n.Source != want.Source || len(n.Labels) != len(want.Labels) {
			t.Errorf("nodule %d is %+v", n.ID, n)
		}
	}
	if strings.Contains(string(text), "oxels") {
		t.Error("it lists voxels")
	}
}

func TestGivenUIDsAreUsed(t *testing.T) {
	f, err := dataset.Open(slicePath(written(t, chest(t, tiny)), 0), dataset.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if study, series := f.Header.Text(dataset.StudyInstanceUID), f.Header.Text(dataset.SeriesInstanceUID); study != tiny.StudyUID || series != tiny.SeriesUID {
		t.Errorf("got %s, %s", study, series)
	}
}

func TestWhereASeriesCannotBeWritten(t *testing.T) {
	short := chest(t, tiny)
	longer := written(t, chest(t, small))
	before, err := os.ReadFile(slicePath(longer, 0))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, dir string
		v         *Volume
		says      string
	}{
		{"a folder with a longer series", longer, short, "would be mixed with this one: choose an empty folder"},
		{"a file", file, short, "not a directory"},
		{"a volume that is none", t.TempDir(), &Volume{Slices: 2, Rows: 2, Columns: 2, HU: make([]int16, 7)}, "7 values for 2 x 2 x 2 voxels"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := WriteSeries(t.Context(), c.dir, c.v, nil); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v", err)
			}
		})
	}
	if after, err := os.ReadFile(slicePath(longer, 0)); err != nil || string(after) != string(before) {
		t.Errorf("the longer series was touched: %v", err)
	}
}
