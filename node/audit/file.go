package audit

import (
	"errors"
	"os"
)

// logFile is the file of the trail, a line each message. It may be moved away and
// made anew at any time, as programs that rotate logs do.
type logFile struct {
	path string
	f    *os.File
}

// openLog opens the file for appending; only its owner may read it.
func openLog(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

// add appends lines, durably. Nothing of them is kept where it fails.
func (l *logFile) add(lines []byte, _ int) error {
	if err := l.reopen(); err != nil {
		return err
	}
	before, err := l.f.Stat()
	if err != nil {
		return err
	}
	_, err = l.f.Write(lines)
	if err == nil {
		err = l.f.Sync()
	}
	if err != nil {
		return errors.Join(err, l.f.Truncate(before.Size()))
	}
	return nil
}

// reopen looks whether the file still has its name.
func (l *logFile) reopen() error {
	if l.f != nil {
		now, err := os.Stat(l.path)
		old, err2 := l.f.Stat()
		if err == nil && err2 == nil && os.SameFile(now, old) {
			return nil
		}
		l.f.Close()
		l.f = nil
	}
	f, err := openLog(l.path)
	if err == nil {
		l.f = f
	}
	return err
}

func (l *logFile) close() error {
	if l.f == nil {
		return nil
	}
	return l.f.Close()
}
