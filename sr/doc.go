// Package sr writes the analysis of a series as a DICOM structured report and
// reads such reports back.
//
// A report is an Imaging Measurement Report by template TID 1500 of PS3.16, as
// IHE AI Results (AIR) asks for: an image library that names every image that
// was looked at, one measurement group for each nodule that points at its
// segment, and evaluations of the whole that say how the analysis ended. One
// template stands in one file, every code in codes.go.
//
// Four outcomes have four reports, and only one of them can be read as "no
// nodule": that of an analysis that was completed. A number that is not known
// is never written as zero; it is coded as not measured, or the report is
// refused with a sentence.
//
// Write gives the same bytes for the same result: UIDs come from the caller and
// all times from the closing time of the generation.
package sr
