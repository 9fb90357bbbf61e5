package pixel

import (
	"encoding/binary"
	"fmt"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// Markers of ITU T.81 table B.1.
const (
	markerSOF3 = 0xC3 // lossless, Huffman: process 14
	markerDHT  = 0xC4
	markerRST0 = 0xD0
	markerRST7 = 0xD7
	markerSOI  = 0xD8
	markerEOI  = 0xD9
	markerSOS  = 0xDA
	markerDRI  = 0xDD
)

// losslessHuffman is a table of T.81 annex C: codes of up to 8 bits by look-up,
// longer ones by the decoding procedure of figure F.16.
type losslessHuffman struct {
	defined bool
	look    [256]uint16 // category<<8 | length; 0 where the code is longer
	max     [18]int32   // last code of each length, -1 where there is none
	offset  [17]int32   // index of its first value, less its first code
	values  []byte
}

// losslessJPEG decodes one scan of one component.
type losslessJPEG struct {
	b      []byte
	tables [4]losslessHuffman

	rows, columns, precision int
	component                byte
	restart                  int // samples between restart markers; 0: none

	bits  uint64 // left-aligned
	nbits int
	past  int // bits made up behind the end of the data
}

// decodeJPEGLossless decodes ITU T.81 process 14 (annex H): each sample is told
// by its difference from a prediction out of its neighbours.
func decodeJPEGLossless(b []byte, p Format, dst []uint16) error {
	d := losslessJPEG{b: b}
	if len(b) < 2 || b[0] != 0xFF || b[1] != markerSOI {
		return fmt.Errorf("JPEG frame does not begin with SOI")
	}
	at := 2
	for {
		if at+4 > len(b) {
			return fmt.Errorf("JPEG lossless: %w before the scan", dataset.ErrTruncated)
		}
		if b[at] != 0xFF {
			return fmt.Errorf("JPEG lossless: no marker at byte %d", at)
		}
		marker := b[at+1]
		if marker == 0xFF { // fill byte
			at++
			continue
		}
		n := int(binary.BigEndian.Uint16(b[at+2:]))
		if n < 2 || at+2+n > len(b) {
			return fmt.Errorf("JPEG lossless: segment %02X: %w", marker, dataset.ErrTruncated)
		}
		segment := b[at+4 : at+2+n]
		at += 2 + n
		switch {
		case marker == markerSOF3:
			if err := d.frame(segment, p); err != nil {
				return err
			}
		case marker >= 0xC0 && marker <= 0xCF && marker != markerDHT && marker != 0xC8 && marker != 0xCC:
			return fmt.Errorf("JPEG frame is of process SOF%d, not lossless Huffman", marker-0xC0)
		case marker == markerDHT:
			if err := d.huffman(segment); err != nil {
				return err
			}
		case marker == markerDRI:
			if len(segment) < 2 {
				return fmt.Errorf("JPEG lossless: restart interval: %w", dataset.ErrTruncated)
			}
			d.restart = int(binary.BigEndian.Uint16(segment))
		case marker == markerSOS:
			d.b = b[at:]
			return d.scan(segment, dst)
		case marker == markerEOI:
			return fmt.Errorf("JPEG lossless: the frame has no scan")
		}
	}
}

func (d *losslessJPEG) frame(s []byte, p Format) error {
	if len(s) < 9 {
		return fmt.Errorf("JPEG lossless: frame header: %w", dataset.ErrTruncated)
	}
	d.precision = int(s[0])
	d.rows, d.columns = int(binary.BigEndian.Uint16(s[1:])), int(binary.BigEndian.Uint16(s[3:]))
	if d.rows != p.Rows || d.columns != p.Columns {
		return fmt.Errorf("JPEG frame is %d x %d, the header says %d x %d", d.rows, d.columns, p.Rows, p.Columns)
	}
	if d.precision < 2 || d.precision > p.Allocated {
		return fmt.Errorf("JPEG frame has %d bits, %d are allocated", d.precision, p.Allocated)
	}
	if s[5] != 1 {
		return fmt.Errorf("JPEG frame has %d components; a CT has one", s[5])
	}
	d.component = s[6]
	return nil
}

func (d *losslessJPEG) huffman(s []byte) error {
	for len(s) > 0 {
		if len(s) < 17 {
			return fmt.Errorf("JPEG lossless: Huffman table: %w", dataset.ErrTruncated)
		}
		if s[0] > 3 { // class 0 (DC), destinations 0 to 3
			return fmt.Errorf("JPEG lossless: Huffman table of class and destination %02X", s[0])
		}
		t := &d.tables[s[0]]
		*t = losslessHuffman{defined: true}
		counts := s[1:17]
		total := 0
		for _, n := range counts {
			total += int(n)
		}
		if total > 17 || len(s) < 17+total { // categories 0 to 16
			return fmt.Errorf("JPEG lossless: Huffman table of %d values", total)
		}
		t.values = s[17 : 17+total]
		s = s[17+total:]
		code, index := int32(0), int32(0)
		for length := 1; length <= 16; length++ {
			n := int32(counts[length-1])
			t.offset[length] = index - code
			t.max[length] = -1
			if n > 0 {
				t.max[length] = code + n - 1
			}
			for range n {
				if t.values[index] > 16 {
					return fmt.Errorf("JPEG lossless: category %d", t.values[index])
				}
				if length <= 8 {
					first := code << (8 - length)
					for i := first; i < first+1<<(8-length) && i < 256; i++ {
						t.look[i] = uint16(t.values[index])<<8 | uint16(length)
					}
				}
				code++
				index++
			}
			if code > 1<<length {
				return fmt.Errorf("JPEG lossless: Huffman codes of %d bits overflow", length)
			}
			code <<= 1
		}
	}
	return nil
}

func (d *losslessJPEG) scan(s []byte, dst []uint16) error {
	if d.precision == 0 {
		return fmt.Errorf("JPEG lossless: scan without a frame header")
	}
	if len(s) < 6 || s[0] != 1 || s[1] != d.component {
		return fmt.Errorf("JPEG lossless: the scan is not of the frame's component")
	}
	predictor, transform := int(s[3]), int(s[5]&15)
	table := s[2] >> 4
	if table > 3 || !d.tables[table].defined {
		return fmt.Errorf("JPEG lossless: Huffman table %d is not there", table)
	}
	if predictor < 1 || predictor > 7 || transform >= d.precision {
		return fmt.Errorf("JPEG lossless: predictor %d, point transform %d", predictor, transform)
	}
	if d.restart > 0 && d.restart%d.columns != 0 {
		return fmt.Errorf("JPEG lossless: a restart interval of %d samples is not whole rows (T.81 H.1.1)", d.restart)
	}
	t := &d.tables[table]
	initial := int32(1) << (d.precision - transform - 1)
	restartRows := d.restart / d.columns
	fresh := true // the row's first sample is predicted as at the beginning
	for y := range d.rows {
		if restartRows > 0 && y > 0 && y%restartRows == 0 {
			if err := d.nextInterval(); err != nil {
				return err
			}
			fresh = true
		}
		row := dst[y*d.columns : (y+1)*d.columns]
		above := row // not used in a fresh row
		if !fresh {
			above = dst[(y-1)*d.columns : y*d.columns]
		}
		for x := range row {
			var px int32
			switch {
			case fresh && x == 0:
				px = initial
			case fresh: // T.81 H.1.1: the first row is predicted from the left
				px = int32(row[x-1])
			case x == 0: // the first column from above
				px = int32(above[0])
			default:
				a, b, c := int32(row[x-1]), int32(above[x]), int32(above[x-1])
				switch predictor { // T.81 table H.1
				case 1:
					px = a
				case 2:
					px = b
				case 3:
					px = c
				case 4:
					px = a + b - c
				case 5:
					px = a + (b-c)>>1
				case 6:
					px = b + (a-c)>>1
				case 7:
					px = (a + b) >> 1
				}
			}
			diff, err := d.difference(t)
			if err != nil {
				return err
			}
			row[x] = uint16(px + diff) // modulo 2^16 (T.81 H.1.2.1)
		}
		if d.past > 64 {
			return fmt.Errorf("JPEG lossless: %w in row %d", dataset.ErrTruncated, y+1)
		}
		fresh = false
	}
	if d.past > d.nbits {
		return fmt.Errorf("JPEG lossless: %w in the last row", dataset.ErrTruncated)
	}
	if transform > 0 {
		for i := range dst {
			dst[i] <<= transform
		}
	}
	return nil
}

// fill brings the accumulator to 48 bits or more. Zeros that are made up behind
// the data are counted.
func (d *losslessJPEG) fill() {
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

// difference decodes a Huffman code and the bits behind it (T.81 F.2.2.1, H.1.2.2).
func (d *losslessJPEG) difference(t *losslessHuffman) (int32, error) {
	if d.nbits < 32 {
		d.fill()
	}
	var category, length int
	if e := t.look[d.bits>>56]; e != 0 {
		category, length = int(e>>8), int(e&0xFF)
	} else {
		for length = 9; ; length++ {
			if length > 16 {
				return 0, fmt.Errorf("JPEG lossless: bits that are no code")
			}
			if code := int32(d.bits >> (64 - length)); code <= t.max[length] {
				category = int(t.values[code+t.offset[length]])
				break
			}
		}
	}
	d.bits <<= length
	d.nbits -= length
	switch category {
	case 0:
		return 0, nil
	case 16: // no bits follow
		return 32768, nil
	}
	v := int32(d.bits >> (64 - category))
	d.bits <<= category
	d.nbits -= category
	if v < 1<<(category-1) {
		v -= 1<<category - 1
	}
	return v, nil
}

// nextInterval goes to behind the next restart marker.
func (d *losslessJPEG) nextInterval() error {
	if d.past > d.nbits {
		return fmt.Errorf("JPEG lossless: a restart interval is short: %w", dataset.ErrTruncated)
	}
	// The accumulator stops at a marker, so the marker is at hand unless there is
	// surplus data in front of it.
	for len(d.b) >= 2 && !(d.b[0] == 0xFF && d.b[1] >= markerRST0 && d.b[1] <= markerRST7) {
		d.b = d.b[1:]
	}
	if len(d.b) < 2 {
		return fmt.Errorf("JPEG lossless: a restart marker is missing")
	}
	d.b = d.b[2:]
	d.bits, d.nbits, d.past = 0, 0, 0
	return nil
}
