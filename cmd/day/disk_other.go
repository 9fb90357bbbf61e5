//go:build !linux

package main

import "errors"

// disk is the node's, of a size that can be changed, on Linux.
type disk struct{ path string }

var errDisk = errors.New("disks are filled on Linux alone")

func (*disk) mount(string) error { return errDisk }
func (*disk) fill(uint64) error  { return errDisk }
func (*disk) empty() error       { return errDisk }
func (*disk) free()              {}
