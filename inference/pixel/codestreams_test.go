package pixel

import (
	"bytes"
	"embed"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// Codestreams that testdata/codestreams.py has had others make of one picture.
//
//go:embed testdata
var testdata embed.FS

func codestream37x29(name string) []byte {
	b, err := testdata.ReadFile("testdata/" + name)
	if err != nil {
		panic(err)
	}
	return bytes.TrimRight(b, "\x00") // padding of a fragment
}

var twelveBits = Format{Rows: 37, Columns: 29, Frames: 1, Allocated: 16, Stored: 12, HighBit: 11}

// shown is the picture: sample x, y.
func shown(x, y int) int { return (31*x + 17*y + x*y%97) % 4096 }

var codestreams = []struct {
	name   string
	syntax string
	error  int // that a sample may have, of 12 bits
}{
	{"baseline.jpg", dataset.JPEGBaseline, 5 << 4}, // of the upper 8 bits
	{"extended.jpg", dataset.JPEGExtended, 24},
	{"lossless.jls", dataset.JPEGLSLossless, 0},
	{"near2.jls", dataset.JPEGLSLossy, 2},
	{"lossless.j2k", dataset.JPEG2000Lossless, 0},
	{"tiles.j2k", dataset.JPEG2000, 0},
	{"lossy.j2k", dataset.JPEG2000, 12},
	{"lossless.j2c", dataset.HTJ2KLossless, 0},
	{"tiles.j2c", dataset.HTJ2KRPCL, 0},
	{"lossy.j2c", dataset.HTJ2K, 12},
}

func TestCodestreamsOfOtherEncoders(t *testing.T) {
	for _, c := range codestreams {
		t.Run(c.name, func(t *testing.T) {
			got, err := decompress(t, c.syntax, codestream37x29(c.name), twelveBits)
			if err != nil {
				t.Fatal(err)
			}
			if worst := besideThePicture(c.syntax, got); worst > c.error {
				t.Errorf("a sample is %d beside the picture's, at most %d is allowed", worst, c.error)
			}
		})
	}
}

// besideThePicture is how far the sample that is farthest off lies from the picture's.
func besideThePicture(syntax string, samples []uint16) (worst int) {
	for i, v := range samples {
		d := int(v) - shown(i%29, i/29)
		if syntax == dataset.JPEGBaseline {
			d = int(v)<<4 - shown(i%29, i/29)&^15
		}
		worst = max(worst, d, -d)
	}
	return worst
}

// Slices are decoded by as many goroutines as there are cores. Decoders have
// nothing in common, nor has an assertion that fails in one of them; threads of
// OpenJPEG's own would have nobody to catch it.
func TestCodestreamsAtOnce(t *testing.T) {
	t.Setenv("OPJ_NUM_THREADS", "2")
	htj2k, ok := syntaxOf(dataset.HTJ2K)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, c := range codestreams {
				s, ok := syntaxOf(c.syntax)
				if !ok {
					continue
				}
				got, err := s.decompress(codestream37x29(c.name), twelveBits)
				if worst := besideThePicture(c.syntax, got); err != nil || worst > c.error {
					t.Errorf("%s: a sample is %d beside the picture's, %v", c.name, worst, err)
				}
			}
			if !ok {
				return
			}
			if _, err := htj2k.decompress(codestream37x29("asserted.j2c"), twelveBits); err == nil {
				t.Error("a codestream that breaks an assertion passed")
			}
		})
	}
	wg.Wait()
}

// What is cut must be refused: half a slice of zeros is no CT. The marker at the
// end may be missing, with the padding in front of it, where the decoder has no need of them.
func TestCodestreamsCutAnywhereAreRefused(t *testing.T) {
	for _, c := range codestreams {
		t.Run(c.name, func(t *testing.T) {
			whole := codestream37x29(c.name)
			for cut := range len(whole) - 3 {
				if _, err := decompress(t, c.syntax, whole[:cut], twelveBits); err == nil {
					t.Errorf("%d of %d bytes passed", cut, len(whole))
				}
			}
		})
	}
}

