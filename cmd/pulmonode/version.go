package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/pulmonode/pulmonode/inference"
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  pulmonode version",
		Args:    exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(c.OutOrStdout(), "pulmonode %s, build %s, %s %s/%s\n", inference.Version, version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
