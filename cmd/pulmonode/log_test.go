package main

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/pulmonode/pulmonode/config"
)

// A line says when, with the zone: nodes and scanners are not all in one.
func TestTimesOfTheLogHaveTheirZone(t *testing.T) {
	for _, format := range []string{"json", "console"} {
		out := filepath.Join(t.TempDir(), "log")
		f, err := os.Create(out)
		if err != nil {
			t.Fatal(err)
		}
		stderr := os.Stderr
		os.Stderr = f
		log, err := logger(config.Log{Level: "info", Format: format})
		os.Stderr = stderr
		if err != nil {
			t.Fatal(err)
		}
		log.Info("started")
		f.Close()
		line, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		stamp := regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:?\d\d)`).Find(line)
		if stamp == nil || !bytes.Contains(line, []byte("started")) {
			t.Errorf("%s: %q", format, line)
		}
	}
}

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
