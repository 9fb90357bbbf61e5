package job

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	tracked "github.com/pulmonode/pulmonode/node/series"
	"github.com/pulmonode/pulmonode/node/store"
)

// Arriving is what the nodes tell one another of series that are coming in. Times
// go in and out as ages, so that only the database's clock counts.
type Arriving struct{ q *Queue }

// Arriving is nil where this node has the queue alone.
func (q *Queue) Arriving() tracked.Others {
	if q.nodes == nil {
		return nil
	}
	return Arriving{q}
}

// told is an Activity as the database takes it.
type told struct {
	Study     string  `json:"study"`
	Series    string  `json:"series"`
	First     float64 `json:"first_s"`
	Last      float64 `json:"last_s"`
	Ended     float64 `json:"ended_s"`
	Open      bool    `json:"open"`
	Properly  bool    `json:"properly"`
	Instances int     `json:"instances"`
	Expected  int     `json:"expected"`
}

// Tell says what this node knows, in place of what it said before.
func (a Arriving) Tell(ctx context.Context, list []tracked.Activity) error {
	rows := make([]told, len(list))
	for i, one := range list {
		rows[i] = told{one.Study, one.Series, one.First.Seconds(), one.Last.Seconds(), one.Ended.Seconds(), one.Open, one.Properly, one.Instances, one.Expected}
	}
	b, err := json.Marshal(rows)
	if err != nil {
		return err
	}
	_, err = a.q.db.ExecContext(ctx, `INSERT INTO pulmonode_arriving (study, series, client, first, last, ended, open, properly, instances, expected)
		SELECT t.study, t.series, $2, now() - make_interval(secs => t.first_s), now() - make_interval(secs => t.last_s), now() - make_interval(secs => t.ended_s),
			t.open, t.properly, t.instances, t.expected
		FROM jsonb_to_recordset($1::jsonb) AS t(study text, series text, first_s float8, last_s float8, ended_s float8, open boolean, properly boolean, instances integer, expected integer)
		ON CONFLICT (series, study, client) DO UPDATE SET first = excluded.first, last = excluded.last, ended = excluded.ended,
			open = excluded.open, properly = excluded.properly, instances = excluded.instances, expected = excluded.expected`,
		string(b), a.q.nodes.client)
	if err != nil {
		return fmt.Errorf("telling the other nodes of series that come in: %w", err)
	}
	return nil
}

// Ask returns what the other nodes know of a series. One that is dead has no
// association any more, and did not end it properly.
func (a Arriving) Ask(ctx context.Context, k store.Key) ([]tracked.Activity, error) {
	rows, err := a.q.db.QueryContext(ctx, `SELECT extract(epoch FROM now() - a.first)::float8, extract(epoch FROM now() - a.last)::float8, extract(epoch FROM now() - a.ended)::float8,
			a.open AND n.client IS NOT NULL, a.properly AND NOT a.open, a.instances, a.expected
		FROM pulmonode_arriving a LEFT JOIN pulmonode_node n ON n.client = a.client AND `+alive("$4")+`
		WHERE a.study = $1 AND a.series = $2 AND a.client <> $3`,
		k.Study, k.Series, a.q.nodes.client, a.q.nodes.lease.Seconds())
	if err != nil {
		return nil, fmt.Errorf("asking the other nodes of series %s: %w", k.Series, err)
	}
	defer rows.Close()
	var list []tracked.Activity
	for rows.Next() {
		one := tracked.Activity{Key: k}
		var first, last, ended float64
		if err := rows.Scan(&first, &last, &ended, &one.Open, &one.Properly, &one.Instances, &one.Expected); err != nil {
			return nil, fmt.Errorf("asking the other nodes of series %s: %w", k.Series, err)
		}
		one.First, one.Last, one.Ended = seconds(first), seconds(last), seconds(ended)
		list = append(list, one)
	}
	return list, rows.Err()
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// Forget takes back what this node told of series that it closed.
func (a Arriving) Forget(ctx context.Context, keys []store.Key) error {
	b, err := json.Marshal(keys)
	if err != nil {
		return err
	}
	_, err = a.q.db.ExecContext(ctx, `DELETE FROM pulmonode_arriving a USING jsonb_to_recordset($1::jsonb) AS t(study_instance_uid text, series_instance_uid text)
		WHERE a.study = t.study_instance_uid AND a.series = t.series_instance_uid AND a.client = $2`, string(b), a.q.nodes.client)
	if err != nil {
		return fmt.Errorf("telling the other nodes of closed series: %w", err)
	}
	return nil
}
