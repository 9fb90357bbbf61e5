package pixel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// header describes one frame of 16-bit signed pixels that are HU as they are.
func header(rows, columns int) *dataset.Dataset {
	h := &dataset.Dataset{}
	h.SetText(dataset.SOPClassUID, "UI", dataset.CTImage)
	h.SetUint16(dataset.Rows, uint16(rows))
	h.SetUint16(dataset.Columns, uint16(columns))
	h.SetUint16(dataset.BitsAllocated, 16)
	h.SetUint16(dataset.BitsStored, 16)
	h.SetUint16(dataset.HighBit, 15)
	h.SetUint16(dataset.PixelRepresentation, 1)
	h.SetText(dataset.RescaleSlope, "DS", "1")
	h.SetText(dataset.RescaleIntercept, "DS", "0")
	return h
}

// file makes a Part 10 file of a header and the value of Pixel Data; compressed
// pixels become one fragment.
func file(t testing.TB, h *dataset.Dataset, syntax string, pixels []byte) *dataset.File {
	t.Helper()
	b := part10(t, h, syntax, pixels)
	f, err := dataset.Read(bytes.NewReader(b), int64(len(b)), dataset.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func part10(t testing.TB, h *dataset.Dataset, syntax string, pixels []byte) []byte {
	t.Helper()
	b := dataset.FileMeta(dataset.MetaInfo{SOPClassUID: dataset.CTImage, SOPInstanceUID: "1.2.3", TransferSyntax: syntax})
	body, err := h.AppendExplicit(nil)
	if err != nil {
		t.Fatal(err)
	}
	if syntax == dataset.ImplicitLE {
		var out bytes.Buffer
		if err := dataset.ToImplicit(&out, bytes.NewReader(body)); err != nil {
			t.Fatal(err)
		}
		body = out.Bytes()
	}
	le := binary.LittleEndian
	b = append(b, body...)
	b = append(b, 0xE0, 0x7F, 0x10, 0x00)
	switch {
	case syntax == dataset.ImplicitLE:
		b = append(le.AppendUint32(b, uint32(len(pixels))), pixels...)
	case dataset.Encapsulated(syntax):
		b = le.AppendUint32(append(b, "OB\x00\x00"...), 0xFFFFFFFF)
		b = append(b, 0xFE, 0xFF, 0x00, 0xE0, 0, 0, 0, 0, 0xFE, 0xFF, 0x00, 0xE0)
		pixels = append(slices.Clone(pixels), make([]byte, len(pixels)%2)...)
		b = append(le.AppendUint32(b, uint32(len(pixels))), pixels...)
		b = append(b, 0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0)
	default:
		b = append(le.AppendUint32(append(b, "OW\x00\x00"...), uint32(len(pixels))), pixels...)
	}
	return b
}

func words(v ...uint16) []byte {
	var b []byte
	for _, w := range v {
		b = binary.LittleEndian.AppendUint16(b, w)
	}
	return b
}

func TestStoredValuesToHU(t *testing.T) {
	type set struct {
		tag  dataset.Tag
		vr   string
		text string
		n    uint16
	}
	text := func(tag dataset.Tag, s string) set { return set{tag: tag, text: s} }
	number := func(tag dataset.Tag, n uint16) set { return set{tag: tag, vr: "US", n: n} }
	for _, c := range []struct {
		name   string
		sets   []set
		stored []uint16
		want   []int16
	}{
		{"signed", nil, []uint16{0, 1, 0xFFFF, 0x8000}, []int16{0, 1, -1, -32768}},
		{"unsigned, clamped", []set{number(dataset.PixelRepresentation, 0)}, []uint16{0, 40000, 65535, 5}, []int16{0, 32767, 32767, 5}},
		{"slope and intercept", []set{text(dataset.RescaleSlope, "2"), text(dataset.RescaleIntercept, "-1024")}, []uint16{0, 10, 1024, 0xFFFF}, []int16{-1024, -1004, 1024, -1026}},
		{"a slope with a fraction", []set{text(dataset.RescaleSlope, "0.5")}, []uint16{1, 3, 5, 0xFFFD}, []int16{0, 2, 2, -2}},
		{"12 bits of 16, rubbish above", []set{number(dataset.BitsStored, 12), number(dataset.HighBit, 11)}, []uint16{0x0800, 0xF7FF, 0x07FF, 0xF800}, []int16{-2048, 2047, 2047, -2048}},
		{"12 bits at the top", []set{number(dataset.BitsStored, 12), number(dataset.HighBit, 15), number(dataset.PixelRepresentation, 0)}, []uint16{0x0010, 0xFFF0, 0x001F, 0x8000}, []int16{1, 4095, 1, 2048}},
		{"padding, signed but written as US 63536", []set{number(dataset.PixelPaddingValue, 63536), text(dataset.RescaleIntercept, "-1024")}, []uint16{63536, 1024, 63535, 0}, []int16{Air, 0, -3025, -1024}},
		{"a range of padding", []set{number(dataset.PixelPaddingValue, 0xF830), number(dataset.PixelPaddingRangeLimit, 0xF82E)}, []uint16{0xF830, 0xF82F, 0xF82E, 0xF82D}, []int16{Air, Air, Air, -2003}},
		{"padding in bits beyond those stored", []set{number(dataset.BitsStored, 12), number(dataset.HighBit, 11), number(dataset.PixelPaddingValue, 0x8000)}, []uint16{0x8000, 0, 1, 0x7FF}, []int16{Air, 0, 1, 2047}},
	} {
		h := header(2, 2)
		for _, s := range c.sets {
			if s.text != "" {
				h.SetText(s.tag, "DS", s.text)
			} else {
				h.SetUint16(s.tag, s.n)
			}
		}
		swapped := make([]byte, 8)
		for i, w := range c.stored {
			binary.BigEndian.PutUint16(swapped[2*i:], w)
		}
		for _, syntax := range []string{dataset.ExplicitLE, dataset.ImplicitLE} {
			got := make([]int16, 4)
			if err := Decode(file(t, h, syntax, words(c.stored...)), 0, got); err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%s, %s: %v, %v; want %v", c.name, syntax, got, err, c.want)
			}
		}
	}
}

func TestEightBits(t *testing.T) {
	h := header(1, 3)
	h.SetUint16(dataset.BitsAllocated, 8)
	h.SetUint16(dataset.BitsStored, 8)
	h.SetUint16(dataset.HighBit, 7)
	got := make([]int16, 3)
	if err := Decode(file(t, h, dataset.ExplicitLE, []byte{1, 255, 128, 0}), 0, got); err != nil || !slices.Equal(got, []int16{1, -1, -128}) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(h *dataset.Dataset)
		want   string
	}{
		{"no rescale", func(h *dataset.Dataset) { h.SetText(dataset.RescaleSlope, "DS", "") }, "not in Hounsfield units"},
		{"slope 0", func(h *dataset.Dataset) { h.SetText(dataset.RescaleSlope, "DS", "0") }, "Slope is 0"},
		{"other units", func(h *dataset.Dataset) { h.SetText(dataset.RescaleType, "LO", "Z_EFF") }, "not HU"},
		{"far more rows than pixels", func(h *dataset.Dataset) { h.SetUint16(dataset.Rows, 8000) }, "need 32000 bytes"},
		{"far more frames than pixels", func(h *dataset.Dataset) { h.SetText(dataset.NumberOfFrames, "IS", "60000") }, "need 480000 bytes"},
		{"more rows than can be read", func(h *dataset.Dataset) { h.SetUint16(dataset.Rows, 9000) }, "Rows is 9000"},
		{"colour", func(h *dataset.Dataset) { h.SetUint16(dataset.SamplesPerPixel, 3) }, "3 samples"},
		{"12 bits packed", func(h *dataset.Dataset) { h.SetUint16(dataset.BitsAllocated, 12) }, "8 and 16"},
		{"more bits than allocated", func(h *dataset.Dataset) { h.SetUint16(dataset.HighBit, 3) }, "do not fit"},
		{"frames that are no number", func(h *dataset.Dataset) { h.SetText(dataset.NumberOfFrames, "IS", "x") }, "Number of Frames"},
	} {
		h := header(2, 2)
		c.change(h)
		n, _ := h.Int(dataset.Rows)
		err := Decode(file(t, h, dataset.ExplicitLE, make([]byte, 8)), 0, make([]int16, 2*n))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for _, syntax := range Supported() {
		if !dataset.Encapsulated(syntax) {
			continue
		}
		h := header(8000, 8000)
		if _, err := Describe(file(t, h, syntax, make([]byte, 1000))); !errors.Is(err, dataset.ErrTruncated) {
			t.Errorf("%s: 64 million samples in 1000 bytes: %v", syntax, err)
		}
	}
	for _, s := range Syntaxes() {
		if s.Decoder != "" {
			continue
		}
		if _, err := Describe(file(t, header(2, 2), s.UID, make([]byte, 1000))); err == nil || !strings.Contains(err.Error(), "cannot be decoded") {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
}

// picture has smooth parts, edges and noise over all of the bits.
func picture(rows, columns, bits int) []uint16 {
	rng := rand.New(rand.NewPCG(7, uint64(bits)))
	s := make([]uint16, rows*columns)
	for i := range s {
		x, y := i%columns, i/columns
		v := x*31 + y*17
		if x > columns/2 {
			v += 1 << (bits - 1)
		}
		if y%5 == 0 {
			v = rng.IntN(1 << bits)
		}
		s[i] = uint16(v & (1<<bits - 1))
	}
	s[0], s[1], s[2] = 0, uint16(1<<bits-1), 0 // a difference over the whole range
	return s
}

// encodeLossless is the inverse of decodeJPEGLossless, with one code of five bits
// for each of the 17 categories.
func encodeLossless(s []uint16, rows, columns, precision, predictor, transform, restartRows int) []byte {
	var b []byte
	segment := func(marker byte, v ...byte) {
		b = append(b, 0xFF, marker)
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(v)+2)), v...)
	}
	b = append(b, 0xFF, markerSOI)
	segment(markerSOF3, byte(precision), byte(rows>>8), byte(rows), byte(columns>>8), byte(columns), 1, 1, 0x11, 0)
	// Category 0 has a code of 1 bit, 1 to 8 have 5, the others 10.
	table := make([]byte, 17)
	table[1], table[5], table[10] = 1, 8, 8
	for c := range 17 {
		table = append(table, byte(c))
	}
	segment(markerDHT, table...)
	if restartRows > 0 {
		segment(markerDRI, byte(restartRows*columns>>8), byte(restartRows*columns))
	}
	segment(markerSOS, 1, 1, 0, byte(predictor), 0, byte(transform))
	var acc uint64
	var n int
	put := func(v uint64, bits int) {
		acc, n = acc<<bits|v&(1<<bits-1), n+bits
		for ; n >= 8; n -= 8 {
			c := byte(acc >> (n - 8))
			b = append(b, c)
			if c == 0xFF {
				b = append(b, 0)
			}
		}
	}
	flush := func() {
		if n > 0 {
			put(1<<(8-n)-1, 8-n)
		}
	}
	at := func(x, y int) int { return int(s[y*columns+x] >> transform) }
	for y := range rows {
		fresh := y == 0
		if restartRows > 0 && y > 0 && y%restartRows == 0 {
			flush()
			b = append(b, 0xFF, byte(markerRST0+(y/restartRows-1)%8))
			fresh = true
		}
		for x := range columns {
			var p int
			switch {
			case fresh && x == 0:
				p = 1 << (precision - transform - 1)
			case fresh:
				p = at(x-1, y)
			case x == 0:
				p = at(x, y-1)
			default:
				ra, rb, rc := at(x-1, y), at(x, y-1), at(x-1, y-1)
				p = [...]int{1: ra, 2: rb, 3: rc, 4: ra + rb - rc, 5: ra + (rb-rc)>>1, 6: rb + (ra-rc)>>1, 7: (ra + rb) >> 1}[predictor]
			}
			diff := int(int16(uint16(at(x, y) - p)))
			if diff == -32768 {
				diff = 32768
			}
			size := 0
			for v := max(diff, -diff); v > 0; v >>= 1 {
				size++
			}
			switch {
			case size == 0:
				put(0, 1)
			case size <= 8:
				put(uint64(0b10000+size-1), 5)
			default:
				put(uint64(0b1100000000+size-9), 10)
			}
			if size > 0 && size < 16 {
				if diff < 0 {
					diff += 1<<size - 1
				}
				put(uint64(diff), size)
			}
		}
	}
	flush()
	return append(b, 0xFF, markerEOI)
}

