package sr

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/sr/study"
)

// algorithmIdentification is TID 4019, in the order of its rows. Where models
// and provider are given they stand as parameters, each model with its whole
// hash, because a version alone does not tell which file ran.
func algorithmIdentification(a result.Algorithm) []*item {
	items := []*item{
		text(algorithmName, a.Name),
		text(algorithmVersion, a.Version),
		text(algorithmMaker, study.Manufacturer),
	}
	for _, m := range a.Models {
		items = append(items, text(algorithmParameter, modelParameter(m)))
	}
	if a.Provider != "" {
		items = append(items, text(algorithmParameter, providerParameter+a.Provider))
	}
	return append(items, code(algorithmFamily, aiFamily))
}

const (
	providerParameter = "provider "
	modelWord         = " model "
	hashWords         = ", SHA-256 "
)

func modelParameter(m result.Model) string {
	return fmt.Sprint(m.Role, modelWord, cmp.Or(m.Version, "unknown"), hashWords, cmp.Or(m.SHA256, "unknown"))
}

// parseParameter notes what modelParameter or providerParameter wrote; it
// ignores parameters of others.
func parseParameter(a *result.Algorithm, s string) {
	if provider, ok := strings.CutPrefix(s, providerParameter); ok {
		a.Provider = provider
		return
	}
	role, rest, ok := strings.Cut(s, modelWord)
	at := strings.LastIndex(rest, hashWords)
	if !ok || at < 0 {
		return
	}
	a.Models = append(a.Models, result.Model{Role: role, Version: rest[:at], SHA256: rest[at+len(hashWords):]})
}
