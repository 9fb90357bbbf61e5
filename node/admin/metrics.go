package admin

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/pulmonode/pulmonode/inference"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/store"
)

// Metrics are the node's measurements. Labels are bounded: names of the
// configuration, states and reasons from fixed lists, never UIDs. What is not
// counted as it happens is measured when it is asked for (live.go).
type Metrics struct {
	registry *prometheus.Registry
	reach    reach

	Associations      *prometheus.CounterVec   // source, end
	AssociationsOpen  prometheus.Gauge         //
	Refusals          *prometheus.CounterVec   // reason
	Instances         *prometheus.CounterVec   // source, outcome
	ReceivedBytes     *prometheus.CounterVec   // source
	StoreSeconds      prometheus.Histogram     // from the command to the status
	Closings          *prometheus.CounterVec   // reason
	LateGenerations   prometheus.Counter       // closings after the first of their series
	Analyses          *prometheus.CounterVec   // outcome
	AnalysisFailures  prometheus.Counter       // attempts that failed, the last ones too
	AnalysisSeconds   *prometheus.HistogramVec // stage
	LostResults       prometheus.Counter       // that another node or attempt had written before
	Deliveries        *prometheus.CounterVec   // destination, outcome
	DeliverySeconds   *prometheus.HistogramVec // destination
	TurnaroundSeconds *prometheus.HistogramVec // destination
	Commitments       *prometheus.CounterVec   // peer, answer
	SeriesRemoved     *prometheus.CounterVec   // reason
	AuditLost         prometheus.Counter       //
	Faults            prometheus.Counter       // of the program
}

// Values of labels that come from a list. A counter that is there from the start
// at zero shows its first event as an increase.
var (
	associationEnds = []string{"released", "aborted", "broken"}
	refusalReasons  = []string{"ae_title", "network", "tls", "certificate", "called_ae", "limit", "protocol", "not_dicom",
		"plain_text", "certificate_untrusted", "certificate_not_yet_valid", "certificate_expired", "certificate_usage", "certificate_missing",
		"silent", "broken_off", "tls_version", "cipher_suite", "handshake"}
	instanceOutcomes = []string{"stored", "identical", "different", "invalid", "mismatch", "full", "broken_off"}
	closingReasons   = []string{result.ClosedGeometry, result.ClosedIdle, result.ClosedMaxAge}
	analysisOutcomes = []string{string(result.OutcomeNodules), string(result.OutcomeNone), string(result.OutcomeSkipped), string(result.OutcomeFailed)}
	analysisStages   = []string{inference.StageLoad, inference.StageResample, inference.StageLungs, inference.StageLocalize, inference.StageRefine, inference.StageMeasure}
	deliveryOutcomes = []string{"delivered", "asked", "tried", "failed"}
	commitmentPeers  = []string{"source", "destination"}
	commitmentTells  = []string{"kept", "not_kept"}
	removalReasons   = []string{store.ForAge, store.ForRoom}
)

