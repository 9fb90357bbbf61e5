package pixel

import (
	"fmt"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// huffmanTable is a table of T.81 annex C: codes of up to 8 bits by look-up,
// longer ones by the decoding procedure of figure F.16.
type huffmanTable struct {
	defined bool
	look    [256]uint16 // value<<8 | length; 0 where the code is longer
	max     [18]int32   // last code of each length, -1 where there is none
	offset  [17]int32   // index of its first value, less its first code
	values  []byte
}

// huffmanTables calls each for the tables of a DHT segment (T.81 B.2.4.2).
func huffmanTables(s []byte, each func(class, destination byte, t huffmanTable) error) error {
	for len(s) > 0 {
		if len(s) < 17 {
			return fmt.Errorf("JPEG Huffman table: %w", dataset.ErrTruncated)
		}
		class, destination, counts := s[0]>>4, s[0]&15, s[1:17]
		if class > 1 || destination > 3 {
			return fmt.Errorf("JPEG Huffman table of class and destination %02X", s[0])
		}
		total := 0
		for _, n := range counts {
			total += int(n)
		}
		if total > 256 || len(s) < 17+total {
			return fmt.Errorf("JPEG Huffman table of %d values", total)
		}
		t := huffmanTable{defined: true, values: s[17 : 17+total]}
		s = s[17+total:]
		code, index := int32(0), int32(0)
		for length := 1; length <= 16; length++ {
			n := int32(counts[length-1])
			t.offset[length] = index - code
			t.max[length] = -1
			if n > 0 {
				t.max[length] = code + n - 1
			}
			if code+n > 1<<length {
				return fmt.Errorf("JPEG Huffman codes of %d bits overflow", length)
			}
			for range n {
				if length <= 8 {
					first := code << (8 - length)
					for i := first; i < first+1<<(8-length); i++ {
						t.look[i] = uint16(t.values[index])<<8 | uint16(length)
					}
				}
				code++
				index++
			}
			code <<= 1
		}
		if err := each(class, destination, t); err != nil {
			return err
		}
	}
	return nil
}

// entropy reads the entropy-coded bits of a scan.
type entropy struct {
	b     []byte
	bits  uint64 // left-aligned
	nbits int
	past  int // bits made up behind the end of the data
}

// fill brings the accumulator to 57 bits or more. Zeros that are made up behind
// the data are counted.
func (d *entropy) fill() {
	for d.nbits <= 56 {
		var v byte
		switch {
		case len(d.b) == 0:
			d.past += 8
		case d.b[0] != 0xFF:
			v = d.b[0]
			d.b = d.b[1:]
		case len(d.b) >= 2 && d.b[1] == 0: // stuffed
			v = 0xFF
			d.b = d.b[2:]
		default: // a marker: the interval has ended
			d.past += 8
		}
		d.bits |= uint64(v) << (56 - d.nbits)
		d.nbits += 8
	}
}

// symbol decodes a Huffman code (T.81 F.2.2.3). Behind it are at least 16 bits in
// the accumulator.
func (d *entropy) symbol(t *huffmanTable) (byte, error) {
	if d.nbits < 32 {
		d.fill()
	}
	if e := t.look[d.bits>>56]; e != 0 {
		length := int(e & 0xFF)
		d.bits <<= length
		d.nbits -= length
		return byte(e >> 8), nil
	}
	for length := 9; length <= 16; length++ {
		if code := int32(d.bits >> (64 - length)); code <= t.max[length] {
			d.bits <<= length
			d.nbits -= length
			return t.values[code+t.offset[length]], nil
		}
	}
	return 0, fmt.Errorf("JPEG scan: bits that are no code")
}

// extended reads the n bits behind a symbol, at most 16, as the signed number
// that they stand for (T.81 F.2.2.1).
func (d *entropy) extended(n int) int32 {
	if n == 0 {
		return 0
	}
	v := int32(d.bits >> (64 - n))
	d.bits <<= n
	d.nbits -= n
	if v < 1<<(n-1) {
		v -= 1<<n - 1
	}
	return v
}

// short reports whether more bits were used than there are.
func (d *entropy) short() bool { return d.past > d.nbits }

// nextInterval goes to behind the next restart marker.
func (d *entropy) nextInterval() error {
	if d.short() {
		return fmt.Errorf("JPEG scan: a restart interval is short: %w", dataset.ErrTruncated)
	}
	// The accumulator stops at a marker, so the marker is at hand unless there is
	// surplus data in front of it.
	for len(d.b) >= 2 && !(d.b[0] == 0xFF && d.b[1] >= markerRST0 && d.b[1] <= markerRST7) {
		d.b = d.b[1:]
	}
	if len(d.b) < 2 {
		return fmt.Errorf("JPEG scan: a restart marker is missing")
	}
	d.b = d.b[2:]
	d.bits, d.nbits, d.past = 0, 0, 0
	return nil
}
