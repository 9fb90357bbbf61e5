package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/node/check"
)

func checkCommand() *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Find every fault of a configuration, and say what to do",
		Long: `Reads the configuration and tries everything it names: the disk and its speed,
the ports, certificates, each destination (C-ECHO, and whether it would take the
results), the runtime library, the models, and a GPU where one is demanded.
Nothing is left behind.`,
		Example: "  pulmonode check --config /etc/pulmonode/node.toml",
		Args:    exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, faults := config.Load(path)
			faults = append(append(faults, check.File(path, cfg)...), check.Run(c.Context(), cfg)...)
			if asJSON {
				if faults == nil {
					faults = []config.Fault{}
				}
				if err := json.NewEncoder(c.OutOrStdout()).Encode(faults); err != nil {
					return err
				}
			} else {
				for _, f := range faults {
					fmt.Fprintln(c.OutOrStdout(), f)
				}
			}
			if config.Fatal(faults) {
				return fmt.Errorf("%s has faults", path)
			}
			if !asJSON {
				fmt.Fprintf(c.OutOrStdout(), "%s is good\n", path)
			}
			return nil
		},
	}
	configFlag(c, &path)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
