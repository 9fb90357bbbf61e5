//go:build !charls || !cgo

package pixel

const charlsVersion = ""

// decodeJPEGLS is not there: the build had no CharLS.
var decodeJPEGLS decoder
