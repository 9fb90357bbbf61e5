// Command validate is `make validate`: it writes results of many kinds of CT,
// gives them to other makers' readers and says what each reader says, as a table
// of cases and readers. An Error that is not among the known false positives ends
// it with 1; a reader that is not here is named with the reason and never passes.
//
// It writes validate.json and docs/validation.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// validation is one run.
type validation struct {
	ctx    context.Context
	dir    string // of the objects
	cache  string // of what was installed for this command
	python string
	update bool
}

// verdict is what a reader says of a case.
type verdict struct {
	Case   string `json:"case"`
	Reader string `json:"reader"`
	Read   int    `json:"read"`   // objects that it was given
	Errors int    `json:"errors"` // that nobody expected
	Known  int    `json:"known"`  // false positives
}

// presence says whether a reader is here.
type presence struct {
	Reader  string  `json:"reader"`
	Version string  `json:"version,omitempty"`
	Missing string  `json:"missing,omitempty"`
	Seconds float64 `json:"seconds"`
}

// outcome is the whole of validate.json.
type outcome struct {
	Cases    []string   `json:"cases"`
	Readers  []presence `json:"readers"`
	Verdicts []verdict  `json:"verdicts"`
	Findings []finding  `json:"findings"`
}

func main() {
	v := &validation{python: os.Getenv("PULMONODE_PYTHON")}
	onlyCase := flag.String("case", "", "only the cases whose names begin so")
	onlyReader := flag.String("reader", "", "ask only the readers whose names begin so; the others' answers stay as they are in validate.json")
	flag.StringVar(&v.cache, "cache", ".cache/validate", "the folder of the readers that make validate installs")
	flag.StringVar(&v.dir, "keep", "", "a folder for the objects, which stay there; else a temporary one")
	flag.BoolVar(&v.update, "update", false, "write the golden texts anew")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	v.ctx = ctx
	bad, err := v.run(*onlyCase, *onlyReader)
	if err != nil {
		fmt.Fprintln(os.Stderr, "validate:", err)
		os.Exit(1)
	}
	if bad > 0 {
		fmt.Fprintf(os.Stderr, "validate: %d unexpected Errors: correct what writes the object, or, where the reader is wrong, add it to %s with the reason\n", bad, knownFile)
		os.Exit(1)
	}
}

// run returns how many Errors were not expected.
func (v *validation) run(onlyCase, onlyReader string) (int, error) {
	if v.dir == "" {
		dir, err := os.MkdirTemp("", "pulmonode-validate-")
		if err != nil {
			return 0, err
		}
		defer os.RemoveAll(dir)
		v.dir = dir
	}
	var err error
	if v.cache, err = filepath.Abs(v.cache); err != nil {
		return 0, err
	}
	known, err := readKnown()
	if err != nil {
		return 0, err
	}
	var out outcome
	var objects []object
	for i := range cases {
		if !strings.HasPrefix(cases[i].name, onlyCase) {
			continue
		}
		made, err := cases[i].objects(v.ctx, v.dir)
		if err != nil {
			return 0, fmt.Errorf("case %q: %w", cases[i].name, err)
		}
		objects = append(objects, made...)
		out.Cases = append(out.Cases, cases[i].name)
	}
	fmt.Fprintf(os.Stderr, "%d objects of %d cases\n", len(objects), len(out.Cases))
	asked := slices.DeleteFunc(slices.Clone(readers), func(r reader) bool { return !strings.HasPrefix(r.name, onlyReader) })
	answers := make([]outcome, len(asked))
	var group sync.WaitGroup
	places := make(chan struct{}, 2) // Java and the browser leave a core idle at times
	for i, r := range asked {
		answers[i].Cases = out.Cases
		places <- struct{}{}
		group.Go(func() {
			v.ask(r, objects, known, &answers[i])
			<-places
		})
	}
	group.Wait()
	if err := v.ctx.Err(); err != nil { // readers that were ended have not read
		return 0, err
	}
	for _, a := range answers {
		out.Readers, out.Verdicts, out.Findings = append(out.Readers, a.Readers...), append(out.Verdicts, a.Verdicts...), append(out.Findings, a.Findings...)
	}
	if !slices.ContainsFunc(out.Readers, func(p presence) bool { return p.Missing == "" }) {
		return 0, errors.New("no reader is here: make validate installs them")
	}
	bad := 0
	for _, x := range out.Verdicts {
		bad += x.Errors
	}
	if onlyReader != "" {
		out.addOthers()
	}
	return bad, out.write(known, onlyCase == "")
}

// ask gives a reader all objects of its kinds.
func (v *validation) ask(r reader, all []object, known []excuse, out *outcome) {
	here := presence{Reader: r.name}
	var err error
	if here.Version, err = r.version(v); err != nil {
		here.Missing = err.Error()
		out.Readers = append(out.Readers, here)
		fmt.Fprintf(os.Stderr, "%-22s not here: %v\n", r.name, err)
		return
	}
	var objects []object
	for _, o := range all {
		if r.takes(v.caseOf(o), o) {
			objects = append(objects, o)
		}
	}
	began := time.Now()
	findings := r.read(v, objects)
	here.Seconds = float64(time.Since(began).Round(100*time.Millisecond)) / 1e9
	out.Readers = append(out.Readers, here)
	byName := map[string]*verdict{}
	for _, name := range out.Cases {
		byName[name] = &verdict{Case: name, Reader: r.name}
	}
	for _, o := range objects {
		byName[o.Case].Read++
	}
	for _, f := range findings {
		f.Reader = r.name
		for _, k := range known {
			if k.covers(f, here.Version) {
				f.Known = k.Why
				break
			}
		}
		if f.Known == "" {
			byName[f.Case].Errors++
		} else {
			byName[f.Case].Known++
		}
		out.Findings = append(out.Findings, f)
	}
	for _, name := range out.Cases {
		out.Verdicts = append(out.Verdicts, *byName[name])
	}
	fmt.Fprintf(os.Stderr, "%-22s %-28s %4d objects, %d Errors, %.0f s\n", r.name, here.Version, len(objects), len(findings), here.Seconds)
}

func (v *validation) ctOf(name string) string { return filepath.Join(v.dir, "ct", slug(name)) }

func (v *validation) caseOf(o object) *specimen {
	return &cases[slices.IndexFunc(cases, func(c specimen) bool { return c.name == o.Case })]
}
