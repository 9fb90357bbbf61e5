package pixel

import (
	"fmt"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// checkJPEGLS reads a frame up to its scan before CharLS does.
func checkJPEGLS(b []byte, p Format) (int, error) {
	f, _, err := jpegLSFrame(b, p)
	return f.precision, err
}

// jpegLSFrame reads the segments of ITU T.87 up to the scan, and returns the bytes
// up to the marker that ends it. CharLS 2.4.1 never returns from some scans that
// are cut short of one.
func jpegLSFrame(b []byte, p Format) (f jpegFrame, whole []byte, err error) {
	at, err := segments(b, func(s segment) (err error) {
		switch {
		case startsFrame(s.marker) && s.marker != markerSOF55:
			err = fmt.Errorf("JPEG frame is of process SOF%d, which its transfer syntax is not", s.marker-markerSOF0)
		case s.marker == markerSOF55 && f.precision > 0:
			err = fmt.Errorf("JPEG-LS frame has two frame headers")
		case s.marker == markerSOF55:
			f, err = frameHeader(s, p)
		case s.marker == markerLSE && (len(s.value) == 0 || s.value[0] != 1):
			// Coding parameters alone: no mapping tables, no second, larger size
			// (T.87 C.2.4.1).
			err = fmt.Errorf("JPEG-LS frame has preset parameters other than those of coding")
		case s.marker == markerSOS && (len(s.value) < 6 || s.value[0] != 1 || s.value[1] != f.component || s.value[2] != 0):
			err = fmt.Errorf("JPEG-LS scan is not of the frame's component alone")
		}
		return err
	})
	if err == nil && f.precision == 0 {
		err = fmt.Errorf("JPEG-LS frame: %w: scan without a frame header", dataset.ErrTruncated)
	}
	if err != nil {
		return f, nil, err
	}
	for ; at+1 < len(b); at++ {
		// A stuffed bit keeps data behind FF below 80 (T.87 A.1); FF FF fills up.
		if b[at] != 0xFF || b[at+1] < 0x80 || b[at+1] == 0xFF || b[at+1] >= markerRST0 && b[at+1] <= markerRST7 {
			continue
		}
		if b[at+1] != markerEOI {
			return f, nil, fmt.Errorf("JPEG-LS scan is followed by marker %02X", b[at+1])
		}
		return f, b[:at+2], nil
	}
	return f, nil, fmt.Errorf("JPEG-LS frame: %w: no EOI", dataset.ErrTruncated)
}
