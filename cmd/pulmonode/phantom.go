package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pulmonode/pulmonode/inference/phantom"
)

func phantomCommand() *cobra.Command {
	var o phantom.Options
	var out string
	var size int
	c := &cobra.Command{
		Use:   "phantom",
		Short: "Make a phantom chest CT with real nodules at known places",
		Long: `Writes a CT series of a phantom chest, one file a slice, and truth.json with the
position, size and ratings of each nodule. The nodules are real ones from
LIDC-IDRI. The same seed gives the same bytes.`,
		Example: "  pulmonode phantom --out /tmp/phantom --seed 7 --nodules 3",
		Args:    exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			o.Rows, o.Columns = size, size
			p := new(progress)
			defer p.Finish()
			v, truth, err := phantom.Generate(c.Context(), o, func(done, total int) { p.Step("phantom", done, total) })
			if err != nil {
				return err
			}
			if err := phantom.WriteSeries(c.Context(), out, v, func(done, total int) { p.Step("writing", done, total) }); err != nil {
				return err
			}
			p.Finish()
			_, err = fmt.Fprintf(c.OutOrStdout(), "a phantom chest CT with %d nodules lies in %s\n", len(truth.Nodules), out)
			return err
		},
	}
	c.Flags().StringVar(&out, "out", "phantom", "the folder to write to")
	c.Flags().Uint64Var(&o.Seed, "seed", 1, "what makes one phantom differ from the next")
	c.Flags().IntVar(&o.Nodules, "nodules", 5, "how many nodules")
	c.Flags().IntVar(&o.Slices, "slices", 150, "how many slices")
	c.Flags().Float64Var(&o.SpacingZ, "spacing", 2, "mm between slices")
	c.Flags().IntVar(&size, "size", 512, "rows and columns")
	return c
}
