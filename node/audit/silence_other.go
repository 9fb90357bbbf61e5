//go:build !linux

package audit

import "syscall"

func giveUpSilence(string, string, syscall.RawConn) error { return nil }