func TestCodestreamsOfAnotherSizeAreRefusedBeforeAnythingIsAllocated(t *testing.T) {
	large := Format{Rows: 4096, Columns: 4096, Frames: 1, Allocated: 16, Stored: 12, HighBit: 11}
	narrow := twelveBits
	narrow.Allocated, narrow.Stored, narrow.HighBit = 8, 8, 7
	for _, c := range codestreams {
		t.Run(c.name, func(t *testing.T) {
			b := codestream37x29(c.name)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := decompress(t, c.syntax, b, large)
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), "37 x 29, the header says 4096 x 4096") {
				t.Errorf("%v", err)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
				t.Errorf("%d bytes were allocated", n)
			}
			if c.name == "baseline.jpg" { // which has 8
				return
			}
			if _, err := decompress(t, c.syntax, b, narrow); err == nil || !strings.Contains(err.Error(), "bits, 8 are allocated") {
				t.Errorf("%v", err)
			}
		})
	}
}

// The documentation is a table that people read; that it is whole is for a test.
func TestDocumentationNamesEverySyntax(t *testing.T) {
	source, err := os.ReadFile("pixel.go")
	if err != nil {
		t.Fatal(err)
	}
	comment, _, _ := strings.Cut(string(source), "\npackage ")
	words := strings.Fields(strings.ReplaceAll(comment, "//", " "))
	for _, s := range Syntaxes() {
		for _, w := range strings.Fields(s.Name) {
			if !slices.ContainsFunc(words, func(in string) bool { return strings.Trim(in, ",;") == strings.Trim(w, ",;") }) {
				t.Errorf("%s: the package documentation has no %q", s.Name, w)
			}
		}
		if slices.Contains(Supported(), s.UID) != (s.Decoder != "") {
			t.Errorf("%s: decoded by %q, but supported: %v", s.Name, s.Decoder, s.Decoder == "")
		}
	}
	if n := len(Syntaxes()); n != 16 {
		t.Errorf("%d transfer syntaxes, want the 16 that dimse/dataset reads", n)
	}
}

// put overwrites bytes of a codestream.
func put(at int, v ...byte) func([]byte) []byte {
	return func(b []byte) []byte { return slices.Concat(b[:at], v, b[at+len(v):]) }
}

// insert adds a marker segment at a byte.
func insert(at int, marker int, v ...byte) func([]byte) []byte {
	return func(b []byte) []byte {
		s := binary.BigEndian.AppendUint16(nil, uint16(marker))
		s = append(binary.BigEndian.AppendUint16(s, uint16(len(v)+2)), v...)
		return slices.Concat(b[:at], s, b[at:])
	}
}

// coding replaces COD, which stands behind SIZ in what OpenJPEG writes.
func coding(v ...byte) func([]byte) []byte {
	return func(b []byte) []byte {
		_, old, err := jpeg2000Segment(b, 45)
		if err != nil {
			panic(err)
		}
		return insert(45, markerCOD, v...)(slices.Concat(b[:45], b[49+len(old):]))
	}
}

