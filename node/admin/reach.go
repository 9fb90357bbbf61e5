package admin

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// reach remembers how the last attempt to deliver to each destination ended.
type reach struct {
	mu   sync.Mutex
	last map[string]attempt
}

type attempt struct {
	delivered bool
	success   time.Time // the latest one; by the monotonic clock
}

// Attempted notes how an attempt to deliver ended. It is called for every
// attempt in which the destination had a part.
func (m *Metrics) Attempted(destination string, delivered bool) {
	m.reach.mu.Lock()
	defer m.reach.mu.Unlock()
	if m.reach.last == nil {
		m.reach.last = map[string]attempt{}
	}
	a := m.reach.last[destination]
	a.delivered = delivered
	if delivered {
		a.success = time.Now()
	}
	m.reach.last[destination] = a
}

var (
	destinationUp = prometheus.NewDesc("pulmonode_destination_up",
		"1 when the last attempt to deliver to the destination succeeded, 0 when it failed; absent before the first since the start.", []string{"destination"}, nil)
	destinationAge = prometheus.NewDesc("pulmonode_destination_success_age_seconds",
		"Seconds since the last successful delivery to the destination; absent before the first since the start.", []string{"destination"}, nil)
)

func (r *reach) Describe(c chan<- *prometheus.Desc) { c <- destinationUp; c <- destinationAge }

func (r *reach) Collect(c chan<- prometheus.Metric) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, a := range r.last {
		c <- prometheus.MustNewConstMetric(destinationUp, prometheus.GaugeValue, truth(a.delivered), name)
		if !a.success.IsZero() {
			c <- prometheus.MustNewConstMetric(destinationAge, prometheus.GaugeValue, time.Since(a.success).Seconds(), name)
		}
	}
}

// truth is a boolean as a gauge shows it.
func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
