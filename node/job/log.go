package job

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
)

// bridge hands River's errors to our log. Its warnings and below repeat what
// the workers of this package log themselves.
type bridge struct {
	log *zap.Logger
}

func (b bridge) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }

func (b bridge) Handle(_ context.Context, r slog.Record) error {
	fields := []zap.Field{zap.String("detail", r.Message)}
	r.Attrs(func(a slog.Attr) bool {
		fields = append(fields, zap.String(a.Key, a.Value.String()))
		return true
	})
	b.log.Error("queue_error", fields...)
	return nil
}

func (b bridge) WithAttrs([]slog.Attr) slog.Handler { return b }
func (b bridge) WithGroup(string) slog.Handler      { return b }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
