package volume

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// opinion is what testdata/oracle/volume.py says of a series.
type opinion struct {
	Instances   []string     `json:"instances"`
	Corners     [][3]float64 `json:"corners"`
	Size        [3]int       `json:"size"`
	Spacing     [3]float64   `json:"spacing"`
	ITKCorners  [][3]float64 `json:"itk_corners"`
	SizeAt1mm   [3]int       `json:"size_at_1mm"`
	HUDiffer    int          `json:"hu_differ"`
	ITKHUDiffer int          `json:"itk_hu_differ"`
	Padding     int          `json:"padding"`
	LevelError  float64      `json:"level_error"`
	LevelDiffer int          `json:"levels_differ"`
}

// python is the interpreter with pydicom and SimpleITK.
func python(t *testing.T) string {
	t.Helper()
	path := os.Getenv("PULMONODE_PYTHON")
	if path == "" {
		t.Skip("PULMONODE_PYTHON names no interpreter with pydicom and SimpleITK (make test installs one)")
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("PULMONODE_PYTHON: %v", err)
	}
	return path
}

func raw[T int16 | uint16](t *testing.T, name string, v []T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	b := make([]byte, 0, 2*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint16(b, uint16(x))
	}
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	// levelTolerance: rounding to a level takes half a level. HU are interpolated
	// in float32: a step is three operations on values below 2^13, each wrong by up
	// to 2^-24 of that, or 0.0015 HU; three steps are 0.0044 HU, 0.003 levels.
	levelTolerance = 0.5 + 0.003

	// placeTolerance, mm: cosines are written with six decimals, which SimpleITK
	// makes unit vectors of and pulmonode takes as they are. 512 voxels of 1 mm
	// away that is 0.0005 mm.
	placeTolerance = 0.001
)

