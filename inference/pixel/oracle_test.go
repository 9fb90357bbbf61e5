package pixel

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/phantom"
)

// foreign is what testdata/oracle/pixel.py prints.
type foreign struct {
	Files []struct {
		Path    string `json:"path"`
		Of      string `json:"of"`    // the slice that it was made of
		By      string `json:"by"`    // the encoder
		Error   int    `json:"error"` // of its samples against the slice; -1: as the codec does
		Syntax  string `json:"syntax"`
		Decodes []struct {
			By  string `json:"by"`
			Raw string `json:"raw"`
		} `json:"decodes"`
		Refused []string `json:"refused"`
	} `json:"files"`
	Missing []string `json:"missing"`
}

// python is the interpreter with pydicom and pylibjpeg.
func python(t *testing.T) string {
	t.Helper()
	path := os.Getenv("PULMONODE_PYTHON")
	if path == "" {
		t.Skip("PULMONODE_PYTHON names no interpreter with pydicom and pylibjpeg (make test installs one)")
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("PULMONODE_PYTHON: %v", err)
	}
	return path
}

// stored decodes the first frame of a file into the values that are stored.
func stored(f *dataset.File) ([]int32, error) {
	p, err := Describe(f)
	if err != nil {
		return nil, err
	}
	var samples []uint16
	if s, ok := syntaxOf(f.TransferSyntax); ok {
		b, err := f.Frame(0, p.Frames)
		if err != nil {
			return nil, err
		}
		if samples, err = s.decompress(b, p); err != nil {
			return nil, err
		}
	} else {
		identity := &table{}
		for i := range identity.hu {
			identity.hu[i] = int16(i)
		}
		words := make([]int16, p.Samples())
		if err := decodeNative(f, 0, p, identity, words); err != nil {
			return nil, err
		}
		for _, w := range words {
			samples = append(samples, uint16(w))
		}
	}
	values := make([]int32, len(samples))
	for i, s := range samples {
		v := int32(s) >> (p.HighBit + 1 - p.Stored) & (1<<p.Stored - 1)
		if p.Signed && v>>(p.Stored-1) == 1 {
			v -= 1 << p.Stored
		}
		values[i] = v
	}
	return values, nil
}

// ctSlice is a slice of the phantom in one of the forms that CTs come in.
type ctSlice struct {
	name   string
	bits   int // allocated as stored up to 8, else in 16
	signed bool
	of     func(hu int32) int32
}

var ctSlices = []ctSlice{
	{"u12", 12, false, func(hu int32) int32 { return hu + 1024 }},
	{"s12", 12, true, func(hu int32) int32 { return hu }},
	{"s13", 13, true, func(hu int32) int32 { return hu }},
	{"u16", 16, false, func(hu int32) int32 { return 20*hu + 30000 }},
	{"s16", 16, true, func(hu int32) int32 { return 20 * hu }},
	{"u8", 8, false, func(hu int32) int32 { return hu/8 + 128 }},
}

// values clamps to the bits, and has two samples at their ends.
func (c ctSlice) values(hu []int16) []int32 {
	low, high := int32(0), int32(1)<<c.bits-1
	if c.signed {
		low, high = -1<<(c.bits-1), 1<<(c.bits-1)-1
	}
	v := make([]int32, len(hu))
	for i, h := range hu {
		v[i] = min(max(c.of(int32(h)), low), high)
	}
	v[0], v[1], v[2] = low, high, low
	return v
}

func (c ctSlice) header(rows, columns int) *dataset.Dataset {
	h := header(rows, columns)
	for tag, text := range map[dataset.Tag][2]string{
		dataset.SOPInstanceUID: {"UI", "1.2.3"}, dataset.StudyInstanceUID: {"UI", "1.2.4"}, dataset.SeriesInstanceUID: {"UI", "1.2.5"},
		dataset.Modality: {"CS", "CT"}, dataset.PhotometricInterpretation: {"CS", "MONOCHROME2"}, dataset.PatientName: {"PN", "Phantom"},
	} {
		h.SetText(tag, text[0], text[1])
	}
	h.SetUint16(dataset.SamplesPerPixel, 1)
	h.SetUint16(dataset.BitsStored, uint16(c.bits))
	h.SetUint16(dataset.HighBit, uint16(c.bits-1))
	h.SetUint16(dataset.PixelRepresentation, 0)
	if c.signed {
		h.SetUint16(dataset.PixelRepresentation, 1)
	}
	if c.bits <= 8 {
		h.SetUint16(dataset.BitsAllocated, 8)
	}
	return h
}

// tolerances bound, for what is lossy, how far our samples may lie from those of
// another decoder: inverse transforms round differently. All else is equal.
var tolerances = map[string]int32{
	dataset.JPEGBaseline: 2,
	dataset.JPEGExtended: 1,
	dataset.JPEG2000:     1,
	dataset.HTJ2K:        1,
}

