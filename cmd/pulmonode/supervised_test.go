package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"
)

// A node that has ceased to turn is not kept alive by a loop that has not.
func TestWatchdogIsFedOnlyWhileAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var wedged error
		var said []string
		go feed(ctx, time.Second, func() error { return wedged }, func(state string) { said = append(said, state) })
		time.Sleep(2500 * time.Millisecond)
		wedged = errors.New("the upkeep\nhas not turned")
		time.Sleep(time.Second)
		wedged = nil
		time.Sleep(time.Second)
		cancel()
		synctest.Wait()
		want := []string{"WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1", "STATUS=the upkeep has not turned", "WATCHDOG=1"}
		if !slices.Equal(said, want) {
			t.Errorf("systemd was told %q, want %q", said, want)
		}
	})
}

func TestJournalIsToldByItsStream(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "stream"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	at := info.Sys().(*syscall.Stat_t)
	for stream, want := range map[string]bool{
		fmt.Sprintf("%d:%d", at.Dev, at.Ino):   true,
		fmt.Sprintf("%d:%d", at.Dev, at.Ino+1): false, // redirected to a file since
		"":                                     false,
		"x":                                    false,
	} {
		if got := toJournal(f, stream); got != want {
			t.Errorf("$JOURNAL_STREAM %q: %v", stream, got)
		}
	}
}

// The priorities are those of sd-daemon(3).
func TestJournalLevels(t *testing.T) {
	for level, want := range map[zapcore.Level]string{
		zapcore.DebugLevel: "<7>DEBUG", zapcore.InfoLevel: "<6>INFO", zapcore.WarnLevel: "<4>WARN", zapcore.ErrorLevel: "<3>ERROR",
	} {
		encoder := zapcore.NewConsoleEncoder(zapcore.EncoderConfig{LevelKey: "L", EncodeLevel: journalLevel})
		line, err := encoder.EncodeEntry(zapcore.Entry{Level: level}, nil)
		if err != nil || string(line.Bytes()) != want+"\n" {
			t.Errorf("%v is written %q, %v; want %q", level, line.Bytes(), err, want)
		}
	}
}
