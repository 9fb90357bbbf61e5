package main

import (
	"fmt"
	"os"

	"github.com/schollz/progressbar/v3"
)

// progress shows long work on the standard error, one bar a stage. Where that
// is no terminal it says each stage once and draws nothing.
type progress struct {
	bar   *progressbar.ProgressBar
	stage string
}

// Step is given to whatever works long: the stage's name, how much of it is
// done and how much there is.
func (p *progress) Step(stage string, done, total int) {
	if total <= 0 {
		return
	}
	if p.stage != stage {
		p.Finish()
		p.stage = stage
		if !isTerminal(os.Stderr) {
			fmt.Fprintln(os.Stderr, stage)
			return
		}
		p.bar = progressbar.NewOptions(total,
			progressbar.OptionSetWriter(os.Stderr),
			progressbar.OptionSetDescription(stage),
			progressbar.OptionShowCount(),
			progressbar.OptionSetWidth(30),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionOnCompletion(func() { os.Stderr.WriteString("\n") }))
	}
	if p.bar == nil {
		return
	}
	p.bar.ChangeMax(total)
	p.bar.Set(done) // the error is the writer's; a bar that can't be drawn is no fault of the work
}

// Finish ends the bar that is open.
func (p *progress) Finish() {
	if p.bar != nil && !p.bar.IsFinished() {
		p.bar.Exit()
		os.Stderr.WriteString("\n")
	}
	p.bar = nil
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
