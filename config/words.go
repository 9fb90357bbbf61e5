package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration written as words: "5s", "30m", "7d".
type Duration time.Duration

// Days returns n days.
func Days(n int) Duration { return Duration(time.Duration(n) * 24 * time.Hour) }

// Std returns d as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

func (d Duration) String() string {
	if day := Days(1); d >= day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	return d.Std().String()
}

// MarshalText writes the words.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads "90s", "1h30m" or whole days, "7d".
func (d *Duration) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	if n, ok := strings.CutSuffix(s, "d"); ok {
		days, err := strconv.ParseUint(n, 10, 16)
		if err != nil {
			return fmt.Errorf("%q is no duration: write for example \"5s\", \"30m\", \"12h\" or \"7d\"", s)
		}
		*d = Days(int(days))
		return nil
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 {
		return fmt.Errorf("%q is no duration: write for example \"5s\", \"30m\", \"12h\" or \"7d\"", s)
	}
	*d = Duration(v)
	return nil
}

// Size is a number of bytes written as words: "5 GiB", "500 MB", "4096".
type Size int64

// Units of Size.
const (
	KiB Size = 1 << (10 * (iota + 1))
	MiB
	GiB
	TiB
)

var sizeUnits = []struct {
	name string
	size Size
}{{"KiB", KiB}, {"MiB", MiB}, {"GiB", GiB}, {"TiB", TiB}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1}}

func (s Size) String() string {
	for i := 3; i >= 0; i-- {
		if u := sizeUnits[i]; s >= u.size && s%u.size == 0 {
			return fmt.Sprintf("%d %s", s/u.size, u.name)
		}
	}
	return fmt.Sprintf("%d B", int64(s))
}

// MarshalText writes the words.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a number and a unit; without a unit, bytes.
func (s *Size) UnmarshalText(text []byte) error {
	t := strings.TrimSpace(string(text))
	i := strings.LastIndexAny(t, "0123456789.") + 1
	unit := strings.TrimSpace(t[i:])
	v, err := strconv.ParseFloat(t[:i], 64)
	if err == nil && v >= 0 {
		for _, u := range sizeUnits {
			if n := v * float64(u.size); strings.EqualFold(u.name, unit) && n < math.MaxInt64 {
				*s = Size(n)
				return nil
			}
		}
	}
	return fmt.Errorf("%q is no size: write for example \"500 MiB\" or \"20 GiB\"", t)
}
