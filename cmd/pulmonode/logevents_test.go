package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// logged is an event of the log as the source has it.
type logged struct {
	levels map[string]bool
	fields map[string]bool // that stand in the call; others may be appended
	nearby map[string]bool // of the files that log it
	at     []string
}

var levels = map[string]string{"Debug": "debug", "Info": "info", "Warn": "warn", "Error": "error", "DPanic": "", "Panic": "", "Fatal": "", "Log": "", "Check": ""}

// logCalls finds every call of a zap logger below the folders: what is called log,
// Log or logger, or is given zap's fields.
func logCalls(t *testing.T, folders ...string) map[string]*logged {
	t.Helper()
	events := map[string]*logged{}
	for _, folder := range folders {
		err := filepath.WalkDir(filepath.Join("../..", folder), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, path, nil, 0)
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"go.uber.org/zap"` }) {
				return nil
			}
			nearby := keysIn(file) // a logger may have fields of its own
			ast.Inspect(file, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok || !isLogger(call) {
					return true
				}
				at := set.Position(call.Pos()).String()
				level := levels[call.Fun.(*ast.SelectorExpr).Sel.Name]
				name, err := "", error(nil)
				if lit, ok := call.Args[0].(*ast.BasicLit); ok {
					name, err = strconv.Unquote(lit.Value)
				}
				if level == "" || name == "" || err != nil || !eventName.MatchString(name) {
					t.Errorf("%s: an event is logged by Debug, Info, Warn or Error with a literal name in snake_case", at)
					return true
				}
				one := events[name]
				if one == nil {
					one = &logged{levels: map[string]bool{}, fields: map[string]bool{}, nearby: map[string]bool{}}
					events[name] = one
				}
				one.levels[level] = true
				one.at = append(one.at, at)
				for _, arg := range call.Args[1:] {
					maps.Copy(one.fields, keysIn(arg))
				}
				maps.Copy(one.nearby, nearby)
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return events
}

var eventName = regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)

func isLogger(call *ast.CallExpr) bool {
	s, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) == 0 {
		return false
	}
	if _, ok := levels[s.Sel.Name]; !ok {
		return false
	}
	of := ""
	switch x := s.X.(type) {
	case *ast.Ident:
		of = x.Name
	case *ast.SelectorExpr:
		of = x.Sel.Name
	}
	return strings.EqualFold(of, "log") || strings.EqualFold(of, "logger") || slices.ContainsFunc(call.Args, func(a ast.Expr) bool {
		c, ok := a.(*ast.CallExpr)
		return ok && fieldKey(c) != ""
	})
}

// fieldKey is the name of a zap field.
func fieldKey(c *ast.CallExpr) string {
	s, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if x, ok := s.X.(*ast.Ident); !ok || x.Name != "zap" {
		return ""
	}
	if s.Sel.Name == "Error" {
		return "error"
	}
	if len(c.Args) == 0 {
		return ""
	}
	lit, ok := c.Args[0].(*ast.BasicLit)
	if !ok {
		return ""
	}
	key, _ := strconv.Unquote(lit.Value)
	return key
}

func keysIn(n ast.Node) map[string]bool {
	keys := map[string]bool{}
	ast.Inspect(n, func(n ast.Node) bool {
		if c, ok := n.(*ast.CallExpr); ok {
			if key := fieldKey(c); key != "" {
				keys[key] = true
			}
		}
		return true
	})
	return keys
}

// documented is a row of docs/log.md.
type documented struct{ levels, fields []string }

var code = regexp.MustCompile("`([a-z_]+)`")

func words(cell string) (list []string) {
	for _, m := range code.FindAllStringSubmatch(cell, -1) {
		list = append(list, m[1])
	}
	return list
}

func logTable(t *testing.T) map[string]documented {
	t.Helper()
	text, err := os.ReadFile("../../docs/log.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]documented{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		name := words(cells[0])
		if !strings.HasPrefix(line, "| `") || len(cells) != 5 || len(name) != 1 {
			continue
		}
		if _, twice := rows[name[0]]; twice {
			t.Errorf("docs/log.md has %s twice", name[0])
		}
		if len(strings.Fields(cells[2])) < 2 {
			t.Errorf("docs/log.md says nothing of when %s comes", name[0])
		}
		rows[name[0]] = documented{strings.Fields(strings.ReplaceAll(cells[1], ",", " ")), words(cells[3])}
	}
	return rows
}

// Whoever adds an event to the log adds its row to docs/log.md, and takes it out
// with it: people search and alarm by these names.
func TestEveryLogEventIsDocumented(t *testing.T) {
	events, rows := logCalls(t, "node", "inference", "cmd/pulmonode"), logTable(t)
	if len(events) < 50 {
		t.Fatalf("%d events were found", len(events))
	}
	for _, name := range slices.Sorted(maps.Keys(events)) {
		e, row := events[name], rows[name]
		if row.levels == nil {
			t.Errorf("docs/log.md has no row of %s: | `%s` | %s | when | `%s` | what to do | (%s)", name, name,
				strings.Join(slices.Sorted(maps.Keys(e.levels)), ", "), strings.Join(slices.Sorted(maps.Keys(e.fields)), "`, `"), e.at[0])
			continue
		}
		slices.Sort(row.levels)
		if want := slices.Sorted(maps.Keys(e.levels)); !slices.Equal(row.levels, want) {
			t.Errorf("docs/log.md: %s is logged as %v, the row says %v", name, want, row.levels)
		}
		for _, field := range slices.Sorted(maps.Keys(e.fields)) {
			if field != "do" && !slices.Contains(row.fields, field) {
				t.Errorf("docs/log.md: %s has the field `%s` too", name, field)
			}
		}
		for _, field := range row.fields {
			if !e.nearby[field] {
				t.Errorf("docs/log.md: %s has no field %s", name, field)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		if events[name] == nil {
			t.Errorf("docs/log.md has a row of %s, which nothing logs", name)
		}
	}
}
