package sr

import "github.com/pulmonode/pulmonode/sr/study"

// Scheme is our private coding scheme (PS3.16 8.2), for what no public code
// says rightly. Every report identifies it (PS3.3 C.12.1.1.7).
const Scheme = "99PULMONODE"

// all lists every code of the tables below, so that a test can compare them
// with the dictionaries of others.
var all []study.Code

func coded(value, scheme, meaning string) study.Code {
	c := study.Code{Value: value, Scheme: scheme, Meaning: meaning}
	all = append(all, c)
	return c
}

// The report and its context.
var (
	imagingMeasurementReport = coded("126000", "DCM", "Imaging Measurement Report")                 // CID 7021
	language                 = coded("121049", "DCM", "Language of Content Item and Descendants")   // TID 1204
	english                  = coded("en", "RFC5646", "English")                                    // CID 5000
	observerType             = coded("121005", "DCM", "Observer Type")                              // TID 1002
	device                   = coded("121007", "DCM", "Device")                                     // CID 270
	deviceUID                = coded("121012", "DCM", "Device Observer UID")                        // TID 1004
	deviceName               = coded("121013", "DCM", "Device Observer Name")                       // TID 1004
	deviceManufacturer       = coded("121014", "DCM", "Device Observer Manufacturer")               // TID 1004
	deviceModel              = coded("121015", "DCM", "Device Observer Model Name")                 // TID 1004
	deviceSerial             = coded("121016", "DCM", "Device Observer Serial Number")              // TID 1004
	procedureReported        = coded("121058", "DCM", "Procedure reported")                         // TID 1500
	ctOfAnyRegion            = coded("25045-6", "LN", "CT unspecified body region")                 // CID 100; where the images name no procedure
	imagingMeasurements      = coded("126010", "DCM", "Imaging Measurements")                       // TID 1500
	qualitativeEvaluations   = coded("C0034375", "UMLS", "Qualitative Evaluations")                 // TID 1500
	findingsSummary          = coded("111017", "DCM", "CAD Processing and Findings Summary")        // TID 4101
	summaryOfDetections      = coded("111064", "DCM", "Summary of Detections")                      // TID 4015
	summaryOfAnalyses        = coded("111065", "DCM", "Summary of Analyses")                        // TID 4016
	succeeded                = coded("111222", "DCM", "Succeeded")                                  // CID 6042
	failed                   = coded("111224", "DCM", "Failed")                                     // CID 6042
	notAttempted             = coded("111225", "DCM", "Not Attempted")                              // CID 6042
	withoutFindings          = coded("111241", "DCM", "All algorithms succeeded; without findings") // CID 6047
	withFindings             = coded("111242", "DCM", "All algorithms succeeded; with findings")    // CID 6047
	comment                  = coded("121106", "DCM", "Comment")                                    // CID 12101
	warning                  = coded("warning", Scheme, "Warning")                                  //
	reason                   = coded("reason", Scheme, "Reason why there is no analysis")           //
	notVerified              = coded("notice", Scheme, "Notice")                                    //
)

// A selection of key objects.
var (
	ofInterest           = coded("113000", "DCM", "Of Interest") // CID 7010
	keyObjectDescription = coded("113012", "DCM", "Key Object Description")
)

// The image library.
var (
	imageLibrary      = coded("111028", "DCM", "Image Library")       // TID 1600
	imageLibraryGroup = coded("126200", "DCM", "Image Library Group") // TID 1600
	modality          = coded("121139", "DCM", "Modality")            // TID 1602
	computedTomo      = coded("CT", "DCM", "Computed Tomography")     // CID 29
	frameOfReference  = coded("112227", "DCM", "Frame of Reference UID")
	pixelDataRows     = coded("110910", "DCM", "Pixel Data Rows")
	pixelDataColumns  = coded("110911", "DCM", "Pixel Data Columns")
	horizontalSpacing = coded("111026", "DCM", "Horizontal Pixel Spacing") // TID 1604
	verticalSpacing   = coded("111066", "DCM", "Vertical Pixel Spacing")
	spacingOfSlices   = coded("112226", "DCM", "Spacing between slices")
	sliceThickness    = coded("112225", "DCM", "Slice Thickness")
	positions         = [3]study.Code{
		coded("110901", "DCM", "Image Position (Patient) X"),
		coded("110902", "DCM", "Image Position (Patient) Y"),
		coded("110903", "DCM", "Image Position (Patient) Z"),
	}
	orientations = [6]study.Code{
		coded("110904", "DCM", "Image Orientation (Patient) Row X"),
		coded("110905", "DCM", "Image Orientation (Patient) Row Y"),
		coded("110906", "DCM", "Image Orientation (Patient) Row Z"),
		coded("110907", "DCM", "Image Orientation (Patient) Column X"),
		coded("110908", "DCM", "Image Orientation (Patient) Column Y"),
		coded("110909", "DCM", "Image Orientation (Patient) Column Z"),
	}
	illustration = coded("121200", "DCM", "Illustration of ROI") // CID 7003
)

