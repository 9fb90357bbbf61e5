package secure

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/node/secure/securetest"
)

func TestNotAfterIsTheFirstEndOfAChain(t *testing.T) {
	dir := t.TempDir()
	authority, began := securetest.NewAuthority(t), time.Now().Truncate(time.Second)
	ending := func(days int) string {
		path := filepath.Join(dir, fmt.Sprintf("%d.pem", days))
		authority.Sign(t, path, path+".key", "node", began, began.AddDate(0, 0, days))
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	long, short := ending(300), ending(3)
	for name, c := range map[string]struct {
		pem  string
		days int
	}{"one": {long, 300}, "a chain": {long + short, 3}, "the other way round": {short + long, 3}, "a key before it": {"-----BEGIN NOTHING-----\nAAAA\n-----END NOTHING-----\n" + long, 300}} {
		path := filepath.Join(dir, "c.pem")
		if err := os.WriteFile(path, []byte(c.pem), 0o600); err != nil {
			t.Fatal(err)
		}
		end, err := NotAfter(path)
		if err != nil || !end.Equal(began.AddDate(0, 0, c.days)) {
			t.Errorf("%s: ends %v, %v", name, end, err)
		}
	}
	for name, text := range map[string]string{"nothing": "", "no certificate": "hello", "damaged": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		path := filepath.Join(dir, "bad.pem")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if end, err := NotAfter(path); err == nil || !strings.Contains(err.Error(), "bad.pem") {
			t.Errorf("%s: %v, %v", name, end, err)
		}
	}
	if _, err := NotAfter(filepath.Join(dir, "missing.pem")); err == nil {
		t.Error("a missing file has an end")
	}
}
