package pixel

import (
	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// Syntax is a transfer syntax whose pixel data this program knows how to decode.
type Syntax struct {
	UID     string
	Name    string
	Decoder string // what decodes it; empty where the build lacks that
	Lossy   bool   // what comes out need not be what went in

	// Encapsulated syntaxes only. samplesPerByte bounds what a compressed byte can
	// stand for. check reads what a frame says of itself, before anything of the
	// frame's size is allocated, and returns its bits a sample.
	samplesPerByte int64
	check          func(b []byte, p Format) (precision int, err error)
	decode         decoder
}

// decoder decompresses a frame that was checked into samples as allocated, in the
// low bits of dst.
type decoder func(b []byte, p Format, dst []uint16) error

const ours = "pulmonode"

// syntaxes is the one table of what is decoded, uncompressed first. It stands in
// the package documentation with the oracles of the tests.
var syntaxes = []Syntax{
	{UID: dataset.ExplicitLE, Name: "Explicit VR Little Endian", Decoder: ours},
	{UID: dataset.ImplicitLE, Name: "Implicit VR Little Endian", Decoder: ours},
	{UID: dataset.ExplicitBE, Name: "Explicit VR Big Endian", Decoder: ours},
	{UID: dataset.DeflatedLE, Name: "Deflated Explicit VR Little Endian", Decoder: ours},
	{dataset.RLE, "RLE Lossless", ours, false, 64, checkRLE, decodeRLE},
	{dataset.JPEGBaseline, "JPEG Baseline (process 1)", "Go image/jpeg", true, 256, checkJPEG(markerSOF0, markerSOF1), decodeJPEGBaseline},
	{dataset.JPEGExtended, "JPEG Extended (processes 2 and 4)", ours, true, 256, checkJPEG(markerSOF0, markerSOF1), decodeJPEGExtended},
	{dataset.JPEGLossless, "JPEG Lossless (process 14)", ours, false, 8, checkJPEG(markerSOF3), decodeJPEGLossless},
	{dataset.JPEGLosslessSV1, "JPEG Lossless (process 14, predictor 1)", ours, false, 8, checkJPEG(markerSOF3), decodeJPEGLossless},
	{dataset.JPEGLSLossless, "JPEG-LS Lossless", charlsVersion, false, ofFlat, checkJPEGLS, decodeJPEGLS},
	{dataset.JPEGLSLossy, "JPEG-LS Near-lossless", charlsVersion, true, ofFlat, checkJPEGLS, decodeJPEGLS},
	{dataset.JPEG2000Lossless, "JPEG 2000 (lossless only)", openJPEGVersion, false, ofFlat, checkJPEG2000, decodeJPEG2000},
	{dataset.JPEG2000, "JPEG 2000", openJPEGVersion, true, ofFlat, checkJPEG2000, decodeJPEG2000},
	{dataset.HTJ2KLossless, "High-Throughput JPEG 2000 (lossless only)", openJPEGVersion, false, ofFlat, checkJPEG2000, decodeHTJ2K},
	{dataset.HTJ2KRPCL, "High-Throughput JPEG 2000 with RPCL (lossless only)", openJPEGVersion, false, ofFlat, checkJPEG2000, decodeHTJ2K},
	{dataset.HTJ2K, "High-Throughput JPEG 2000", openJPEGVersion, true, ofFlat, checkJPEG2000, decodeHTJ2K},
}

// ofFlat: JPEG-LS and JPEG 2000 write a frame of one value in some hundred bytes,
// whatever its size.
const ofFlat = 1 << 15

// Syntaxes lists the transfer syntaxes that are known, uncompressed first; those
// without a Decoder cannot be decoded by this build.
func Syntaxes() []Syntax {
	list := make([]Syntax, len(syntaxes))
	for i, s := range syntaxes {
		list[i] = Syntax{UID: s.UID, Name: s.Name, Lossy: s.Lossy}
		if s.decodes() {
			list[i].Decoder = s.Decoder
		}
	}
	return list
}

// Supported lists the transfer syntaxes that Decode takes, in the order of Syntaxes.
func Supported() []string {
	var list []string
	for _, s := range syntaxes {
		if s.decodes() {
			list = append(list, s.UID)
		}
	}
	return list
}

func (s Syntax) decodes() bool { return s.decode != nil || !dataset.Encapsulated(s.UID) }

// syntaxOf finds an encapsulated transfer syntax that this build decodes.
func syntaxOf(uid string) (Syntax, bool) {
	for _, s := range syntaxes {
		if s.UID == uid && s.decode != nil {
			return s, true
		}
	}
	return Syntax{}, false
}

// decompress checks a frame, and decodes it into samples of Bits Allocated.
func (s Syntax) decompress(b []byte, p Format) ([]uint16, error) {
	precision, err := s.check(b, p)
	if err != nil {
		return nil, err
	}
	samples := make([]uint16, p.Samples())
	if err := s.decode(b, p, samples); err != nil {
		return nil, err
	}
	s.settle(samples, p, precision)
	return samples, nil
}

// settle makes samples as they would be stored uncompressed. Codecs without a sign
// give signed samples as unsigned ones of their precision. Where that is more
// than Bits Stored, what is lossy can leave the range of the pixels by a little:
// cut to its low bits, the brightest voxel would become the darkest.
func (s Syntax) settle(samples []uint16, p Format, precision int) {
	if p.Signed && precision >= p.Stored {
		unused := 16 - precision
		for i, v := range samples {
			samples[i] = uint16(int16(v<<unused) >> unused)
		}
	}
	if !s.Lossy || precision <= p.Stored || p.HighBit != p.Stored-1 {
		return
	}
	most := uint16(1)<<p.Stored - 1
	if !p.Signed {
		for i, v := range samples {
			samples[i] = min(v, most)
		}
		return
	}
	high, low := int16(most>>1), ^int16(most>>1)
	for i, v := range samples {
		samples[i] = uint16(min(max(int16(v), low), high))
	}
}
