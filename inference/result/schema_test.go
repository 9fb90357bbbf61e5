package result_test

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/inference/result"
)

type schema map[string]any

// at follows "$ref" and returns the schema that stands there.
func (s schema) at(path ...string) schema {
	here := any(map[string]any(s))
	for _, step := range path {
		here = here.(map[string]any)[step]
		if ref, ok := here.(map[string]any)["$ref"].(string); ok {
			here = map[string]any(s.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...))
		}
	}
	return schema(here.(map[string]any))
}

// schema.json and the types say the same, field by field.
func TestSchemaIsThatOfTheTypes(t *testing.T) {
	text, err := os.ReadFile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var root schema
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	if v := root.at("properties", "schema")["const"]; v != float64(result.Schema) {
		t.Errorf("the schema is of version %v, the types of %d", v, result.Schema)
	}
	for name, c := range map[string]struct {
		of   any
		path []string
	}{
		"the result":       {result.Result{}, nil},
		"series":           {result.Series{}, []string{"properties", "series"}},
		"closed":           {result.Closed{}, []string{"properties", "closed"}},
		"algorithm":        {result.Algorithm{}, []string{"properties", "algorithm"}},
		"a model":          {result.Model{}, []string{"properties", "algorithm", "properties", "models", "items"}},
		"a nodule":         {result.Nodule{}, []string{"$defs", "nodule"}},
		"an axis":          {result.Axis{}, []string{"$defs", "axis"}},
		"a characteristic": {result.Characteristic{}, []string{"$defs", "nodule", "properties", "characteristics", "properties", "texture"}},
	} {
		s := root.at(c.path...)
		var required, all []string
		for i := range reflect.TypeOf(c.of).NumField() {
			field, options, _ := strings.Cut(reflect.TypeOf(c.of).Field(i).Tag.Get("json"), ",")
			if field == "-" {
				continue
			}
			all = append(all, field)
			if options != "omitempty" {
				required = append(required, field)
			}
		}
		if got := slices.Sorted(maps.Keys(s["properties"].(map[string]any))); !slices.Equal(got, sorted(all)) {
			t.Errorf("%s: the schema has %q, the type %q", name, got, sorted(all))
		}
		var demanded []string
		for _, r := range s["required"].([]any) {
			demanded = append(demanded, r.(string))
		}
		if !slices.Equal(sorted(demanded), sorted(required)) {
			t.Errorf("%s: the schema demands %q, the type always writes %q", name, sorted(demanded), sorted(required))
		}
	}
	characteristics := root.at("$defs", "nodule", "properties", "characteristics", "properties")
	if got := slices.Sorted(maps.Keys(characteristics)); !slices.Equal(got, sorted(result.Characteristics[:])) {
		t.Errorf("characteristics %q", got)
	}
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

// What was written is read back whole: a predecessor's nodules are.
func TestResultSurvivesItsFile(t *testing.T) {
	r := &result.Result{
		Schema: result.Schema, Series: result.Series{StudyInstanceUID: "1.2", SeriesInstanceUID: "1.2.3", FrameOfReferenceUID: "1.2.4", Instances: 2},
		Generation: 2, Closed: result.Closed{Reason: "geometry", Time: time.Date(2026, 1, 31, 12, 0, 0, 1, time.UTC)},
		Outcome: result.OutcomeNodules, Warnings: []string{"one"}, TimingsS: map[string]float64{"load": 0.5},
		Algorithm: result.Algorithm{Name: "pulmonode", Version: "1", Provider: "cpu", SmallestMM: 3, Models: []result.Model{{Role: "refine", SHA256: "ab", Version: "1"}}},
		Nodules: []result.Nodule{{
			ID: "N1", TrackingUID: "1.2.5", CenterLPS: result.Point{1, -2, 3.5}, Slices: []string{"1.2.3.1"}, KeySlice: "1.2.3.1",
			VolumeMM3: 100, LongAxis: result.Axis{From: result.Point{1, 2, 3}, To: result.Point{4, 5, 6}},
			Characteristics: map[string]result.Characteristic{"margin": {Probability: 0.25, Label: "unclear", Threshold: 0.5}},
		}},
		Predecessor: "1.2.6", PredecessorClass: "1.2.8", PredecessorSeries: "1.2.7",
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	back := new(result.Result)
	if err := json.Unmarshal(text, back); err != nil || !reflect.DeepEqual(r, back) {
		t.Errorf("%v\nwrote %+v\nread  %+v", err, r, back)
	}
}
