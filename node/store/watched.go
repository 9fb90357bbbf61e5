package store

// watchedDisk asks before each change (Options.Before).
type watchedDisk struct {
	disk
	before func(step, path string) error
}

func (d watchedDisk) mkdir(path string) error {
	if err := d.before("mkdir", path); err != nil {
		return err
	}
	return d.disk.mkdir(path)
}

func (d watchedDisk) create(path string) (file, error) {
	if err := d.before("create", path); err != nil {
		return nil, err
	}
	f, err := d.disk.create(path)
	return watchedFile{f, d.before, path}, err
}

func (d watchedDisk) rename(from, to string) error {
	if err := d.before("rename", to); err != nil {
		return err
	}
	return d.disk.rename(from, to)
}

func (d watchedDisk) renameNew(from, to string) error {
	if err := d.before("rename", to); err != nil {
		return err
	}
	return d.disk.renameNew(from, to)
}

func (d watchedDisk) remove(path string) error {
	if err := d.before("remove", path); err != nil {
		return err
	}
	return d.disk.remove(path)
}

func (d watchedDisk) removeAll(path string) error {
	if err := d.before("remove all", path); err != nil {
		return err
	}
	return d.disk.removeAll(path)
}

func (d watchedDisk) syncFolder(path string) error {
	if err := d.before("fsync folder", path); err != nil {
		return err
	}
	return d.disk.syncFolder(path)
}

type watchedFile struct {
	file
	before func(step, path string) error
	path   string
}

func (f watchedFile) Write(p []byte) (int, error) {
	if err := f.before("write", f.path); err != nil {
		return 0, err
	}
	return f.file.Write(p)
}

func (f watchedFile) Sync() error {
	if err := f.before("fsync", f.path); err != nil {
		return err
	}
	return f.file.Sync()
}
