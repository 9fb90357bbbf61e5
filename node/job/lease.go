package job

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

// Several nodes share the work through one PostgreSQL. Each has a row in
// pulmonode_node and writes a beat into it; one whose beat is older than the
// lease is taken for dead by any of the others, its row goes, and the jobs that it
// was working are taken back under new numbers. A node that was only slow (paused,
// or cut off from the database) finds its row gone at its next beat: it drops
// what it is doing and begins anew. Until then its late work meets results that
// are written once (store.ErrExist), deliveries that ask Attempt.Held before
// every object, and ends of jobs whose number is no longer there.

// Lease is for how long a node counts as alive after its last beat.
const Lease = 30 * time.Second

// beatsInLease is how many beats a node has before its lease ends.
const beatsInLease = 6

// ErrLost says that the job was taken back: another node works it, or has.
var ErrLost = errors.New("this node did not answer for longer than its lease, so the job was given to another")

// ErrNameTaken says that another process beats under this node's name.
var ErrNameTaken = errors.New("another node works under the same name: give each its own [node] name")

// ErrOtherFolder says that the nodes of this database have another data folder.
var ErrOtherFolder = errors.New("a node that shares the queue works on another data folder: [storage] data_dir must be one folder that all nodes see, and each group of nodes needs a database of its own")

// Peer is a node that lives.
type Peer struct {
	Name     string
	Version  string
	Settings map[string]string // fingerprints of what all nodes must have set alike, by section
}

// alive is the condition for a row of pulmonode_node; the parameter is the lease in
// seconds. A beat far ahead is from before the database's clock was set back.
func alive(lease string) string {
	return `beat BETWEEN now() - make_interval(secs => ` + lease + `) AND now() + make_interval(secs => ` + lease + `)`
}

// nodes is what this process knows of the others.
type nodes struct {
	client string // this process, in River's rows too
	lease  time.Duration
	ahead  ahead

	last     time.Time // of this node's beats that the database took
	unbroken time.Time // since when each beat was in time; a node judges others only after a lease of that
	peers    []Peer    // the others that live
	first    bool      // of all that live this node began first

	said map[string]string // of which nodes the log has said what they have set otherwise
}

// clientOf names a process of a node. A node that is started again is another.
func clientOf(node string) string {
	var b [8]byte
	rand.Read(b[:])
	return node + "." + hex.EncodeToString(b[:])
}

// nodeOf is the node's name in a client's.
func nodeOf(client string) string {
	if i := strings.LastIndexByte(client, '.'); i >= 0 {
		return client[:i]
	}
	return client
}

// join enters this process and keeps it entered until Stop.
func (q *Queue) join(ctx context.Context) error {
	q.nodes.last = time.Now()
	q.nodes.unbroken = q.nodes.last
	if err := q.setClock(ctx); err != nil {
		return err
	}
	if err := q.register(ctx); err != nil {
		return err
	}
	if err := q.lookAround(ctx); err != nil {
		return err
	}
	background, quit := context.WithCancel(context.WithoutCancel(ctx))
	q.quit = quit
	q.beats.Go(func() { q.beating(background) })
	return nil
}

// register enters this process as alive. The store's lock says that no other
// process has this node's name; who had it before is gone, and what it was
// working is taken back at once.
func (q *Queue) register(ctx context.Context) error {
	destinations := make([]string, 0, len(q.opts.Destinations))
	for _, d := range q.opts.Destinations {
		destinations = append(destinations, d.Name)
	}
	names, err := json.Marshal(destinations)
	if err != nil {
		return err
	}
	settings, err := json.Marshal(q.opts.Settings)
	if err != nil {
		return err
	}
	var other string
	err = q.db.QueryRowContext(ctx, `SELECT name FROM pulmonode_node WHERE folder <> $1 AND `+alive("$2")+` LIMIT 1`,
		q.opts.Folder, q.nodes.lease.Seconds()).Scan(&other)
	if err == nil {
		return fmt.Errorf("%w (node %s)", ErrOtherFolder, other)
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	return q.transaction(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM pulmonode_node WHERE name = $1`, q.opts.Node); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO pulmonode_node (client, name, folder, version, settings, destinations) VALUES ($1, $2, $3, $4, $5, $6)`,
			q.nodes.client, q.opts.Node, q.opts.Folder, q.opts.Version, string(settings), string(names)); err != nil {
			return err
		}
		return q.takeBackOf(ctx, tx, `split_part(`+lastClient+`, '.', 1) = $1 AND `+lastClient+` <> $2`, q.opts.Node, q.nodes.client)
	})
}

