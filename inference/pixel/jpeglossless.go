package pixel

import (
	"fmt"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// losslessJPEG decodes one scan of one component.
type losslessJPEG struct {
	entropy
	tables [4]huffmanTable

	rows, columns, precision int
	component                byte
	restart                  int // samples between restart markers; 0: none
}

// decodeJPEGLossless decodes ITU T.81 process 14 (annex H): each sample is told
// by its difference from a prediction out of its neighbours.
func decodeJPEGLossless(b []byte, p Format, dst []uint16) error {
	var d losslessJPEG
	var header []byte
	data, err := segments(b, func(s segment) error {
		switch s.marker {
		case markerSOF3:
			f, err := frameHeader(s, p)
			d.rows, d.columns, d.precision, d.component = p.Rows, p.Columns, f.precision, f.component
			return err
		case markerDHT:
			return d.huffman(s.value)
		case markerDRI:
			var err error
			d.restart, err = restartInterval(s)
			return err
		case markerSOS:
			header = s.value
		}
		return nil
	})
	if err != nil {
		return err
	}
	d.b = b[data:]
	return d.scan(header, dst)
}

// huffman defines tables of categories, 0 to 16 (T.81 H.1.2.2). Those of AC
// coefficients, which some encoders leave in, mean nothing here.
func (d *losslessJPEG) huffman(s []byte) error {
	return huffmanTables(s, func(class, destination byte, t huffmanTable) error {
		if class != 0 {
			return nil
		}
		for _, category := range t.values {
			if category > 16 {
				return fmt.Errorf("JPEG lossless: category %d", category)
			}
		}
		d.tables[destination] = t
		return nil
	})
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
	if d.short() {
		return fmt.Errorf("JPEG lossless: %w in the last row", dataset.ErrTruncated)
	}
	if transform > 0 {
		for i := range dst {
			dst[i] <<= transform
		}
	}
	return nil
}

// difference decodes a category and the bits behind it (T.81 H.1.2.2).
func (d *losslessJPEG) difference(t *huffmanTable) (int32, error) {
	category, err := d.symbol(t)
	switch {
	case err != nil:
		return 0, err
	case category == 16: // no bits follow
		return 32768, nil
	}
	return d.extended(int(category)), nil
}
