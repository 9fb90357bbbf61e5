package admin

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/pulmonode/pulmonode/node/job"
)

// Metrics are the node's measurements. Labels are bounded: names of the
// configuration, states and reasons from fixed lists, never UIDs.
type Metrics struct {
	registry *prometheus.Registry

	Associations     *prometheus.CounterVec   // source, end
	AssociationsOpen prometheus.Gauge         //
	Refusals         *prometheus.CounterVec   // reason
	Instances        *prometheus.CounterVec   // source, outcome
	ReceivedBytes    *prometheus.CounterVec   // source
	StoreSeconds     prometheus.Histogram     // from the command to the status
	Closings         *prometheus.CounterVec   // reason
	Analyses         *prometheus.CounterVec   // outcome
	AnalysisSeconds  *prometheus.HistogramVec // stage
	Deliveries       *prometheus.CounterVec   // destination, outcome
	DeliverySeconds  *prometheus.HistogramVec // destination
	SeriesRemoved    prometheus.Counter       //
	AuditLost        prometheus.Counter       //
}

// NewMetrics makes and registers the measurements.
func NewMetrics() *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pulmonode_" + name, Help: help}, labels)
	}
	m := &Metrics{
		registry:         prometheus.NewRegistry(),
		Associations:     counter("associations_total", "Associations that ended, by how.", "source", "end"),
		AssociationsOpen: prometheus.NewGauge(prometheus.GaugeOpts{Name: "pulmonode_associations_open", Help: "Associations that are open now."}),
		Refusals:         counter("refusals_total", "Associations that were refused, by reason.", "reason"),
		Instances:        counter("instances_total", "C-STORE requests that were answered, by outcome.", "source", "outcome"),
		ReceivedBytes:    counter("received_bytes_total", "Bytes of data sets that were stored.", "source"),
		StoreSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "pulmonode_store_seconds",
			Help: "From a C-STORE request to its status, the fsync included.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 14)}),
		Closings: counter("closings_total", "Series that were closed, by reason.", "reason"),
		Analyses: counter("analyses_total", "Analyses that ended, by outcome.", "outcome"),
		AnalysisSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "pulmonode_analysis_seconds",
			Help: "Duration of an analysis by stage.", Buckets: prometheus.ExponentialBuckets(0.05, 2, 14)}, []string{"stage"}),
		Deliveries: counter("deliveries_total", "Attempts to deliver that ended, by outcome.", "destination", "outcome"),
		DeliverySeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "pulmonode_delivery_seconds",
			Help: "Duration of an attempt to deliver.", Buckets: prometheus.ExponentialBuckets(0.05, 2, 14)}, []string{"destination"}),
		AuditLost:     prometheus.NewCounter(prometheus.CounterOpts{Name: "pulmonode_audit_lost_total", Help: "Messages of the audit trail that could not be kept."}),
		SeriesRemoved: prometheus.NewCounter(prometheus.CounterOpts{Name: "pulmonode_series_removed_total", Help: "Series that retention removed."}),
	}
	m.registry.MustRegister(m.Associations, m.AssociationsOpen, m.Refusals, m.Instances, m.ReceivedBytes, m.StoreSeconds,
		m.Closings, m.Analyses, m.AnalysisSeconds, m.Deliveries, m.DeliverySeconds, m.SeriesRemoved, m.AuditLost,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// AuditWaiting shows what waits for the collector of the audit trail.
func (m *Metrics) AuditWaiting(bytes func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "pulmonode_audit_waiting_bytes",
		Help: "Audit messages on the disk that the collector has not had for certain."}, bytes))
}

var (
	jobsDesc  = prometheus.NewDesc("pulmonode_jobs", "Jobs in the queue.", []string{"kind", "state"}, nil)
	freeDesc  = prometheus.NewDesc("pulmonode_disk_free_bytes", "Free space for the data folder.", nil, nil)
	readyDesc = prometheus.NewDesc("pulmonode_ready", "1 when the part is ready.", []string{"part"}, nil)
)

// live measures at the time of asking.
type live struct {
	queue *job.Queue
	free  func() (int64, error)
	ready func(context.Context) []Check
}

func (l live) Describe(c chan<- *prometheus.Desc) { c <- jobsDesc; c <- freeDesc; c <- readyDesc }

func (l live) Collect(c chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if counts, err := l.queue.Counts(ctx); err == nil {
		sum := map[[2]string]int{}
		for _, one := range counts {
			sum[[2]string{one.Kind, string(one.State)}] += one.Jobs
		}
		for _, kind := range []string{"analyze", "deliver"} {
			for _, s := range []job.State{job.Queued, job.Running, job.Waiting, job.Failed, job.Cancelled} {
				c <- prometheus.MustNewConstMetric(jobsDesc, prometheus.GaugeValue, float64(sum[[2]string{kind, string(s)}]), kind, string(s))
			}
		}
	}
	if free, err := l.free(); err == nil {
		c <- prometheus.MustNewConstMetric(freeDesc, prometheus.GaugeValue, float64(free))
	}
	for _, check := range l.ready(ctx) {
		v := 0.0
		if check.OK {
			v = 1
		}
		c <- prometheus.MustNewConstMetric(readyDesc, prometheus.GaugeValue, v, check.Name)
	}
}
