package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// Series lists every series of the store, by study and series UID.
func (s *Store) Series() ([]Key, error) {
	studies, err := folders(s.seriesRoot())
	if err != nil {
		return nil, fmt.Errorf("list the series: %w", err)
	}
	var keys []Key
	for _, study := range studies {
		series, err := folders(filepath.Join(s.seriesRoot(), study))
		if err != nil {
			return nil, fmt.Errorf("list the series of study %s: %w", study, err)
		}
		for _, one := range series {
			keys = append(keys, Key{study, one})
		}
	}
	return keys, nil
}

// folders lists the folders in dir that are named by a UID; none when dir has
// gone.
func folders(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && dataset.ValidUID(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// InstanceUIDs lists the SOP Instance UIDs of a series in ascending order of
// their text; none for a series that is not there.
func (s *Store) InstanceUIDs(k Key) ([]string, error) {
	if err := k.Valid(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Join(s.folder(k), "instances"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the instances of series %s: %w", k.Series, err)
	}
	var uids []string
	for _, e := range entries {
		if uid, ok := strings.CutSuffix(e.Name(), ".dcm"); ok && e.Type().IsRegular() && dataset.ValidUID(uid) == nil {
			uids = append(uids, uid)
		}
	}
	slices.Sort(uids)
	return uids, nil
}

// InstancePath returns where an instance lies, or would lie.
func (s *Store) InstancePath(k Key, sopInstanceUID string) (string, error) {
	if err := k.Valid(); err != nil {
		return "", err
	}
	if err := dataset.ValidUID(sopInstanceUID); err != nil {
		return "", fmt.Errorf("SOP Instance UID: %w", err)
	}
	return filepath.Join(s.folder(k), "instances", sopInstanceUID+".dcm"), nil
}

// maxUnreadable bounds how many instances are tried for one that can be read.
const maxUnreadable = 3

// Sample opens the first of these instances of a series that can be read, for
// what all of them have in common. It is nil where none of the first few can.
func (s *Store) Sample(k Key, sopInstanceUIDs []string) *dataset.File {
	for _, uid := range sopInstanceUIDs[:min(len(sopInstanceUIDs), maxUnreadable)] {
		path, err := s.InstancePath(k, uid)
		if err != nil {
			continue
		}
		if f, err := dataset.Open(path, dataset.Limits{}); err == nil {
			return f
		}
	}
	return nil
}

// Instances lists the instances of a series by SOP Instance UID.
func (s *Store) Instances(k Key) ([]Instance, error) {
	uids, err := s.InstanceUIDs(k)
	if err != nil {
		return nil, err
	}
	list := make([]Instance, 0, len(uids))
	for _, uid := range uids {
		path := filepath.Join(s.folder(k), "instances", uid+".dcm")
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) { // removed since the listing
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list the instances of series %s: %w", k.Series, err)
		}
		list = append(list, Instance{SOPInstanceUID: uid, Path: path, Size: info.Size(), Modified: info.ModTime()})
	}
	return list, nil
}

// Conflicts lists what arrived under a SOP Instance UID of the series that had
// other bytes already: one entry for each variant that was kept aside.
func (s *Store) Conflicts(k Key) ([]Instance, error) {
	if err := k.Valid(); err != nil {
		return nil, err
	}
	root := filepath.Join(s.folder(k), "conflicts")
	uids, err := folders(root)
	if err != nil {
		return nil, fmt.Errorf("list the conflicts of series %s: %w", k.Series, err)
	}
	var list []Instance
	for _, uid := range uids {
		entries, err := os.ReadDir(filepath.Join(root, uid))
		if err != nil {
			return nil, fmt.Errorf("list the conflicts of series %s: %w", k.Series, err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || !info.Mode().IsRegular() {
				continue
			}
			list = append(list, Instance{SOPInstanceUID: uid, Path: filepath.Join(root, uid, e.Name()), Size: info.Size(), Modified: info.ModTime()})
		}
	}
	return list, nil
}
