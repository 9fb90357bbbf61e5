package secure

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"time"
)

// NotAfter is when the certificates of a PEM file end: the first of them that
// does, since a chain holds no longer than its weakest link.
func NotAfter(path string) (time.Time, error) {
	rest, err := os.ReadFile(path)
	if err != nil {
		return time.Time{}, err
	}
	var first time.Time
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return time.Time{}, fmt.Errorf("%s: %w", path, err)
		}
		if first.IsZero() || c.NotAfter.Before(first) {
			first = c.NotAfter
		}
	}
	if first.IsZero() {
		return time.Time{}, fmt.Errorf("%s: the file holds no PEM certificate", path)
	}
	return first, nil
}
