package admin

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/inference/result"
)

// operations says of each route of the API what it does and answers. The test
// fails for a route that is missing here, and for one that is no route.
var operations = map[string]struct {
	does    string
	answers any    // what it answers with; nil: a file of
	kind    string // this type
}{
	"GET /api/v1/openapi.json":                                         {"This description.", nil, "application/json"},
	"GET /api/v1/status":                                               {"The node at a glance: readiness, disk, queue, models, destinations.", Status{}, ""},
	"GET /api/v1/series":                                               {"The series that pass the filter, the latest change first, a page at a time.", List{}, ""},
	"GET /api/v1/series/{study}/{series}":                              {"Everything that is known of a series.", Detail{}, ""},
	"GET /api/v1/series/{study}/{series}/{generation}/result":          {"What was found: result.json as the analysis wrote it.", result.Result{}, ""},
	"GET /api/v1/series/{study}/{series}/{generation}/pictures/{file}": {"A key image. The names are the *.png of the generation's files.", nil, "image/png"},
	"POST /api/v1/series/{study}/{series}/retry":                       {"Does again what failed, was cancelled, was skipped or waits.", Answer{}, ""},
	"POST /api/v1/series/{study}/{series}/cancel":                      {"Gives up what is queued, waits or runs. It can be retried.", Answer{}, ""},
	"POST /api/v1/series/{study}/{series}/deliver":                     {"Sends once more what destinations have confirmed: the same objects, UIDs and bytes.", Answer{}, ""},
}

// statuses are those of every answer that is none of the operation's own.
var statuses = []struct{ status, means string }{
	{"400", "A parameter is not understood."},
	{"401", "Nobody said who asks, or the name or the password is wrong."},
	{"403", "Who asks may look and not change, or a browser sent it for another site."},
	{"404", "The node keeps nothing of this name."},
	{"409", "There is nothing to do: nothing has failed, or waits, or was confirmed."},
	{"429", "Too many wrong passwords came from this address."},
	{"500", "A fault of the node; its log says more."},
	{"503", "Passwords cannot be checked now."},
}

type object = map[string]any

// schemas makes JSON schemas of Go types, with the comments of their fields.
type schemas struct {
	comments map[string]string // of Type and Type.Field
	made     object
}

func (s *schemas) of(t reflect.Type) object {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[State]():
		return object{"type": "string", "enum": States}
	case t == reflect.TypeFor[result.Outcome]():
		return object{"type": "string", "enum": []result.Outcome{result.OutcomeNodules, result.OutcomeNone, result.OutcomeSkipped, result.OutcomeFailed}}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Int, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Slice:
		return object{"type": "array", "items": s.of(t.Elem())}
	case reflect.Array:
		return object{"type": "array", "items": s.of(t.Elem()), "minItems": t.Len(), "maxItems": t.Len()}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Struct:
		name := t.Name()
		if t.PkgPath() == reflect.TypeFor[result.Result]().PkgPath() {
			name = "Result" + strings.TrimPrefix(name, "Result")
		}
		if s.made[name] == nil {
			s.made[name] = object{} // it may hold itself
			schema := object{"type": "object"}
			properties, required := object{}, []string{}
			s.fields(t, properties, &required)
			schema["properties"], schema["required"] = properties, required
			if c := s.comments[t.Name()]; c != "" {
				schema["description"] = c
			}
			s.made[name] = schema
		}
		return object{"$ref": "#/components/schemas/" + name}
	}
	panic("no schema for " + t.String())
}

func (s *schemas) fields(t reflect.Type, properties object, required *[]string) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			s.fields(f.Type, properties, required)
			continue
		case name == "-" || !f.IsExported():
			continue
		case name == "":
			panic(t.String() + "." + f.Name + " has no name in JSON")
		}
		schema := s.of(f.Type)
		if c := s.comments[t.Name()+"."+f.Name]; c != "" {
			schema["description"] = c
		}
		properties[name] = schema
		if !strings.Contains(options, "omit") {
			*required = append(*required, name)
		}
	}
}

// commentsOf reads what stands beside the types and fields of a package.
func commentsOf(t *testing.T, into map[string]string, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatal(err, dir)
	}
	for _, path := range files {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range g.Specs {
				ts, ok := spec.(*ast.TypeSpec)
				if !ok {
					continue
				}
				st, ok := ts.Type.(*ast.StructType)
				if !ok {
					continue
				}
				into[ts.Name.Name] = oneLine(g.Doc)
				for _, field := range st.Fields.List {
					for _, name := range field.Names {
						into[ts.Name.Name+"."+name.Name] = strings.TrimSpace(oneLine(field.Doc) + " " + oneLine(field.Comment))
					}
				}
			}
		}
	}
}

