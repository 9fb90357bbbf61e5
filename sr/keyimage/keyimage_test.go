package keyimage

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/sr/study"
)

// ring is a contour with a bay and a hole, as rows of a slice.
var ring = []string{
	"###..",
	"#.###",
	"###.#",
	"..###",
}

// series makes a result with n nodules, each the ring in one slice, 6 apart.
func series(side, n int) *result.Result {
	g := &result.Grid{Rows: side, Columns: side, Orientation: [6]float64{1, 0, 0, 0, 1, 0}, PixelSpacing: [2]float64{0.7, 0.7}, SliceSpacing: 1.25}
	for z := range 20 {
		g.Instances = append(g.Instances, result.Instance{
			SOPClassUID: dataset.CTImage, SOPInstanceUID: fmt.Sprintf("1.2.3.%d", z+1), Position: result.Point{-20, -30, float64(z) * 1.25},
		})
	}
	r := &result.Result{
		Outcome: result.OutcomeNone, Grid: g, Slices: map[int]*result.Pixels{},
		Closed:    result.Closed{Time: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)},
		Algorithm: result.Algorithm{Name: "pulmonode", Version: "1.2.0", Models: []result.Model{{Role: "refine", Version: "4", SHA256: strings.Repeat("cd", 32)}}},
	}
	slice := func() *result.Pixels {
		p := &result.Pixels{Rows: side, Columns: side, HU: make([]int16, side*side)}
		for i := range p.HU {
			p.HU[i] = int16(i%side*4 - 1000)
		}
		return p
	}
	for i := range n {
		m := result.Mask{X0: 8 + 6*(i%4), Y0: 10 + 6*(i/4%4), Z0: i % 20, NX: 5, NY: 4, NZ: 1}
		for _, row := range ring {
			for _, c := range row {
				m.Bits = append(m.Bits, c == '#')
			}
		}
		r.Slices[m.Z0] = slice()
		r.Nodules = append(r.Nodules, result.Nodule{
			ID: fmt.Sprintf("N%d", i+1), KeySlice: g.Instances[m.Z0].SOPInstanceUID, Mask: m, VolumeMM3: 812.3, LongAxisMM: 12.34, ShortAxisMM: 9.8,
			Laterality: []string{"left", "right", ""}[i%3],
			LongAxis:   result.Axis{From: g.LPS(8, 11, m.Z0), To: g.LPS(12, 11, m.Z0)},
			Characteristics: map[string]result.Characteristic{
				"malignancy": {Probability: 0.87, Label: "high", Threshold: 0.5}, "margin": {Probability: 0.3, Label: "unclear", Threshold: 0.5},
			},
		})
		r.Outcome = result.OutcomeNodules
	}
	if n == 0 {
		r.Slices[10] = slice()
	}
	return r
}

func drawn(t testing.TB, r *result.Result) []Picture {
	t.Helper()
	pages, err := Pages(r)
	if err != nil {
		t.Fatal(err)
	}
	var out []Picture
	for _, p := range pages {
		picture, err := p.Draw()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, picture)
	}
	return out
}

func TestEachNoduleHasAPictureAndTheSeriesASummary(t *testing.T) {
	for _, n := range []int{0, 1, 8, 25} {
		t.Run(fmt.Sprintf("%d nodules", n), func(t *testing.T) {
			r := series(64, n)
			pictures := drawn(t, r)
			if want := n + max(1, (n+rowsOfPage-1)/rowsOfPage); len(pictures) != want {
				t.Fatalf("%d pictures, want %d", len(pictures), want)
			}
			for i, p := range pictures[:n] {
				if p.Name != fmt.Sprintf("key-%d", i+1) || p.Title != "Nodule "+r.Nodules[i].ID || p.Source.SOPInstanceUID != r.Nodules[i].KeySlice {
					t.Errorf("picture %d is %s, %q, of %s", i+1, p.Name, p.Title, p.Source.SOPInstanceUID)
				}
			}
			for i, p := range pictures[n:] {
				if name := []string{"key-summary", "key-summary-2", "key-summary-3"}[i]; p.Name != name || p.Source != (result.Instance{}) {
					t.Errorf("the summary is %s of %v", p.Name, p.Source)
				}
				if p.RGBA.Rect.Dy() > summaryWidth*6/5 {
					t.Errorf("%s has %v pixels", p.Name, p.RGBA.Rect.Size())
				}
			}
			for _, p := range pictures {
				if !p.RGBA.Opaque() {
					t.Errorf("%s can be seen through", p.Name)
				}
			}
		})
	}
}

