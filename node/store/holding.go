package store

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// Holds finds which of the instances are kept, in whichever series, and returns
// the SOP Class UID of each that is. What it names is durable, also when its
// reception is not answered yet. One walk over the store serves any number.
func (s *Store) Holds(sopInstanceUIDs []string) (map[string]string, error) {
	keys, err := s.Series()
	if err != nil {
		return nil, err
	}
	wanted := make(map[string]bool, len(sopInstanceUIDs))
	for _, uid := range sopInstanceUIDs {
		wanted[uid] = true
	}
	held := map[string]string{}
	for _, k := range keys {
		uids, err := s.InstanceUIDs(k)
		if err != nil {
			return nil, err
		}
		folder, found := filepath.Join(s.folder(k), "instances"), false
		for _, uid := range uids {
			if !wanted[uid] {
				continue
			}
			file, err := dataset.Open(filepath.Join(folder, uid+".dcm"), dataset.Limits{})
			if err != nil { // removed since the listing, or damaged: nobody can answer for it
				continue
			}
			held[uid], found = file.Header.Text(dataset.SOPClassUID), true
		}
		if !found {
			continue
		}
		if err := s.syncs.sync(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return held, nil
}
