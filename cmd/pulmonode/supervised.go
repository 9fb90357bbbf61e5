package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/pulmonode/pulmonode/node"
)

// tellStatus is how often systemctl status learns how the node is.
const tellStatus = 30 * time.Second

// supervised tells systemd how the node is, from when it receives to when it
// stops (sd_notify(3)). Elsewhere nobody listens.
type supervised struct {
	node   *node.Node
	notify func(state string)
	cancel context.CancelFunc
}

func supervise(n *node.Node, log *zap.Logger) *supervised {
	ctx, cancel := context.WithCancel(context.Background())
	s := &supervised{node: n, cancel: cancel, notify: func(state string) {
		if _, err := daemon.SdNotify(false, state); err != nil {
			log.Warn("systemd_not_told", zap.String("state", state), zap.Error(err))
		}
	}}
	s.notify(daemon.SdNotifyReady)
	if within, err := daemon.SdWatchdogEnabled(false); err != nil {
		log.Warn("no_watchdog", zap.Error(err))
	} else if within > 0 {
		go feed(ctx, within/3, n.Alive, s.notify)
	}
	if os.Getenv("NOTIFY_SOCKET") != "" {
		go s.tell(ctx)
	}
	return s
}

// stopping says that the node ends. The watchdog is fed no more: how long a stop
// may take is the unit's TimeoutStopSec.
func (s *supervised) stopping() {
	s.cancel()
	s.notify(daemon.SdNotifyStopping + "\nSTATUS=Finishing what is being received")
}

// feed feeds the watchdog for as long as the node is alive.
func feed(ctx context.Context, every time.Duration, alive func() error, notify func(string)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := alive(); err != nil {
			notify("STATUS=" + oneLine(err.Error()))
		} else {
			notify(daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// tell says in a sentence what the node is doing. It asks the disk and the
// queue, which may take long, so it does not feed the watchdog.
func (s *supervised) tell(ctx context.Context) {
	tick := time.NewTicker(tellStatus)
	defer tick.Stop()
	last := ""
	for {
		if now := s.node.Status(ctx); now != last && ctx.Err() == nil {
			s.notify("STATUS=" + oneLine(now))
			last = now
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }

// toJournal reports whether f is systemd's journal (systemd.exec(5),
// $JOURNAL_STREAM), which keeps the time of each line itself.
func toJournal(f *os.File, stream string) bool {
	info, err := f.Stat()
	if err != nil {
		return false
	}
	at, ok := info.Sys().(*syscall.Stat_t)
	return ok && stream == fmt.Sprintf("%d:%d", at.Dev, at.Ino)
}

// journalLevel writes a level as the journal reads it, so that `journalctl -p
// warning` finds it (sd-daemon(3)), and as a person does.
func journalLevel(l zapcore.Level, to zapcore.PrimitiveArrayEncoder) {
	priority := 6
	switch {
	case l >= zapcore.ErrorLevel:
		priority = 3
	case l == zapcore.WarnLevel:
		priority = 4
	case l < zapcore.InfoLevel:
		priority = 7
	}
	to.AppendString(fmt.Sprintf("<%d>%s", priority, l.CapitalString()))
}
