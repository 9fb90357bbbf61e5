package check

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"

	"github.com/pulmonode/pulmonode/config"
)

// permissions looks at who else on this machine may read what is the node's alone.
// A file that isn't there is no fault here: whoever needs it says so.
func permissions(c *config.Config) (faults []config.Fault) {
	if mode, ok := modeOf(c.Storage.DataDir); ok && mode&0o077 != 0 {
		faults = append(faults, warning("[storage] data_dir", fmt.Sprintf("%s has the mode %04o, so others than its owner may enter it", c.Storage.DataDir, mode),
			"chmod 700 it: patients' images are in it"))
	}
	for _, secret := range []struct{ where, path string }{
		{"[tls] key", c.TLS.Key}, {"[admin] key", c.Admin.Key}, {"[queue] password_file", c.Queue.PasswordFile},
	} {
		if mode, ok := modeOf(secret.path); ok && mode&0o007 != 0 {
			faults = append(faults, fault(secret.where, fmt.Sprintf("%s has the mode %04o, so everybody on this machine may read the secret in it", secret.path, mode),
				"give it to the user that runs pulmonode and chmod 600 it; then replace the secret, which may be known"))
		}
	}
	return faults
}

// File looks at the configuration file itself, where it has a secret in it.
func File(path string, c *config.Config) []config.Fault {
	u, err := url.Parse(c.Queue.URL)
	if err != nil {
		return nil
	}
	set := false
	if u.User != nil {
		_, set = u.User.Password()
	}
	if !set && !u.Query().Has("password") {
		return nil
	}
	if mode, ok := modeOf(path); ok && mode&0o007 != 0 {
		return []config.Fault{fault("[queue] url", fmt.Sprintf("%s has the mode %04o, so everybody on this machine may read the password in it", path, mode),
			"put the password into [queue] password_file, or chmod 640 the file; then change the password, which may be known")}
	}
	return nil
}

func modeOf(path string) (fs.FileMode, bool) {
	if path == "" {
		return 0, false
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, false
	}
	return info.Mode().Perm(), true
}
