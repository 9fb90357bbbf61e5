package pixel

import (
	"encoding/binary"
	"fmt"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// Markers of ITU T.81 table B.1 and, from SOF55 on, T.87 table C.1.
const (
	markerSOF0  = 0xC0 // baseline DCT
	markerSOF1  = 0xC1 // extended sequential DCT
	markerSOF3  = 0xC3 // lossless, Huffman: process 14
	markerDHT   = 0xC4
	markerJPG   = 0xC8
	markerDAC   = 0xCC
	markerRST0  = 0xD0
	markerRST7  = 0xD7
	markerSOI   = 0xD8
	markerEOI   = 0xD9
	markerSOS   = 0xDA
	markerDQT   = 0xDB
	markerDRI   = 0xDD
	markerSOF55 = 0xF7 // JPEG-LS
	markerLSE   = 0xF8
)

// segment is a marker with its parameters.
type segment struct {
	marker byte
	value  []byte
	end    int // where what follows begins
}

// startsFrame reports whether the marker is a frame header, of whatever process.
func startsFrame(marker byte) bool {
	return marker == markerSOF55 || marker >= markerSOF0 && marker <= 0xCF && marker != markerDHT && marker != markerJPG && marker != markerDAC
}

// nextSegment reads the segment at byte at (T.81 B.1.1).
func nextSegment(b []byte, at int) (segment, error) {
	for at+1 < len(b) && b[at] == 0xFF && b[at+1] == 0xFF { // fill bytes
		at++
	}
	if at+4 > len(b) {
		return segment{}, fmt.Errorf("JPEG frame: %w before the scan", dataset.ErrTruncated)
	}
	if b[at] != 0xFF {
		return segment{}, fmt.Errorf("JPEG frame: no marker at byte %d", at)
	}
	if b[at+1] == markerEOI {
		return segment{}, fmt.Errorf("JPEG frame has no scan")
	}
	n := int(binary.BigEndian.Uint16(b[at+2:]))
	if n < 2 || at+2+n > len(b) {
		return segment{}, fmt.Errorf("JPEG frame: segment %02X: %w", b[at+1], dataset.ErrTruncated)
	}
	return segment{marker: b[at+1], value: b[at+4 : at+2+n], end: at + 2 + n}, nil
}

// segments calls each for the segments from SOI to the scan's header, and returns
// where the scan's data begin.
func segments(b []byte, each func(segment) error) (int, error) {
	if len(b) < 2 || b[0] != 0xFF || b[1] != markerSOI {
		return 0, fmt.Errorf("JPEG frame does not begin with SOI")
	}
	for at := 2; ; {
		s, err := nextSegment(b, at)
		if err != nil {
			return 0, err
		}
		if err := each(s); err != nil {
			return 0, err
		}
		if at = s.end; s.marker == markerSOS {
			return at, nil
		}
	}
}

// jpegFrame is a frame header of one component (T.81 B.2.2).
type jpegFrame struct {
	marker    byte
	precision int
	component byte
	table     byte // of quantisation
}

// restartInterval reads a DRI segment (T.81 B.2.4.4).
func restartInterval(s segment) (int, error) {
	if len(s.value) < 2 {
		return 0, fmt.Errorf("JPEG restart interval: %w", dataset.ErrTruncated)
	}
	return int(binary.BigEndian.Uint16(s.value)), nil
}

// frameHeader reads a frame header, which has to be of the size that the data set
// says, in one component, of bits that fit.
func frameHeader(s segment, p Format) (jpegFrame, error) {
	v := s.value
	if len(v) < 9 {
		return jpegFrame{}, fmt.Errorf("JPEG frame header: %w", dataset.ErrTruncated)
	}
	precision, components := int(v[0]), int(v[5])
	rows, columns := int(binary.BigEndian.Uint16(v[1:])), int(binary.BigEndian.Uint16(v[3:]))
	if err := p.fits("JPEG", rows, columns, components, precision); err != nil {
		return jpegFrame{}, err
	}
	return jpegFrame{marker: s.marker, precision: precision, component: v[6], table: v[8]}, nil
}

// fits compares what a compressed frame says of itself with the data set.
func (p Format) fits(codec string, rows, columns, components, precision int) error {
	switch {
	case rows != p.Rows || columns != p.Columns:
		return fmt.Errorf("%s frame is %d x %d, the header says %d x %d", codec, rows, columns, p.Rows, p.Columns)
	case components != 1:
		return fmt.Errorf("%s frame has %d components; a CT has one", codec, components)
	case precision < 2 || precision > p.Allocated:
		return fmt.Errorf("%s frame has %d bits, %d are allocated", codec, precision, p.Allocated)
	}
	return nil
}

// checkJPEG reads a frame up to its scan and refuses what is not of a process
// named, or not of the data set's size.
func checkJPEG(processes ...byte) func(b []byte, p Format) (precision int, err error) {
	return func(b []byte, p Format) (int, error) {
		var f jpegFrame
		_, err := segments(b, func(s segment) error {
			switch {
			case !startsFrame(s.marker):
				return nil
			case f.precision > 0:
				return fmt.Errorf("JPEG frame has two frame headers")
			}
			for _, process := range processes {
				if s.marker == process {
					var err error
					f, err = frameHeader(s, p)
					return err
				}
			}
			return fmt.Errorf("JPEG frame is of process SOF%d, which its transfer syntax is not", s.marker-markerSOF0)
		})
		if err == nil && f.precision == 0 {
			err = fmt.Errorf("JPEG frame: scan without a frame header")
		}
		return f.precision, err
	}
}
