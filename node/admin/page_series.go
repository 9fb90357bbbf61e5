package admin

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/store"
)

// event is one line of a series' timeline.
type event struct {
	At     time.Time
	What   string
	More   string
	Stages []stage
	Kind   string // "done", "now", "next", "bad"
}

// stage is one step of an analysis and how long it took.
type stage struct{ Name, Took string }

// timeline tells the life of a series, oldest first.
func timeline(d *Detail, results map[int]*result.Result) []event {
	var list []event
	add := func(at time.Time, kind, what, more string) {
		list = append(list, event{At: at, Kind: kind, What: what, More: more})
	}
	if d.FirstInstance != nil {
		add(*d.FirstInstance, "done", "First instance", from(d.Source))
		if d.Instances > 1 {
			add(*d.LastInstance, "done", "Last instance", fmt.Sprintf("%d in all, in %s", d.Instances, spell(d.LastInstance.Sub(*d.FirstInstance))))
		}
	}
	for _, c := range d.Closings {
		why := c.Because()
		more := fmt.Sprintf("%s: %s", count(c.Instances, "instance", "instances"), why)
		if c.Expected > 0 && c.Expected != c.Instances {
			more = fmt.Sprintf("%d of %d instances: %s", c.Instances, c.Expected, why)
		}
		add(c.Time, "done", "Complete"+ofGeneration(d, c.Generation), more)
	}
	for _, g := range d.Generations {
		if g.Written.IsZero() {
			continue
		}
		kind, more := "done", ""
		if g.Outcome == result.OutcomeFailed {
			kind, more = "bad", stop(g.Reason)
		}
		e := event{At: g.Written, Kind: kind, More: more, What: outcomeText(g.Outcome, g.Nodules) + ofGeneration(d, g.Generation)}
		if r := results[g.Generation]; r != nil {
			e.Stages = stages(r.TimingsS)
		}
		list = append(list, e)
	}
	for _, one := range d.Deliveries {
		switch {
		case one.Sent() && one.Last != nil:
			add(*one.Last, "done", "Delivered to "+one.Destination+ofGeneration(d, one.Generation), count(one.Objects, "object", "objects"))
		case one.Stored > 0 && one.First != nil:
			add(*one.First, "now", "Partly delivered to "+one.Destination+ofGeneration(d, one.Generation), fmt.Sprintf("%d of %d objects", one.Stored, one.Objects))
		}
		if one.State == deliveryWaiting && one.Job != nil && one.Job.Next != nil {
			add(*one.Job.Next, "next", "Next attempt to deliver to "+one.Destination+ofGeneration(d, one.Generation), "")
		}
	}
	if d.Deleted != nil {
		add(*d.Deleted, "done", "Deleted", "")
	}
	if a := d.Analysis; a != nil && a.State == string(job.Waiting) && a.Next != nil {
		add(*a.Next, "next", "Next attempt to analyse", "")
	}
	slices.SortStableFunc(list, func(a, b event) int { return a.At.Compare(b.At) })
	return list
}

func from(source string) string {
	if source == "" {
		return ""
	}
	return "from " + source
}

// ofGeneration names the generation where a series has more than one.
func ofGeneration(d *Detail, n int) string {
	if d.Generation < 2 {
		return ""
	}
	return fmt.Sprintf(" (generation %d)", n)
}

func outcomeText(o result.Outcome, nodules int) string {
	switch o {
	case result.OutcomeNodules:
		return "Analysed: " + count(nodules, "nodule", "nodules")
	case result.OutcomeNone:
		return "Analysed: no nodule"
	case result.OutcomeSkipped:
		return "Not analysed"
	}
	return "The analysis failed"
}

// stageOrder is the order in which an analysis goes through its stages.
var stageOrder = []string{"load", "resample", "lungs", "localize", "refine", "measure"}

func stages(timings map[string]float64) (list []stage) {
	var names []string
	for name := range timings {
		names = append(names, name)
	}
	place := func(name string) int {
		if i := slices.Index(stageOrder, name); i >= 0 {
			return i
		}
		return len(stageOrder)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(place(a)-place(b), cmp.Compare(a, b)) })
	for _, name := range names {
		list = append(list, stage{name, spell(time.Duration(timings[name] * float64(time.Second)))})
	}
	return list
}

// finding is one row of the nodule table.
type finding struct {
	ID, Where        string
	Axes, Diameter   string // mm
	Volume, HU       string
	Characteristics  []rating
	Malignancy, Band string // as a person would say it
}

// rating is one characteristic: how probable it is and what it is called.
type rating struct {
	Name    string // "Malignant"
	Percent string // "70 %"; empty when the result lacks it
	Label   string
	Wide    int   // of 100, for the bar
	Marks   []int // thresholds, of 100
	Band    string
}

