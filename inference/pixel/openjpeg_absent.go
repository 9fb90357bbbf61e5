//go:build !openjpeg || !cgo

package pixel

const openJPEGVersion = ""

// The decoders are not there: the build had no OpenJPEG.
var decodeJPEG2000, decodeHTJ2K decoder
