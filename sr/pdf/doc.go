// Package pdf writes the report of a result as a document for people, and as a
// DICOM Encapsulated PDF. It says what the structured report says, because it is
// made of that report as it is read back, and shows each nodule from close by.
//
// It names the patient, as a document on paper must. The fonts are part of the
// program and have Latin, Greek and Cyrillic letters; of a name in another
// script the group in Latin letters is written (PS3.5 6.2.1). Where there is none,
// and of other values in such a script, it is said that they stand in the object's
// header: no letter is left out or replaced, least of all of an identifier.
//
// The same result gives the same bytes.
package pdf
