// Command pulmonode is a DICOM node that finds lung nodules in chest CT series
// and answers with SEG, SR and key images. Not for clinical use.
//
// Exit codes: 0 done, 1 failed, 2 wrong usage.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "unknown"

// more are the commands of builds with special tags.
var more []func() *cobra.Command

// usageError is a fault in how the command was called.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once: the drain may take minutes.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:]))
}

func run(ctx context.Context, args []string) int {
	root := command()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "pulmonode: %v\nSee 'pulmonode --help'.\n", err)
		return 2
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "pulmonode: stopped; what was not finished was not kept")
		return 1
	default:
		fmt.Fprintln(os.Stderr, "pulmonode:", err)
		return 1
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:   "pulmonode",
		Short: "A DICOM node that finds lung nodules in chest CT",
		Long: `pulmonode receives chest CT series by C-STORE, finds and outlines lung nodules
with two neural networks, and sends a segmentation (SEG), a structured report
(SR) and key images to the destinations of node.toml.

NOT FOR CLINICAL USE: results are verified by nobody.`,
		Example: `  pulmonode check --config node.toml
  pulmonode serve --config node.toml
  pulmonode analyze /data/ct --out /tmp/result`,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("there is no command %q%s", args[0], suggestion(c, args[0]))}
			}
			return c.Help()
		},
		Args: cobra.ArbitraryArgs,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	for _, c := range []*cobra.Command{
		serveCommand(), checkCommand(), healthCommand(), analyzeCommand(), sendCommand(), echoCommand(),
		jobsCommand(), passwordCommand(), srCommand(), phantomCommand(), versionCommand(),
	} {
		root.AddCommand(c)
	}
	for _, c := range more {
		root.AddCommand(c())
	}
	return root
}

func suggestion(c *cobra.Command, name string) string {
	c.SuggestionsMinimumDistance = 2
	if s := c.SuggestionsFor(name); len(s) > 0 {
		return fmt.Sprintf("; did you mean %q?", s[0])
	}
	return ""
}

// exactly is cobra.ExactArgs with a sentence that names what is missing.
func exactly(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return usageError{fmt.Errorf("%s needs %s: for example\n%s", c.CommandPath(), names[len(args)], c.Example)}
		}
		if len(args) > len(names) {
			return usageError{fmt.Errorf("%s does not take %q", c.CommandPath(), args[len(names)])}
		}
		return nil
	}
}
