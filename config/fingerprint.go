package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// Fingerprints are those of what all nodes that share the work must have set
// alike, for what comes of a series depends on it: by section of node.toml.
func (c *Config) Fingerprints() map[string]string {
	sections := map[string]any{
		"[node] ae_title, installation": []string{c.Node.AETitle, c.InstallationName()},
		"[storage] keep":                c.Storage.Keep,
		"[[destination]]":               c.Destination,
		"[complete]":                    c.Complete,
		"[select]":                      c.Select,
		"[inference] localize, refine":  []string{c.Inference.Localize, c.Inference.Refine},
		"[output]":                      c.Output,
		"[queue] lease, max_attempts":   []any{c.Queue.Lease, c.Queue.MaxAttempts},
	}
	prints := make(map[string]string, len(sections))
	for name, value := range sections {
		b, err := json.Marshal(value)
		if err != nil {
			continue // of plain values: it does not happen
		}
		sum := sha256.Sum256(b)
		prints[name] = hex.EncodeToString(sum[:8])
	}
	return prints
}
