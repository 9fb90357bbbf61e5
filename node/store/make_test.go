package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Files that are made when they are written are made once, in their order, each
// after the one before was written.
func TestFilesAreMadeOneAtATime(t *testing.T) {
	s := testStore(t, Options{})
	mustPut(t, s, keyA, "1.2.3.1.1", "x")
	var files []File
	made := 0
	for i := range 5 {
		files = append(files, File{Name: fmt.Sprintf("key-%d.dcm", i+1), Kind: "keyimage", Make: func() ([]byte, error) {
			if made != i {
				t.Errorf("file %d is made after %d others", i+1, made)
			}
			made++
			if i > 0 {
				before, err := filepath.Glob(filepath.Join(s.incoming(), "*", fmt.Sprintf("key-%d.dcm", i)))
				if err != nil || len(before) != 1 {
					t.Errorf("file %d is not written when %d is made", i, i+1)
				}
			}
			return []byte(strings.Repeat("x", i+1)), nil
		}})
	}
	if err := s.WriteGeneration(keyA, 1, files, Manifest{}); err != nil {
		t.Fatal(err)
	}
	m, err := s.Generation(keyA, 1)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := s.GenerationFolder(keyA, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range m.Files {
		b, err := os.ReadFile(filepath.Join(folder, f.Name))
		sum := sha256.Sum256(b)
		if err != nil || len(b) != i+1 || f.Size != int64(i+1) || f.SHA256 != hex.EncodeToString(sum[:]) {
			t.Errorf("%s: %d bytes, the manifest says %d and %s: %v", f.Name, len(b), f.Size, f.SHA256, err)
		}
	}
	if made != 5 {
		t.Errorf("%d files were made", made)
	}
}

func TestAFileThatCannotBeMadeLeavesNothing(t *testing.T) {
	s := testStore(t, Options{})
	mustPut(t, s, keyA, "1.2.3.1.1", "x")
	broken := errors.New("the pixels of its key slice are missing")
	err := s.WriteGeneration(keyA, 1, []File{{Name: "sr.dcm", Bytes: []byte("x")}, {Name: "key-1.dcm", Make: func() ([]byte, error) { return nil, broken }}}, Manifest{})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "making key-1.dcm") {
		t.Errorf("got %v", err)
	}
	if n, err := s.Generations(keyA); err != nil || len(n) > 0 {
		t.Errorf("generations %v, %v", n, err)
	}
	if left, err := os.ReadDir(s.incoming()); err != nil || len(left) > 0 {
		t.Errorf("%d files are left: %v", len(left), err)
	}
}