func (q *Queue) transaction(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := q.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// takeBackOf takes the running jobs back that fit.
func (q *Queue) takeBackOf(ctx context.Context, tx *sql.Tx, where string, args ...any) error {
	rows, err := tx.QueryContext(ctx, takeBackAs+` WHERE state = 'running' AND (`+where+`) RETURNING id, kind, `+lastClient, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var kind, client string
		if err := rows.Scan(&id, &kind, &client); err != nil {
			return err
		}
		q.opts.Log.Warn("job_taken_back", zap.Int64("job", id), zap.String("kind", kind), zap.String("node", nodeOf(client)), zap.String("reason", "the node does not answer"))
	}
	return rows.Err()
}

// beating beats until ctx ends.
func (q *Queue) beating(ctx context.Context) {
	tick := time.NewTicker(q.nodes.lease / beatsInLease)
	defer tick.Stop()
	silent := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		bound, cancel := context.WithTimeout(ctx, q.nodes.lease/2)
		err := q.beat(bound)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrOtherFolder):
			q.opts.Failed(err)
			return
		case errors.Is(err, ErrNameTaken):
			q.opts.Failed(fmt.Errorf("[node] name %q: %w", q.opts.Node, err))
			return
		case err != nil && !silent:
			silent = true
			q.opts.Log.Error("queue_unreachable", zap.Error(err), zap.String("do", "reception goes on, work waits; it goes on by itself when the database is back"))
		case err == nil && silent:
			silent = false
			q.opts.Log.Info("queue_reachable")
		}
	}
}

// beat says that this node lives, takes back what dead ones left, and looks who
// the others are.
func (q *Queue) beat(ctx context.Context) error {
	n := q.nodes
	began := time.Now()
	done, err := q.db.ExecContext(ctx, `UPDATE pulmonode_node SET beat = now() WHERE client = $1`, n.client)
	if err != nil {
		return err
	}
	if here, err := done.RowsAffected(); err != nil {
		return err
	} else if here == 0 {
		if err := q.lost(ctx); err != nil {
			return err
		}
	}
	if err := q.setClock(ctx); err != nil {
		return err
	}
	q.mu.Lock()
	if began.Sub(n.last) > n.lease/2 {
		n.unbroken = began
	}
	n.last = began
	judges := began.Sub(n.unbroken) >= n.lease
	q.mu.Unlock()
	// After a pause of the database or of the network all beats are old, and
	// those who beat again are not to be told from the dead for a lease.
	if judges {
		if err := q.bury(ctx); err != nil {
			return err
		}
	}
	if err := q.lookAround(ctx); err != nil {
		return err
	}
	q.compare(q.Peers())
	return nil
}

// lost drops all work: another node took this one for dead.
func (q *Queue) lost(ctx context.Context) error {
	var taken bool
	if err := q.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pulmonode_node WHERE name = $1 AND `+alive("$2")+`)`,
		q.opts.Node, q.nodes.lease.Seconds()).Scan(&taken); err != nil {
		return err
	}
	q.mu.Lock()
	dropped := len(q.working)
	for _, drop := range q.working {
		drop(ErrLost)
	}
	q.mu.Unlock()
	if taken {
		return ErrNameTaken
	}
	q.opts.Log.Warn("lease_lost", zap.Int("jobs", dropped), zap.Error(ErrLost))
	return q.register(ctx)
}

// bury removes the dead and takes back the jobs of all that are not alive.
func (q *Queue) bury(ctx context.Context) error {
	return q.transaction(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `DELETE FROM pulmonode_node WHERE NOT (`+alive("$1")+`) RETURNING name`, q.nodes.lease.Seconds())
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				return err
			}
			q.opts.Log.Warn("node_dead", zap.String("node", name), zap.String("do", "its work goes on at the others; look at the machine"))
		}
		if err := rows.Err(); err != nil {
			return err
		}
		if err := q.takeBackOf(ctx, tx, `NOT EXISTS (SELECT FROM pulmonode_node n WHERE n.client = `+lastClient+`)`); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM pulmonode_arriving a WHERE last < now() - interval '1 day'
			AND NOT EXISTS (SELECT FROM pulmonode_node n WHERE n.client = a.client)`)
		return err
	})
}

