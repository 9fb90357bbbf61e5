package store

import (
	"fmt"
	"math/big"

	"github.com/google/uuid"
)

// projectNamespace is the root of every installation's namespace. It is fixed
// for ever: another value would give every result a new identity.
var projectNamespace = uuid.MustParse("6f1f2f0e-5c1d-5a39-9d0b-8f2f8a4c7d11")

// UIDs makes the identifiers of results. The same installation, series,
// generation, kind and index always give the same UID, so a repeated analysis
// or delivery is the same object to every peer. The zero value works.
type UIDs struct {
	Installation string // tells installations apart that analyse the same series
}

// UID returns "2.25." and the decimal form of a version 5 UUID (PS3.5 B.2), at
// most 44 characters. Kind is one of the writer's words ("sr", "seg",
// "keyimage", "tracking", ...); index counts within the kind.
func (u UIDs) UID(seriesUID string, generation int, kind string, index int) string {
	namespace := uuid.NewSHA1(projectNamespace, []byte(u.Installation))
	id := uuid.NewSHA1(namespace, fmt.Appendf(nil, "%s|%d|%s|%d", seriesUID, generation, kind, index))
	return "2.25." + new(big.Int).SetBytes(id[:]).String()
}

// UID is UIDs.UID with the store's installation.
func (s *Store) UID(k Key, generation int, kind string, index int) string {
	return s.uids.UID(k.Series, generation, kind, index)
}

// UIDs returns the maker of this installation's identifiers.
func (s *Store) UIDs() UIDs { return s.uids }
