package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pulmonode/pulmonode/inference/result"
)

var update = flag.Bool("update", false, "write anew what is made from the program: openapi.json, the table of metrics in OPERATIONS.md")

const (
	operationsFile = "../../OPERATIONS.md"
	rulesFolder    = "../../deploy/prometheus"
	alertsFile     = rulesFolder + "/alerts.yml"
	dashboardFile  = "../../deploy/grafana/pulmonode.json"
)

// metric is one family as a node shows it.
type metric struct {
	name, kind, help string
	labels           map[string][]string // values, by label
}

// measured is a server all of whose metrics have a value, and what they are.
func measured(t *testing.T) (*Server, map[string]metric) {
	t.Helper()
	h := newHouse(t)
	m := NewMetrics()
	m.Expect([]string{"CT1"}, []string{"pacs", "ris"})
	m.Attempted("pacs", true)
	m.AuditWaiting(func() float64 { return 0 })
	s := New(Options{
		Store: h.store, Queue: h.queue, Destinations: both, Metrics: m,
		Ready: func(context.Context) []Check {
			return []Check{{Name: "disk"}, {Name: "queue"}, {Name: "models"}, {Name: "analyses"}, {Name: "listener"}}
		},
		Algorithm: func() (result.Algorithm, error) {
			return result.Algorithm{Provider: "cpu", Models: []result.Model{{Role: "localize", Version: "1", SHA256: "0123456789abcdef"}}}, nil
		},
		Facts: Facts{Watermark: 1, MaxAssociations: 64, Provider: "auto", Certificates: func() map[string]time.Time { return map[string]time.Time{"tls": time.Now()} }},
	})
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]metric{}
	for _, f := range families {
		one := metric{f.GetName(), strings.ToLower(f.GetType().String()), f.GetHelp(), map[string][]string{}}
		for _, row := range f.GetMetric() {
			for _, l := range row.GetLabel() {
				if !slices.Contains(one.labels[l.GetName()], l.GetValue()) {
					one.labels[l.GetName()] = append(one.labels[l.GetName()], l.GetValue())
				}
			}
		}
		all[one.name] = one
	}
	// What is described and was not gathered would escape every test below.
	described := make(chan *prometheus.Desc, 1000)
	m.registry.Describe(described)
	close(described)
	for d := range described {
		name := regexp.MustCompile(`fqName: "([^"]*)"`).FindStringSubmatch(d.String())[1]
		if _, ok := all[name]; !ok && strings.HasPrefix(name, "pulmonode_") {
			t.Errorf("%s has no value in this test", name)
		}
	}
	return s, all
}

// ours are the names of the node's own metrics, sorted.
func ours(all map[string]metric) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(n string) bool { return !strings.HasPrefix(n, "pulmonode_") })
}

