// Package pixel turns the stored pixel data of a CT image into Hounsfield units.
//
// A frame is read or decompressed into samples of 16 bits (one file a codec), and
// a table takes each sample to its HU: the bits that are stored are cut out and
// sign-extended, padding becomes air, Rescale Slope and Intercept are applied,
// the result is rounded and clamped to int16 (PS3.3 C.7.6.3, C.11.1, PS3.5 8).
// Everything that the header says of sizes is checked against the bytes that are
// there, and with what a compressed frame says of itself, before anything of that
// size is allocated. Syntaxes lists what is known and what this build decodes it
// by, so that a node offers no more than that.
//
// The tests compare the stored values of phantom slices (8, 12, 13 and 16 bits,
// signed and unsigned) and of pydicom's sample files with other decoders', after
// other encoders; what is lossless is also compared with the slice.
//
//	transfer syntax                                      decoder        compared with                          tolerance
//	Explicit VR Little Endian, Implicit VR Little        pulmonode      pydicom                                equal
//	Endian, Explicit VR Big Endian, Deflated Explicit
//	VR Little Endian
//	RLE Lossless                                         pulmonode      pydicom, pylibjpeg, DCMTK, GDCM        equal
//	JPEG Baseline (process 1)                            Go image/jpeg  Pillow, pylibjpeg, DCMTK, GDCM         2
//	JPEG Extended (processes 2 and 4)                    pulmonode      pylibjpeg, DCMTK, GDCM                 1
//	JPEG Lossless (process 14) and                       pulmonode      pylibjpeg, DCMTK, GDCM                 equal
//	JPEG Lossless (process 14, predictor 1)
//	JPEG-LS Lossless, JPEG-LS Near-lossless              CharLS         pyjpegls, pylibjpeg, DCMTK, GDCM       equal
//	JPEG 2000 (lossless only), JPEG 2000                 OpenJPEG       Pillow, pylibjpeg, GDCM                equal, 1
//	High-Throughput JPEG 2000 (lossless only),           OpenJPEG       pylibjpeg                              equal, 1
//	High-Throughput JPEG 2000 with RPCL (lossless
//	only), High-Throughput JPEG 2000
//
// CharLS and OpenJPEG (2.5 or later) are C libraries, behind the build tags charls
// and openjpeg; without them their transfer syntaxes are not supported. What they
// read has passed checks of ours first, which bound what they allocate.
package pixel

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync/atomic"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// Air is the HU that padding becomes.
const Air = -1000

// maxFrames and maxSide are far beyond any CT.
const (
	maxFrames = 1 << 16
	maxSide   = 8192
)

// Format is how the pixels of a file are stored.
type Format struct {
	Rows, Columns, Frames int
	Allocated             int // bits a sample takes: 8 or 16
	Stored, HighBit       int // PS3.5 8.1.1
	Signed                bool
}

// Samples is the number of samples of a frame.
func (p Format) Samples() int { return p.Rows * p.Columns }

// Describe reads the format from the header and checks that Pixel Data can hold
// what it says.
func Describe(f *dataset.File) (Format, error) {
	var p Format
	h := f.Header
	for _, v := range []struct {
		name      string
		tag       dataset.Tag
		to        *int
		low, high int
	}{
		{"Rows", dataset.Rows, &p.Rows, 1, maxSide},
		{"Columns", dataset.Columns, &p.Columns, 1, maxSide},
		{"Bits Allocated", dataset.BitsAllocated, &p.Allocated, 8, 16},
		{"Bits Stored", dataset.BitsStored, &p.Stored, 1, 16},
		{"High Bit", dataset.HighBit, &p.HighBit, 0, 15},
	} {
		n, ok := h.Int(v.tag)
		if !ok {
			return p, fmt.Errorf("%s %v is missing", v.name, v.tag)
		}
		if n < v.low || n > v.high {
			return p, fmt.Errorf("%s is %d; %d to %d can be read", v.name, n, v.low, v.high)
		}
		*v.to = n
	}
	if p.Allocated != 8 && p.Allocated != 16 {
		return p, fmt.Errorf("the Bits Allocated is %d; 8 and 16 can be read", p.Allocated)
	}
	if p.HighBit >= p.Allocated || p.Stored > p.HighBit+1 {
		return p, fmt.Errorf("%d bits stored below bit %d do not fit into %d allocated", p.Stored, p.HighBit, p.Allocated)
	}
	signed, ok := h.Int(dataset.PixelRepresentation)
	if !ok || signed < 0 || signed > 1 {
		return p, fmt.Errorf("the Pixel Representation is missing or neither 0 nor 1")
	}
	p.Signed = signed == 1
	if n, ok := h.Int(dataset.SamplesPerPixel); ok && n != 1 {
		return p, fmt.Errorf("pixels have %d samples; a CT has one", n)
	}
	p.Frames = 1
	if h.Get(dataset.NumberOfFrames) != nil {
		n, ok := h.Int(dataset.NumberOfFrames)
		if !ok || n < 1 || n > maxFrames {
			return p, fmt.Errorf("the Number of Frames is not between 1 and %d", maxFrames)
		}
		p.Frames = n
	}
	return p, p.checkLength(f)
}

