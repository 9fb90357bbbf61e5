package sr

import (
	"fmt"

	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/sr/study"
)

// ending is how an outcome is reported. A series that was not analysed has no
// code and no word in common with one that was.
type ending struct {
	series     string // what the Series Description ends in
	completion string // Completion Flag (PS3.3 C.17.2)
	// detections and analyses are of CID 6042. The summary of CID 6047 is given
	// only for analyses that succeeded, because the words of 111245, "No
	// algorithms succeeded; without findings", end like a negative report.
	detections, analyses, summary study.Code
}

var endings = map[result.Outcome]ending{
	result.OutcomeNodules: {"nodules found", "COMPLETE", succeeded, succeeded, withFindings},
	result.OutcomeNone:    {"no nodule found", "COMPLETE", succeeded, succeeded, withoutFindings},
	result.OutcomeSkipped: {"NOT ANALYSED", "PARTIAL", notAttempted, notAttempted, study.Code{}},
	result.OutcomeFailed:  {"ANALYSIS FAILED", "PARTIAL", failed, failed, study.Code{}},
}

// of is the ending of a result: of one that saw a part only, that of a part.
func (e ending) of(r *result.Result) ending {
	if r.Partial {
		e.series, e.completion = e.series+" in a part", "PARTIAL"
	}
	return e
}

// statement is the first sentence of the report.
func statement(o result.Outcome, nodules int, partial bool) string {
	switch o {
	case result.OutcomeNodules:
		found := fmt.Sprintf("%d nodules found", nodules)
		if nodules == 1 {
			found = "1 nodule found"
		}
		if partial {
			return "Analysis of a part, or of what may be one: " + found + " in it."
		}
		return "Analysis completed: " + found + "."
	case result.OutcomeNone:
		if partial {
			return "Analysis of a part, or of what may be one: no nodule found in it."
		}
		return "Analysis completed: no nodule found."
	case result.OutcomeSkipped:
		return "NOT ANALYSED: this series was not searched for nodules."
	case result.OutcomeFailed:
		return "ANALYSIS FAILED: whether this series shows nodules is not known."
	}
	return "This report does not say whether the series was searched for nodules."
}

const notice = "Not for clinical use. Verified by nobody."