func TestSlicesOfOtherEncodersAsOtherDecodersSeeThem(t *testing.T) {
	interpreter := python(t)
	const rows, columns = 187, 251
	chest, _, err := phantom.Generate(t.Context(), phantom.Options{Slices: 15, SpacingZ: 20, Rows: rows, Columns: columns}, nil)
	if err != nil {
		t.Fatal(err)
	}
	hu := chest.HU[7*rows*columns : 8*rows*columns]
	dir := t.TempDir()
	originals := map[string][]int32{}
	for _, c := range ctSlices {
		originals[c.name] = c.values(hu)
		var pixels []byte
		for _, v := range originals[c.name] {
			if c.bits <= 8 {
				pixels = append(pixels, byte(v))
			} else {
				pixels = binary.LittleEndian.AppendUint16(pixels, uint16(v))
			}
		}
		pixels = append(pixels, make([]byte, len(pixels)%2)...)
		if err := os.WriteFile(filepath.Join(dir, c.name+".dcm"), part10(t, c.header(rows, columns), dataset.ExplicitLE, pixels), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(interpreter, filepath.Join("..", "..", "testdata", "oracle", "pixel.py"), dir).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("%v\n%s", err, exit.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
	var o foreign
	if err := json.Unmarshal(out, &o); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	type tally struct {
		files, opinions int
		worst           int32
		forms           []string
	}
	seen := map[string]*tally{}
	var lossy []string
	for _, s := range Syntaxes() {
		if s.Lossy {
			lossy = append(lossy, s.UID)
		}
	}
	for _, f := range o.Files {
		if !slices.Contains(Supported(), f.Syntax) {
			continue
		}
		name := strings.TrimPrefix(f.Of+" by "+f.By, " by ")
		file, err := dataset.Open(f.Path, dataset.Limits{})
		if f.By == "MR_truncated" { // which pydicom fills up
			if !errors.Is(err, dataset.ErrTruncated) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		p, err := Describe(file)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := stored(file)
		if err != nil {
			// What nobody reads need not be read; what somebody reads must.
			if len(f.Decodes) > 0 {
				t.Errorf("%s: %v, but %s reads it", name, err, f.Decodes[0].By)
			}
			continue
		}
		n := seen[f.Syntax]
		if n == nil {
			n = &tally{}
			seen[f.Syntax] = n
		}
		n.files++
		if !slices.Contains(n.forms, f.Of) {
			n.forms = append(n.forms, f.Of)
		}
		if f.Of != "" && f.Error >= 0 {
			if d := furthest(got, originals[f.Of], p.Stored); d > int32(f.Error) {
				t.Errorf("%s: a sample is %d beside the slice's, at most %d is allowed", name, d, f.Error)
			}
		}
		for _, other := range f.Decodes {
			theirs := int32s(t, other.Raw)
			if slices.Contains(lossy, f.Syntax) {
				inRange(theirs, got, p)
			}
			d := furthest(got, theirs, 32)
			if d > tolerances[f.Syntax] {
				t.Errorf("%s: a sample is %d beside that of %s, at most %d is allowed", name, d, other.By, tolerances[f.Syntax])
			}
			n.opinions++
			n.worst = max(n.worst, d)
		}
	}
	for _, s := range Syntaxes() {
		n := seen[s.UID]
		switch {
		case n != nil && n.opinions == 0:
			t.Errorf("%s: %d files, none of them compared with another decoder", s.Name, n.files)
		case n != nil:
			t.Logf("%s: %d files of %v, %d comparisons with other decoders, at most %d beside them", s.Name, n.files, n.forms, n.opinions, n.worst)
		case s.Decoder == "":
			t.Logf("%s: not in this build", s.Name)
		case len(o.Missing) > 0:
			t.Logf("%s: not tried, as %v are missing", s.Name, o.Missing)
		default:
			t.Errorf("%s: no file to try", s.Name)
		}
	}
}

// furthest is the largest distance of two samples, in numbers of some bits: an
// encoder without a sign takes the largest and the smallest for neighbours.
func furthest(a, b []int32, bits int) int32 {
	if len(a) != len(b) {
		return 1 << 30
	}
	most := int64(0)
	for i := range a {
		d := int64(max(a[i]-b[i], b[i]-a[i]))
		most = max(most, min(d, 1<<bits-d))
	}
	return int32(most)
}

// inRange brings the samples of another decoder, which lie a little outside Bits
// Stored where a lossy encoder made them so, to where ours are: to the end of the
// range. Some leave them outside, some have cut them to the bits.
func inRange(theirs, ours []int32, p Format) {
	low, high := int32(0), int32(1)<<p.Stored-1
	if p.Signed {
		low, high = -1<<(p.Stored-1), 1<<(p.Stored-1)-1
	}
	for i, v := range theirs {
		theirs[i] = min(max(v, low), high)
		switch beyond := int32(2); {
		case ours[i] == low && high-v < beyond, ours[i] == high && v-low < beyond:
			theirs[i] = ours[i]
		}
	}
}

func int32s(t *testing.T, path string) []int32 {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	v := make([]int32, len(b)/4)
	for i := range v {
		v[i] = int32(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v
}