// checkLength compares the samples that are said to be there with the bytes that are.
func (p Format) checkLength(f *dataset.File) error {
	if !f.HasPixels() {
		return fmt.Errorf("the instance has no Pixel Data")
	}
	need := int64(p.Rows) * int64(p.Columns) * int64(p.Frames)
	if !dataset.Encapsulated(f.TransferSyntax) {
		if f.Pixel.Encapsulated {
			return fmt.Errorf("the Pixel Data is encapsulated, which transfer syntax %s is not", f.TransferSyntax)
		}
		if need *= int64(p.Allocated / 8); need > f.Pixel.Length {
			return fmt.Errorf("%d frames of %d x %d need %d bytes, Pixel Data has %d: %w",
				p.Frames, p.Rows, p.Columns, need, f.Pixel.Length, dataset.ErrTruncated)
		}
		return nil
	}
	if !f.Pixel.Encapsulated {
		return fmt.Errorf("the Pixel Data is not encapsulated, as transfer syntax %s demands", f.TransferSyntax)
	}
	syntax, ok := syntaxOf(f.TransferSyntax)
	if !ok {
		return fmt.Errorf("transfer syntax %s cannot be decoded: ask the sender for Explicit VR Little Endian", f.TransferSyntax)
	}
	if there := f.EncapsulatedBytes(); need/syntax.samplesPerByte > there {
		return fmt.Errorf("%d frames of %d x %d cannot be in %d bytes of compressed Pixel Data: %w",
			p.Frames, p.Rows, p.Columns, there, dataset.ErrTruncated)
	}
	return nil
}

// Decode fills dst with a frame, counted from 0, in HU, row by row. dst has the
// frame's Rows x Columns.
func Decode(f *dataset.File, frame int, dst []int16) error {
	p, err := Describe(f)
	if err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	if len(dst) != p.Samples() || frame < 0 || frame >= p.Frames {
		return fmt.Errorf("decode: frame %d of %d into %d samples, not %d x %d", frame+1, p.Frames, len(dst), p.Rows, p.Columns)
	}
	t, err := tableFor(f.Header, frame, p)
	if err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	if !f.Pixel.Encapsulated {
		if err := decodeNative(f, frame, p, t, dst); err != nil {
			return fmt.Errorf("decode: %w", err)
		}
		return nil
	}
	compressed, err := f.Frame(frame, p.Frames)
	if err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	syntax, ok := syntaxOf(f.TransferSyntax) // Describe has found it
	if !ok {
		return fmt.Errorf("decode: transfer syntax %s", f.TransferSyntax)
	}
	samples, err := syntax.decompress(compressed, p)
	if err != nil {
		return fmt.Errorf("decode frame %d: %w: send it again, or uncompressed", frame+1, err)
	}
	for i, s := range samples {
		dst[i] = t.hu[s]
	}
	return nil
}

// table takes every pattern of 16 bits to its HU.
type table struct {
	key tableKey
	hu  [1 << 16]int16
}

// tableKey is all that a table is made from; slices of a series share it.
type tableKey struct {
	Stored, HighBit  int
	Signed           bool
	slope, intercept float64
	padded           bool
	padLow, padHigh  int
}

var lastTable atomic.Pointer[table]

