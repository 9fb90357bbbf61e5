package pixel

import (
	"encoding/binary"
	"fmt"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// decodeJPEGExtended decodes JPEG of processes 2 and 4 (ITU T.81 annex F): of 8
// bits as baseline, of 12 bits by sequentialJPEG.
func decodeJPEGExtended(b []byte, p Format, dst []uint16) error {
	d := sequentialJPEG{rows: p.Rows, columns: p.Columns}
	var header []byte
	data, err := segments(b, func(s segment) (err error) {
		switch s.marker {
		case markerSOF0, markerSOF1:
			d.frame, err = frameHeader(s, p)
		case markerDHT:
			err = huffmanTables(s.value, func(class, destination byte, t huffmanTable) error {
				d.tables[class][destination] = t
				return nil
			})
		case markerDQT:
			err = d.quantisation(s.value)
		case markerDRI:
			d.restart, err = restartInterval(s)
		case markerSOS:
			header = s.value
		}
		return err
	})
	if err != nil {
		return err
	}
	if d.frame.precision == 8 {
		return decodeJPEGBaseline(b, p, dst)
	}
	if d.frame.precision != 12 {
		return fmt.Errorf("JPEG frame has %d bits; JPEG Extended has 8 or 12", d.frame.precision)
	}
	d.b = b[data:]
	return d.scan(header, dst)
}

// sequentialJPEG decodes the scan of a frame of one component, which is not
// interleaved: its blocks come row by row (T.81 A.2.2).
type sequentialJPEG struct {
	entropy
	tables  [2][4]huffmanTable // DC, AC
	quant   [4][64]int32       // zigzag; 0 where it is not defined
	frame   jpegFrame
	restart int // blocks between restart markers; 0: none

	rows, columns int
}

// zigzag is the place of each coefficient in its block (T.81 figure A.6).
var zigzag = [64]int{
	0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5,
	12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
	35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
	58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
}

// quantisation reads the tables of a DQT segment (T.81 B.2.4.1).
func (d *sequentialJPEG) quantisation(s []byte) error {
	for len(s) > 0 {
		wide, to := s[0]>>4, s[0]&15
		if wide > 1 || to > 3 {
			return fmt.Errorf("JPEG quantisation table of precision and destination %02X", s[0])
		}
		size := 64 << wide
		if len(s) < 1+size {
			return fmt.Errorf("JPEG quantisation table: %w", dataset.ErrTruncated)
		}
		for i := range 64 {
			if wide == 1 {
				d.quant[to][i] = int32(binary.BigEndian.Uint16(s[1+2*i:]))
			} else {
				d.quant[to][i] = int32(s[1+i])
			}
			if d.quant[to][i] == 0 {
				return fmt.Errorf("JPEG quantisation by 0")
			}
		}
		s = s[1+size:]
	}
	return nil
}

func (d *sequentialJPEG) scan(s []byte, dst []uint16) error {
	// A sequential scan has all coefficients; what else it says of them is wrong in
	// files that everybody reads (T.81 table B.3).
	if len(s) < 6 || s[0] != 1 || s[1] != d.frame.component {
		return fmt.Errorf("JPEG scan is not of the frame's component")
	}
	dc, ac := s[2]>>4, s[2]&15
	if dc > 3 || ac > 3 || !d.tables[0][dc].defined || !d.tables[1][ac].defined {
		return fmt.Errorf("JPEG scan: Huffman tables %d and %d are not there", dc, ac)
	}
	if d.frame.table > 3 || d.quant[d.frame.table][0] == 0 {
		return fmt.Errorf("JPEG scan: quantisation table %d is not there", d.frame.table)
	}
	var block [64]int64
	var prediction int64
	level, most := int64(1)<<(d.frame.precision-1), int64(1)<<d.frame.precision-1
	n := 0
	for y := 0; y < d.rows; y += 8 {
		for x := 0; x < d.columns; x += 8 {
			if d.restart > 0 && n > 0 && n%d.restart == 0 {
				if err := d.nextInterval(); err != nil {
					return err
				}
				prediction = 0
			}
			n++
			if err := d.block(&block, &d.tables[0][dc], &d.tables[1][ac], &prediction); err != nil {
				return err
			}
			inverseDCT(&block)
			for j := range min(8, d.rows-y) {
				row := dst[(y+j)*d.columns+x : (y+j)*d.columns+min(x+8, d.columns)]
				for i := range row {
					row[i] = uint16(min(max(block[8*j+i]+level, 0), most))
				}
			}
		}
		if d.past > 64 {
			return fmt.Errorf("JPEG scan: %w in row %d", dataset.ErrTruncated, y+1)
		}
	}
	if d.short() {
		return fmt.Errorf("JPEG scan: %w in the last blocks", dataset.ErrTruncated)
	}
	return nil
}

// block decodes the coefficients of a block (T.81 F.2.2) and dequantises them.
func (d *sequentialJPEG) block(to *[64]int64, dc, ac *huffmanTable, prediction *int64) error {
	*to = [64]int64{}
	q := &d.quant[d.frame.table]
	size, err := d.symbol(dc)
	if err != nil {
		return err
	}
	if size > 15 { // a difference of 12 bits has up to 15 (T.81 table F.1)
		return fmt.Errorf("JPEG scan: DC category %d", size)
	}
	// Bounded, as differences that add up without end are no picture.
	*prediction = min(max(*prediction+int64(d.extended(int(size))), -1<<16), 1<<16)
	to[0] = *prediction * int64(q[0])
	for k := 1; k < 64; k++ {
		rs, err := d.symbol(ac)
		if err != nil {
			return err
		}
		run, size := int(rs>>4), int(rs&15)
		if size == 0 {
			if run != 15 { // end of block
				return nil
			}
			k += 15
			continue
		}
		if k += run; k > 63 {
			return fmt.Errorf("JPEG scan: a run beyond its block")
		}
		to[zigzag[k]] = int64(d.extended(size)) * int64(q[k])
	}
	return nil
}

// Constants of the inverse DCT of Loeffler, Ligtenberg and Moschytz (ICASSP 1989),
// scaled by 2^13.
const (
	dctBits = 13
	// dctSpare bits are kept between the two passes.
	dctSpare = 4

	fix0298631336 = 2446
	fix0390180644 = 3196
	fix0541196100 = 4433
	fix0765366865 = 6270
	fix0899976223 = 7373
	fix1175875602 = 9633
	fix1501321110 = 12299
	fix1847759065 = 15137
	fix1961570560 = 16069
	fix2053119869 = 16819
	fix2562915447 = 20995
	fix3072711026 = 25172
)

// inverseDCT replaces coefficients by samples less the level shift (T.81 A.3.3),
// in integers, so that the same bytes give the same samples on every machine.
func inverseDCT(b *[64]int64) {
	for i := range 8 {
		inverse8(b, i, 8, dctBits-dctSpare)
	}
	for i := range 8 {
		// Each pass is too large by the root of 8.
		inverse8(b, 8*i, 1, dctBits+dctSpare+3)
	}
}

// inverse8 transforms eight values that begin at from, step apart, and drops
// shift bits with rounding.
func inverse8(b *[64]int64, from, step int, shift uint) {
	at := func(i int) int64 { return b[from+i*step] }
	// Even part.
	z := (at(2) + at(6)) * fix0541196100
	t2, t3 := z-at(6)*fix1847759065, z+at(2)*fix0765366865
	t0, t1 := (at(0)+at(4))<<dctBits, (at(0)-at(4))<<dctBits
	t10, t13, t11, t12 := t0+t3, t0-t3, t1+t2, t1-t2
	// Odd part.
	t0, t1, t2, t3 = at(7), at(5), at(3), at(1)
	z1, z2, z3, z4 := t0+t3, t1+t2, t0+t2, t1+t3
	z5 := (z3 + z4) * fix1175875602
	t0, t1, t2, t3 = t0*fix0298631336, t1*fix2053119869, t2*fix3072711026, t3*fix1501321110
	z1, z2, z3, z4 = -z1*fix0899976223, -z2*fix2562915447, -z3*fix1961570560+z5, -z4*fix0390180644+z5
	t0, t1, t2, t3 = t0+z1+z3, t1+z2+z4, t2+z2+z3, t3+z1+z4
	half := int64(1) << (shift - 1)
	for i, v := range [8]int64{t10 + t3, t11 + t2, t12 + t1, t13 + t0, t13 - t0, t12 - t1, t11 - t2, t10 - t3} {
		b[from+i*step] = (v + half) >> shift
	}
}
