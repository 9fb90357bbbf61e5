package node

import "github.com/pulmonode/pulmonode/config"

func newDocuments(c *config.Config) documents { return nil }
