package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pulmonode/pulmonode/inference"
	"github.com/pulmonode/pulmonode/inference/pixel"
)

// codecs says in a line by which libraries pixel data is decoded and which
// transfer syntaxes this build cannot decode.
func codecs(syntaxes []pixel.Syntax) string {
	var by, without []string
	for _, s := range syntaxes {
		switch {
		case s.Decoder == "":
			without = append(without, s.Name)
		case !slices.Contains(by, s.Decoder):
			by = append(by, s.Decoder)
		}
	}
	line := "pixel data by " + strings.Join(by, ", ")
	if len(without) > 0 {
		line += "; not in this build: " + strings.Join(without, ", ")
	}
	return line
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  pulmonode version",
		Args:    exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(c.OutOrStdout(), "pulmonode %s, build %s, %s %s/%s\n%s\n", inference.Version, version, runtime.Version(), runtime.GOOS, runtime.GOARCH, codecs(pixel.Syntaxes()))
			return err
		},
	}
}
