package node

import "github.com/pulmonode/pulmonode/inference"

// Build names the build of the program, where its command says so.
var Build string

// Version names this program in what it leaves on disk: a later one, or an
// earlier one, says who was here.
func Version() string {
	if Build == "" {
		return inference.Version
	}
	return inference.Version + ", build " + Build
}