func TestJPEGLosslessOfEveryPredictor(t *testing.T) {
	const rows, columns = 37, 29
	for bits := 2; bits <= 16; bits++ {
		for predictor := 1; predictor <= 7; predictor++ {
			for _, c := range []struct{ transform, restart int }{{0, 0}, {1, 0}, {0, 3}} {
				want := picture(rows, columns, bits)
				for i := range want {
					want[i] = want[i] >> c.transform << c.transform
				}
				h := header(rows, columns)
				got := make([]int16, rows*columns)
				if err := Decode(file(t, h, dataset.JPEGLossless, encodeLossless(want, rows, columns, bits, predictor, c.transform, c.restart)), 0, got); err != nil {
					t.Fatalf("%d bits, predictor %d, %+v: %v", bits, predictor, c, err)
				}
				for i := range got {
					if uint16(got[i]) != want[i] {
						t.Fatalf("%d bits, predictor %d, %+v: sample %d is %d, want %d", bits, predictor, c, i, uint16(got[i]), want[i])
					}
				}
			}
		}
	}
}

func TestCompressedFramesCutAnywhereAreRefused(t *testing.T) {
	const rows, columns = 16, 16
	want := picture(rows, columns, 16)
	lossless := encodeLossless(want, rows, columns, 16, 1, 0, 4)
	p := Format{Rows: rows, Columns: columns, Frames: 1, Allocated: 16, Stored: 16, HighBit: 15}
	dst := make([]uint16, rows*columns)
	for cut := range len(lossless) - 3 {
		if _, err := decompress(t, dataset.JPEGLossless, lossless[:cut], p); err == nil {
			t.Errorf("JPEG lossless cut at %d of %d bytes passed", cut, len(lossless))
		}
	}
	rle := encodeRLE(want)
	if err := decodeRLE(rle, p, dst); err != nil || !slices.Equal(dst, want) {
		t.Fatalf("RLE: %v", err)
	}
	for cut := range rle {
		if _, err := decompress(t, dataset.RLE, rle[:cut], p); err == nil {
			t.Errorf("RLE cut at %d of %d bytes passed", cut, len(rle))
		}
	}
}