func TestJPEG2000HeadersThatClaimTooMuch(t *testing.T) {
	tile := bytes.Index(codestream37x29("lossless.j2k"), []byte{0xFF, 0x90})
	for _, c := range []struct {
		name   string
		change func([]byte) []byte
		want   string
	}{
		{"no SOC", put(0, 0, 0), "does not begin"},
		{"three components", put(40, 0, 3), "3 components"},
		{"32 bits", put(42, 31), "32 bits"},
		{"every second sample", put(43, 2), "subsampled"},
		{"tiles of 1 x 1", put(24, 0, 0, 0, 1, 0, 0, 0, 1), "1073 tiles"},
		{"tiles of no size", put(24, 0, 0, 0, 0), "do not cover"},
		{"tiles that begin behind the image", put(32, 0, 0, 0, 9), "do not cover"},
		{"an image far out on its grid", put(8, 0x80, 0, 0, 0), "outside its reference grid"},
		{"two coding styles", insert(45, markerCOD, 0, 0, 0, 1, 0, 3, 4, 4, 0, 1), "two coding styles"},
		{"two sizes", insert(45, markerSIZ, make([]byte, 39)...), "two image sizes"},
		{"65535 layers", coding(0, 0, 0xFF, 0xFF, 0, 3, 4, 4, 0, 1), "cannot be in"},
		{"no layers", coding(0, 0, 0, 0, 0, 3, 4, 4, 0, 1), "0 layers"},
		{"33 levels", coding(0, 0, 0, 1, 0, 33, 4, 4, 0, 1), "33 levels"},
		{"code-blocks of 2^20", coding(0, 0, 0, 1, 0, 3, 9, 9, 0, 1), "code-blocks"},
		{"precincts of 2 x 2 in two layers", coding(1, 0, 0, 2, 0, 1, 4, 4, 0, 1, 0, 0x11), "packets cannot be in"},
		{"precincts of no size", coding(1, 0, 0, 1, 0, 1, 4, 4, 0, 1, 0, 0), "no size"},
		{"precincts that are not said", coding(1, 0, 0, 1, 0, 3, 4, 4, 0, 1), "cut short"},
		{"a coding style for the component", insert(45, 0xFF53, 0, 0, 5, 4, 4, 0, 1), "FF53"},
		{"another progression", insert(45, 0xFF5F, 0, 0, 0, 1, 6, 1, 0), "FF5F"},
		{"a tile that is not there", put(tile+4, 0, 9), "tile 9 of 1"},
		{"a tile-part longer than the codestream", put(tile+6, 0x7F, 0xFF, 0xFF, 0xFF), "cut short"},
		{"a tile-part shorter than its header", put(tile+6, 0, 0, 0, 5), "cut short"},
		{"a coding style in a tile-part", insert(tile+12, markerCOD, 0, 0, 0, 1, 0, 3, 4, 4, 0, 1), "FF52 in a tile-part"},
		{"no tile-part", func(b []byte) []byte { return append(slices.Clone(b[:tile]), 0xFF, 0xD9) }, "cut short"},
	} {
		_, err := checkJPEG2000(c.change(codestream37x29("lossless.j2k")), twelveBits)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := checkJPEG2000(codestream37x29("lossless.j2k"), Format{Rows: 8192, Columns: 8192, Allocated: 16}); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("8192 x 8192: %v", err)
	}
	// A megabyte of empty packets, for which OpenJPEG would keep ten.
	precincts := append(append([]byte{1, 0, 500 >> 8, 500 & 255, 0, 32, 4, 4, 0, 1}, bytes.Repeat([]byte{0xFF}, 32)...), 0x11)
	b := append(coding(precincts...)(codestream37x29("lossless.j2k")), make([]byte, 1<<20)...)
	if _, err := checkJPEG2000(b, twelveBits); err == nil || !strings.Contains(err.Error(), "more than is decoded") {
		t.Errorf("500 layers of 33 resolutions: %v", err)
	}
	// A megabyte that says it has 16 million samples, in blocks of 4 x 4 or less.
	for _, c := range []struct {
		name string
		cod  []byte
	}{
		{"code-blocks of 4 x 4", []byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 1}},
		{"precincts of 2 x 2", []byte{1, 0, 0, 1, 0, 0, 4, 4, 0, 1, 0x11}},
	} {
		b := put(8, 0, 0, 16, 0, 0, 0, 16, 0)(codestream37x29("lossless.j2k"))
		b = append(coding(c.cod...)(put(24, 0, 0, 16, 0, 0, 0, 16, 0)(b)), make([]byte, 1<<20)...)
		if _, err := checkJPEG2000(b, Format{Rows: 4096, Columns: 4096, Allocated: 16}); err == nil || !strings.Contains(err.Error(), "code-blocks; at most") {
			t.Errorf("%s of 4096 x 4096: %v", c.name, err)
		}
	}
}

