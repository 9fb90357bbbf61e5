package admin

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/bcrypt"
)

// Role is what a person may do.
type Role string

// The roles. Who has none in the password file operates.
const (
	View    Role = "view"    // look
	Operate Role = "operate" // look, retry, cancel, deliver again
)

// Limits of the password file and what it may hold.
const (
	maxPasswordFile = 64 << 10
	maxUsers        = 1000
	maxUserName     = 64
	minPassword     = 12 // characters: guessed over this listener for years (NIST SP 800-63B asks for 8)
	maxPassword     = 72 // bytes: bcrypt takes no more
	// leastCost makes a stolen file worth little; mostCost bounds what one try
	// costs this machine: a second or two.
	leastCost, mostCost = 10, 14
	newCost             = 12
)

// account is one line of the password file.
type account struct {
	hash []byte
	role Role
}

// bcryptHash is what bcrypt writes (modular crypt format; `htpasswd -B` too).
var bcryptHash = regexp.MustCompile(`^\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}$`)

// parsePasswords reads the lines of a password file: "user:hash" or
// "user:hash:role". Empty lines and those that begin with "#" are left out. An
// error names the line and never what stands there.
func parsePasswords(text []byte) (map[string]account, error) {
	if len(text) > maxPasswordFile {
		return nil, fmt.Errorf("it has more than %d bytes", maxPasswordFile)
	}
	users := map[string]account{}
	number := 0
	for line := range bytes.Lines(text) {
		number++
		line := strings.TrimRight(string(line), "\r\n")
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		user, a, err := parseAccount(line)
		if err == nil && users[user].hash != nil {
			err = errors.New("names a user for the second time")
		}
		if err == nil && len(users) == maxUsers {
			err = fmt.Errorf("is one too many: at most %d users", maxUsers)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d %w", number, err)
		}
		users[user] = a
	}
	if len(users) == 0 {
		return nil, errors.New("it names no user")
	}
	return users, nil
}

func parseAccount(line string) (user string, a account, err error) {
	user, rest, _ := strings.Cut(line, ":")
	hash, role, named := strings.Cut(rest, ":")
	if err := validUser(user); err != nil {
		return "", a, err
	}
	if !bcryptHash.MatchString(hash) {
		return "", a, errors.New(`has no bcrypt hash: write "user:hash", which "pulmonode password" and "htpasswd -B" do`)
	}
	if cost, err := bcrypt.Cost([]byte(hash)); err != nil || cost < leastCost || cost > mostCost {
		return "", a, fmt.Errorf("has a hash whose cost is not %d to %d", leastCost, mostCost)
	}
	a = account{hash: []byte(hash), role: Operate}
	if named {
		a.role = Role(role)
	}
	if a.role != View && a.role != Operate {
		return "", a, fmt.Errorf("names a role that is neither %q nor %q", View, Operate)
	}
	return user, a, nil
}

// validUser says whether a name can stand in the file, in an HTTP Basic header
// (RFC 7617: no colon) and in a log.
func validUser(user string) error {
	switch {
	case user == "":
		return errors.New("names no user")
	case utf8.RuneCountInString(user) > maxUserName:
		return fmt.Errorf("names a user with more than %d characters", maxUserName)
	case !utf8.ValidString(user) || strings.HasPrefix(user, "#") || strings.ContainsFunc(user, func(r rune) bool { return r == ':' || r == ' ' || !unicode.IsGraphic(r) }):
		return errors.New(`names a user with a colon, a space or a control character, or one that begins with "#"`)
	}
	return nil
}

// readPasswords reads a password file, which must be its owner's alone.
func readPasswords(path string) (map[string]account, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read or written by others (mode %04o): chmod 600 %s", path, mode, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxPasswordFile+1))
	if err != nil {
		return nil, err
	}
	users, err := parsePasswords(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return users, nil
}

// CheckPasswords says what is wrong with a password file, nil when nothing is.
func CheckPasswords(path string) error {
	_, err := readPasswords(path)
	return err
}

// SetPassword gives a user a password in the file at path, which is made when it
// is not there; an empty password takes the user out. Who reads the file at the
// same time sees the former or the new one, whole. Other lines stay as they are.
func SetPassword(path, user, password string, role Role) error {
	if err := validUser(user); err != nil {
		return fmt.Errorf("the command %w", err)
	}
	if role != View && role != Operate {
		return fmt.Errorf("no role is called %q: take %q or %q", role, View, Operate)
	}
	var before []byte
	var owner *syscall.Stat_t
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case info.Size() > maxPasswordFile:
		return fmt.Errorf("%s has more than %d bytes: it is no password file", path, maxPasswordFile)
	default:
		owner, _ = info.Sys().(*syscall.Stat_t)
		if before, err = os.ReadFile(path); err != nil {
			return err
		}
	}
	var line string
	if password != "" {
		if line, err = passwordLine(user, password, role); err != nil {
			return err
		}
	}
	var after []string
	found := false
	for l := range strings.Lines(string(before)) {
		l = strings.TrimRight(l, "\r\n")
		if strings.HasPrefix(l, user+":") {
			found = true
			if l = line; line == "" {
				continue
			}
		}
		after = append(after, l)
	}
	switch {
	case password == "" && !found:
		return fmt.Errorf("%s has no user %s", path, user)
	case !found:
		after = append(after, line)
	}
	text := []byte(strings.Join(after, "\n") + "\n")
	if _, err := parsePasswords(text); err != nil && password != "" {
		return fmt.Errorf("%s: %w: mend it, or begin a new file", path, err)
	}
	return replaceFile(path, text, owner)
}

func passwordLine(user, password string, role Role) (string, error) {
	if n := utf8.RuneCountInString(password); n < minPassword {
		return "", fmt.Errorf("the password has %d characters: take at least %d", n, minPassword)
	}
	if len(password) > maxPassword {
		return "", fmt.Errorf("the password has %d bytes: take at most %d, bcrypt looks at no more", len(password), maxPassword)
	}
	if !utf8.ValidString(password) || strings.ContainsFunc(password, unicode.IsControl) {
		return "", errors.New("the password has a control character, or is no UTF-8")
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), newCost)
	if err != nil {
		return "", err
	}
	line := user + ":" + string(hash)
	if role != Operate {
		line += ":" + string(role)
	}
	return line, nil
}

// replaceFile writes a file of mode 0600 in place of the one at path, whose owner
// keeps it: root may change the file of the service's user, who may write nothing
// below /etc.
func replaceFile(path string, text []byte, owner *syscall.Stat_t) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".password-*") // of mode 0600
	if err != nil {
		var why *fs.PathError
		if errors.As(err, &why) {
			err = why.Err
		}
		return fmt.Errorf("nothing can be written in the folder of %s: %w: run this as root, who leaves the file to its owner", path, err)
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if owner != nil && int(owner.Uid) != os.Geteuid() {
		if err := f.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
			f.Close()
			return fmt.Errorf("keeping the owner of %s: %w: run this as its owner or as root", path, err)
		}
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