// encodeRLE packs by literal runs and repeats.
func encodeRLE(s []uint16) []byte {
	pack := func(shift uint) []byte {
		var b []byte
		for i := 0; i < len(s); {
			n := 1
			for i+n < len(s) && n < 128 && byte(s[i+n]>>shift) == byte(s[i]>>shift) {
				n++
			}
			if n > 1 {
				b = append(b, byte(1-n), byte(s[i]>>shift))
			} else {
				b = append(b, 0x80, 0, byte(s[i]>>shift)) // with an idle byte in front
			}
			i += n
		}
		return b
	}
	high, low := pack(8), pack(0)
	b := make([]byte, 64)
	binary.LittleEndian.PutUint32(b, 2)
	binary.LittleEndian.PutUint32(b[4:], 64)
	binary.LittleEndian.PutUint32(b[8:], uint32(64+len(high)))
	return append(append(b, high...), low...)
}

func TestJPEGBaseline(t *testing.T) {
	const side = 24
	img := image.NewGray(image.Rect(0, 0, side, side))
	for i := range img.Pix {
		img.SetGray(i%side, i/side, color.Gray{Y: uint8(i%side*6 + i/side)})
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: 100}); err != nil {
		t.Fatal(err)
	}
	h := header(side, side)
	h.SetUint16(dataset.BitsAllocated, 8)
	h.SetUint16(dataset.BitsStored, 8)
	h.SetUint16(dataset.HighBit, 7)
	h.SetUint16(dataset.PixelRepresentation, 0)
	got := make([]int16, side*side)
	if err := Decode(file(t, h, dataset.JPEGBaseline, b.Bytes()), 0, got); err != nil {
		t.Fatal(err)
	}
	for i, v := range got {
		if d := int(v) - int(img.Pix[i]); d < -2 || d > 2 {
			t.Fatalf("sample %d is %d, was %d", i, v, img.Pix[i])
		}
	}
	h.SetUint16(dataset.Rows, side/2)
	if err := Decode(file(t, h, dataset.JPEGBaseline, b.Bytes()), 0, got[:side*side/2]); err == nil {
		t.Error("a picture of another size passed")
	}
}