// A measurement group.
var (
	measurementGroup   = coded("125007", "DCM", "Measurement Group") // TID 1411
	trackingIdentifier = coded("112039", "DCM", "Tracking Identifier")
	trackingUID        = coded("112040", "DCM", "Tracking Unique Identifier")
	finding            = coded("121071", "DCM", "Finding")
	nodule             = coded("27925004", "SCT", "Nodule") // CID 6102
	center             = coded("111010", "DCM", "Center")   // CID 219
	findingSite        = coded("363698007", "SCT", "Finding Site")
	lung               = coded("39607008", "SCT", "Lung")
	laterality         = coded("272741003", "SCT", "Laterality")
	left               = coded("7771000", "SCT", "Left") // CID 244
	right              = coded("24028007", "SCT", "Right")
	referencedSegment  = coded("121191", "DCM", "Referenced Segment")
	sourceSeries       = coded("121232", "DCM", "Source series for segmentation")
	source             = coded("260753009", "SCT", "Source")
	algorithmName      = coded("111001", "DCM", "Algorithm Name") // TID 4019
	algorithmVersion   = coded("111003", "DCM", "Algorithm Version")
	algorithmMaker     = coded("122405", "DCM", "Algorithm Manufacturer")
	algorithmParameter = coded("111002", "DCM", "Algorithm Parameters")
	algorithmFamily    = coded("111000", "DCM", "Algorithm Family")
	aiFamily           = coded("123110", "DCM", "Artificial Intelligence") // CID 7162
)

// Measurements (CID 7469) and what modifies them.
var (
	volume           = coded("118565006", "SCT", "Volume")
	longAxis         = coded("103339001", "SCT", "Long axis")
	shortAxis        = coded("103340004", "SCT", "Short axis")
	maxDiameter3D    = coded("L0JK", "IBSI", "Maximum 3D Diameter of a Mesh")
	attenuation      = coded("112031", "DCM", "Attenuation Coefficient")
	derivation       = coded("121401", "DCM", "Derivation")
	mean             = coded("373098007", "SCT", "Mean") // CID 7464
	standardDev      = coded("386136009", "SCT", "Standard Deviation")
	certainty        = coded("111012", "DCM", "Certainty of Finding") // CID 6048
	cancer           = coded("111047", "DCM", "Probability of cancer")
	probability      = coded("122157", "DCM", "Probability")
	threshold        = coded("122411", "DCM", "Threshold Value")
	equivalent       = coded("121050", "DCM", "Equivalent Meaning of Concept Name")
	notMeasuredValue = coded("114007", "DCM", "Measurement not attempted") // CID 42
)

// Units (CID 7181).
var (
	cubicMillimeter = coded("mm3", "UCUM", "cubic millimeter")
	millimeter      = coded("mm", "UCUM", "millimeter")
	hounsfield      = coded("[hnsf'U]", "UCUM", "Hounsfield unit")
	percent         = coded("%", "UCUM", "Percent")
	pixels          = coded("{pixels}", "UCUM", "Pixels")
	cosine          = coded("{-1:1}", "UCUM", "{-1:1}")
)

// answer is a label of result.Characteristic as a code.
type answer struct {
	label string
	code  study.Code
}

// characteristic is one of the four questions that a nodule is asked. The
// concepts and the public answers are those of the published reports of the
// LIDC-IDRI collection (Fedorov et al. 2020, doi:10.1002/mp.14445). Its ratings
// from 1 to 5 are readers' and have no place here: where the networks say less
// than a rating, the answer is private.
type characteristic struct {
	key     string // in result.Nodule
	concept study.Code
	answers []answer
	of      study.Code // the answer that the probability is of
	phrase  string     // the probability in words
	likely  string     // what it is the probability of, in a word
	name    study.Code // the probability's concept
}

var characteristics = []characteristic{
	{
		key:     "malignancy",
		concept: coded("RID36042", "RADLEX", "Malignancy"),
		answers: []answer{ // bands of Ni et al. 2022
			{"low", coded("malignancy-low", Scheme, "Low probability of malignancy")},
			{"indeterminate", coded("malignancy-ind", Scheme, "Indeterminate probability of malignancy")},
			{"high", coded("malignancy-high", Scheme, "High probability of malignancy")},
		},
		phrase: "Probability of malignancy",
		likely: "malignant",
		name:   cancer,
	},
	{
		key:     "margin",
		concept: coded("C25563", "NCIt", "Margin"),
		answers: []answer{
			{"clear", circumscribed},
			{"unclear", coded("RID5709", "RADLEX", "Indistinct margin")},
		},
		of:     circumscribed,
		phrase: "Probability of a circumscribed margin",
		likely: "clear",
		name:   probability,
	},
	{
		key:     "texture",
		concept: coded("C41144", "NCIt", "Texture"),
		answers: []answer{
			{"solid", solid},
			{"subsolid", coded("subsolid", Scheme, "Part-solid or non-solid pulmonary nodule")},
		},
		of:     solid,
		phrase: "Probability of solid texture",
		likely: "solid",
		name:   probability,
	},
	{
		key:     "calcification",
		concept: coded("C3672", "NCIt", "Calcification"),
		answers: []answer{
			{"absent", absent},
			{"present", coded("52101004", "SCT", "Present")},
		},
		of:     absent,
		phrase: "Probability of absence of calcification",
		likely: "absent",
		name:   probability,
	},
}

var (
	circumscribed = coded("RID5707", "RADLEX", "Circumscribed margin")
	solid         = coded("RID50151", "RADLEX", "Solid pulmonary nodule")
	absent        = coded("RID28473", "RADLEX", "absent")
)
