package job

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/rivermigrate"
)

// oldestPostgres is the oldest server that River supports and PostgreSQL's makers
// still mend, or did until lately.
const oldestPostgres = 13

// Bounds of what the queue asks of PostgreSQL.
const (
	connectWithin  = 10 * time.Second
	maxConnections = 8                // a node's: its workers, its heartbeat, who looks at the page
	idleInTx       = 30 * time.Second // a node that stops inside a transaction holds no locks for longer
)

// schemaLock is the advisory lock under which nodes that start at once make or
// change the tables one after the other.
const schemaLock = 0x70756c6d6f6e6f64 // "pulmonod"

// tables are those beside River's. Statements are added, never changed: nodes of
// two versions share them while one is replaced by the next.
var tables = []string{
	// A node that lives, by its heart's beat: who has none is dead, and its work
	// is taken back.
	`CREATE TABLE IF NOT EXISTS pulmonode_node (
		client text PRIMARY KEY,
		name text NOT NULL,
		folder text NOT NULL,
		version text NOT NULL,
		settings text NOT NULL,
		destinations jsonb NOT NULL,
		started timestamptz NOT NULL DEFAULT now(),
		beat timestamptz NOT NULL DEFAULT now())`,
	// What each node knows of a series that is coming in.
	`CREATE TABLE IF NOT EXISTS pulmonode_arriving (
		study text NOT NULL,
		series text NOT NULL,
		client text NOT NULL,
		first timestamptz NOT NULL,
		last timestamptz NOT NULL,
		ended timestamptz NOT NULL,
		open boolean NOT NULL,
		properly boolean NOT NULL,
		instances integer NOT NULL,
		expected integer NOT NULL,
		PRIMARY KEY (series, study, client))`,
}

// postgresConfig reads the URL. What is wrong with it is said without a password.
func postgresConfig(o Options) (*pgx.ConnConfig, error) {
	c, err := pgx.ParseConfig(o.URL)
	if err != nil {
		return nil, fmt.Errorf("[queue] url: %w", err) // pgx takes the password out
	}
	if o.PasswordFile != "" {
		b, err := os.ReadFile(o.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("[queue] password_file: %w", err)
		}
		c.Password = string(bytes.TrimRight(b, "\r\n"))
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectWithin
	}
	// A connection whose other end is gone without a word is noticed.
	dialer := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3}}
	c.DialFunc = dialer.DialContext
	for name, value := range map[string]string{
		"application_name":                    "pulmonode " + o.Node,
		"timezone":                            "UTC",
		"idle_in_transaction_session_timeout": fmt.Sprint(idleInTx.Milliseconds()),
	} {
		c.RuntimeParams[name] = value
	}
	return c, nil
}

// openPostgres opens the shared database, with its tables made or brought to the
// present schema.
func openPostgres(ctx context.Context, o Options) (_ *sql.DB, err error) {
	c, err := postgresConfig(o)
	if err != nil {
		return nil, err
	}
	db := stdlib.OpenDB(*c)
	db.SetMaxOpenConns(maxConnections)
	db.SetMaxIdleConns(maxConnections)
	db.SetConnMaxIdleTime(5 * time.Minute)
	defer func() {
		if err != nil {
			db.Close()
		}
	}()
	if err := reach(ctx, db); err != nil {
		return nil, err
	}
	lock, err := db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("[queue] url: %w", err)
	}
	defer lock.Close()
	if _, err := lock.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, int64(schemaLock)); err != nil {
		return nil, fmt.Errorf("[queue] url: waiting for the other nodes' tables: %w", err)
	}
	defer lock.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, int64(schemaLock))
	migrator, err := rivermigrate.New(riverdatabasesql.New(db), &rivermigrate.Config{Logger: quiet()})
	if err != nil {
		return nil, err
	}
	if err := refuseNewer(ctx, db, &postgresDialect, migrator.AllVersions()); err != nil {
		return nil, fmt.Errorf("[queue] url: %w", err)
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, fmt.Errorf("[queue] url: making the queue's tables: %w: the user of the URL must be allowed to create tables in the database", err)
	}
	for _, statement := range tables {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return nil, fmt.Errorf("[queue] url: making the nodes' tables: %w: the user of the URL must be allowed to create tables in the database", err)
		}
	}
	if err := sign(ctx, db, &postgresDialect, o.Version); err != nil {
		return nil, fmt.Errorf("[queue] url: %w", err)
	}
	return db, nil
}

// reach looks whether the database answers and is one that will do.
func reach(ctx context.Context, db *sql.DB) error {
	var version int
	if err := db.QueryRowContext(ctx, `SELECT current_setting('server_version_num')::int`).Scan(&version); err != nil {
		return fmt.Errorf("[queue] url: the database cannot be reached: %w: look whether it runs, whether this machine may connect (pg_hba.conf) and whether user and password are right", err)
	}
	if version/10000 < oldestPostgres {
		return fmt.Errorf("[queue] url: the server is PostgreSQL %d; %d or later is needed", version/10000, oldestPostgres)
	}
	return nil
}

// Look tries the shared database without changing it and lists the nodes that
// live. The error is nil when a node could work with it.
func Look(ctx context.Context, o Options) ([]Peer, error) {
	c, err := postgresConfig(o)
	if err != nil {
		return nil, err
	}
	db := stdlib.OpenDB(*c)
	defer db.Close()
	if err := reach(ctx, db); err != nil {
		return nil, err
	}
	var may, made bool
	if err := db.QueryRowContext(ctx, `SELECT has_schema_privilege(current_schema(), 'CREATE'), to_regclass('pulmonode_node') IS NOT NULL`).Scan(&may, &made); err != nil {
		return nil, fmt.Errorf("[queue] url: %w", err)
	}
	if !may {
		return nil, errors.New("[queue] url: the user may not create tables in the database: GRANT CREATE ON SCHEMA public TO it, or make it the database's owner")
	}
	if !made {
		return nil, nil
	}
	q := &Queue{opts: o, db: db, nodes: &nodes{lease: o.Lease}}
	if err := q.lookAround(ctx); err != nil {
		return nil, fmt.Errorf("[queue] url: %w", err)
	}
	return q.nodes.peers, nil
}