func tableFor(h *dataset.Dataset, frame int, p Format) (*table, error) {
	k := tableKey{Stored: p.Stored, HighBit: p.HighBit, Signed: p.Signed}
	rescale := h
	if g := h.FunctionalGroup(frame, dataset.PixelValueTransformationSequence); g != nil {
		rescale = g
	}
	for _, v := range []struct {
		name string
		tag  dataset.Tag
		to   *float64
	}{
		{"Rescale Slope", dataset.RescaleSlope, &k.slope},
		{"Rescale Intercept", dataset.RescaleIntercept, &k.intercept},
	} {
		f, err := rescale.Floats(v.tag)
		if err != nil {
			return nil, err
		}
		if len(f) != 1 {
			return nil, fmt.Errorf("%s %v is missing: the pixels are not in Hounsfield units", v.name, v.tag)
		}
		*v.to = f[0]
	}
	if k.slope == 0 {
		return nil, fmt.Errorf("the Rescale Slope is 0")
	}
	switch unit := rescale.Text(dataset.RescaleType); unit {
	case "", "HU", "HU_MOD":
	default:
		return nil, fmt.Errorf("the Rescale Type is %.16q, not HU", unit)
	}
	if low, ok := paddingValue(h, dataset.PixelPaddingValue, p.Signed); ok {
		high, ok := paddingValue(h, dataset.PixelPaddingRangeLimit, p.Signed)
		if !ok {
			high = low
		}
		k.padded, k.padLow, k.padHigh = true, min(low, high), max(low, high)
	}
	if t := lastTable.Load(); t != nil && t.key == k {
		return t, nil
	}
	t := makeTable(k)
	lastTable.Store(t)
	return t, nil
}

// paddingValue reads a padding attribute by Pixel Representation, whatever VR it
// is written with: scanners write the -2000 of signed pixels as US 63536.
func paddingValue(h *dataset.Dataset, t dataset.Tag, signed bool) (int, bool) {
	e := h.Get(t)
	if e == nil || len(e.Value) < 2 {
		return 0, false
	}
	v := h.ByteOrder().Uint16(e.Value)
	if signed {
		return int(int16(v)), true
	}
	return int(v), true
}

func makeTable(k tableKey) *table {
	t := &table{key: k}
	shift := k.HighBit + 1 - k.Stored
	mask := 1<<k.Stored - 1
	for s := range t.hu {
		v, whole := s>>shift&mask, s
		if k.Signed {
			if v>>(k.Stored-1) == 1 {
				v -= 1 << k.Stored
			}
			whole = int(int16(s))
		}
		// Padding may use bits beyond those stored (PS3.3 C.7.5.1.1.2), so that no
		// pixel can have its value: compare all sixteen too.
		if k.padded && (v >= k.padLow && v <= k.padHigh || whole >= k.padLow && whole <= k.padHigh) {
			t.hu[s] = Air
			continue
		}
		hu := math.RoundToEven(float64(float64(v)*k.slope) + k.intercept)
		t.hu[s] = int16(min(max(hu, math.MinInt16), math.MaxInt16))
	}
	return t
}

// decodeNative reads a frame that is not compressed.
func decodeNative(f *dataset.File, frame int, p Format, t *table, dst []int16) error {
	size := p.Samples() * p.Allocated / 8
	begin := int64(frame) * int64(size)
	b := make([]byte, size+size&1) // swapped words may reach a byte beyond the frame
	n := int64(size)
	bigEndian := f.TransferSyntax == dataset.ExplicitBE
	swapped := bigEndian && p.Allocated == 8 && f.Pixel.VR == "OW"
	skip := 0
	if swapped { // 8-bit samples in big endian words (PS3.5 D.2): begin with a whole word
		skip = int(begin & 1)
		begin -= int64(skip)
		b = make([]byte, size+2)
		n = min(int64(len(b)), f.Pixel.Length-begin)
	}
	if err := f.ReadPixels(b[:n], begin); err != nil {
		return err
	}
	switch {
	case p.Allocated == 16 && bigEndian:
		for i := range dst {
			dst[i] = t.hu[binary.BigEndian.Uint16(b[2*i:])]
		}
	case p.Allocated == 16:
		for i := range dst {
			dst[i] = t.hu[binary.LittleEndian.Uint16(b[2*i:])]
		}
	case swapped:
		for i := range dst {
			dst[i] = t.hu[b[(i+skip)^1]]
		}
	default:
		for i := range dst {
			dst[i] = t.hu[b[i]]
		}
	}
	return nil
}
