package admin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

const someHash = "$2y$10$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzabcde"

func TestPasswordFileFaults(t *testing.T) {
	for _, c := range []struct{ name, text, says string }{
		{"empty", "", "names no user"},
		{"only remarks", "# nobody\n\n", "names no user"},
		{"no hash", "ann", "line 1 has no bcrypt hash"},
		{"a password in the clear", "ann:letmein", "line 1 has no bcrypt hash"},
		{"another kind of hash", "ann:$apr1$abc$def", "line 1 has no bcrypt hash"},
		{"half a hash", "ann:" + someHash[:40], "line 1 has no bcrypt hash"},
		{"a hash that is cheap to try", "ann:" + strings.Replace(someHash, "$10$", "$04$", 1), "cost is not 10 to 14"},
		{"a hash that is dear to try", "ann:" + strings.Replace(someHash, "$10$", "$31$", 1), "cost is not 10 to 14"},
		{"no name", ":" + someHash, "line 1 names no user"},
		{"a long name", strings.Repeat("a", 65) + ":" + someHash, "more than 64 characters"},
		{"a name with a space", "ann b:" + someHash, "a colon, a space"},
		{"a name with a control character", "ann\x1b[31m:" + someHash, "a control character"},
		{"a role that there is not", "ann:" + someHash + ":admin", `neither "view" nor "operate"`},
		{"a user twice", "ann:" + someHash + "\n\nann:" + someHash, "line 3 names a user for the second time"},
		{"a large file", strings.Repeat("#\n", maxPasswordFile/2+1), "more than 65536 bytes"},
	} {
		if _, err := parsePasswords([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, not %q", c.name, err, c.says)
		} else if strings.Contains(err.Error(), "letmein") || strings.Contains(err.Error(), "ann") {
			t.Errorf("%s: the error quotes the file: %v", c.name, err)
		}
	}
	users, err := parsePasswords([]byte("ann:" + someHash + "\r\nbob:" + someHash + ":view\nMüller:" + someHash + ":operate\n"))
	if err != nil || len(users) != 3 || users["ann"].role != Operate || users["bob"].role != View || users["Müller"].role != Operate {
		t.Errorf("%v: %+v", err, users)
	}
}

func TestSetPassword(t *testing.T) {
	path := filepath.Join(t.TempDir(), "passwords")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(SetPassword(path, "ann", rightPassword, Operate))
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v: mode %v", err, info.Mode())
	}
	text, err := os.ReadFile(path)
	must(err)
	must(os.WriteFile(path, append([]byte("# ours\n"), text...), 0o600))
	must(SetPassword(path, "bob", rightPassword, View))
	must(SetPassword(path, "ann", wrongPassword, Operate))
	users, err := readPasswords(path)
	must(err)
	if len(users) != 2 || users["bob"].role != View || bcrypt.CompareHashAndPassword(users["ann"].hash, []byte(wrongPassword)) != nil {
		t.Errorf("%+v", users)
	}
	if text, err = os.ReadFile(path); err != nil || !strings.HasPrefix(string(text), "# ours\nann:") || strings.Contains(string(text), "horse") {
		t.Errorf("%v: %s", err, text)
	}
	must(SetPassword(path, "bob", "", Operate))
	if users, err = readPasswords(path); err != nil || len(users) != 1 {
		t.Errorf("%v: %+v", err, users)
	}
	for _, c := range []struct{ name, user, password, says string }{
		{"a short password", "ann", "short", "at least 12"},
		{"a long password", "ann", strings.Repeat("x", 73), "at most 72"},
		{"a control character", "ann", "correct\nhorse battery", "control character"},
		{"no name", "", rightPassword, "names no user"},
		{"a name with a colon", "a:b", rightPassword, "a colon"},
		{"who is not there", "eve", "", "has no user eve"},
	} {
		before, _ := os.ReadFile(path)
		if err := SetPassword(path, c.user, c.password, Operate); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, not %q", c.name, err, c.says)
		}
		if after, _ := os.ReadFile(path); string(after) != string(before) {
			t.Errorf("%s: the file was changed", c.name)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".password-*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	must(os.WriteFile(path, []byte("broken\n"), 0o600))
	if err := SetPassword(path, "ann", rightPassword, Operate); err == nil || !strings.Contains(err.Error(), "mend it") {
		t.Errorf("a broken file: %v", err)
	}
}

func FuzzPasswords(f *testing.F) {
	f.Add([]byte("ann:" + someHash + "\n# x\n\nbob:" + someHash + ":view"))
	f.Add([]byte("a:b:c:d\r\n:\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		users, err := parsePasswords(text)
		if (err == nil) == (len(users) == 0) {
			t.Fatalf("%d users and %v", len(users), err)
		}
		for name, a := range users {
			if validUser(name) != nil || !bcryptHash.Match(a.hash) || a.role != View && a.role != Operate {
				t.Errorf("%q: %+v", name, a)
			}
		}
	})
}

func TestSetPasswordWhereNothingCanBeWritten(t *testing.T) {
	err := SetPassword("/proc/passwords", "ann", "correct horse battery", Operate)
	if err == nil || !strings.Contains(err.Error(), "the folder of /proc/passwords") || !strings.Contains(err.Error(), "run this as root") {
		t.Errorf("%v", err)
	}
	if err != nil && strings.Contains(err.Error(), ".password-") {
		t.Errorf("it speaks of a file that nobody knows: %v", err)
	}
}