// lookAround reads who lives.
func (q *Queue) lookAround(ctx context.Context) error {
	rows, err := q.db.QueryContext(ctx, `SELECT client, name, version, settings FROM pulmonode_node
		WHERE `+alive("$1")+` ORDER BY started, client`, q.nodes.lease.Seconds())
	if err != nil {
		return err
	}
	defer rows.Close()
	var peers []Peer
	before, first := 0, false
	for rows.Next() {
		var client, settings string
		var p Peer
		if err := rows.Scan(&client, &p.Name, &p.Version, &settings); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(settings), &p.Settings); err != nil {
			return err
		}
		if client == q.nodes.client {
			first = before == 0
		} else {
			before++
			peers = append(peers, p)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	q.mu.Lock()
	q.nodes.peers, q.nodes.first = peers, first
	q.mu.Unlock()
	return nil
}

// compare says once of each node that lives what it has set otherwise.
func (q *Queue) compare(peers []Peer) {
	for _, p := range peers {
		differ := strings.Join(p.Differs(q.opts.Settings), ", ")
		if differ != "" && q.nodes.said[p.Name] != differ {
			q.opts.Log.Warn("settings_differ", zap.String("node", p.Name), zap.String("sections", differ),
				zap.String("do", "what comes of a series now depends on which node works on it: give all nodes the same node.toml, but for [node] name"))
		}
		q.nodes.said[p.Name] = differ
	}
}

// differs reports whether a node that lives has something set otherwise.
func (q *Queue) differs() bool {
	return slices.ContainsFunc(q.Peers(), func(p Peer) bool { return len(p.Differs(q.opts.Settings)) > 0 })
}

// Differs lists the sections that the peer has set otherwise.
func (p Peer) Differs(settings map[string]string) (sections []string) {
	for _, section := range slices.Sorted(maps.Keys(settings)) {
		if p.Settings[section] != settings[section] {
			sections = append(sections, section)
		}
	}
	return sections
}

// Peers are the other nodes that share the queue and live.
func (q *Queue) Peers() []Peer {
	if q.nodes == nil {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.nodes.peers
}

// destinationsOfOthers are what the other nodes deliver to.
func (q *Queue) destinationsOfOthers(ctx context.Context) ([]string, error) {
	if q.nodes == nil {
		return nil, nil
	}
	rows, err := q.db.QueryContext(ctx, `SELECT DISTINCT jsonb_array_elements_text(destinations) FROM pulmonode_node WHERE client <> $1`, q.nodes.client)
	if err != nil {
		return nil, fmt.Errorf("reading the other nodes' destinations: %w", err)
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, fmt.Errorf("reading the other nodes' destinations: %w", err)
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

// Leads reports whether this node does what one of them does for all. Two may
// think so for a moment: what they then do twice does no harm.
func (q *Queue) Leads() bool {
	if q.nodes == nil {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.nodes.first
}

// held is nil while the job is this node's.
func (q *Queue) held(ctx context.Context, id int64) error {
	if q.nodes == nil {
		return nil
	}
	bound, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	var held bool
	err := q.db.QueryRowContext(bound, `SELECT EXISTS (SELECT FROM river_job WHERE id = $1 AND state = 'running' AND `+lastClient+` = $2)`, id, q.nodes.client).Scan(&held)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return Wait(q.nodes.lease/beatsInLease, fmt.Sprintf("whether another node has taken over cannot be told, the queue's database does not answer: %v", err))
	case !held:
		return ErrLost
	}
	return nil
}

// leave takes this node's name off the list; what it did not finish is the
// others' at once.
func (q *Queue) leave(ctx context.Context) error {
	return q.transaction(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM pulmonode_node WHERE client = $1`, q.nodes.client); err != nil {
			return err
		}
		return q.takeBackOf(ctx, tx, lastClient+` = $1`, q.nodes.client)
	})
}
