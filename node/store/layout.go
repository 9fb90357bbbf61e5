package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// layoutFile names the data folder's layout and who opened it last.
const layoutFile = "layout.json"

// layout is what stands in layoutFile.
type layout struct {
	Layout   int    `json:"layout"`
	OpenedBy string `json:"opened_by"` // the pulmonode that opened the folder last
}

// upgrades are the steps from each layout to the next, the first from 1 to 2. A
// step may be broken off anywhere and is then done again, so what it has done
// already must not hurt it. Steps are never changed once released: another layout
// is another step.
var upgrades []func(*Store) error

// present is the layout of this program.
func present() int { return 1 + len(upgrades) }

// ErrNewer says that a newer pulmonode has worked on the data folder.
var ErrNewer = errors.New("a newer pulmonode has worked on this data folder")

// readLayout says what the folder is. One of a newer layout is refused before
// anything in it is changed: what this program does not know it would damage.
func readLayout(dir string) (found layout, err error) {
	switch text, err := os.ReadFile(filepath.Join(dir, layoutFile)); {
	case errors.Is(err, fs.ErrNotExist):
		return found, nil // new, or from before layouts were numbered
	case err != nil:
		return found, err
	default:
		if err := json.Unmarshal(text, &found); err != nil || found.Layout < 1 {
			return found, fmt.Errorf(`%s does not say {"layout":N}: write the number that a backup of the folder has there`, layoutFile)
		}
	}
	if found.Layout > present() {
		return found, fmt.Errorf("%w: version %s, layout %d; this one knows layouts up to %d and has changed nothing: install that version again, or restore the backup from before the upgrade",
			ErrNewer, found.OpenedBy, found.Layout, present())
	}
	return found, nil
}

// settleLayout brings the folder to this program's layout and writes down who
// did.
func (s *Store) settleLayout(found layout) error {
	now := layout{Layout: present(), OpenedBy: s.options.Version}
	if now == found {
		return nil
	}
	from := max(1, found.Layout)
	for n, upgrade := range upgrades[from-1:] {
		if err := upgrade(s); err != nil {
			return fmt.Errorf("upgrading the data folder to layout %d: %w", from+n+1, err)
		}
	}
	text, err := json.Marshal(now)
	if err != nil {
		return err
	}
	err = s.writeFileOver(filepath.Join(s.dir, layoutFile), append(text, '\n'))
	if errors.Is(err, ErrFull) && found.Layout == now.Layout {
		return nil // who opened it last can be written another time
	}
	return err
}
