package job

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	"go.uber.org/zap"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// openDatabase opens the queue's file, made or brought to River's present
// schema. A file that SQLite cannot read is set aside under another name and a
// new one takes its place; the caller fills it from the files.
func openDatabase(ctx context.Context, path, version string, log *zap.Logger) (*sql.DB, error) {
	db, err := tryDatabase(ctx, path, version)
	if err == nil {
		return db, nil
	}
	if errors.Is(err, ErrNewer) {
		return nil, fmt.Errorf("opening the queue %s: %w", path, err)
	}
	if !corrupt(err) {
		return nil, fmt.Errorf("opening the queue %s: %w: check the folder's rights and free space", path, err)
	}
	aside := fmt.Sprintf("%s.corrupt-%s", path, time.Now().UTC().Format("20060102T150405.000000000Z"))
	if rerr := setAside(path, aside); rerr != nil {
		return nil, fmt.Errorf("setting aside the corrupt queue %s: %w: move it away by hand, it is rebuilt from the files", path, rerr)
	}
	log.Error("queue_set_aside", zap.String("file", aside), zap.Error(err),
		zap.String("do", "nothing is lost: the queue is rebuilt from the files; look for a failing disk, then delete the file"))
	db, err = tryDatabase(ctx, path, version)
	if err != nil {
		return nil, fmt.Errorf("making a new queue %s: %w", path, err)
	}
	return db, nil
}

func tryDatabase(ctx context.Context, path, version string) (_ *sql.DB, err error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	// The file holds UIDs; it is for the node's own user alone.
	f, err := os.OpenFile(abs, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	query := url.Values{
		"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"},
		"_txlock": {"immediate"},
	}
	name := url.URL{Scheme: "file", Path: abs, RawQuery: query.Encode()}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			db.Close()
		}
	}()
	// One writer is all that SQLite has; a second connection would only wait
	// for the first with errors instead of in line.
	db.SetMaxOpenConns(1)
	db.SetMaxIdleConns(1)
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return nil, err
	}
	if verdict != "ok" {
		return nil, &damagedError{verdict}
	}
	migrator, err := rivermigrate.New(riversqlite.New(db), &rivermigrate.Config{Logger: quiet()})
	if err != nil {
		return nil, err
	}
	if err := refuseNewer(ctx, db, &sqliteDialect, migrator.AllVersions()); err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	if err := sign(ctx, db, &sqliteDialect, version); err != nil {
		return nil, err
	}
	return db, nil
}

// damagedError is what quick_check found.
type damagedError struct{ verdict string }

func (e *damagedError) Error() string { return "the file is damaged: " + e.verdict }

// corrupt tells damage to the file, which a new file mends, from trouble with
// the machine, which it does not.
func corrupt(err error) bool {
	var se *sqlite.Error
	if errors.As(err, &se) {
		switch se.Code() & 0xff {
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT:
			// SQLITE_ERROR is a schema that is not River's ("no such table").
			return true
		}
		return false
	}
	return errors.As(err, new(*damagedError))
}

// setAside renames the database and its log files; the main file last, so that
// an interruption repeats the whole.
func setAside(path, aside string) error {
	for _, suffix := range []string{"-wal", "-shm", ""} {
		if err := os.Rename(path+suffix, aside+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
