package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pulmonode/pulmonode/inference/result"
)

// Closing says that a series counted as complete, and of what generation N of
// it consists. It is what every document of the generation takes its time from.
type Closing struct {
	Key
	Generation int           `json:"generation"` // from 1
	Closed     result.Closed `json:"closed"`
	Instances  []string      `json:"instances"`           // SOP Instance UIDs in ascending order of their text
	Expected   int           `json:"expected,omitempty"`  // what the sender announced; 0: nothing
	Conflicts  int           `json:"conflicts,omitempty"` // variants that were kept aside by then
}

// WriteClosing makes a closing durable. The error is ErrExist when the
// generation was closed before.
func (s *Store) WriteClosing(c Closing) error {
	if err := c.Key.Valid(); err != nil {
		return fmt.Errorf("close a series: %w", err)
	}
	if c.Generation < 1 {
		return fmt.Errorf("close series %s: generation %d is not one", c.Series, c.Generation)
	}
	b, err := json.MarshalIndent(c, "", "\t")
	if err != nil {
		return fmt.Errorf("close series %s: %w", c.Series, err)
	}
	defer s.locks.rlock(c.Study)()
	err = s.writeFileNew(filepath.Join(s.folder(c.Key), numbered("closed", c.Generation)+".json"), append(b, '\n'))
	if errors.Is(err, fs.ErrExist) {
		err = ErrExist
	}
	if err != nil {
		return fmt.Errorf("close series %s as generation %d: %w", c.Series, c.Generation, err)
	}
	return nil
}

// Closings lists the closings of a series by generation.
func (s *Store) Closings(k Key) ([]Closing, error) {
	numbers, err := s.numbers(k, "closed", ".json")
	if err != nil {
		return nil, err
	}
	list := make([]Closing, 0, len(numbers))
	for _, n := range numbers {
		c, err := s.closing(k, n)
		if err != nil {
			return nil, err
		}
		list = append(list, *c)
	}
	return list, nil
}

// LastClosing returns the closing with the highest generation, nil when the
// series was never closed.
func (s *Store) LastClosing(k Key) (*Closing, error) {
	numbers, err := s.numbers(k, "closed", ".json")
	if err != nil || len(numbers) == 0 {
		return nil, err
	}
	return s.closing(k, numbers[len(numbers)-1])
}

func (s *Store) closing(k Key, n int) (*Closing, error) {
	c := &Closing{}
	if err := readJSON(filepath.Join(s.folder(k), numbered("closed", n)+".json"), c); err != nil {
		return nil, fmt.Errorf("read closing %d of series %s: %w", n, k.Series, err)
	}
	if c.Key != k || c.Generation != n {
		return nil, fmt.Errorf("closing %d of series %s names another series: remove the file and start again", n, k.Series)
	}
	return c, nil
}

func numbered(what string, n int) string { return what + "-" + strconv.Itoa(n) }

// numbers lists the N of what-N<suffix> in the series' folder, ascending.
func (s *Store) numbers(k Key, what, suffix string) ([]int, error) {
	if err := k.Valid(); err != nil {
		return nil, err
	}
	list, err := numbersIn(s.folder(k), what, suffix)
	if err != nil {
		return nil, fmt.Errorf("read the folder of series %s: %w", k.Series, err)
	}
	return list, nil
}

func numbersIn(folder, what, suffix string) ([]int, error) {
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var list []int
	for _, e := range entries {
		middle, ok := strings.CutPrefix(e.Name(), what+"-")
		if !ok {
			continue
		}
		if middle, ok = strings.CutSuffix(middle, suffix); !ok {
			continue
		}
		if n, err := strconv.Atoi(middle); err == nil && n > 0 && strconv.Itoa(n) == middle {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list, nil
}

// readJSON reads a file that the store wrote.
func readJSON(path string, into any) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s", ErrNotExist, filepath.Base(path))
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s is damaged: %w", filepath.Base(path), err)
	}
	return nil
}