// NewMetrics makes and registers the measurements.
func NewMetrics() *Metrics {
	name := func(s string) string { return "pulmonode_" + s }
	counter := func(s, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name(s), Help: help})
	}
	counters := func(s, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name(s), Help: help}, labels)
	}
	histogram := func(s, help string, first float64, n int) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Name: name(s), Help: help, Buckets: prometheus.ExponentialBuckets(first, 2, n)}
	}
	m := &Metrics{
		registry:         prometheus.NewRegistry(),
		Associations:     counters("associations_total", "Associations that ended, by how.", "source", "end"),
		AssociationsOpen: prometheus.NewGauge(prometheus.GaugeOpts{Name: name("associations_open"), Help: "Associations that are open now."}),
		Refusals:         counters("refusals_total", "Associations and connections that were refused, by reason.", "reason"),
		Instances:        counters("instances_total", "C-STORE requests that were answered, by outcome.", "source", "outcome"),
		ReceivedBytes:    counters("received_bytes_total", "Bytes of data sets that were stored.", "source"),
		StoreSeconds:     prometheus.NewHistogram(histogram("store_seconds", "From a C-STORE request to its status, the fsync included.", 0.001, 14)),
		Closings:         counters("closings_total", "Series that were closed, by reason.", "reason"),
		LateGenerations:  counter("late_generations_total", "Closings of series that had been closed before: instances came late."),
		Analyses:         counters("analyses_total", "Analyses that ended, by outcome.", "outcome"),
		AnalysisFailures: counter("analysis_failures_total", "Attempts to analyse that failed, those included that were followed by another."),
		AnalysisSeconds:  prometheus.NewHistogramVec(histogram("analysis_seconds", "Duration of an analysis by stage.", 0.05, 14), []string{"stage"}),
		LostResults:      counter("lost_results_total", "Results that were thrown away because another node or attempt had written theirs."),
		Deliveries:       counters("deliveries_total", "Attempts to deliver that ended, by outcome.", "destination", "outcome"),
		DeliverySeconds:  prometheus.NewHistogramVec(histogram("delivery_seconds", "Duration of an attempt to deliver.", 0.05, 14), []string{"destination"}),
		TurnaroundSeconds: prometheus.NewHistogramVec(histogram("turnaround_seconds",
			"From the last instance of a series to its results at a destination.", 1, 18), []string{"destination"}),
		Commitments:   counters("commitment_answers_total", "Instances in answers to storage commitment: those that sources were given, and those of destinations.", "peer", "answer"),
		SeriesRemoved: counters("series_removed_total", "Series that retention removed, by reason.", "reason"),
		AuditLost:     counter("audit_lost_total", "Messages of the audit trail that could not be kept."),
		Faults:        counter("faults_total", "Faults of the program, each of which cost a peer one answer or one connection."),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{Name: name("build_info"), Help: "1, with the versions of the program as labels.",
		ConstLabels: prometheus.Labels{"version": inference.Version, "goversion": runtime.Version()}})
	info.Set(1)
	m.registry.MustRegister(m.Associations, m.AssociationsOpen, m.Refusals, m.Instances, m.ReceivedBytes, m.StoreSeconds,
		m.Closings, m.LateGenerations, m.Analyses, m.AnalysisFailures, m.AnalysisSeconds, m.LostResults,
		m.Deliveries, m.DeliverySeconds, m.TurnaroundSeconds, m.Commitments, m.SeriesRemoved, m.AuditLost, m.Faults, info, &m.reach,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.zero(m.Refusals, refusalReasons)
	m.zero(m.Closings, closingReasons)
	m.zero(m.Analyses, analysisOutcomes)
	m.zero(m.Commitments, commitmentPeers, commitmentTells)
	m.zero(m.SeriesRemoved, removalReasons)
	for _, stage := range analysisStages {
		m.AnalysisSeconds.WithLabelValues(stage)
	}
	return m
}

// AuditWaiting shows what waits for the collector of the audit trail.
func (m *Metrics) AuditWaiting(bytes func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "pulmonode_audit_waiting_bytes",
		Help: "Audit messages on the disk that the collector has not had for certain."}, bytes))
}

// Expect has what is counted of these sources and destinations begin at zero.
func (m *Metrics) Expect(sources, destinations []string) {
	m.zero(m.Associations, sources, associationEnds)
	m.zero(m.Instances, sources, instanceOutcomes)
	m.zero(m.ReceivedBytes, sources)
	m.zero(m.Deliveries, destinations, deliveryOutcomes)
	for _, d := range destinations {
		m.DeliverySeconds.WithLabelValues(d)
		m.TurnaroundSeconds.WithLabelValues(d)
	}
}

// zero makes a counter for every combination of values.
func (m *Metrics) zero(c *prometheus.CounterVec, values ...[]string) {
	combined := [][]string{nil}
	for _, list := range values {
		var longer [][]string
		for _, begun := range combined {
			for _, v := range list {
				longer = append(longer, append(begun[:len(begun):len(begun)], v))
			}
		}
		combined = longer
	}
	for _, labels := range combined {
		c.WithLabelValues(labels...)
	}
}