func TestWhatWasNotAnalysedHasNoPictures(t *testing.T) {
	for _, o := range []result.Outcome{result.OutcomeSkipped, result.OutcomeFailed} {
		if p, err := Pages(&result.Result{Outcome: o, Reason: "slices are 5 mm apart"}); p != nil || err != nil {
			t.Errorf("%s: %d pages, %v", o, len(p), err)
		}
	}
}

func TestSmallAndLargeMatricesGiveLegiblePages(t *testing.T) {
	for side, want := range map[int]int{64: 960, 256: 1024, 512: 1024, 768: 1536, 1024: 1024} {
		p := drawn(t, series(side, 1))[0]
		if size := p.RGBA.Rect.Size(); size != image.Pt(want+panelWidth, max(want, pageHeight)) {
			t.Errorf("a matrix of %d gives a page of %v", side, size)
		}
	}
}

// Between two voxels there is a line exactly where one is the nodule's and the
// other is not; inside voxels there is none.
func TestTheContourLiesOnTheEdgesOfVoxels(t *testing.T) {
	for _, spacing := range [][2]float64{{0.7, 0.7}, {1.4, 0.7}, {0.7, 0.9}} {
		t.Run(fmt.Sprint(spacing), func(t *testing.T) {
			r := series(64, 1)
			r.Grid.PixelSpacing = spacing
			p, err := newPens()
			if err != nil {
				t.Fatal(err)
			}
			v := wholeView(r.Grid, 0)
			c := newCanvas(p, v.at.Dx(), v.at.Dy())
			by := study.ColorOf(&r.Nodules[0]).RGB
			m := &r.Nodules[0].Mask
			c.contour(v, m, 2, by)
			at := func(u, w float64) bool { return c.RGBAAt(int(v.x(u)), int(v.y(w))) == by }
			for y := range 40 {
				for x := range 40 {
					u, w := float64(x), float64(y)
					if at(u+0.5, w+0.5) {
						t.Fatalf("voxel %d, %d has colour in its middle", x, y)
					}
					if want := m.At(x, y, 0) != m.At(x-1, y, 0); at(u, w+0.5) != want {
						t.Errorf("left of voxel %d, %d there is a line: %t", x, y, !want)
					}
					if want := m.At(x, y, 0) != m.At(x, y-1, 0); at(u+0.5, w) != want {
						t.Errorf("above voxel %d, %d there is a line: %t", x, y, !want)
					}
				}
			}
		})
	}
}

func TestTheLungWindow(t *testing.T) {
	for hu, want := range map[float64]uint8{-3000: 0, -1350: 0, -600: 128, 150: 255, 3000: 255} {
		if got := window(hu); got != want {
			t.Errorf("%v HU is %d, want %d", hu, got, want)
		}
	}
}

func TestPointsInSpaceLieWhereTheirVoxelsAre(t *testing.T) {
	r := series(64, 1)
	r.Grid.Orientation = [6]float64{0, 1, 0, -1, 0, 0}
	v := wholeView(r.Grid, 3)
	x, y := v.place(r.Grid.LPS(10, 20, 3))
	if x != v.x(10.5) || y != v.y(20.5) {
		t.Errorf("the middle of voxel 10, 20 lies at %v, %v, not %v, %v", x, y, v.x(10.5), v.y(20.5))
	}
}

