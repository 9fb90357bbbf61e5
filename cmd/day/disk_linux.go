package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// disk is the node's, of a size that can be changed: a file system in memory.
type disk struct{ path string }

const roomy = "size=8g,mode=0700"

func (k *disk) mount(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", path, "tmpfs", 0, roomy); err != nil {
		return fmt.Errorf("mounting one needs root: %w", err)
	}
	k.path = path
	return nil
}

// fill leaves so many bytes.
func (k *disk) fill(left uint64) error {
	var s unix.Statfs_t
	if err := unix.Statfs(k.path, &s); err != nil {
		return err
	}
	used := (s.Blocks - s.Bfree) * uint64(s.Bsize)
	return unix.Mount("tmpfs", k.path, "tmpfs", unix.MS_REMOUNT, fmt.Sprintf("size=%d,mode=0700", used+left))
}

// empty gives all of the room back.
func (k *disk) empty() error { return unix.Mount("tmpfs", k.path, "tmpfs", unix.MS_REMOUNT, roomy) }

// free ends it.
func (k *disk) free() {
	if k.path != "" {
		unix.Unmount(k.path, unix.MNT_DETACH)
	}
}