func TestRescaleOfEachFrame(t *testing.T) {
	h := header(1, 2)
	h.SetText(dataset.NumberOfFrames, "IS", "2")
	var frames []*dataset.Dataset
	for _, intercept := range []string{"-1024", "100"} {
		rescale := &dataset.Dataset{}
		rescale.SetText(dataset.RescaleSlope, "DS", "1")
		rescale.SetText(dataset.RescaleIntercept, "DS", intercept)
		frame := &dataset.Dataset{}
		frame.SetItems(dataset.PixelValueTransformationSequence, rescale)
		frames = append(frames, frame)
	}
	h.SetItems(dataset.PerFrameFunctionalGroupsSequence, frames...)
	f := file(t, h, dataset.ExplicitLE, words(1, 2, 3, 4))
	got := make([]int16, 4)
	for i := range 2 {
		if err := Decode(f, i, got[2*i:2*i+2]); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(got, []int16{-1023, -1022, 103, 104}) {
		t.Errorf("%v", got)
	}
}

func decompress(t *testing.T, syntax string, b []byte, p Format) ([]uint16, error) {
	t.Helper()
	s, ok := syntaxOf(syntax)
	if !ok {
		t.Skipf("%s is not in this build (make test installs its library)", syntax)
	}
	return s.decompress(b, p)
}
