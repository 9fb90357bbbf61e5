package store

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

func TestANewFolderHasThePresentLayout(t *testing.T) {
	s := testStore(t, Options{Version: "1.2.3"})
	text, err := os.ReadFile(filepath.Join(s.Dir(), "layout.json"))
	if err != nil || string(text) != `{"layout":1,"opened_by":"1.2.3"}`+"\n" {
		t.Errorf("layout.json is %q, %v", text, err)
	}
}

// A folder from before layouts were numbered is taken over with all that is in it.
func TestAFolderWithoutANumberIsTakenOver(t *testing.T) {
	s := testStore(t, Options{})
	mustPut(t, s, keyA, sopOf(keyA, 1), bytesOf(keyA, 1))
	s.Close()
	if err := os.Remove(filepath.Join(s.Dir(), "layout.json")); err != nil {
		t.Fatal(err)
	}
	again, err := Open(s.Dir(), Options{Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if found, err := readLayout(s.Dir()); err != nil || found != (layout{present(), "1.2.3"}) {
		t.Errorf("layout.json says %v, %v", found, err)
	}
	if has, err := again.Instances(keyA); err != nil || len(has) != 1 {
		t.Errorf("the series has %d instances, %v", len(has), err)
	}
}

// An upgrade that broke off is done again: the number is written last.
func TestAnUpgradeThatBrokeOffIsDoneAgain(t *testing.T) {
	s := testStore(t, Options{})
	s.Close()
	old := upgrades
	t.Cleanup(func() { upgrades = old })
	tries := 0
	upgrades = append(slices.Clone(old), func(*Store) error {
		if tries++; tries == 1 {
			return errors.New("power cut")
		}
		return nil
	})
	if _, err := Open(s.Dir(), Options{}); err == nil || !strings.Contains(err.Error(), "to layout 2: power cut") {
		t.Fatalf("the upgrade that broke off: %v", err)
	}
	for range 2 { // the second finds it done
		again, err := Open(s.Dir(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		again.Close()
	}
	if tries != 2 {
		t.Errorf("the step ran %d times", tries)
	}
}

// A newer folder is refused by name and not touched; so is one whose number
// nobody can read.
func TestANewerFolderIsRefused(t *testing.T) {
	s := testStore(t, Options{})
	in, err := s.Create(dataset.MetaInfo{SOPInstanceUID: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	in.Write([]byte("x"))
	s.Close()
	for text, says := range map[string]string{
		`{"layout":99,"opened_by":"7.0.0, build abc","more":1}`: "version 7.0.0, build abc, layout 99; this one knows layouts up to 1",
		`{"layout":0}`: "does not say", `{}`: "does not say", ``: "does not say", `[`: "does not say",
	} {
		path := filepath.Join(s.Dir(), "layout.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(s.Dir(), Options{Version: "1.2.3"})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
		if errors.Is(err, ErrNewer) != strings.Contains(text, "99") {
			t.Errorf("%s: %v", text, err)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != text {
			t.Errorf("layout.json was changed to %q, %v", after, err)
		}
		if left, _ := os.ReadDir(s.incoming()); len(left) != 1 {
			t.Errorf("incoming/ was emptied")
		}
	}
}
