package check

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"go.uber.org/zap"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/node/audit"
	"github.com/pulmonode/pulmonode/node/secure"
)

// audit tries where the audit trail goes. A collector that is down is no fault:
// the trail waits for it on the disk.
func (s surroundings) audit(ctx context.Context, c *config.Config) (faults []config.Fault) {
	if c.Audit.File != "" {
		faults = append(faults, auditFile(c.Audit.File)...)
	}
	if c.Audit.Syslog != "" {
		faults = append(faults, s.collector(ctx, c)...)
	}
	return faults
}

func auditFile(path string) []config.Fault {
	const where = "[audit] file"
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		trial, err := os.CreateTemp(filepath.Dir(path), ".pulmonode-check-*")
		if err != nil {
			return []config.Fault{fault(where, fmt.Sprintf("the folder %s can't be written to: %v", filepath.Dir(path), cause(err)),
				"make it, and give it to the user that runs pulmonode")}
		}
		trial.Close()
		os.Remove(trial.Name())
		return nil
	case err == nil && info.IsDir():
		return []config.Fault{fault(where, path+" is a folder", "name a file in it")}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return []config.Fault{fault(where, fmt.Sprintf("%s can't be written to: %v", path, cause(err)), "give it to the user that runs pulmonode")}
	}
	f.Close()
	if info.Mode().Perm()&0o077 != 0 && info.Mode().IsRegular() {
		return []config.Fault{warning(where, fmt.Sprintf("%s has the mode %04o, so others than its owner reach it", path, info.Mode().Perm()),
			"chmod 600 it, and have the program that rotates it make new ones so")}
	}
	return nil
}

func (s surroundings) collector(ctx context.Context, c *config.Config) []config.Fault {
	const where = "[audit] syslog"
	network, address, err := c.Audit.Collector()
	if err != nil {
		return nil // config said so
	}
	ctx, cancel := context.WithTimeout(ctx, s.echoWithin)
	defer cancel()
	var profile *tls.Config
	if network == "tls" {
		if profile, err = secure.New(c, zap.NewNop()).Collector(c.Audit.CA); err != nil {
			return []config.Fault{fault(where, fmt.Sprintf("TLS can't be had: %v", err), "name PEM files that the user that runs pulmonode may read")}
		}
	}
	conn, err := audit.Dial(ctx, network, address, func() (*tls.Config, error) { return profile, nil })
	if err == nil {
		conn.Close()
		return nil
	}
	problem, remedy := fmt.Sprintf("the collector at %s can't be reached: %v", address, err), "look whether it runs, and whether a firewall is between; until it is back the trail waits on the disk, up to [audit] spool"
	var trust *tls.CertificateVerificationError
	switch {
	case errors.As(err, &trust):
		problem, remedy = fmt.Sprintf("the collector at %s shows a certificate that is not trusted: %v", address, trust.Err),
			"name the authority that signed it in [audit] ca; if the name differs, write the address as it stands in the certificate"
	case errors.Is(err, syscall.ECONNREFUSED):
		problem = fmt.Sprintf("nothing listens at %s", address)
	case errors.Is(err, context.DeadlineExceeded):
		problem = fmt.Sprintf("the collector at %s gives no answer within %v", address, s.echoWithin)
	}
	return []config.Fault{warning(where, problem, remedy)}
}
