package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// errCut is what every change of the disk says after the power was cut.
var errCut = errors.New("the power was cut")

// cutDisk is a disk that counts the changes asked of it, and fails or stops for
// ever at a chosen one. It knows what of its content would survive a power cut
// at the worst moment: the bytes of a file that were there at its last fsync, and
// the entries of a folder that were there at its last fsync.
type cutDisk struct {
	disk
	root string

	mu     sync.Mutex
	steps  int
	cutAt  int   // the step from which on nothing happens any more; 0: none
	failAt int   // the one step that fails; 0: none
	fail   error // and how
	what   string
	top    *node // the root folder
}

// node is a file or a folder as the kernel has it and as the disk has it.
type node struct {
	folder         bool
	data, durable  []byte
	entries, saved map[string]*node
}

func newFolder() *node {
	return &node{folder: true, entries: map[string]*node{}, saved: map[string]*node{}}
}

// newCutDisk takes over the folder as it is, all of it durable.
func newCutDisk(t *testing.T, root string) *cutDisk {
	t.Helper()
	var take func(path string) *node
	take = func(path string) *node {
		n := newFolder()
		entries, err := os.ReadDir(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.IsDir() {
				n.entries[e.Name()] = take(filepath.Join(path, e.Name()))
			} else {
				b, err := os.ReadFile(filepath.Join(path, e.Name()))
				if err != nil {
					t.Fatal(err)
				}
				n.entries[e.Name()] = &node{data: b, durable: b}
			}
			n.saved[e.Name()] = n.entries[e.Name()]
		}
		return n
	}
	return &cutDisk{root: root, top: take(root)}
}

// step counts a change. d.mu is held, here and below.
func (d *cutDisk) step(what, path string) error {
	d.steps++
	if d.cutAt > 0 && d.steps >= d.cutAt {
		if d.steps == d.cutAt {
			d.what = what + " " + strings.TrimPrefix(path, d.root)
		}
		return errCut
	}
	if d.steps == d.failAt {
		d.what = what + " " + strings.TrimPrefix(path, d.root)
		return &fs.PathError{Op: what, Path: path, Err: d.fail}
	}
	return nil
}

// parent finds the folder that holds path, nil when path is the root or above.
func (d *cutDisk) parent(path string) (*node, string) {
	relative, err := filepath.Rel(d.root, path)
	if err != nil || strings.HasPrefix(relative, "..") || relative == "." {
		return nil, ""
	}
	n := d.top
	parts := strings.Split(relative, string(filepath.Separator))
	for _, p := range parts[:len(parts)-1] {
		if n = n.entries[p]; n == nil {
			return nil, ""
		}
	}
	return n, parts[len(parts)-1]
}

func (d *cutDisk) mkdir(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step("mkdir", path); err != nil {
		return err
	}
	if err := d.disk.mkdir(path); err != nil {
		return err
	}
	p, name := d.parent(path)
	p.entries[name] = newFolder()
	return nil
}

func (d *cutDisk) create(path string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step("create", path); err != nil {
		return nil, err
	}
	f, err := d.disk.create(path)
	if err != nil {
		return nil, err
	}
	p, name := d.parent(path)
	n := &node{}
	p.entries[name] = n
	return &cutFile{d, f, n, path}, nil
}

type cutFile struct {
	d    *cutDisk
	f    file
	n    *node
	path string
}

func (f *cutFile) Write(p []byte) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.step("write", f.path); err != nil {
		return 0, err
	}
	f.n.data = append(f.n.data, p...)
	return f.f.Write(p)
}

func (f *cutFile) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.step("fsync", f.path); err != nil {
		return err
	}
	f.n.durable = append([]byte(nil), f.n.data...)
	return nil
}

func (f *cutFile) Close() error { return f.f.Close() }

func (d *cutDisk) move(what, from, to string, rename func(from, to string) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(what, to); err != nil {
		return err
	}
	if err := rename(from, to); err != nil {
		return err
	}
	p, name := d.parent(from)
	q, other := d.parent(to)
	q.entries[other] = p.entries[name]
	delete(p.entries, name)
	return nil
}

func (d *cutDisk) rename(from, to string) error {
	return d.move("rename", from, to, d.disk.rename)
}

func (d *cutDisk) renameNew(from, to string) error {
	return d.move("rename", from, to, d.disk.renameNew)
}

func (d *cutDisk) take(what, path string, remove func(string) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(what, path); err != nil {
		return err
	}
	if err := remove(path); err != nil {
		return err
	}
	if p, name := d.parent(path); p != nil {
		if n := p.entries[name]; n != nil && what == "remove all" {
			n.wipe()
		}
		delete(p.entries, name)
	}
	return nil
}

// wipe is the worst that removing a folder does: what is in it is gone for good
// although the folder's own entry may come back.
func (n *node) wipe() {
	for _, e := range n.entries {
		if e.folder {
			e.wipe()
		}
	}
	clear(n.entries)
	clear(n.saved)
}

func (d *cutDisk) remove(path string) error    { return d.take("remove", path, d.disk.remove) }
func (d *cutDisk) removeAll(path string) error { return d.take("remove all", path, d.disk.removeAll) }

func (d *cutDisk) syncFolder(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step("fsync folder", path); err != nil {
		return err
	}
	n := d.top
	if path != d.root {
		p, name := d.parent(path)
		if p == nil { // above the root
			return nil
		}
		if n = p.entries[name]; n == nil {
			return fs.ErrNotExist
		}
	}
	n.saved = make(map[string]*node, len(n.entries))
	for name, e := range n.entries {
		n.saved[name] = e
	}
	return nil
}

// afterPowerCut writes what survived into a new folder.
func (d *cutDisk) afterPowerCut(t *testing.T) string {
	t.Helper()
	root := quickFolder(t)
	var write func(path string, n *node)
	write = func(path string, n *node) {
		for name, e := range n.saved {
			at := filepath.Join(path, name)
			var err error
			if e.folder {
				if err = os.Mkdir(at, folderMode); err == nil {
					write(at, e)
				}
			} else {
				err = os.WriteFile(at, e.durable, fileMode)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	write(root, d.top)
	return root
}

func (d *cutDisk) String() string { return fmt.Sprintf("step %d: %s", d.steps, d.what) }

// quickDisk is a disk whose fsyncs do nothing, for tests of what is on it.
type quickDisk struct{ disk }

type quickFile struct{ file }

func (quickFile) Sync() error { return nil }

func (d quickDisk) create(path string) (file, error) {
	f, err := d.disk.create(path)
	return quickFile{f}, err
}

func (quickDisk) syncFolder(string) error { return nil }

// quickFolder is a folder in memory where the system has one: the walks make
// hundreds of thousands of files.
func quickFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "pulmonode-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
