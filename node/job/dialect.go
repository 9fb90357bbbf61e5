package job

// dialect is what the queue says to its database beside River, in the words of
// one of the two. The database's clock is the only one: those of several nodes
// may differ.
type dialect struct {
	// took, in its order: id, kind, state, attempt, max_attempts, scheduled_at,
	// args, the last error, metadata, the client that took the job last.
	list     string
	ofSeries string // the same, of a study and series

	wake   string // queue; %s: states
	counts string // kind, destination, state, cancelled by hand, how many, the oldest's time
	ping   string

	// takeBack, at the start, resets what a process before this one left behind.
	takeBack []string
	// running lists jobs that began more than so many seconds ago, with their client.
	running string
	// takeBackOne resets one of them.
	takeBackOne string

	table string // how many tables there are of a name
	sign  string // version
	anew  string // what makes room for a new queue
}

var sqliteDialect = dialect{
	list:     sqliteList + ` ORDER BY id`,
	ofSeries: sqliteList + ` WHERE json_extract(args, '$.study') = ? AND json_extract(args, '$.series') = ? ORDER BY id`,
	wake: `UPDATE river_job SET state = 'available', scheduled_at = datetime('now', 'subsec')
		WHERE queue = ? AND state IN (%s) AND scheduled_at > datetime('now', 'subsec')`,
	counts: `SELECT kind, COALESCE(json_extract(args, '$.destination'), ''), state,
		json_extract(metadata, '$.cancel_attempted_at') IS NOT NULL, count(*), CAST(min(created_at) AS text) FROM river_job GROUP BY 1, 2, 3, 4`,
	ping: `SELECT count(*) FROM river_migration`,
	takeBack: []string{
		`UPDATE river_job SET state = 'cancelled', finalized_at = datetime('now', 'subsec')
			WHERE state = 'running' AND json_extract(metadata, '$.cancel_attempted_at') IS NOT NULL`,
		`UPDATE river_job SET state = 'available', scheduled_at = datetime('now', 'subsec') WHERE state = 'running'`,
		`UPDATE river_job SET state = 'available', scheduled_at = datetime('now', 'subsec') WHERE state = 'scheduled'`,
		`DELETE FROM river_leader`,
	},
	running:     `SELECT id, COALESCE(json_extract(attempted_by, '$[#-1]'), '') FROM river_job WHERE state = 'running' AND attempted_at < datetime('now', '-' || ? || ' seconds')`,
	takeBackOne: `UPDATE river_job SET state = 'available', scheduled_at = datetime('now', 'subsec') WHERE id = ? AND state = 'running'`,
	table:       `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?`,
	sign:        `INSERT INTO pulmonode (one, version) VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET version = excluded.version`,
	anew:        `delete queue.db`,
}

const sqliteList = `SELECT id, kind, state, attempt, max_attempts, CAST(scheduled_at AS text), json(args), json_extract(errors, '$[#-1].error'), json(metadata),
	COALESCE(json_extract(attempted_by, '$[#-1]'), '') FROM river_job`

var postgresDialect = dialect{
	list:     postgresList + ` ORDER BY id`,
	ofSeries: postgresList + ` WHERE args @> jsonb_build_object('study', $1::text, 'series', $2::text) ORDER BY id`,
	wake: `UPDATE river_job SET state = 'available', scheduled_at = now()
		WHERE queue = $1 AND state IN (%s) AND scheduled_at > now()`,
	counts: `SELECT kind, COALESCE(args->>'destination', ''), state::text,
		metadata ? 'cancel_attempted_at', count(*), ` + postgresText("min(created_at)") + ` FROM river_job GROUP BY 1, 2, 3, 4`,
	ping: `SELECT count(*) FROM river_migration`,
	takeBack: []string{
		// What waited for something that was to be told to a process that is gone.
		`UPDATE river_job SET state = 'available', scheduled_at = now() WHERE state = 'scheduled'`,
	},
	running:     `SELECT id, ` + lastClient + ` FROM river_job WHERE state = 'running' AND attempted_at < now() - make_interval(secs => $1)`,
	takeBackOne: takeBackAs + ` WHERE id = $1 AND state = 'running'`,
	table:       `SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = $1`,
	sign:        `INSERT INTO pulmonode (one, version) VALUES (1, $1) ON CONFLICT (one) DO UPDATE SET version = excluded.version`,
	anew:        `give [queue] url an empty database`,
}

const (
	postgresList = `SELECT id, kind, state::text, attempt, max_attempts, to_char(scheduled_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), args::text,
	errors[array_upper(errors, 1)]->>'error', metadata::text, ` + lastClient + ` FROM river_job`

	// lastClient is the client that took the job last.
	lastClient = `COALESCE(attempted_by[array_upper(attempted_by, 1)], '')`

	// takeBackAs gives a job that nobody works another number: the node that lost
	// it may only be slow, and what it then writes about the end of its attempt
	// meets no row. (River finds the row of an end by its number alone.)
	takeBackAs = `UPDATE river_job SET id = nextval(pg_get_serial_sequence('river_job', 'id')),
		state = CASE WHEN metadata ? 'cancel_attempted_at' THEN 'cancelled' ELSE 'available' END::river_job_state,
		finalized_at = CASE WHEN metadata ? 'cancel_attempted_at' THEN now() END,
		scheduled_at = now()`
)

func postgresText(time string) string {
	return `to_char(` + time + ` AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')`
}