// compare has Python read the series in dir and judges what we made of it.
func compare(t *testing.T, dir string, tilt bool) {
	t.Helper()
	interpreter := python(t)
	v := load(t, open(t, dir))
	l := v.Resample1mm(0)
	args := []string{
		filepath.Join("..", "..", "testdata", "oracle", "volume.py"), dir, raw(t, "hu", v.HU), raw(t, "levels", l.Q),
	}
	if tilt {
		args = append(args, "--tilted")
	}
	out, err := exec.Command(interpreter, args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("%v\n%s", err, exit.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
	var o opinion
	if err := json.Unmarshal(out, &o); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	for z, uid := range o.Instances {
		if z >= v.NZ || v.Grid.Instances[z].SOPInstanceUID != uid {
			t.Fatalf("slice %d is %s for pydicom", z, uid)
		}
	}
	if o.Size != [3]int{v.NX, v.NY, v.NZ} || o.SizeAt1mm != [3]int{l.NX, l.NY, l.NZ} {
		t.Fatalf("%d x %d x %d, at 1 mm %d x %d x %d; SimpleITK has %v and %v", v.NX, v.NY, v.NZ, l.NX, l.NY, l.NZ, o.Size, o.SizeAt1mm)
	}
	if !close3(o.Spacing, spacingXYZ(v.Grid)) {
		t.Errorf("spacing %v, SimpleITK has %v", spacingXYZ(v.Grid), o.Spacing)
	}
	off := 0.
	i := 0
	for _, z := range []int{0, v.NZ - 1} {
		for _, y := range []int{0, v.NY - 1} {
			for _, x := range []int{0, v.NX - 1} {
				ours := v.Grid.LPS(float64(x), float64(y), z)
				for a := range ours {
					off = max(off, math.Abs(ours[a]-o.Corners[i][a]))
					if !tilt {
						off = max(off, math.Abs(ours[a]-o.ITKCorners[i][a]))
					}
				}
				i++
			}
		}
	}
	if off > placeTolerance {
		t.Errorf("a corner lies %g mm beside the others' (pydicom %v, SimpleITK %v)", off, o.Corners, o.ITKCorners)
	}
	if o.HUDiffer != 0 || o.ITKHUDiffer != 0 {
		t.Errorf("%d voxels have other HU than pydicom's; between pydicom and SimpleITK %d differ", o.HUDiffer, o.ITKHUDiffer)
	}
	if o.LevelError < 0 || o.LevelError > levelTolerance {
		t.Errorf("a level is %g from SimpleITK's value, at most %g is rounding", o.LevelError, levelTolerance)
	}
	t.Logf("%d voxels, %d of them padding: HU equal; corners within %.2g mm; levels at 1 mm within %.6f of SimpleITK's (%d of %d round otherwise)",
		len(v.HU), o.Padding, off, o.LevelError, o.LevelDiffer, len(l.Q))
}

// rough is a series of noise, which hides nothing that smooth anatomy would.
func rough() series {
	rng := rand.New(rand.NewPCG(3, 5))
	s := series{
		slices: 14, rows: 40, columns: 52,
		origin:      [3]float64{-120.5, -80.25, 33.3},
		orientation: [6]float64{1, 0, 0, 0, 1, 0},
		spacing:     [2]float64{0.703125, 0.703125},
		step:        [3]float64{0, 0, 2.5},
	}
	hu := make([]int, 100*100*100)
	for i := range hu {
		hu[i] = rng.IntN(2500) - 1024
	}
	s.hu = func(x, y, z int) int { return hu[(z*100+y)*100+x] }
	return s
}

func TestVolumeAsPydicomAndSimpleITKSeeIt(t *testing.T) {
	python(t)
	for _, c := range []struct {
		name   string
		change func(s *series)
		header func(z int, h *dataset.Dataset)
		tilt   bool
	}{
		{"axial, files toward the head", func(*series) {}, nil, false},
		{"axial, files toward the feet", func(s *series) { s.step[2] = -2.5 }, nil, false},
		{"rows and columns of another size, thin slices", func(s *series) { s.spacing, s.step[2] = [2]float64{0.9, 0.45}, 0.625 }, nil, false},
		{"oblique", func(s *series) {
			n := normal(oblique)
			s.orientation, s.step = oblique, [3]float64{1.25 * n[0], 1.25 * n[1], 1.25 * n[2]}
		}, nil, false},
		{"oblique, files against the normal", func(s *series) {
			n := normal(oblique)
			s.orientation, s.step = oblique, [3]float64{-1.25 * n[0], -1.25 * n[1], -1.25 * n[2]}
		}, nil, false},
		{"coronal", func(s *series) { s.orientation, s.step = [6]float64{1, 0, 0, 0, 0, -1}, [3]float64{0, -1.5, 0} }, nil, false},
		{"prone", func(s *series) { s.orientation = [6]float64{-1, 0, 0, 0, -1, 0} }, nil, false},
		{"gantry tilt", func(s *series) { s.orientation = tilted }, nil, true},
		{"padding", func(*series) {}, func(_ int, h *dataset.Dataset) {
			h.SetUint16(dataset.PixelPaddingValue, 0)
			h.SetText(dataset.RescaleIntercept, "DS", "-2024")
			h.SetText(dataset.RescaleSlope, "DS", "2")
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := rough()
			c.change(&s)
			dir := t.TempDir()
			s.write(t, dir, c.header)
			compare(t, dir, c.tilt)
		})
	}
}

// scan unpacks a real CT of LIDC-IDRI.
func scan(t *testing.T, name string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("slow: unpacks a whole CT; its fast brothers use small series")
	}
	data := os.Getenv("PULMONODE_DATA")
	if data == "" {
		data = filepath.Join("..", "..", "..", "shared", "data")
	}
	archive := filepath.Join(data, "scans", name+".tar.xz")
	if _, err := os.Stat(archive); err != nil {
		t.Skip("the LIDC-IDRI scans are not here (PULMONODE_DATA names their folder)")
	}
	dir := t.TempDir()
	if out, err := exec.Command("tar", "-xJf", archive, "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	return filepath.Join(dir, name)
}

func TestRealScanAsPydicomAndSimpleITKSeeIt(t *testing.T) {
	python(t)
	compare(t, scan(t, "LIDC-IDRI-0001"), false)
}

// The nodule that four radiologists outlined, 23 mm on the pleura, lies in the
// lungs that we find.
func TestNoduleOfARealScanIsInTheLungs(t *testing.T) {
	dir := scan(t, "LIDC-IDRI-0001")
	v := load(t, open(t, dir))
	l := v.Resample1mm(0)
	m := lungs(t, l)
	// Its centre, as the radiologists' contours have it.
	place := [3]float64{56.4, 86.34, -115.96}
	if v.Grid.Orientation != [6]float64{1, 0, 0, 0, 1, 0} {
		t.Fatalf("orientation %v", v.Grid.Orientation)
	}
	first := v.Grid.Instances[0].Position
	var at [3]int
	for a := range at {
		at[a] = int(math.Round(place[a] - first[a]))
	}
	all, in := 0, 0
	l.ball(at, 11, func(i int) {
		all++
		if m.Label[i] == Left {
			in++
		}
	})
	t.Logf("%.0f ml of lung; %d of %d mm3 about the nodule's centre are in the left lung", m.VolumeML, in, all)
	if m.Side(at[0], at[1], at[2]) != "left" || float64(in) < 0.8*float64(all) {
		t.Errorf("%d of %d mm3 of the nodule are in the mask, its centre is in %q", in, all, m.Side(at[0], at[1], at[2]))
	}
	if !slices.Contains(m.Label, Right) {
		t.Error("no right lung")
	}
}
