package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"sort"
	"strings"

	"github.com/BurntSushi/toml"
)

// Fault is one thing wrong with a configuration.
type Fault struct {
	Where   string `json:"where"`   // "[storage] keep", or "node.toml line 12"
	Problem string `json:"problem"` // what is wrong, a clause
	Remedy  string `json:"remedy"`  // what to do, a clause
	Warning bool   `json:"warning"` // the node would run all the same
}

func (f Fault) String() string {
	kind := "error"
	if f.Warning {
		kind = "warning"
	}
	return fmt.Sprintf("%s: %s: %s\n    %s", kind, f.Where, f.Problem, f.Remedy)
}

// Fatal reports whether any of the faults keeps the node from running.
func Fatal(faults []Fault) bool {
	for _, f := range faults {
		if !f.Warning {
			return true
		}
	}
	return false
}

// maxFile bounds the file that Load reads; a hospital with a thousand
// destinations stays below a tenth of it.
const maxFile = 1 << 20

// Load reads a node.toml over the defaults and checks it. The configuration is
// returned as far as it could be understood, with every fault found.
func Load(path string) (*Config, []Fault) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxFile {
		err = fmt.Errorf("the file has %d bytes, at most %d are read", info.Size(), maxFile)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		remedy := "name the configuration with --config FILE; the shipped node.toml is a start"
		if errors.Is(err, os.ErrPermission) {
			remedy = "give the user that runs pulmonode the right to read it"
		}
		return Default(), []Fault{{Where: path, Problem: err.Error(), Remedy: remedy}}
	}
	return Parse(string(text))
}

// Parse is Load on a text.
func Parse(text string) (*Config, []Fault) {
	c := Default()
	var sections map[string]toml.Primitive
	md, err := toml.Decode(text, &sections)
	if err != nil {
		var pe toml.ParseError
		if errors.As(err, &pe) {
			return c, []Fault{{Where: fmt.Sprintf("line %d", pe.Position.Line), Problem: pe.Message, Remedy: "mend the TOML on this line"}}
		}
		return c, []Fault{{Where: "the file", Problem: err.Error(), Remedy: "mend the TOML"}}
	}
	d := decoder{md: md}
	root := reflect.ValueOf(c).Elem()
	for i := range root.NumField() {
		name := root.Type().Field(i).Tag.Get("toml")
		if p, ok := sections[name]; ok {
			d.section(name, p, root.Field(i))
		}
	}
	d.unknown()
	return c, append(d.faults, c.Check()...)
}

// decoder fills the configuration setting by setting, so that one bad value
// hides no other.
type decoder struct {
	md     toml.MetaData
	faults []Fault
}

func (d *decoder) section(name string, p toml.Primitive, v reflect.Value) {
	t := v.Type()
	if t.Kind() == reflect.Slice {
		rows := reflect.New(reflect.SliceOf(undecoded(t.Elem())))
		if err := d.md.PrimitiveDecode(p, rows.Interface()); err != nil {
			d.fault("["+name+"]", "is one table", fmt.Sprintf("write [[%s]], once per %s", name, name))
			return
		}
		for i := range rows.Elem().Len() {
			item := reflect.New(t.Elem()).Elem()
			d.fields(fmt.Sprintf("[[%s]] number %d", name, i+1), rows.Elem().Index(i), item)
			v.Set(reflect.Append(v, item))
		}
		return
	}
	row := reflect.New(undecoded(t))
	if err := d.md.PrimitiveDecode(p, row.Interface()); err != nil {
		d.fault("["+name+"]", "is no table", fmt.Sprintf("write [%s], once", name))
		return
	}
	d.fields("["+name+"]", row.Elem(), v)
}

// undecoded is struct type t with each field's value left for later, so that
// each is decoded, and found faulty, on its own.
func undecoded(t reflect.Type) reflect.Type {
	fields := make([]reflect.StructField, t.NumField())
	for i := range fields {
		fields[i] = t.Field(i)
		fields[i].Type = reflect.TypeFor[*toml.Primitive]()
	}
	return reflect.StructOf(fields)
}

func (d *decoder) fields(where string, row, v reflect.Value) {
	for i := range v.NumField() {
		p := row.Field(i).Interface().(*toml.Primitive)
		if p == nil {
			continue
		}
		if err := d.md.PrimitiveDecode(*p, v.Field(i).Addr().Interface()); err != nil {
			d.fault(where+" "+v.Type().Field(i).Tag.Get("toml"), decodeProblem(err), "the shipped node.toml shows the form")
		}
	}
}

// decodeProblem is the library's message without its prefix.
func decodeProblem(err error) string {
	var pe toml.ParseError
	if errors.As(err, &pe) {
		return pe.Message
	}
	if _, what, ok := strings.Cut(err.Error(), "incompatible types: "); ok {
		var has, wants string
		if n, _ := fmt.Sscanf(what, "TOML value has type %s destination has type %s", &has, &wants); n == 2 {
			return fmt.Sprintf("is %s; %s is expected", inWords(strings.TrimSuffix(has, ";")), inWords(wants))
		}
		return what
	}
	return strings.TrimPrefix(err.Error(), "toml: ")
}

// inWords names a Go type as the writer of a node.toml knows it.
func inWords(t string) string {
	for prefix, words := range map[string]string{
		"int": "a whole number", "float": "a number with a fraction", "string": "text in quotes", "bool": "true or false",
		"[]": "a list in brackets", "map": "a table", "slice": "a list in brackets",
	} {
		if strings.HasPrefix(t, prefix) {
			return words
		}
	}
	return t
}

func (d *decoder) fault(where, problem, remedy string) {
	d.faults = append(d.faults, Fault{Where: where, Problem: problem, Remedy: remedy})
}

// unknown reports the keys that no setting took, each with the nearest name. An
// unknown table is reported once, not with each key in it.
func (d *decoder) unknown() {
	known := Keys()
	reported := map[string]bool{}
	for _, key := range d.md.Undecoded() {
		name := strings.Join(key, ".")
		if !slices.ContainsFunc(known, func(k string) bool { return strings.HasPrefix(k, key[0]+".") }) {
			name = key[0]
		}
		if !reported[name] && !slices.Contains(known, name) {
			reported[name] = true
			d.fault(name, "no setting has this name", fmt.Sprintf("did you mean %s?", nearest(name, known)))
		}
	}
}

// Keys lists every setting as section.key, sorted.
func Keys() []string {
	var keys []string
	root := reflect.TypeFor[Config]()
	for i := range root.NumField() {
		section := root.Field(i)
		t := section.Type
		if t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		for j := range t.NumField() {
			keys = append(keys, section.Tag.Get("toml")+"."+t.Field(j).Tag.Get("toml"))
		}
	}
	sort.Strings(keys)
	return keys
}

// nearest is the known key with the smallest edit distance to name. An unknown
// name without a section is compared with the sections' names too.
func nearest(name string, known []string) string {
	best, bestD := "", 1<<30
	consider := func(k string) {
		if d := editDistance(name, k); d < bestD {
			best, bestD = k, d
		}
	}
	for _, k := range known {
		consider(k)
		if !strings.Contains(name, ".") {
			section, _, _ := strings.Cut(k, ".")
			consider(section)
		}
	}
	return best
}

// editDistance is Levenshtein's distance between a and b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