// characteristicNames are what the probabilities are of, as on the key images.
var characteristicNames = map[string]string{
	"malignancy": "Malignant", "margin": "Clear margin", "texture": "Solid", "calcification": "No calcification",
}

func findings(r *result.Result) (list []finding) {
	for i := range r.Nodules {
		n := &r.Nodules[i]
		f := finding{
			ID: n.ID, Where: "lung",
			Axes:     fmt.Sprintf("%.1f × %.1f", n.LongAxisMM, n.ShortAxisMM),
			Diameter: fmt.Sprintf("%.1f", n.MaxDiam3DMM), Volume: fmt.Sprintf("%.0f", n.VolumeMM3),
			HU: strings.ReplaceAll(fmt.Sprintf("%.0f ± %.0f", n.MeanHU, n.SDHU), "-", "−"),
		}
		if n.Laterality != "" {
			f.Where = n.Laterality + " lung"
		}
		for _, name := range result.Characteristics {
			f.Characteristics = append(f.Characteristics, ratingOf(name, n.Characteristics))
		}
		f.Malignancy, f.Band = f.Characteristics[0].Percent, f.Characteristics[0].Label
		list = append(list, f)
	}
	return list
}

func ratingOf(name string, all map[string]result.Characteristic) rating {
	v := rating{Name: characteristicNames[name]}
	c, ok := all[name]
	if !ok {
		return v
	}
	v.Percent, v.Label, v.Wide = percent(c.Probability), c.Label, hundredths(c.Probability)
	v.Marks = []int{hundredths(c.Threshold)}
	if name == "malignancy" {
		v.Marks = []int{hundredths(result.MalignancyLow), hundredths(result.MalignancyHigh)}
		if slices.Contains([]string{"low", "indeterminate", "high"}, c.Label) {
			v.Band = c.Label
		}
	}
	return v
}

func hundredths(p float64) int { return int(math.Round(100 * min(max(p, 0), 1))) }

// percent is a probability as on the key images: nothing is said to be certain.
func percent(p float64) string {
	switch n := hundredths(p); {
	case n < 1:
		return "<1 %"
	case n > 99:
		return ">99 %"
	default:
		return fmt.Sprintf("%d %%", n)
	}
}

// keyPicture is a key image with what it shows in words.
type keyPicture struct{ Name, Caption, Alt string }

func pictures(g *Generation, found []finding) (list []keyPicture) {
	for _, name := range g.Files {
		base, ok := strings.CutSuffix(name, ".png")
		if !ok {
			continue
		}
		p := keyPicture{Name: name, Caption: "Summary", Alt: "Summary of what was found: " + count(len(found), "nodule", "nodules") + ", as in the table of nodules."}
		if i, err := strconv.Atoi(strings.TrimPrefix(base, "key-")); err == nil {
			p.Caption, p.Alt = fmt.Sprintf("Nodule %d", i), fmt.Sprintf("Slice with nodule %d outlined.", i)
			if i >= 1 && i <= len(found) {
				f := found[i-1]
				p.Caption = "Nodule " + f.ID
				p.Alt = fmt.Sprintf("Slice with nodule %s outlined: %s, %s mm, malignant %s (%s).", f.ID, f.Where, f.Axes, cmp.Or(f.Malignancy, "not rated"), cmp.Or(f.Band, "no band"))
			}
		}
		list = append(list, p)
	}
	return list
}

// maxResult bounds result.json: sixty nodules stay below a hundredth of it.
const maxResult = 16 << 20

// result reads what an analysis said; nil when that cannot be read, or when
// nothing was analysed.
func (s *Server) result(k store.Key, g *Generation) *result.Result {
	if !slices.Contains(g.Files, "result.json") {
		return nil
	}
	folder, err := s.opts.Store.GenerationFolder(k, g.Generation)
	if err != nil {
		return nil
	}
	path := filepath.Join(folder, "result.json")
	if info, err := os.Stat(path); err != nil || info.Size() > maxResult {
		return nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	r := &result.Result{}
	if json.Unmarshal(b, r) != nil {
		return nil
	}
	return r
}

// generationView is one generation as the page shows it.
type generationView struct {
	*Generation
	Title    string
	Result   *result.Result // nil: cannot be read
	Findings []finding
	Pictures []keyPicture
}

func (s *Server) generations(k store.Key, d *Detail) (list []generationView, results map[int]*result.Result) {
	results = map[int]*result.Result{}
	for i := range slices.Backward(d.Generations) {
		g := generationView{Generation: &d.Generations[i], Title: outcomeText(d.Generations[i].Outcome, d.Generations[i].Nodules)}
		if g.Result = s.result(k, g.Generation); g.Result != nil {
			results[g.Generation.Generation] = g.Result
			g.Findings = findings(g.Result)
		}
		g.Pictures = pictures(g.Generation, g.Findings)
		list = append(list, g)
	}
	return list, results
}
