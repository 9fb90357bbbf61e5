package sr

import (
	"fmt"

	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/sr/study"
)

// ending is how an outcome is reported. A series that was not analysed has no
// code and no word in common with one that was.
type ending struct {
	series     string // Series Description
	completion string // Completion Flag (PS3.3 C.17.2)
	// detections and analyses are of CID 6042. The summary of CID 6047 is given
	// only for analyses that succeeded, because the words of 111245, "No
	// algorithms succeeded; without findings", end like a negative report.
	detections, analyses, summary study.Code
}

var endings = map[result.Outcome]ending{
	result.OutcomeNodules: {"pulmonode: nodules found", "COMPLETE", succeeded, succeeded, withFindings},
	result.OutcomeNone:    {"pulmonode: no nodule found", "COMPLETE", succeeded, succeeded, withoutFindings},
	result.OutcomeSkipped: {"pulmonode: NOT ANALYSED", "PARTIAL", notAttempted, notAttempted, study.Code{}},
	result.OutcomeFailed:  {"pulmonode: ANALYSIS FAILED", "PARTIAL", failed, failed, study.Code{}},
}

// statement is the first sentence of the report.
func statement(o result.Outcome, nodules int) string {
	switch o {
	case result.OutcomeNodules:
		if nodules == 1 {
			return "Analysis completed: 1 nodule found."
		}
		return fmt.Sprintf("Analysis completed: %d nodules found.", nodules)
	case result.OutcomeNone:
		return "Analysis completed: no nodule found."
	case result.OutcomeSkipped:
		return "NOT ANALYSED: this series was not searched for nodules."
	case result.OutcomeFailed:
		return "ANALYSIS FAILED: whether this series shows nodules is not known."
	}
	return "This report does not say whether the series was searched for nodules."
}

const notice = "Not for clinical use. Verified by nobody."
