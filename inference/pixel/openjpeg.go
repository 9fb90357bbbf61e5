//go:build openjpeg && cgo

package pixel

/*
#cgo pkg-config: libopenjp2
#include <openjpeg.h>
#include <stdint.h>

#define MESSAGE 160
int openjpeg_decode(const uint8_t *b, size_t n, uint32_t rows, uint32_t columns, int is_signed, uint16_t *dst, char *message);
*/
import "C"

import (
	_ "embed"
	"fmt"
	"strings"
	"unsafe"
)

var openJPEGVersion = "OpenJPEG " + C.GoString(C.opj_version())

// decodeJPEG2000 decodes JPEG 2000 by OpenJPEG. Call checkJPEG2000 first.
func decodeJPEG2000(b []byte, p Format, dst []uint16) error {
	signed := C.int(0)
	if p.Signed {
		signed = 1
	}
	var message [C.MESSAGE]C.char
	ok := C.openjpeg_decode((*C.uint8_t)(&b[0]), C.size_t(len(b)), C.uint32_t(p.Rows), C.uint32_t(p.Columns), signed, (*C.uint16_t)(unsafe.Pointer(&dst[0])), &message[0])
	if ok == 0 {
		return fmt.Errorf("JPEG 2000: %s", strings.TrimSpace(C.GoString(&message[0])))
	}
	return nil
}

// htj2kSample is a high-throughput codestream of 8 x 8 samples of 8 bits, each
// (16x + 9y) mod 256.
//
//go:embed htj2k_8x8.j2c
var htj2kSample []byte

// decodeHTJ2K is decodeJPEG2000 where the OpenJPEG that the program runs with
// decodes code-blocks of ITU T.814, and nil where it does not.
var decodeHTJ2K = func() decoder {
	var samples [64]uint16
	if err := decodeJPEG2000(htj2kSample, Format{Rows: 8, Columns: 8}, samples[:]); err != nil {
		return nil
	}
	for i, v := range samples {
		if int(v) != (i%8*16+i/8*9)%256 {
			return nil
		}
	}
	return decodeJPEG2000
}()
