package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/node/check"
)

func echoCommand() *cobra.Command {
	var calling string
	c := &cobra.Command{
		Use:     "echo AE@HOST:PORT",
		Short:   "Ask a peer whether it is there (C-ECHO)",
		Example: "  pulmonode echo PACS@10.1.2.3:104\n  pulmonode echo PULMONODE@127.0.0.1:11112 --as CT1",
		Args:    exactly("AE@HOST:PORT"),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := parsePeer(args[0])
			if err != nil {
				return err
			}
			begin := time.Now()
			if err := check.Echo(c.Context(), dimse.Client{CallingAE: calling, CalledAE: p.aeTitle, Address: p.address}); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s answers in %v\n", args[0], time.Since(begin).Round(time.Millisecond))
			return err
		},
	}
	c.Flags().StringVar(&calling, "as", "PULMONODE", "our AE title")
	return c
}
