package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/pulmonode/pulmonode/sr"
)

// maxReport bounds a report that is read whole: 3000 images and 60 nodules have
// some 6 MiB.
const maxReport = 64 << 20

func srCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "sr FILE",
		Short:   "Print a structured report as a table",
		Example: "  pulmonode sr sr.dcm\n  pulmonode sr sr.dcm --json",
		Args:    exactly("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			info, err := os.Stat(args[0])
			if err != nil {
				return err
			}
			if info.Size() > maxReport {
				return fmt.Errorf("%s has %d bytes; a report has at most %d", args[0], info.Size(), maxReport)
			}
			data, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			findings, err := sr.Read(data)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if asJSON {
				e := json.NewEncoder(c.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(findings)
			}
			_, err = fmt.Fprint(c.OutOrStdout(), findings.Table())
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
