package main

import (
	"io"
	"log/slog"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// What an event costs in the log, and what it would cost with the standard
// library's:
//
//	go test -run '^$' -bench BenchmarkLog ./cmd/pulmonode
func BenchmarkLog(b *testing.B) {
	b.Run("zap", func(b *testing.B) {
		log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(io.Discard), zap.InfoLevel))
		b.ReportAllocs()
		for b.Loop() {
			log.Info("association_ended", zap.Uint64("association", 17), zap.String("calling_ae", "CT1"), zap.String("end", "released"),
				zap.Int("stored", 300), zap.Int("refused", 0), zap.Int64("bytes", 157<<20))
		}
	})
	b.Run("slog", func(b *testing.B) {
		log := slog.New(slog.NewJSONHandler(io.Discard, nil))
		b.ReportAllocs()
		for b.Loop() {
			log.Info("association_ended", "association", uint64(17), "calling_ae", "CT1", "end", "released", "stored", 300, "refused", 0, "bytes", int64(157<<20))
		}
	})
}
