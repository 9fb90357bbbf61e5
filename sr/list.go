package sr

import (
	"slices"

	"github.com/pulmonode/pulmonode/sr/study"
)

// Codes lists every code that a report can have, in the order of the tables.
func Codes() []study.Code { return slices.Clone(all) }