func oneLine(c *ast.CommentGroup) string { return strings.Join(strings.Fields(c.Text()), " ") }

func describe(t *testing.T, h *house) []byte {
	t.Helper()
	s := &schemas{comments: map[string]string{}, made: object{}}
	commentsOf(t, s.comments, filepath.Join("..", "..", "inference", "result"))
	commentsOf(t, s.comments, ".")
	answer := func(schema any, kind string) object { return object{kind: object{"schema": schema}} }
	paths := object{}
	described := 0
	for _, r := range h.routes() {
		if !strings.HasPrefix(r.path, "/api/") {
			continue
		}
		o, ok := operations[r.method+" "+r.path]
		if !ok {
			t.Errorf("nothing is said of %s %s", r.method, r.path)
			continue
		}
		described++
		var given []object
		parameter := func(in, name, means string, schema object) {
			given = append(given, object{"in": in, "name": name, "required": in == "path", "description": means, "schema": schema})
		}
		for _, part := range strings.Split(r.path, "/") {
			if name := strings.Trim(part, "{}"); name != part {
				parameter("path", name, map[string]string{
					"study": "Study Instance UID", "series": "Series Instance UID", "generation": "number of the generation, from 1", "file": "name of the picture",
				}[name], object{"type": map[bool]string{true: "integer", false: "string"}[name == "generation"]})
			}
		}
		switch {
		case r.path == "/api/v1/series":
			for _, p := range parameters {
				parameter("query", p.name, p.means, object{"type": map[bool]string{true: "integer", false: "string"}[p.name == "limit"]})
			}
		case r.method == http.MethodPost:
			parameter("query", "destination", "only the delivery to this destination; to all when left out", object{"type": "string"})
		}
		good := answer(object{}, "application/json")
		switch {
		case o.answers != nil:
			good = answer(s.of(reflect.TypeOf(o.answers)), "application/json")
		case o.kind != "application/json":
			good = answer(object{"type": "string", "contentEncoding": "binary"}, o.kind)
		}
		responses := object{"200": object{"description": "Done.", "content": good}}
		for _, one := range statuses {
			responses[one.status] = object{"description": one.means, "content": answer(s.of(reflect.TypeFor[Answer]()), "application/json")}
		}
		operation := object{"summary": o.does, "responses": responses}
		if r.needs == toOperate {
			operation["description"] = `Needs the role "operate".`
		}
		if given != nil {
			operation["parameters"] = given
		}
		at, _ := paths[r.path].(object)
		if at == nil {
			at = object{}
			paths[r.path] = at
		}
		at[strings.ToLower(r.method)] = operation
	}
	if described != len(operations) {
		t.Errorf("%d operations are described, %d are routes", len(operations), described)
	}
	b, err := json.MarshalIndent(object{
		"openapi": "3.1.0",
		"info": object{
			"title": "pulmonode", "version": "1",
			"description": "The node's series and their work, as the page and `pulmonode jobs` use it. Not for clinical use.",
		},
		"paths":    paths,
		"security": []object{{"password": []string{}}, {"certificate": []string{}}, {}},
		"components": object{
			"schemas": s.made,
			"securitySchemes": object{
				"password":    object{"type": "http", "scheme": "basic"},
				"certificate": object{"type": "mutualTLS"},
			},
		},
	}, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

// TestOpenAPI holds the description against the routes and the types. After a
// change of either: go test ./node/admin -run TestOpenAPI -update
func TestOpenAPI(t *testing.T) {
	h := newHouse(t)
	want := describe(t, h)
	if *update {
		if err := os.WriteFile("openapi.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got := h.ask("GET", "/api/v1/openapi.json", nil).Body.Bytes(); !bytes.Equal(got, want) {
		t.Error("openapi.json is not what the routes and types are: run go test ./node/admin -run TestOpenAPI -update and read what changed")
	}
}

// Every route and parameter is in the document for people too.
func TestTheAPIsDocumentHasEveryRoute(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range newHouse(t).routes() {
		if strings.HasPrefix(r.path, "/api/") && !strings.Contains(string(text), "`"+r.method+" "+r.path+"`") {
			t.Errorf("docs/api.md lacks `%s %s`", r.method, r.path)
		}
	}
	for _, p := range parameters {
		if !strings.Contains(string(text), "`"+p.name+"`") {
			t.Errorf("docs/api.md lacks the parameter `%s`", p.name)
		}
	}
	for _, s := range States {
		if !strings.Contains(string(text), "`"+string(s)+"`") {
			t.Errorf("docs/api.md lacks the state `%s`", s)
		}
	}
	for _, one := range statuses {
		if !slices.Contains(strings.Fields(string(text)), one.status) {
			t.Errorf("docs/api.md lacks the status %s", one.status)
		}
	}
}
