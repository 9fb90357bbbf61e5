package node

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/node/audit"
)

// changedKinds are what a change of a section is; those that are not named are
// changes of the software.
var (
	changedKinds = []audit.Code{audit.NetworkConfiguration, audit.SecurityConfiguration, audit.SoftwareConfiguration}
	changedKind  = map[string]audit.Code{
		"node": audit.NetworkConfiguration, "destination": audit.NetworkConfiguration,
		"tls": audit.SecurityConfiguration, "source": audit.SecurityConfiguration, "admin": audit.SecurityConfiguration, "audit": audit.SecurityConfiguration,
	}
)

// changed compares the configuration with that of the last start by the hashes of
// its sections, and keeps them. At the first start nothing has changed.
func (a *auditor) changed(c *config.Config) (map[audit.Code][]string, error) {
	plain := *c
	if u, err := url.Parse(plain.Queue.URL); err == nil {
		plain.Queue.URL = u.Redacted() // a hash would give a short password away
	}
	text, err := json.Marshal(plain)
	if err != nil {
		return nil, err
	}
	var sections map[string]json.RawMessage
	if err := json.Unmarshal(text, &sections); err != nil {
		return nil, err
	}
	now := map[string]string{"version": Version()}
	for name, section := range sections {
		sum := sha256.Sum256(section)
		now[strings.ToLower(name)] = hex.EncodeToString(sum[:])
	}
	path := filepath.Join(a.folder, "configuration-"+c.NodeName()+".json")
	before := map[string]string{}
	old, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		before = now
	case err != nil:
		return nil, err
	default:
		json.Unmarshal(old, &before) // what is damaged has changed
	}
	changed := map[audit.Code][]string{}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if before[name] == now[name] {
			continue
		}
		kind, ok := changedKind[name]
		if !ok {
			kind = audit.SoftwareConfiguration
		}
		what := "[" + name + "]"
		if name == "version" {
			what = "the version, from " + before[name] + " to " + now[name]
		}
		changed[kind] = append(changed[kind], what)
	}
	if text, err = json.Marshal(now); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(a.folder, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return nil, err
	}
	return changed, os.Rename(path+".new", path)
}
