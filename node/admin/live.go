package admin

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/store"
)

// Facts are what the metrics tell of the node besides what they count. All may
// be left out.
type Facts struct {
	Watermark       int64                       // [storage] stop_receiving_below in bytes
	MaxAssociations int                         //
	Provider        string                      // that the configuration asks for
	Fallback        func() bool                 // whether the CPU is used where a GPU could be expected
	Certificates    func() map[string]time.Time // when certificates end, by what they are used for
}

// live measures at the time of asking. What a scrape costs is bounded: the queue
// counts in one statement, the series are counted beside it (census).
type live struct {
	queue        *job.Queue
	destinations []job.Destination
	store        *store.Store
	ready        func(context.Context) []Check
	alive        func() error
	algorithm    func() (result.Algorithm, error)
	census       *census
	facts        Facts
}

// scrapeQueue is how long a scrape waits for the queue.
const scrapeQueue = 2 * time.Second

var (
	jobsDesc        = desc("jobs", "Jobs in the queue.", "kind", "destination", "state")
	oldestDesc      = desc("job_oldest_age_seconds", "Age of the oldest job that is queued, runs or waits; 0 when there is none.", "kind", "destination")
	seriesDesc      = desc("series", "Series by state; of a deleted one the record alone is left.", "state")
	seriesAgeDesc   = desc("series_counted_age_seconds", "Seconds since the series were last counted by state.")
	freeDesc        = desc("disk_free_bytes", "Free space for the data folder.")
	totalDesc       = desc("disk_total_bytes", "Size of the data folder's disk.")
	watermarkDesc   = desc("disk_watermark_bytes", "Free space below which nothing is received: [storage] stop_receiving_below.")
	limitDesc       = desc("associations_limit", "Associations that may be open: [node] max_associations.")
	readyDesc       = desc("ready", "1 when the part is ready.", "part")
	aliveDesc       = desc("alive", "1 while the node's own work turns; 0 when only a restart helps.")
	modelDesc       = desc("model_info", "1 for each network that is loaded.", "role", "version", "sha256")
	providerDesc    = desc("inference_info", "1, with the provider that the configuration asks for and the one in use.", "wanted", "provider")
	fallbackDesc    = desc("inference_fallback", "1 when the CPU is used though a GPU could be expected.")
	certificateDesc = desc("certificate_not_after_seconds", "When the certificate ends, in seconds since 1970.", "use")

	liveDescs = []*prometheus.Desc{jobsDesc, oldestDesc, seriesDesc, seriesAgeDesc, freeDesc, totalDesc, watermarkDesc, limitDesc,
		readyDesc, aliveDesc, modelDesc, providerDesc, fallbackDesc, certificateDesc}
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("pulmonode_"+name, help, labels, nil)
}

func (l live) Describe(c chan<- *prometheus.Desc) {
	for _, d := range liveDescs {
		c <- d
	}
}

func (l live) Collect(c chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeQueue)
	defer cancel()
	if counts, err := l.queue.Counts(ctx); err == nil {
		l.jobs(counts, gauge)
	}
	if counts, age, ok := l.census.latest(); ok {
		for _, s := range States {
			gauge(seriesDesc, float64(counts[s]), string(s))
		}
		gauge(seriesAgeDesc, age.Seconds())
	}
	if free, err := l.store.Free(); err == nil {
		gauge(freeDesc, float64(free))
	}
	if total, err := l.store.Total(); err == nil {
		gauge(totalDesc, float64(total))
	}
	gauge(watermarkDesc, float64(l.facts.Watermark))
	gauge(limitDesc, float64(l.facts.MaxAssociations))
	for _, check := range l.ready(context.Background()) {
		gauge(readyDesc, truth(check.OK), check.Name)
	}
	gauge(aliveDesc, truth(l.alive() == nil))
	if a, err := l.algorithm(); err == nil {
		for _, m := range a.Models {
			gauge(modelDesc, 1, m.Role, m.Version, m.SHA256[:min(len(m.SHA256), 12)])
		}
		gauge(providerDesc, 1, l.facts.Provider, a.Provider)
		gauge(fallbackDesc, truth(l.facts.Fallback != nil && l.facts.Fallback()))
	}
	if l.facts.Certificates != nil {
		for use, end := range l.facts.Certificates() {
			gauge(certificateDesc, float64(end.Unix()), use)
		}
	}
}

// jobs shows every kind, destination and state, the empty ones too.
func (l live) jobs(counts []job.Count, gauge func(d *prometheus.Desc, v float64, labels ...string)) {
	states := []job.State{job.Queued, job.Running, job.Waiting, job.Failed, job.Cancelled}
	show := func(kind, destination string) {
		n := map[job.State]int{}
		age := 0.0
		for _, one := range counts {
			if one.Kind != kind || one.Destination != destination {
				continue
			}
			n[one.State] += one.Jobs
			if one.State == job.Queued || one.State == job.Running || one.State == job.Waiting {
				age = max(age, time.Since(one.Oldest).Seconds())
			}
		}
		for _, s := range states {
			gauge(jobsDesc, float64(n[s]), kind, destination, string(s))
		}
		gauge(oldestDesc, age, kind, destination)
	}
	show(job.Analyze{}.Kind(), "")
	for _, d := range l.destinations {
		show(job.Deliver{}.Kind(), d.Name)
	}
}
