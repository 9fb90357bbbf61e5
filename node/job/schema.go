package job

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/riverqueue/river/rivermigrate"
)

// ErrNewer says that a newer pulmonode has brought the queue to a schema that
// this one does not know.
var ErrNewer = errors.New("a newer pulmonode has worked on this queue")

// refuseNewer is ErrNewer, with who it was, for a schema that is in none of the
// known migrations. To go on would be to write what the newer one misreads.
func refuseNewer(ctx context.Context, db *sql.DB, d *dialect, known []rivermigrate.Migration) error {
	has := func(table string) (bool, error) {
		var n int
		err := db.QueryRowContext(ctx, d.table, table).Scan(&n)
		return n > 0, err
	}
	migrated, err := has("river_migration")
	if err != nil || !migrated {
		return err
	}
	var found, newest int
	if err := db.QueryRowContext(ctx, "SELECT coalesce(max(version), 0) FROM river_migration").Scan(&found); err != nil {
		return err
	}
	for _, m := range known {
		newest = max(newest, m.Version)
	}
	if found <= newest {
		return nil
	}
	by := "unknown"
	if signed, err := has("pulmonode"); err != nil {
		return err
	} else if signed {
		if err := db.QueryRowContext(ctx, "SELECT version FROM pulmonode").Scan(&by); err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
	}
	return fmt.Errorf("%w: version %s, schema %d; this one knows schemas up to %d and has changed nothing: install that version again, or %s, which is filled anew from the files",
		ErrNewer, by, found, newest, d.anew)
}

// sign writes down who worked on the queue last.
func sign(ctx context.Context, db *sql.DB, d *dialect, version string) error {
	_, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS pulmonode (one INTEGER PRIMARY KEY CHECK (one = 1), version TEXT NOT NULL)")
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, d.sign, version)
	return err
}
