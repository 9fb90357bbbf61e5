package job

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"go.uber.org/zap"
)

// bridge hands River's errors to our log. Its warnings and below repeat what
// the workers of this package log themselves. While a database is down River says
// the same every second; once in half a minute is enough.
type bridge struct {
	log *zap.Logger

	mu   sync.Mutex
	said map[string]time.Time
}

const repeatAfter = 30 * time.Second

func (b *bridge) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }

func (b *bridge) Handle(_ context.Context, r slog.Record) error {
	b.mu.Lock()
	last, ok := b.said[r.Message]
	again := !ok || time.Since(last) >= repeatAfter
	if again {
		if b.said == nil {
			b.said = map[string]time.Time{}
		}
		b.said[r.Message] = time.Now() // River's messages are constants: there are few
	}
	b.mu.Unlock()
	if !again {
		return nil
	}
	fields := []zap.Field{zap.String("detail", r.Message)}
	r.Attrs(func(a slog.Attr) bool {
		fields = append(fields, zap.String(a.Key, a.Value.String()))
		return true
	})
	b.log.Error("queue_error", fields...)
	return nil
}

func (b *bridge) WithAttrs([]slog.Attr) slog.Handler { return b }
func (b *bridge) WithGroup(string) slog.Handler      { return b }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
