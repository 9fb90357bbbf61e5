//go:build openjpeg

package pixel

/*
#cgo pkg-config: libopenjp2
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <openjpeg.h>

// Partial codestreams fail since 2.5 only, and HTJ2K is decoded since then.
#if OPJ_VERSION_MAJOR < 2 || OPJ_VERSION_MAJOR == 2 && OPJ_VERSION_MINOR < 5
#error "OpenJPEG 2.5 or later is needed: build without the tag openjpeg"
#endif

typedef struct {
	const uint8_t *b;
	size_t n, at;
} source;

static OPJ_SIZE_T source_read(void *to, OPJ_SIZE_T n, void *from)
{
	source *s = from;
	if (s->at >= s->n)
		return (OPJ_SIZE_T)-1;
	if (n > s->n - s->at)
		n = s->n - s->at;
	memcpy(to, s->b + s->at, n);
	s->at += n;
	return n;
}

static OPJ_OFF_T source_skip(OPJ_OFF_T n, void *from)
{
	source *s = from;
	if (n < 0 || (uint64_t)n > s->n - s->at)
		return -1;
	s->at += n;
	return n;
}

static OPJ_BOOL source_seek(OPJ_OFF_T to, void *from)
{
	source *s = from;
	if (to < 0 || (uint64_t)to > s->n)
		return OPJ_FALSE;
	s->at = to;
	return OPJ_TRUE;
}

#define MESSAGE 160

// keep_first keeps the first message, which names the cause.
static void keep_first(const char *text, void *message)
{
	if (*(char *)message == 0)
		snprintf(message, MESSAGE, "%s", text);
}

static void drop(const char *text, void *to) {}

// openjpeg_decode writes rows x columns samples of one component. What the
// codestream says of their sign need not be true: where the data set says that
// they are signed, their highest bit is their sign (PS3.5 8.2.4).
static OPJ_BOOL openjpeg_decode(const uint8_t *b, size_t n, uint32_t rows, uint32_t columns, int is_signed, uint16_t *dst, char *message)
{
	source from = {b, n, 0};
	OPJ_BOOL ok = OPJ_FALSE;
	opj_image_t *image = NULL;
	opj_dparameters_t parameters;
	opj_stream_t *stream = opj_stream_create(64 << 10, OPJ_TRUE);
	opj_codec_t *codec = opj_create_decompress(OPJ_CODEC_J2K);
	if (stream == NULL || codec == NULL) {
		keep_first("out of memory", message);
		goto end;
	}
	opj_stream_set_user_data(stream, &from, NULL);
	opj_stream_set_user_data_length(stream, n);
	opj_stream_set_read_function(stream, source_read);
	opj_stream_set_skip_function(stream, source_skip);
	opj_stream_set_seek_function(stream, source_seek);
	opj_set_error_handler(codec, keep_first, message);
	opj_set_warning_handler(codec, drop, NULL);
	opj_set_info_handler(codec, drop, NULL);
	opj_set_default_decoder_parameters(&parameters);
	if (!opj_setup_decoder(codec, &parameters) || !opj_decoder_set_strict_mode(codec, OPJ_TRUE) ||
	    !opj_read_header(stream, codec, &image))
		goto end;
	if (image->numcomps != 1 || image->comps[0].w != columns || image->comps[0].h != rows ||
	    image->comps[0].prec > 16) {
		keep_first("not of the size that its header says", message);
		goto end;
	}
	if (!opj_decode(codec, stream, image) || image->comps[0].data == NULL ||
	    image->comps[0].w != columns || image->comps[0].h != rows)
		goto end;
	const uint32_t mask = (1u << image->comps[0].prec) - 1, sign = is_signed ? (mask + 1) >> 1 : 0;
	for (size_t i = 0; i < (size_t)rows * columns; i++)
		dst[i] = (((uint32_t)image->comps[0].data[i] & mask) ^ sign) - sign;
	ok = OPJ_TRUE;
end:
	opj_image_destroy(image);
	opj_destroy_codec(codec);
	opj_stream_destroy(stream);
	return ok;
}
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