func TestSidesOfThePatient(t *testing.T) {
	for _, c := range []struct {
		toward [3]float64
		want   string
	}{
		{[3]float64{1, 0, 0}, "L"}, {[3]float64{-1, 0.1, 0}, "R"}, {[3]float64{0, 0.99, 0.1}, "P"},
		{[3]float64{0, -1, 0}, "A"}, {[3]float64{0, 0.2, 0.98}, "H"}, {[3]float64{0, 0, -1}, "F"},
	} {
		if got := toward(c.toward); got != c.want {
			t.Errorf("%v is toward %s, want %s", c.toward, got, c.want)
		}
	}
}

func TestWhatWasNotMeasuredIsNotZero(t *testing.T) {
	for _, bad := range []float64{math.NaN(), math.Inf(1), 0, -1} {
		n := result.Nodule{LongAxisMM: 5, ShortAxisMM: bad, MaxDiam3DMM: bad, VolumeMM3: bad, MeanHU: math.NaN(), SDHU: bad}
		for _, got := range []string{size(&n), diameter(&n), volume(&n), density(&n, true), density(&n, false)} {
			if got != notMeasured {
				t.Errorf("%v is shown as %q", bad, got)
			}
		}
	}
	if got := density(&result.Nodule{MeanHU: 0, SDHU: 0}, true); got != "0 ± 0 HU" {
		t.Errorf("water is %q", got)
	}
}

func TestNothingIsSaidToBeCertain(t *testing.T) {
	for p, want := range map[float64]string{0: "<1 %", 0.004: "<1 %", 0.01: "1 %", 0.5: "50 %", 0.994: "99 %", 0.996: ">99 %", 1: ">99 %"} {
		if got := percent(p); got != want {
			t.Errorf("%v is %q, want %q", p, got, want)
		}
	}
}

func TestInAnEnhancedObjectTheFrameWithMostOfTheNoduleIsShown(t *testing.T) {
	r := series(64, 1)
	for z := range r.Grid.Instances {
		in := &r.Grid.Instances[z]
		in.SOPClassUID, in.SOPInstanceUID, in.Frame = dataset.EnhancedCT, "1.2.3", z+1
	}
	n := &r.Nodules[0]
	n.KeySlice, n.Mask.Z0 = "1.2.3", 6
	r.Slices[6] = r.Slices[0]
	if p := drawn(t, r)[0]; p.Source.Frame != 7 {
		t.Errorf("frame %d is shown", p.Source.Frame)
	}
}

func TestWhatCannotBeDrawnIsSaid(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(r *result.Result)
		want  string
	}{
		{"no grid", func(r *result.Result) { r.Grid = nil }, "no grid"},
		{"a key slice of another series", func(r *result.Result) { r.Nodules[1].KeySlice = "9.9" }, "nodule N2: its key slice"},
		{"no pixels of the key slice", func(r *result.Result) { delete(r.Slices, 1) }, "slice 2"},
		{"pixels of another size", func(r *result.Result) { r.Slices[1].Rows = 3 }, "slice 2"},
		{"a contour that does not fill its box", func(r *result.Result) { r.Nodules[0].Mask.NY = 9 }, "does not fill"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := series(64, 2)
			c.spoil(r)
			if p, err := Pages(r); err == nil || p != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%d pages and %v, want an error with %q", len(p), err, c.want)
			}
		})
	}
}

func header() *dataset.Dataset {
	d := &dataset.Dataset{}
	d.SetText(dataset.PatientName, "PN", "Doe^Jane")
	d.SetText(dataset.PatientID, "LO", "P-1")
	d.SetText(dataset.PatientBirthDate, "DA", "19600102")
	d.SetText(dataset.PatientSex, "CS", "F")
	d.SetText(dataset.StudyInstanceUID, "UI", "1.2.3")
	d.SetText(dataset.StudyID, "SH", "1")
	d.SetText(dataset.StudyDate, "DA", "20260304")
	d.SetText(dataset.StudyTime, "TM", "040506")
	d.SetText(dataset.Manufacturer, "LO", "Maker of scanners")
	return d
}

