package audit

// Code is a coded value of an audit message.
type Code struct{ Value, Scheme, Meaning string }

// table is every code that is used, with the context group of PS3.16 that it is
// of; 0: of RFC 3881, to which PS3.15 A.5.3 refers.
var table []struct {
	Code
	cid int
}

func code(cid int, value, meaning string) Code {
	c := Code{value, "DCM", meaning}
	if cid == 0 {
		c.Scheme = "RFC-3881"
	}
	table = append(table, struct {
		Code
		cid int
	}{c, cid})
	return c
}

// What happened: PS3.16 CID 400, Audit Event ID.
var (
	applicationActivity  = code(400, "110100", "Application Activity")
	beginTransferring    = code(400, "110102", "Begin Transferring DICOM Instances")
	instancesAccessed    = code(400, "110103", "DICOM Instances Accessed")
	instancesTransferred = code(400, "110104", "DICOM Instances Transferred")
	studyDeleted         = code(400, "110105", "DICOM Study Deleted")
	securityAlert        = code(400, "110113", "Security Alert")
	userAuthentication   = code(400, "110114", "User Authentication")
)

// Of which kind: PS3.16 CID 401, Audit Event Type Code, and for alerts CID 403,
// Security Alert Type Code.
var (
	applicationStart = code(401, "110120", "Application Start")
	applicationStop  = code(401, "110121", "Application Stop")
	login            = code(401, "110122", "Login")

	NodeAuthentication      = code(403, "110126", "Node Authentication")
	NetworkConfiguration    = code(403, "110128", "Network Configuration")
	SecurityConfiguration   = code(403, "110129", "Security Configuration")
	SoftwareConfiguration   = code(403, "110131", "Software Configuration")
	UseOfRestrictedFunction = code(403, "110132", "Use of Restricted Function")
	recordingStopped        = code(403, "110133", "Audit Recording Stopped")
)

// In which role: PS3.16 CID 402, Audit Active Participant Role ID Code.
var (
	application     = code(402, "110150", "Application")
	launcher        = code(402, "110151", "Application Launcher")
	destinationRole = code(402, "110152", "Destination Role ID")
	sourceRole      = code(402, "110153", "Source Role ID")
)

// What an identifier is: PS3.16 CID 404, Audit Participant Object ID Type Code,
// and RFC 3881 section 5.5.4.
var (
	studyInstanceUID = code(404, "110180", "Study Instance UID")
	nodeID           = code(404, "110182", "Node ID")
	patientNumber    = code(0, "2", "Patient Number")
)
