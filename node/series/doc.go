// Package series decides when a series has arrived, and whether it is one that
// the node analyses.
//
// DICOM has no end of a series: a sender just stops. Tracker watches what is
// stored and closes a series when its slices form a closed stack, the
// association that brought the last one was released, and it has been quiet for
// some seconds; or when nothing came for a minute; or when it has been coming
// for half an hour. Closing writes a file that says what the generation
// consists of; a late slice opens the next generation. Because the closing is a
// file, a restart finds the series that were still open by looking.
//
// Select looks at the headers of a closed series and says in one sentence why
// it is not analysed, with the figures and with what to ask for.
package series
