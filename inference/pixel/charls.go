//go:build charls && cgo

package pixel

/*
#cgo pkg-config: charls
#include <stdint.h>
#include <stdlib.h>
#include <charls/charls.h>

// charls_decode writes rows x columns samples of one byte, or two where precision is
// over 8, and returns CharLS's error.
static int32_t charls_decode(const uint8_t *b, size_t n, uint32_t rows, uint32_t columns, int32_t precision, void *dst, size_t size)
{
	charls_jpegls_decoder *d = charls_jpegls_decoder_create();
	charls_frame_info frame;
	charls_interleave_mode interleave;
	int32_t e;
	if (d == NULL)
		return CHARLS_JPEGLS_ERRC_NOT_ENOUGH_MEMORY;
	if ((e = charls_jpegls_decoder_set_source_buffer(d, b, n)) == 0 &&
	    (e = charls_jpegls_decoder_read_header(d)) == 0 &&
	    (e = charls_jpegls_decoder_get_frame_info(d, &frame)) == 0 &&
	    (e = charls_jpegls_decoder_get_interleave_mode(d, &interleave)) == 0) {
		if (frame.width != columns || frame.height != rows || frame.component_count != 1 ||
		    frame.bits_per_sample != precision || interleave != CHARLS_INTERLEAVE_MODE_NONE)
			e = CHARLS_JPEGLS_ERRC_PARAMETER_VALUE_NOT_SUPPORTED;
		else
			e = charls_jpegls_decoder_decode_to_buffer(d, dst, size, 0);
	}
	charls_jpegls_decoder_destroy(d);
	return e;
}
*/
import "C"

import (
	"fmt"
	"unsafe"
)

var charlsVersion = "CharLS " + C.GoString(C.charls_get_version_string())

// decodeJPEGLS decodes JPEG-LS, lossless and near-lossless, by CharLS.
func decodeJPEGLS(b []byte, p Format, dst []uint16) error {
	frame, b, err := jpegLSFrame(b, p)
	if err != nil {
		return err
	}
	to, size := unsafe.Pointer(&dst[0]), 2*len(dst)
	var narrow []byte
	if frame.precision <= 8 {
		narrow = make([]byte, len(dst))
		to, size = unsafe.Pointer(&narrow[0]), len(narrow)
	}
	e := C.charls_decode((*C.uint8_t)(&b[0]), C.size_t(len(b)), C.uint32_t(p.Rows), C.uint32_t(p.Columns), C.int32_t(frame.precision), to, C.size_t(size))
	if e != 0 {
		return fmt.Errorf("JPEG-LS: %s", C.GoString(C.charls_get_error_message(C.charls_jpegls_errc(e))))
	}
	for i, v := range narrow {
		dst[i] = uint16(v)
	}
	return nil
}