func TestMetricsAreThoseOfOPERATIONS(t *testing.T) {
	_, all := measured(t)
	var table strings.Builder
	table.WriteString("| metric | kind | labels | meaning |\n|---|---|---|---|\n")
	for _, name := range ours(all) {
		m := all[name]
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", name, m.kind, strings.Join(slices.Sorted(maps.Keys(m.labels)), ", "), m.help)
	}
	const begin, end = "<!-- The table of metrics, written by: go test ./node/admin -run Metrics -update -->\n", "<!-- End of the table. -->\n"
	text, err := os.ReadFile(operationsFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(text), begin)
	written, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("OPERATIONS.md has no place for the table of metrics between %q and %q", begin, end)
	}
	if *update {
		if err := os.WriteFile(operationsFile, []byte(before+begin+table.String()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if written != table.String() {
		t.Errorf("OPERATIONS.md lists other metrics than there are: run go test ./node/admin -run Metrics -update\n%s", table.String())
	}
}

var (
	nameInQuery  = regexp.MustCompile(`\b(pulmonode_\w+|process_\w+|go_\w+|up)\b(?:\{([^}]*)\})?`)
	matcher      = regexp.MustCompile(`(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	labelsListed = regexp.MustCompile(`\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)`)
	labelsShown  = regexp.MustCompile(`\$labels\.(\w+)`)
	histogramEnd = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// unlisted are the labels whose values are names of the configuration or the
// machine's, not from a list.
var unlisted = []string{"instance", "job", "source", "destination", "provider", "wanted", "version", "goversion", "sha256", "use", "role"}

// faultsOf says what of a query no node could answer.
func faultsOf(query string, all map[string]metric) (faults []string, labels map[string]bool) {
	labels = map[string]bool{"instance": true, "job": true}
	found := nameInQuery.FindAllStringSubmatch(query, -1)
	if len(found) == 0 {
		return []string{"it names no metric"}, labels
	}
	for _, f := range found {
		name, matchers := f[1], f[2]
		m, ok := all[name]
		if base := histogramEnd.ReplaceAllString(name, ""); !ok && all[base].kind == "histogram" {
			m, ok = all[base], true
			labels["le"] = true
		}
		if name == "up" {
			m, ok = metric{name: "up"}, true
		}
		if !ok {
			faults = append(faults, "there is no metric "+name)
			continue
		}
		for l := range m.labels {
			labels[l] = true
		}
		for _, one := range matcher.FindAllStringSubmatch(matchers, -1) {
			label, values := one[1], one[3]
			if label == "instance" || label == "job" {
				continue
			}
			known, ok := m.labels[label]
			if !ok {
				faults = append(faults, name+" has no label "+label)
				continue
			}
			if slices.Contains(unlisted, label) {
				continue
			}
			for v := range strings.SplitSeq(values, "|") {
				if !slices.Contains(known, v) {
					faults = append(faults, fmt.Sprintf("%s of %s is never %q: it is one of %q", label, name, v, known))
				}
			}
		}
	}
	for _, list := range labelsListed.FindAllStringSubmatch(query, -1) {
		for l := range strings.SplitSeq(list[1], ",") {
			if l = strings.TrimSpace(l); l != "" && !labels[l] {
				faults = append(faults, "no metric in it has the label "+l)
			}
		}
	}
	return faults, labels
}

// A query that names what there is not is found out: the tests that use this can
// fail.
func TestFaultyQueriesAreFoundOut(t *testing.T) {
	_, all := measured(t)
	for query, want := range map[string]string{
		`pulmonode_ready{part="disk"} == 0`:                                    "",
		`rate(pulmonode_turnaround_seconds_bucket[5m])`:                        "",
		`pulmonode_redy == 0`:                                                  "there is no metric pulmonode_redy",
		`pulmonode_ready{part="disc"}`:                                         `part of pulmonode_ready is never "disc"`,
		`pulmonode_ready{piece="disk"}`:                                        "has no label piece",
		`sum by (reason) (pulmonode_instances_total)`:                          "no metric in it has the label reason",
		`pulmonode_series_bucket`:                                              "there is no metric pulmonode_series_bucket",
		`sum by (le) (rate(pulmonode_store_seconds_bucket[5m]))`:               "",
		`pulmonode_instances_total{outcome=~"full|fool"}`:                      `never "fool"`,
		`histogram_quantile(0.5, sum by (le) (pulmonode_store_seconds_count))`: "",
		`1 + 1`: "it names no metric",
	} {
		faults, _ := faultsOf(query, all)
		if got := strings.Join(faults, "; "); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}

// rule is an alert of alerts.yml, which this test reads as it is written: one
// line a field.
type rule map[string]string

func alerts(t *testing.T) (rules []rule) {
	t.Helper()
	text, err := os.ReadFile(alertsFile)
	if err != nil {
		t.Fatal(err)
	}
	field := regexp.MustCompile(`^ +(?:- )?(alert|expr|for|severity|summary|description|runbook_url): (.*)$`)
	for line := range strings.Lines(string(text)) {
		f := field.FindStringSubmatch(strings.TrimRight(line, "\n"))
		switch {
		case f == nil:
			continue
		case f[1] == "alert":
			rules = append(rules, rule{})
		}
		rules[len(rules)-1][f[1]] = f[2]
	}
	return rules
}

func TestAlertsNameWhatThereIsAndSayWhatToDo(t *testing.T) {
	_, all := measured(t)
	operations, err := os.ReadFile(operationsFile)
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(operations), "\n## Alarms\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var headings, names []string
	for _, h := range regexp.MustCompile(`(?m)^### (\w+)$`).FindAllStringSubmatch(section, -1) {
		headings = append(headings, h[1])
	}
	rules := alerts(t)
	if len(rules) < 15 {
		t.Fatalf("only %d alerts were read", len(rules))
	}
	for _, r := range rules {
		names = append(names, r["alert"])
		faults, labels := faultsOf(r["expr"], all)
		for _, l := range labelsShown.FindAllStringSubmatch(r["summary"]+r["description"], -1) {
			if !labels[l[1]] {
				faults = append(faults, "its words show the label "+l[1]+", which it has not")
			}
		}
		for _, f := range faults {
			t.Errorf("%s: %s", r["alert"], f)
		}
		if r["for"] == "" || r["severity"] != "critical" && r["severity"] != "warning" || len(r["summary"]) < 10 || len(r["description"]) < 40 {
			t.Errorf("%s lacks something: %v", r["alert"], r)
		}
		if want := "OPERATIONS.md#" + strings.ToLower(r["alert"]); r["runbook_url"] != want {
			t.Errorf("%s: the runbook is %s, want %s", r["alert"], r["runbook_url"], want)
		}
	}
	if !slices.Equal(names, headings) {
		t.Errorf("the alerts are\n%q, and OPERATIONS.md, \"Alarms\", speaks of\n%q", names, headings)
	}
}

// panelQueries are the dashboard's queries, by panel.
func panelQueries(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		UID    string `json:"uid"`
		Panels []struct {
			Title, Type string
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct {
				Expr string `json:"expr"`
			}
		}
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	queries := map[string][]string{}
	rows := map[string]bool{}
	for i, p := range d.Panels {
		if p.Type == "row" {
			rows[p.Title] = true
			continue
		}
		if len(p.Targets) == 0 || len(queries[p.Title]) > 0 {
			t.Errorf("panel %q has no query, or its title twice", p.Title)
		}
		for _, q := range p.Targets {
			queries[p.Title] = append(queries[p.Title], q.Expr)
		}
		for _, o := range d.Panels[:i] {
			a, b := p.GridPos, o.GridPos
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("%q lies on %q", p.Title, o.Title)
			}
		}
	}
	for _, want := range []string{"At a glance", "Reception", "Queue and analysis", "Deliveries", "Disk", "Process"} {
		if !rows[want] {
			t.Errorf("the dashboard has no row %q", want)
		}
	}
	return queries
}

