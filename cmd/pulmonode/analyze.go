package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node"
)

func analyzeCommand() *cobra.Command {
	var o node.OfflineOptions
	var path, out, closedAt string
	var asJSON bool
	c := &cobra.Command{
		Use:   "analyze DIR",
		Short: "Analyse the CT series in a folder, without a node",
		Long: `Analyses the series in DIR and its subfolders and writes what the node would
have sent: SEG, SR, key images, and result.json. One series is written to OUT
itself, several each to a folder named by the Series Instance UID. A series that
is not suited is skipped with the reason.

NOT FOR CLINICAL USE.`,
		Example: `  pulmonode analyze /data/ct --out result
  pulmonode analyze /data/ct --out result --config /etc/pulmonode/node.toml --force`,
		Args: exactly("DIR"),
		RunE: func(c *cobra.Command, args []string) error {
			if out == "" {
				return usageError{fmt.Errorf("analyze needs --out, the folder to write to: for example\n%s", c.Example)}
			}
			o.ClosedAt = time.Now()
			if closedAt != "" {
				var err error
				if o.ClosedAt, err = time.Parse(time.RFC3339Nano, closedAt); err != nil {
					return usageError{fmt.Errorf("--closed-at %q is no time such as 2026-01-31T12:00:00Z", closedAt)}
				}
			}
			cfg := config.Default()
			if path != "" {
				var err error
				if cfg, err = loadConfig(path); err != nil {
					return err
				}
			}
			bar := new(progress)
			all, err := node.Offline(c.Context(), cfg, args[0], out, o, zap.NewNop(), bar.Step)
			bar.Finish()
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(all)
			}
			for _, s := range all {
				fmt.Fprintf(c.OutOrStdout(), "%s: %s\n", s.Series, s.Sentence)
				if s.Folder != "" {
					fmt.Fprintf(c.OutOrStdout(), "  written to %s\n", s.Folder)
				}
			}
			for _, s := range all {
				if s.Outcome != result.OutcomeSkipped {
					return nil
				}
			}
			return fmt.Errorf("nothing in %s was analysed", args[0])
		},
	}
	f := c.Flags()
	f.StringVar(&out, "out", "", "the folder to write to")
	f.StringVar(&path, "config", "", "a configuration, for its [select], [inference] and [output] (default: the defaults)")
	f.BoolVar(&o.Force, "force", false, "replace a result that lies in OUT already")
	f.StringVar(&closedAt, "closed-at", "", "the time that stands in the documents (default: now)")
	f.StringVar(&o.ClosedReason, "closed-reason", "offline", "why the series counts as complete")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
