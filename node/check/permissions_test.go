package check

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pulmonode/pulmonode/config"
)

func TestWhatOthersMayReadIsTold(t *testing.T) {
	dir := t.TempDir()
	at := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	folder := func(mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), "data")
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const url = "postgres://pulmonode:word@db/queue"
	for _, c := range []struct {
		name    string
		config  config.Config
		file    os.FileMode // of node.toml
		where   string      // "": nothing
		warning bool
		says    string
	}{
		{"all as it should be", config.Config{Storage: config.Storage{DataDir: folder(0o700)}, TLS: config.TLS{Key: at("tls.key", 0o600)},
			Admin: config.Admin{Key: at("admin.key", 0o640)}, Queue: config.Queue{URL: url, PasswordFile: at("word", 0o400)}}, 0o640, "", false, ""},
		{"not there yet", config.Config{Storage: config.Storage{DataDir: filepath.Join(dir, "none")}, TLS: config.TLS{Key: filepath.Join(dir, "none.key")}}, 0o644, "", false, ""},
		{"the group enters the data folder", config.Config{Storage: config.Storage{DataDir: folder(0o750)}}, 0o644, "[storage] data_dir", true, "0750"},
		{"everybody reads a TLS key", config.Config{TLS: config.TLS{Key: at("a.key", 0o644)}}, 0o644, "[tls] key", false, "chmod 600"},
		{"everybody reads the page's key", config.Config{Admin: config.Admin{Key: at("b.key", 0o604)}}, 0o644, "[admin] key", false, "chmod 600"},
		{"everybody reads the database's password", config.Config{Queue: config.Queue{URL: "postgres://db/queue", PasswordFile: at("word2", 0o644)}}, 0o644, "[queue] password_file", false, "chmod 600"},
		{"everybody reads the password in node.toml", config.Config{Queue: config.Queue{URL: url}}, 0o644, "[queue] url", false, "[queue] password_file"},
		{"or where a query names it", config.Config{Queue: config.Queue{URL: "postgres://pulmonode@db/queue?password=word"}}, 0o644, "[queue] url", false, "[queue] password_file"},
		{"no password in node.toml", config.Config{Queue: config.Queue{URL: "postgres://pulmonode@db/queue"}}, 0o644, "", false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			faults := append(permissions(&c.config), File(at("node.toml", c.file), &c.config)...)
			if c.where == "" {
				if len(faults) != 0 {
					t.Errorf("%v", faults)
				}
				return
			}
			must(t, faults, c.warning, c.where, c.says)
		})
	}
}
