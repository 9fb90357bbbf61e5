package admin

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// spell writes a duration as a person would say it.
func spell(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(math.Round(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// bytesText writes a size as node.toml does.
func bytesText(n int64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if f >= 100 || i == 0 {
		return fmt.Sprintf("%.0f %s", f, units[i])
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// short keeps both ends of a UID: the beginnings of a site's are all the same,
// and a table has no room for 64 characters.
func short(uid string) string {
	if len(uid) <= 26 {
		return uid
	}
	return uid[:8] + "…" + uid[len(uid)-16:]
}

// personName writes a person name (PS3.5 6.2.1.1) in its first group that is
// not empty: the family name, then the given names.
func personName(name string) string {
	for group := range strings.SplitSeq(name, "=") {
		parts := strings.Split(group, "^")
		for i := range parts {
			parts[i] = strings.TrimSpace(parts[i])
		}
		family := parts[0]
		given := strings.Join(strings.Fields(strings.Join(parts[1:], " ")), " ")
		switch {
		case family != "" && given != "":
			return family + ", " + given
		case family+given != "":
			return family + given
		}
	}
	return ""
}

// birthDate writes a date of PS3.5 6.2 (YYYYMMDD) with its parts apart, and
// anything else as it is.
func birthDate(s string) string {
	if t, err := time.Parse("20060102", s); err == nil {
		return t.Format("2006-01-02")
	}
	return s
}

// capital begins a sentence.
func capital(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if r == utf8.RuneError {
		return s
	}
	return string(unicode.ToUpper(r)) + s[n:]
}

// thousands groups the digits of a number.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}
