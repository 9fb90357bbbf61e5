package pixel

import (
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// The formats that a fuzzed frame is decoded as: the seeds' own, one of 8 bits,
// and one that is far larger than the frame.
var fuzzFormats = []Format{
	{Rows: 8, Columns: 8, Frames: 1, Allocated: 16, Stored: 12, HighBit: 11},
	{Rows: 8, Columns: 8, Frames: 1, Allocated: 16, Stored: 16, HighBit: 15, Signed: true},
	{Rows: 8, Columns: 8, Frames: 1, Allocated: 8, Stored: 8, HighBit: 7},
	{Rows: 37, Columns: 29, Frames: 1, Allocated: 16, Stored: 12, HighBit: 11},
}

// fuzz gives a decoder bytes that nobody should write. It must not panic or crash,
// and takes no longer than its frame's size justifies; what it allocates follows
// from the checks in front of it, which have their own tests.
func fuzz(f *testing.F, syntax string, seeds ...[]byte) {
	s, ok := syntaxOf(syntax)
	if !ok {
		f.Skipf("%s is not in this build (make test installs its library)", syntax)
	}
	for _, seed := range seeds {
		for format := range fuzzFormats {
			f.Add(uint8(format), seed)
		}
	}
	f.Fuzz(func(t *testing.T, format uint8, b []byte) {
		p := fuzzFormats[int(format)%len(fuzzFormats)]
		began := time.Now()
		samples, err := s.decompress(b, p)
		if err == nil && len(samples) != p.Samples() {
			t.Errorf("%d samples, want %d", len(samples), p.Samples())
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%d bytes took %v", len(b), took)
		}
	})
}

func FuzzRLE(f *testing.F) { fuzz(f, dataset.RLE, encodeRLE(picture(8, 8, 12))) }

func FuzzJPEGBaseline(f *testing.F) {
	fuzz(f, dataset.JPEGBaseline, codestream37x29("baseline.jpg"))
}

func FuzzJPEGExtended(f *testing.F) {
	fuzz(f, dataset.JPEGExtended, codestream37x29("extended.jpg"), codestream37x29("baseline.jpg"),
		encodeFlatBlocks([]int{0, 4095, 2048}, 8, 8, 1))
}

func FuzzJPEGLossless(f *testing.F) {
	var seeds [][]byte
	for predictor := 1; predictor <= 7; predictor++ {
		seeds = append(seeds, encodeLossless(picture(8, 8, 12), 8, 8, 12, predictor, 0, predictor%2*2))
	}
	fuzz(f, dataset.JPEGLossless, seeds...)
}

func FuzzJPEGLS(f *testing.F) {
	fuzz(f, dataset.JPEGLSLossy, codestream37x29("lossless.jls"), codestream37x29("near2.jls"))
}

func FuzzJPEG2000(f *testing.F) {
	fuzz(f, dataset.JPEG2000, codestream37x29("lossless.j2k"), codestream37x29("tiles.j2k"), codestream37x29("lossy.j2k"))
}

func FuzzHTJ2K(f *testing.F) {
	fuzz(f, dataset.HTJ2K, codestream37x29("lossless.j2c"), codestream37x29("tiles.j2c"), codestream37x29("lossy.j2c"),
		codestream37x29("asserted.j2c"))
}
