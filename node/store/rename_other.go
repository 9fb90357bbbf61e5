//go:build unix && !linux

package store

func renameNoReplace(from, to string) error { return linkNoReplace(from, to) }
