package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/admin"
)

func jobsCommand() *cobra.Command {
	j := &jobs{}
	c := &cobra.Command{
		Use:   "jobs",
		Short: "Show the series and their work; retry, cancel or deliver it again",
		Long: `Asks the running node through its admin address ([admin] listen), over TLS where it
has a certificate. Where it asks who comes, name yourself with --user and put the
password into ` + passwordVariable + ` or a file (--password-file), or show a certificate
(--cert, --key).`,
		Example: `  pulmonode jobs list --config /etc/pulmonode/node.toml
  pulmonode jobs list --state failed --json
  pulmonode jobs show 1.2.840.113619.2.55
  pulmonode jobs retry 1.2.840.113619.2.55 --destination pacs
  pulmonode jobs deliver 1.2.840.113619.2.55 --destination pacs
  pulmonode jobs list --admin https://node1:8042 --ca hospital.pem --user ann`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("jobs has no command %q; it has list, show, retry, cancel and deliver", args[0])}
			}
			return c.Help()
		},
	}
	j.flags(c)
	c.PersistentFlags().BoolVar(&j.json, "json", false, "print JSON")
	c.AddCommand(j.list(), j.show(), j.act("retry", "Try failed work of a series again"), j.act("cancel", "Give up the waiting or running work of a series"),
		j.act("deliver", "Send what destinations have confirmed once more: the same objects, UIDs and bytes"))
	return c
}

type jobs struct {
	asker
	json bool
}

// zoned is how times are shown: the reader's own, and which that is.
const zoned = "2006-01-02 15:04:05 MST"

func (j *jobs) list() *cobra.Command {
	var state string
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the series, the latest change first",
		Example: "  pulmonode jobs list\n  pulmonode jobs list --state failed",
		Args:    exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			path := "/api/v1/series"
			if state != "" {
				path += "?state=" + url.QueryEscape(state)
			}
			var list admin.List
			body, err := j.ask(c.Context(), http.MethodGet, path, &list)
			if err != nil || j.json {
				return j.print(c.OutOrStdout(), body, err)
			}
			w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "SERIES\tSTATE\tSLICES\tCHANGED\t")
			for _, s := range list.Series {
				fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", s.Series, s.State, s.Instances, s.Changed.Local().Format(zoned), strings.ReplaceAll(s.Sentence, "\n", " "))
			}
			if err := w.Flush(); err != nil {
				return err
			}
			if left := list.Total - len(list.Series); left > 0 {
				fmt.Fprintf(c.OutOrStdout(), "and %d more; --state narrows it down\n", left)
			}
			return nil
		},
	}
	var names []string
	for _, s := range admin.States {
		names = append(names, string(s))
	}
	c.Flags().StringVar(&state, "state", "", "only those in this state: "+strings.Join(names, ", "))
	return c
}

func (j *jobs) show() *cobra.Command {
	return &cobra.Command{
		Use:     "show SERIES",
		Short:   "Show one series: why it is where it is, and each delivery",
		Example: "  pulmonode jobs show 1.2.840.113619.2.55",
		Args:    exactly("SERIES"),
		RunE: func(c *cobra.Command, args []string) error {
			path, err := j.path(c.Context(), args[0])
			if err != nil {
				return err
			}
			var d admin.Detail
			body, err := j.ask(c.Context(), http.MethodGet, path, &d)
			if err != nil || j.json {
				return j.print(c.OutOrStdout(), body, err)
			}
			return printDetail(c.OutOrStdout(), &d)
		},
	}
}

func printDetail(out io.Writer, d *admin.Detail) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "series\t%s\nstudy\t%s\nstate\t%s\n\t%s\n", d.Series.Series, d.Study, d.State, d.Sentence)
	for _, c := range d.Closings {
		fmt.Fprintf(w, "generation %d\tcomplete %s, images: %d; %s\n", c.Generation, c.Time.Local().Format(zoned), c.Instances, c.Because())
	}
	for _, g := range d.Generations {
		if g.Outcome == result.OutcomeSkipped || g.Outcome == result.OutcomeFailed {
			fmt.Fprintf(w, "\tresult %d: %s: %s\n", g.Generation, g.Outcome, g.Reason)
			continue
		}
		fmt.Fprintf(w, "\tresult %d: analysed, nodules found: %d\n", g.Generation, g.Nodules)
	}
	if a := d.Analysis; a != nil {
		if a.State == "cancelled" {
			fmt.Fprintf(w, "analysis\tcancelled by a person\n")
		} else {
			fmt.Fprintf(w, "analysis\t%s, attempt %d of %d %s\n", a.State, a.Attempt, a.MaxAttempts, a.Stage)
		}
		if a.LastError != "" {
			fmt.Fprintf(w, "\t%s\n", a.LastError)
		}
	}
	for _, v := range d.Deliveries {
		fmt.Fprintf(w, "to %s\tgeneration %d: %s, %d of %d objects. %s\n", v.Destination, v.Generation, v.State, v.Stored, v.Objects, v.Sentence)
		if v.Job != nil && v.Job.Next != nil {
			fmt.Fprintf(w, "\tnext attempt %s\n", v.Job.Next.Local().Format(zoned))
		}
	}
	for _, uid := range d.Conflicts {
		fmt.Fprintf(w, "conflict\t%s came again with other bytes; both are kept\n", uid)
	}
	return w.Flush()
}

func (j *jobs) act(verb, short string) *cobra.Command {
	var destination string
	c := &cobra.Command{
		Use:     verb + " SERIES",
		Short:   short,
		Example: fmt.Sprintf("  pulmonode jobs %s 1.2.840.113619.2.55\n  pulmonode jobs %s 1.2.840.113619.2.55 --destination pacs", verb, verb),
		Args:    exactly("SERIES"),
		RunE: func(c *cobra.Command, args []string) error {
			path, err := j.path(c.Context(), args[0])
			if err != nil {
				return err
			}
			path += "/" + verb
			if destination != "" {
				path += "?destination=" + url.QueryEscape(destination)
			}
			var a admin.Answer
			body, err := j.ask(c.Context(), http.MethodPost, path, &a)
			if err != nil || j.json {
				return j.print(c.OutOrStdout(), body, err)
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), a.Done)
			return err
		},
	}
	c.Flags().StringVar(&destination, "destination", "", "only the delivery to this destination")
	return c
}

// path finds a series by its UID, or the beginning of it, and returns its place in the API.
func (j *jobs) path(ctx context.Context, uid string) (string, error) {
	var list admin.List
	if _, err := j.ask(ctx, http.MethodGet, "/api/v1/series?series="+url.QueryEscape(uid), &list); err != nil {
		return "", err
	}
	var found []admin.Series
	for _, s := range list.Series {
		if s.Series == uid {
			found = []admin.Series{s}
			break
		}
		if strings.HasPrefix(s.Series, uid) {
			found = append(found, s)
		}
	}
	switch len(found) {
	case 1:
		return "/api/v1/series/" + found[0].Study + "/" + found[0].Series, nil
	case 0:
		return "", fmt.Errorf("the node keeps no series %s (pulmonode jobs list shows what it keeps)", uid)
	default:
		return "", fmt.Errorf("%d series begin with %s; give the whole UID", len(found), uid)
	}
}

// print writes the API's own JSON.
func (j *jobs) print(out io.Writer, body []byte, err error) error {
	if err != nil {
		return err
	}
	_, err = out.Write(append(bytes.TrimSpace(body), '\n'))
	return err
}