func TestJPEGHeadersThatAreRefused(t *testing.T) {
	sof := func(marker byte, components byte) []byte {
		b := []byte{0xFF, markerSOI, 0xFF, marker, 0, 11, 12, 0, 37, 0, 29, components, 1, 0x11, 0}
		return append(b, 0xFF, markerSOS, 0, 8, 1, 1, 0, 0, 0, 0, 0)
	}
	for _, c := range []struct {
		name   string
		syntax string
		b      []byte
		want   string
	}{
		{"progressive as extended", dataset.JPEGExtended, sof(0xC2, 1), "SOF2"},
		{"arithmetic coding", dataset.JPEGExtended, sof(0xC9, 1), "SOF9"},
		{"lossless as baseline", dataset.JPEGBaseline, sof(markerSOF3, 1), "SOF3"},
		{"baseline as lossless", dataset.JPEGLossless, sof(markerSOF0, 1), "SOF0"},
		{"lossless JPEG as JPEG-LS", dataset.JPEGLSLossless, sof(markerSOF3, 1), "SOF3"},
		{"three components", dataset.JPEGLossless, sof(markerSOF3, 3), "3 components"},
		{"two frame headers", dataset.JPEGLossless, slices.Concat(sof(markerSOF3, 1)[:15], sof(markerSOF3, 1)[2:]), "two frame headers"},
		{"no frame header", dataset.JPEGLossless, []byte{0xFF, markerSOI, 0xFF, markerSOS, 0, 8, 1, 1, 0, 0, 0, 0}, "without a frame header"},
		{"a second, larger size", dataset.JPEGLSLossless, insert(2, 0xFFF8, 4, 3, 0, 16, 0, 0, 16, 0)(codestream37x29("lossless.jls")), "preset parameters"},
		{"a mapping table", dataset.JPEGLSLossless, insert(2, 0xFFF8, 2, 1, 1, 0)(codestream37x29("lossless.jls")), "preset parameters"},
	} {
		for _, s := range syntaxes { // also those whose decoder is not in the build
			if s.UID != c.syntax {
				continue
			}
			if _, err := s.check(c.b, twelveBits); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
		}
	}
	if _, err := checkJPEGLS(nil, twelveBits); err == nil {
		t.Error("nothing passed for JPEG-LS")
	}
	if _, err := checkJPEG2000([]byte{0xFF, 0x4F, 0xFF, 0x51}, twelveBits); !errors.Is(err, dataset.ErrTruncated) {
		t.Errorf("JPEG 2000: %v", err)
	}
}

// Precision above Bits Stored, as GDCM writes it, and back into range: the
// brightest voxel must not become the darkest.
func TestLossySamplesBeyondBitsStored(t *testing.T) {
	lossy, lossless := Syntax{Lossy: true}, Syntax{}
	twelve := Format{Allocated: 16, Stored: 12, HighBit: 11}
	signed := twelve
	signed.Signed = true
	for _, c := range []struct {
		name      string
		s         Syntax
		p         Format
		precision int
		in, want  []uint16
	}{
		{"unsigned, lossy", lossy, twelve, 16, []uint16{0, 4095, 4096, 65535}, []uint16{0, 4095, 4095, 4095}},
		{"unsigned, lossless: overlays in the high bits are cut off later", lossless, twelve, 16, []uint16{0, 4096}, []uint16{0, 4096}},
		{"signed, lossy", lossy, signed, 16, []uint16{2047, 2048, 0xF800, 0xF7FF}, []uint16{2047, 2047, 0xF800, 0xF800}},
		{"signed of 12 bits", lossy, signed, 12, []uint16{2047, 2048, 4095}, []uint16{2047, 0xF800, 0xFFFF}},
	} {
		got := slices.Clone(c.in)
		if c.s.settle(got, c.p, c.precision); !slices.Equal(got, c.want) {
			t.Errorf("%s: %x, want %x", c.name, got, c.want)
		}
	}
}
