//go:build man

package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// With the build tag "man" the command writes its manual, for the package.
func init() {
	more = append(more, func() *cobra.Command {
		return &cobra.Command{
			Use:     "man DIR",
			Short:   "Write the manual pages into a folder",
			Example: "  pulmonode man dist/man",
			Hidden:  true,
			Args:    exactly("DIR"),
			RunE: func(c *cobra.Command, args []string) error {
				c.Root().DisableAutoGenTag = true
				for _, one := range c.Root().Commands() {
					if one.Name() == "completion" { // it says of itself how it is used
						c.Root().RemoveCommand(one)
					}
				}
				return doc.GenManTree(c.Root(), &doc.GenManHeader{Section: "1", Source: "pulmonode " + version, Manual: "pulmonode"}, args[0])
			},
		}
	})
}
