package dataset

import (
	"fmt"
	"slices"
)

// Transfer syntaxes (PS3.5 annex A, PS3.6 table A-1).
const (
	ImplicitLE = "1.2.840.10008.1.2"
	ExplicitLE = "1.2.840.10008.1.2.1"
	DeflatedLE = "1.2.840.10008.1.2.1.99"
	ExplicitBE = "1.2.840.10008.1.2.2" // retired, still met

	JPEGBaseline     = "1.2.840.10008.1.2.4.50" // process 1, 8 bit
	JPEGExtended     = "1.2.840.10008.1.2.4.51" // processes 2 and 4, 12 bit
	JPEGLossless     = "1.2.840.10008.1.2.4.57" // process 14, any predictor
	JPEGLosslessSV1  = "1.2.840.10008.1.2.4.70" // process 14, predictor 1
	JPEGLSLossless   = "1.2.840.10008.1.2.4.80"
	JPEGLSLossy      = "1.2.840.10008.1.2.4.81" // near-lossless
	JPEG2000Lossless = "1.2.840.10008.1.2.4.90"
	JPEG2000         = "1.2.840.10008.1.2.4.91"
	HTJ2KLossless    = "1.2.840.10008.1.2.4.201"
	HTJ2KRPCL        = "1.2.840.10008.1.2.4.202" // lossless, RPCL order
	HTJ2K            = "1.2.840.10008.1.2.4.203"
	RLE              = "1.2.840.10008.1.2.5"
)

// SOP classes (PS3.4 annex B and others, PS3.6 table A-1).
const (
	Verification              = "1.2.840.10008.1.1"
	StorageCommitmentPush     = "1.2.840.10008.1.20.1"
	StorageCommitmentInstance = "1.2.840.10008.1.20.1.1" // the well-known instance
	SecondaryCapture          = "1.2.840.10008.5.1.4.1.1.7"
	CTImage                   = "1.2.840.10008.5.1.4.1.1.2"
	EnhancedCT                = "1.2.840.10008.5.1.4.1.1.2.1"
	LegacyConvertedEnhancedCT = "1.2.840.10008.5.1.4.1.1.2.2"
	SegmentationStorage       = "1.2.840.10008.5.1.4.1.1.66.4"
	LabelMapSegmentation      = "1.2.840.10008.5.1.4.1.1.66.7"
	EnhancedSR                = "1.2.840.10008.5.1.4.1.1.88.22"
	ComprehensiveSR           = "1.2.840.10008.5.1.4.1.1.88.33"
	Comprehensive3DSR         = "1.2.840.10008.5.1.4.1.1.88.34"
	KeyObjectSelection        = "1.2.840.10008.5.1.4.1.1.88.59"
	EncapsulatedPDF           = "1.2.840.10008.5.1.4.1.1.104.1"
)

var knownTransferSyntaxes = []string{ImplicitLE, ExplicitLE, DeflatedLE, ExplicitBE, JPEGBaseline, JPEGExtended,
	JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEGLSLossy, JPEG2000Lossless, JPEG2000,
	HTJ2KLossless, HTJ2KRPCL, HTJ2K, RLE}

// KnownTransferSyntax reports whether the data sets of a transfer syntax can be
// read. The pixel data inside may still need a decoder that is absent.
func KnownTransferSyntax(uid string) bool { return slices.Contains(knownTransferSyntaxes, uid) }

// Encapsulated reports whether Pixel Data of the transfer syntax is a sequence
// of fragments (PS3.5 A.4).
func Encapsulated(transferSyntax string) bool {
	switch transferSyntax {
	case ImplicitLE, ExplicitLE, ExplicitBE, DeflatedLE:
		return false
	}
	return true
}

// ValidUID checks a UID by PS3.5 9.1: at most 64 characters, digits and dots, no
// empty component, no leading zero in a component. What passes is safe as a
// part of a file name.
func ValidUID(uid string) error {
	if uid == "" {
		return fmt.Errorf("UID is empty (PS3.5 9.1)")
	}
	if len(uid) > 64 {
		return fmt.Errorf("UID has %d characters; at most 64 are allowed (PS3.5 9.1)", len(uid))
	}
	start := 0
	for i := 0; i <= len(uid); i++ {
		if i < len(uid) && uid[i] != '.' {
			if uid[i] < '0' || uid[i] > '9' {
				return fmt.Errorf("UID has %q at position %d; only digits and dots are allowed (PS3.5 9.1)", uid[i], i+1)
			}
			continue
		}
		if i == start {
			return fmt.Errorf("UID has an empty component at position %d (PS3.5 9.1)", i+1)
		}
		if uid[start] == '0' && i-start > 1 {
			return fmt.Errorf("UID has a component with a leading zero at position %d (PS3.5 9.1)", start+1)
		}
		start = i + 1
	}
	return nil
}
