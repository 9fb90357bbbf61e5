// Package dataset reads and writes DICOM data sets (PS3.5) whose bytes cannot
// be trusted.
//
// A CT slice passes through it while it is still arriving: a HeaderParser is fed
// with the bytes that stream to disk and keeps only the header, at most Limits of
// it, so the memory of a connection does not depend on the size of an image.
// Later Open reads the same header from the Part 10 file and says where Pixel
// Data lies; package pixel takes it from there. Nothing is allocated because a
// length field says so, only for bytes that are there; nesting, elements and
// sizes have limits; bad input gives an error that says what is wrong and at
// which byte, never a panic. Values stay as received, in the byte order of the
// data set; UTF8 decodes text by Specific Character Set.
//
//	f, err := dataset.Open("slice.dcm", dataset.Limits{})
//	rows, ok := f.Header.Int(dataset.Rows)
package dataset