func options(i int) Options {
	return Options{SOPInstanceUID: fmt.Sprintf("2.25.10%d", i+1), SeriesInstanceUID: "2.25.11", SeriesNumber: 8003, InstanceNumber: i + 1, DeviceUID: "2.25.13"}
}

func TestTheSummarySaysOfWhatItIs(t *testing.T) {
	all := make([]shown, 25)
	for _, c := range []struct {
		s       sheet
		partial bool
		want    string
	}{
		{sheet{all: all[:3], end: 3}, false, "3 found"},
		{sheet{all: all[:3], end: 3}, true, "3 found in this part"},
		{sheet{all: all, from: 12, end: 24}, false, "25 found; here 13 to 24"},
		{sheet{all: all, from: 24, end: 25}, true, "25 found in this part; here 25 to 25"},
	} {
		if got := c.s.found(c.partial); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestTheSummarySaysForWhatTheAlgorithmWasEvaluated(t *testing.T) {
	for _, mm := range []float64{0, 3, 4.5} {
		r := series(64, 0)
		r.Algorithm.SmallestMM = mm
		p, err := newPens()
		if err != nil {
			t.Fatal(err)
		}
		var said []string
		for _, l := range footOf(p, r) {
			said = append(said, l.text)
		}
		want := fmt.Sprintf("which was evaluated for nodules of %g mm and more.", mm)
		if got := strings.Join(said, " "); strings.Contains(got, want) != (mm > 0) || strings.Contains(got, "evaluated") != (mm > 0) {
			t.Errorf("%g mm: %s", mm, got)
		}
	}
}

func TestTheSameResultGivesTheSameBytes(t *testing.T) {
	var before [][]byte
	for range 2 {
		r := series(64, 2)
		var now [][]byte
		for i, p := range drawn(t, r) {
			a, err := PNG(p)
			if err != nil {
				t.Fatal(err)
			}
			b, err := Write(header(), r, p, options(i))
			if err != nil {
				t.Fatal(err)
			}
			now = append(now, a, b)
		}
		for i := range before {
			if !bytes.Equal(before[i], now[i]) {
				t.Errorf("file %d differs", i)
			}
		}
		before = now
	}
}

func TestSecondaryCapturesHaveThePixelsOfThePNG(t *testing.T) {
	ct := header()
	ct.SetText(dataset.LossyImageCompression, "CS", "01")
	ct.SetText(dataset.LossyImageCompressionRatio, "DS", "9.5")
	ct.SetText(dataset.LossyImageCompressionMethod, "CS", "ISO_15444_1")
	r := series(63, 1)
	r.Grid.Rows, r.Slices[0].Rows, r.Slices[0].HU = 61, 61, r.Slices[0].HU[:61*63]
	for i, p := range drawn(t, r) {
		b, err := Write(ct, r, p, options(i))
		if err != nil {
			t.Fatal(err)
		}
		f, err := dataset.Read(bytes.NewReader(b), int64(len(b)), dataset.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		h := f.Header
		for tag, want := range map[dataset.Tag]string{
			dataset.SOPClassUID: dataset.SecondaryCapture, dataset.Modality: "OT", dataset.ConversionType: "WSD", dataset.BurnedInAnnotation: "YES",
			dataset.PhotometricInterpretation: "RGB", dataset.InstanceNumber: fmt.Sprint(i + 1), dataset.SeriesNumber: "8003",
			dataset.LossyImageCompression: "01", dataset.LossyImageCompressionRatio: "9.5", dataset.StudyInstanceUID: "1.2.3", dataset.PatientName: "Doe^Jane",
			dataset.FrameOfReferenceUID: "",
		} {
			if got := h.Raw(tag); got != want {
				t.Errorf("%s: %v reads %q, want %q", p.Name, tag, got, want)
			}
		}
		sources := h.Items(dataset.SourceImageSequence)
		if p.Source.SOPInstanceUID == "" != (len(sources) == 0) || len(sources) > 0 && sources[0].Text(dataset.ReferencedSOPInstanceUID) != p.Source.SOPInstanceUID {
			t.Errorf("%s has %d sources", p.Name, len(sources))
		}
		file, err := PNG(p)
		if err != nil {
			t.Fatal(err)
		}
		want, err := png.Decode(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		rows, _ := h.Int(dataset.Rows)
		columns, _ := h.Int(dataset.Columns)
		if want.Bounds().Size() != image.Pt(columns, rows) || f.Pixel.Length != int64((3*rows*columns+1)/2*2) {
			t.Fatalf("%s: %d bytes for %d rows and %d columns", p.Name, f.Pixel.Length, rows, columns)
		}
		pixels := make([]byte, f.Pixel.Length)
		if err := f.ReadPixels(pixels, 0); err != nil {
			t.Fatal(err)
		}
		for j := range rows * columns {
			cr, cg, cb, _ := want.At(j%columns, j/columns).RGBA()
			if pixels[3*j] != uint8(cr>>8) || pixels[3*j+1] != uint8(cg>>8) || pixels[3*j+2] != uint8(cb>>8) {
				t.Fatalf("%s: pixel %d, %d differs", p.Name, j%columns, j/columns)
			}
		}
	}
}

func TestThePageOfNoFindingsIsNotThatOfFindings(t *testing.T) {
	none, some := drawn(t, series(64, 0))[0], drawn(t, series(64, 1))[1]
	if none.RGBA.Rect == some.RGBA.Rect && bytes.Equal(none.RGBA.Pix, some.RGBA.Pix) {
		t.Error("they are the same")
	}
	r := series(64, 0)
	r.Slices = nil // the words do not depend on a slice to show
	drawn(t, r)
}

func TestTheSummarySaysWhatWasSearched(t *testing.T) {
	p, err := newPens()
	if err != nil {
		t.Fatal(err)
	}
	r := series(64, 0)
	r.Warnings = []string{"the GPU was not used"}
	var all []string
	for _, line := range footOf(p, r) {
		all = append(all, line.text)
	}
	text := strings.Join(all, "\n")
	for _, want := range []string{"20 slices, 1.25 mm apart", "64 × 64 pixels of 0.70 × 0.70 mm", "from the feet", "pulmonode 1.2.0", strings.Repeat("cd", 32), "Note: the GPU was not used"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

// TestTheValidatorFindsNoError runs dciodvfy of dicom3tools.
func TestTheValidatorFindsNoError(t *testing.T) {
	validator, err := exec.LookPath("dciodvfy")
	if err != nil {
		t.Skip("dciodvfy (dicom3tools) is not installed")
	}
	r := series(64, 1)
	for i, p := range drawn(t, r) {
		b, err := Write(header(), r, p, options(i))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "key.dcm")
		if err := os.WriteFile(file, b, 0o666); err != nil {
			t.Fatal(err)
		}
		out, _ := exec.Command(validator, "-new", file).CombinedOutput()
		for line := range strings.SplitSeq(string(out), "\n") {
			if strings.HasPrefix(line, "Error") {
				t.Errorf("%s: %s", p.Name, line)
			}
		}
		if !strings.Contains(string(out), "SCImage") {
			t.Errorf("the validator does not know the object:\n%s", out)
		}
	}
}

// BenchmarkDraw is a chest with 8 nodules, drawn and written.
func BenchmarkDraw(b *testing.B) {
	r := series(512, 8)
	for b.Loop() {
		for i, p := range drawn(b, r) {
			if _, err := PNG(p); err != nil {
				b.Fatal(err)
			}
			if _, err := Write(header(), r, p, options(i)); err != nil {
				b.Fatal(err)
			}
		}
	}
}
