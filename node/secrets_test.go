package node

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/node/check"
)

// The password of the shared database is in none of the faults of node.toml, of
// `pulmonode check`, of a start that fails, and not in the log at its most talkative.
func TestTheDatabasesPasswordIsNowhere(t *testing.T) {
	const word = "S3cret-word"
	for _, url := range []string{
		"postgres://user:" + word + "@127.0.0.1:1/db?connect_timeout=1",
		"postgres://user@127.0.0.1:1/db?connect_timeout=1&password=" + word,
		"postgres://user:" + word + "@127.0.0.1:port/db",
		"mysql://user:" + word + "@127.0.0.1/db",
		"postgres://user:" + word + "@[::1/db",
	} {
		var log written
		s := newSite(t, func(s *site) {
			s.logger = zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), &log, zap.DebugLevel))
			s.config.Queue.URL = url
			s.config.Queue.Lease = config.Duration(3 * time.Second)
		})
		var said []string
		for _, f := range append(append(s.config.Check(), check.File("/nowhere", s.config)...), check.Run(t.Context(), s.config)...) {
			said = append(said, f.String())
		}
		_, faults := config.Parse("[queue]\nurl = \"" + url + "\"\npassword_fiel = \"\"\n")
		for _, f := range faults {
			said = append(said, f.String())
		}
		n, err := start(t.Context(), s.config, s.logger, s.parts)
		if err == nil {
			n.Stop()
			t.Fatalf("a node started without a database: %s", strings.ReplaceAll(url, word, "..."))
		}
		said = append(said, err.Error(), log.b.String())
		if len(said) < 4 {
			t.Errorf("nobody complained: %q", said)
		}
		for _, text := range said {
			if strings.Contains(text, word) {
				t.Errorf("the password is told: %s", text)
			}
		}
	}
}
