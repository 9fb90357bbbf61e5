package study

import (
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// Layouts of DA, TM and DT (PS3.5 6.2).
func date(t time.Time) string     { return t.Format("20060102") }
func daytime(t time.Time) string  { return t.Format("150405") }
func datetime(t time.Time) string { return t.Format("20060102150405-0700") }

// zoneOf is the images' Timezone Offset From UTC as received. It holds for all
// dates and times of an object (PS3.3 C.12.1.1.8), thus also for those that are
// copied, so the result has the images' zone or none.
func zoneOf(ct *dataset.Dataset) (string, bool) {
	zone := ct.Text(dataset.TimezoneOffsetFromUTC)
	_, err := time.Parse("-0700", zone)
	return zone, err == nil && len(zone) == 5
}

// localTime is t as the images' clock shows it, or as its own clock does where
// the images do not name a zone.
func localTime(ct *dataset.Dataset, t time.Time) time.Time {
	if zone, ok := zoneOf(ct); ok {
		if at, err := time.Parse("-0700", zone); err == nil {
			_, seconds := at.Zone()
			return t.In(time.FixedZone(zone, seconds))
		}
	}
	return t
}