func TestDashboardNamesWhatThereIs(t *testing.T) {
	_, all := measured(t)
	shown := map[string]bool{}
	for title, queries := range panelQueries(t) {
		for _, q := range queries {
			faults, _ := faultsOf(q, all)
			for _, f := range faults {
				t.Errorf("panel %q: %s", title, f)
			}
			for _, name := range nameInQuery.FindAllStringSubmatch(q, -1) {
				shown[name[1]], shown[histogramEnd.ReplaceAllString(name[1], "")] = true, true
			}
		}
	}
	for _, name := range ours(all) {
		if !shown[name] {
			t.Errorf("no panel shows %s", name)
		}
	}
}

// promtool runs Prometheus' own judge; it is in Debian's package prometheus.
func promtool(t *testing.T, in []byte, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed: apt-get install prometheus, or make alerts")
	}
	c := exec.CommandContext(t.Context(), path, args...)
	c.Stdin = bytes.NewReader(in)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestAlertsByPromtool(t *testing.T) {
	promtool(t, nil, "check", "config", rulesFolder+"/prometheus.yml")
	promtool(t, nil, "test", "rules", rulesFolder+"/alerts_test.yml")
	tested, err := os.ReadFile(rulesFolder + "/alerts_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range alerts(t) {
		if !regexp.MustCompile(`alertname: ` + r["alert"] + `\n        exp_alerts:\n`).Match(tested) {
			t.Errorf("no test has %s come", r["alert"])
		}
	}
}

// Grafana's queries become rules, for promtool has no other way to look at them.
func TestDashboardByPromtool(t *testing.T) {
	var rules strings.Builder
	rules.WriteString("groups:\n  - name: dashboard\n    rules:\n")
	n := 0
	for _, queries := range panelQueries(t) {
		for _, q := range queries {
			n++
			q = strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*").Replace(q)
			if strings.Contains(q, "$") {
				t.Errorf("%s has a variable that this test does not know", q)
			}
			fmt.Fprintf(&rules, "      - record: panel:%d\n        expr: '%s'\n", n, strings.ReplaceAll(q, "'", "''"))
		}
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := promtool(t, nil, "check", "rules", file); !strings.Contains(out, fmt.Sprintf("%d rules found", n)) {
		t.Errorf("%d queries, and promtool says %s", n, out)
	}
}

func TestMetricsByPromtool(t *testing.T) {
	s, _ := measured(t)
	h := &house{t: t, Server: s}
	if said := promtool(t, h.ask("GET", "/metrics", nil).Body.Bytes(), "check", "metrics"); said != "" {
		t.Errorf("promtool says of the metrics: %s", said)
	}
}
