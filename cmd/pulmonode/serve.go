package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/node"
)

func serveCommand() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Receive, analyse and deliver until told to stop",
		Long: `Receives series, analyses them and delivers the results until SIGTERM or ctrl-C.
It then finishes what it is receiving and ends; work that waits goes on at the
next start. A second signal ends it at once, and loses nothing either. Under
systemd it says when it is ready, feeds the watchdog and tells its state.`,
		Example: "  pulmonode serve --config /etc/pulmonode/node.toml",
		Args:    exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(path)
			if err != nil {
				return err
			}
			log, err := logger(cfg.Log)
			if err != nil {
				return err
			}
			defer log.Sync()
			node.Build = version
			n, err := node.Start(c.Context(), cfg, log)
			if err != nil {
				return err
			}
			s := supervise(n, log)
			err = n.Wait(c.Context())
			s.stopping()
			return errors.Join(err, n.Stop())
		},
	}
	configFlag(c, &path)
	return c
}

// defaultConfig is node.toml here, or that of an installed node.
func defaultConfig() string {
	const here, installed = "node.toml", "/etc/pulmonode/node.toml"
	if _, err := os.Stat(here); err != nil {
		if _, err := os.Stat(installed); err == nil {
			return installed
		}
	}
	return here
}

func configFlag(c *cobra.Command, path *string) {
	c.Flags().StringVar(path, "config", defaultConfig(), "the configuration")
}

// loadConfig reads a configuration, says its warnings on the standard error and
// fails on its faults.
func loadConfig(path string) (*config.Config, error) {
	cfg, faults := config.Load(path)
	for _, f := range faults {
		fmt.Fprintln(os.Stderr, f)
	}
	if config.Fatal(faults) {
		return nil, fmt.Errorf("%s can't be used as it is (pulmonode check --config %s tries everything it names)", path, path)
	}
	return cfg, nil
}

func logger(c config.Log) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(c.Level)
	if err != nil {
		return nil, err
	}
	z := zap.NewProductionConfig()
	z.Level = zap.NewAtomicLevelAt(level)
	z.Encoding = c.Format
	z.Sampling = nil // one line an event: an event that is not logged did not happen
	z.DisableCaller, z.DisableStacktrace = true, true
	z.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	if c.Format == "console" {
		z.EncoderConfig.EncodeLevel = zapcore.CapitalLevelEncoder
		if toJournal(os.Stderr, os.Getenv("JOURNAL_STREAM")) {
			z.EncoderConfig.TimeKey, z.EncoderConfig.EncodeLevel = "", journalLevel
		}
	}
	return z.Build()
}
