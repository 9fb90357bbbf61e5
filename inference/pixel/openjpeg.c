//go:build openjpeg && cgo

// Decodes one JPEG 2000 codestream of one component by OpenJPEG.

#include <openjpeg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static void drop(const char *text, void *to)
{
}

typedef struct {
	source from;
	opj_stream_t *stream;
	opj_codec_t *codec;
	opj_image_t *image;
	uint32_t rows, columns;
	char *message;
} decoding;

// run decodes into d->image.
static int run(decoding *d)
{
	opj_dparameters_t parameters;
	if (d->stream == NULL || d->codec == NULL) {
		keep_first("out of memory", d->message);
		return 0;
	}
	opj_stream_set_user_data(d->stream, &d->from, NULL);
	opj_stream_set_user_data_length(d->stream, d->from.n);
	opj_stream_set_read_function(d->stream, source_read);
	opj_stream_set_skip_function(d->stream, source_skip);
	opj_stream_set_seek_function(d->stream, source_seek);
	opj_set_error_handler(d->codec, keep_first, d->message);
	opj_set_warning_handler(d->codec, drop, NULL);
	opj_set_info_handler(d->codec, drop, NULL);
	opj_set_default_decoder_parameters(&parameters);
	// No threads, whatever OPJ_NUM_THREADS says: guard is this one's alone.
	if (!opj_setup_decoder(d->codec, &parameters) || !opj_codec_set_threads(d->codec, 0) ||
	    !opj_decoder_set_strict_mode(d->codec, OPJ_TRUE) || !opj_read_header(d->stream, d->codec, &d->image))
		return 0;
	opj_image_comp_t *c = d->image->comps;
	if (d->image->numcomps != 1 || c->w != d->columns || c->h != d->rows || c->prec < 1 || c->prec > 16) {
		keep_first("not of the size that its header says", d->message);
		return 0;
	}
	if (!opj_decode(d->codec, d->stream, d->image))
		return 0;
	c = d->image->comps;
	return c->data != NULL && c->w == d->columns && c->h == d->rows;
}

// Debian builds OpenJPEG with its assertions, and 2.5.0 asserts of HTJ2K what the
// bytes of a codestream need not fulfil. While guard is set, an assertion that
// fails ends the decoding and not the program: the dynamic linker of ELF systems
// finds this function in front of the C library's, elsewhere it is not called. The
// jump crosses frames of OpenJPEG alone. What those had allocated belongs to the
// codec, which is destroyed, but the job of a code-block, some 40 bytes.
static __thread jmp_buf *guard;

void __assert_fail(const char *expression, const char *file, unsigned line, const char *function)
{
	if (guard != NULL)
		longjmp(*guard, 1);
	fprintf(stderr, "%s:%u: %s: assertion failed: %s\n", file, line, function, expression);
	abort();
}

static int run_guarded(decoding *d)
{
	jmp_buf out;
	int ok;
	if (setjmp(out) != 0) {
		guard = NULL;
		keep_first("the codestream breaks an assertion of OpenJPEG", d->message);
		return 0;
	}
	guard = &out;
	ok = run(d);
	guard = NULL;
	return ok;
}

// openjpeg_decode writes rows x columns samples of one component. What the
// codestream says of their sign need not be true: where the data set says that
// they are signed, their highest bit is their sign (PS3.5 8.2.4).
int openjpeg_decode(const uint8_t *b, size_t n, uint32_t rows, uint32_t columns, int is_signed, uint16_t *dst, char *message)
{
	decoding d = {
		.from = {b, n, 0},
		.stream = opj_stream_create(64 << 10, OPJ_TRUE),
		.codec = opj_create_decompress(OPJ_CODEC_J2K),
		.rows = rows,
		.columns = columns,
		.message = message,
	};
	int ok = run_guarded(&d);
	if (ok) {
		const uint32_t mask = (1u << d.image->comps[0].prec) - 1, sign = is_signed ? (mask + 1) >> 1 : 0;
		for (size_t i = 0; i < (size_t)rows * columns; i++)
			dst[i] = (((uint32_t)d.image->comps[0].data[i] & mask) ^ sign) - sign;
	}
	opj_image_destroy(d.image);
	if (d.codec != NULL)
		opj_destroy_codec(d.codec);
	if (d.stream != NULL)
		opj_stream_destroy(d.stream);
	return ok;
}
