package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// knownFile lists what readers are known to be wrong about.
var knownFile = filepath.Join("testdata", "validate", "known.json")

// excuse is a known false positive of one version of a reader.
type excuse struct {
	Reader  string `json:"reader"`
	Version string `json:"version"`
	Case    string `json:"case,omitempty"`   // a regular expression; empty: any
	Object  string `json:"object,omitempty"` // likewise
	Message string `json:"message"`          // likewise
	Why     string `json:"why"`
}

func readKnown() ([]excuse, error) {
	b, err := os.ReadFile(knownFile)
	if err != nil {
		return nil, err
	}
	var list []excuse
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", knownFile, err)
	}
	for _, k := range list {
		for _, pattern := range []string{k.Case, k.Object, k.Message} {
			if _, err := regexp.Compile(pattern); err != nil {
				return nil, fmt.Errorf("%s: %w", knownFile, err)
			}
		}
		if k.Message == "" || k.Why == "" || k.Version == "" {
			return nil, fmt.Errorf("%s: each entry needs message, version and why", knownFile)
		}
	}
	return list, nil
}

// covers leaves aside what a reader runs in: a browser is another one each week.
func (k excuse) covers(f finding, version string) bool {
	version, _, _ = strings.Cut(version, " in ")
	return k.Reader == f.Reader && k.Version == version &&
		regexp.MustCompile(k.Case).MatchString(f.Case) && regexp.MustCompile(k.Object).MatchString(f.Object) && regexp.MustCompile(k.Message).MatchString(f.Message)
}

// addOthers takes the answers of the readers that were not asked from the run
// before, if it was of the same cases.
func (out *outcome) addOthers() {
	b, err := os.ReadFile("validate.json")
	var before outcome
	if err != nil || json.Unmarshal(b, &before) != nil || !slices.Equal(before.Cases, out.Cases) {
		return
	}
	asked := func(name string) bool {
		return slices.ContainsFunc(out.Readers, func(p presence) bool { return p.Reader == name })
	}
	var others outcome
	for _, p := range before.Readers {
		if !asked(p.Reader) {
			others.Readers = append(others.Readers, p)
		}
	}
	for _, v := range before.Verdicts {
		if !asked(v.Reader) {
			others.Verdicts = append(others.Verdicts, v)
		}
	}
	for _, f := range before.Findings {
		if !asked(f.Reader) {
			others.Findings = append(others.Findings, f)
		}
	}
	out.Readers, out.Verdicts, out.Findings = append(out.Readers, others.Readers...), append(out.Verdicts, others.Verdicts...), append(out.Findings, others.Findings...)
	place := func(p presence) int {
		return slices.IndexFunc(readers, func(r reader) bool { return r.name == p.Reader })
	}
	slices.SortStableFunc(out.Readers, func(a, b presence) int { return place(a) - place(b) })
}

// write prints the table and the Errors that nobody expected. A run of all cases
// is kept in validate.json and docs/validation.md.
func (out *outcome) write(known []excuse, whole bool) error {
	table := out.table()
	fmt.Println(table)
	for _, f := range out.Findings {
		if f.Known == "" {
			fmt.Printf("%s | %s | %s | %.400s\n", f.Case, f.Object, f.Reader, f.Message)
		}
	}
	if !whole || len(out.Readers) < len(readers) {
		return nil
	}
	b, err := json.MarshalIndent(out, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile("validate.json", append(b, '\n'), 0o666); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join("docs", "validation.md"), []byte(out.page(table, known)), 0o666)
}

// table has a line for each case and a column for each reader.
func (out *outcome) table() string {
	var b strings.Builder
	row := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	head, rule := []string{"case"}, []string{"---"}
	for _, r := range out.Readers {
		head, rule = append(head, r.Reader), append(rule, "---")
	}
	row(head)
	row(rule)
	for _, name := range out.Cases {
		cells := []string{name}
		for _, r := range out.Readers {
			cells = append(cells, out.cell(name, r))
		}
		row(cells)
	}
	return b.String()
}

func (out *outcome) cell(name string, r presence) string {
	if r.Missing != "" {
		return "not here"
	}
	i := slices.IndexFunc(out.Verdicts, func(v verdict) bool { return v.Case == name && v.Reader == r.Reader })
	switch v := out.Verdicts[i]; {
	case v.Read == 0:
		return "-"
	case v.Errors > 0:
		return fmt.Sprintf("**%d Errors** of %d", v.Errors, v.Read)
	case v.Known > 0:
		return fmt.Sprintf("%d read, %d known", v.Read, v.Known)
	default:
		return fmt.Sprintf("%d read", v.Read)
	}
}

// page is docs/validation.md.
func (out *outcome) page(table string, known []excuse) string {
	var b strings.Builder
	b.WriteString("# What other makers' readers say\n\n")
	b.WriteString("Written by `make validate`. Each case is a small CT with known nodules; from it a segmentation, reports of all\n")
	b.WriteString("classes and key images are written and given to the readers. A cell says how many objects a reader read without an\n")
	b.WriteString("Error; those that compare (highdicom, dcmqi, dcmjs, the adapters, Orthanc, OHIF) found the voxels and measurements\n")
	b.WriteString("that were put in. \"known\" are false positives, listed below; \"-\" means that the case has nothing for the reader.\n\n")
	b.WriteString(table)
	b.WriteString("\n## Readers\n\n| reader | version | seconds |\n| --- | --- | --- |\n")
	for _, r := range out.Readers {
		if r.Missing != "" {
			fmt.Fprintf(&b, "| %s | not here: %s | |\n", r.Reader, r.Missing)
		} else {
			fmt.Fprintf(&b, "| %s | %s | %.0f |\n", r.Reader, r.Version, r.Seconds)
		}
	}
	b.WriteString("\n## Known false positives\n\nFrom `testdata/validate/known.json`; each holds for that version of the reader alone.\n\n")
	b.WriteString("| reader | version | message | why it is none | times |\n| --- | --- | --- | --- | --- |\n")
	for _, k := range known {
		times := 0
		for _, f := range out.Findings {
			if f.Known == k.Why && f.Reader == k.Reader {
				times++
			}
		}
		fmt.Fprintf(&b, "| %s | %s | `%s` | %s | %d |\n", k.Reader, k.Version, strings.ReplaceAll(k.Message, "|", `\|`), k.Why, times)
	}
	if unexpected := slices.DeleteFunc(slices.Clone(out.Findings), func(f finding) bool { return f.Known != "" }); len(unexpected) > 0 {
		b.WriteString("\n## Errors\n\n")
		for _, f := range unexpected {
			fmt.Fprintf(&b, "- %s, %s, %s: %.400s\n", f.Case, f.Object, f.Reader, f.Message)
		}
	}
	return b.String()
}
