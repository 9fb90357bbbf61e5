package pixel

import (
	"encoding/binary"
	"fmt"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// checkRLE reads the header of PS3.5 annex G: the offsets of the segments, one a
// byte of the sample, the most significant first.
func checkRLE(b []byte, p Format) (precision int, err error) {
	if len(b) < 64 {
		return 0, fmt.Errorf("RLE header: %w", dataset.ErrTruncated)
	}
	if n := binary.LittleEndian.Uint32(b); int64(n) != int64(p.Allocated/8) {
		return 0, fmt.Errorf("RLE frame has %d segments, samples have %d bytes", n, p.Allocated/8)
	}
	return p.Allocated, nil
}

// decodeRLE decodes the segments, each of PackBits.
func decodeRLE(b []byte, p Format, dst []uint16) error {
	segments := p.Allocated / 8
	clear(dst)
	for s := range segments {
		begin := int64(binary.LittleEndian.Uint32(b[4+4*s:]))
		end := int64(len(b))
		if s+1 < segments {
			end = int64(binary.LittleEndian.Uint32(b[8+4*s:]))
		}
		if begin < 64 || begin > end || end > int64(len(b)) {
			return fmt.Errorf("RLE segment %d lies outside the frame", s+1)
		}
		if err := unpackBits(b[begin:end], dst, uint(8*(segments-1-s))); err != nil {
			return fmt.Errorf("RLE segment %d: %w", s+1, err)
		}
	}
	return nil
}

func unpackBits(b []byte, dst []uint16, shift uint) error {
	for len(dst) > 0 {
		if len(b) < 2 {
			return dataset.ErrTruncated
		}
		c := int(int8(b[0]))
		switch {
		case c >= 0:
			n := min(c+1, len(dst))
			if len(b) < 1+n {
				return dataset.ErrTruncated
			}
			for i, v := range b[1 : 1+n] {
				dst[i] |= uint16(v) << shift
			}
			dst, b = dst[n:], b[min(2+c, len(b)):]
		case c > -128:
			n := min(1-c, len(dst))
			v := uint16(b[1]) << shift
			for i := range dst[:n] {
				dst[i] |= v
			}
			dst, b = dst[n:], b[2:]
		default:
			b = b[1:] // no operation
		}
	}
	return nil
}
