package study

import (
	"strings"
	"unicode/utf8"
)

// utf8Term is the character set of all that is written here (PS3.3 C.12.1.1.2).
const utf8Term = "ISO_IR 192"

// form is what a value of a text representation may be (PS3.5 table 6.2-1).
type form struct {
	characters int  // most that a value may have; 0 is no limit worth keeping
	lines      bool // line ends and tabs are allowed, and the backslash is a character
}

// Representations that are limited only by their own syntax (UI, DA, TM, ...)
// have no row.
var forms = map[string]form{
	"AE": {16, false},
	"CS": {16, false},
	"LO": {64, false},
	"PN": {64, false}, // in each of three component groups
	"SH": {16, false},
	"LT": {10240, true},
	"ST": {1024, true},
	"UC": {0, false},
	"UT": {0, true},
}

// asciiFor writes in ASCII what has a usual form there.
var asciiFor = strings.NewReplacer("×", "x", "±", "+/-", "µ", "u", "μ", "u", "–", "-", "—", "-", "…", "...", "°", " deg", "²", "2", "³", "3",
	"“", `"`, "”", `"`, "„", `"`, "‘", "'", "’", "'", "\u00a0", " ")

// inASCII is s in ASCII; what has no form there is a question mark.
func inASCII(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 }) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r >= 0x80 {
			return '?'
		}
		return r
	}, asciiFor.Replace(s))
}

// cleaned makes s a value of the representation: no control characters, no
// delimiter of values, no broken UTF-8, not too long.
func cleaned(vr, s string) string {
	f, ok := forms[vr]
	if !ok {
		return s
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError: // also of bytes that are not UTF-8
			return '?'
		case f.lines && (r == '\r' || r == '\n' || r == '\t' || r == '\f'):
			return r
		case r < 0x20 || r >= 0x7F && r < 0xA0:
			return -1
		case !f.lines && r == '\\':
			return '/'
		}
		return r
	}, s)
	if vr == "PN" {
		groups := strings.Split(s, "=") // alphabetic, ideographic, phonetic (PS3.5 6.2.1)
		groups = groups[:min(3, len(groups))]
		for i := range groups {
			groups[i] = cut(groups[i], f.characters)
		}
		s = strings.Join(groups, "=")
	} else {
		s = cut(s, f.characters)
	}
	return strings.TrimRight(s, " ")
}

// cut keeps the first n characters of s; 0 keeps all.
func cut(s string, n int) string {
	if n == 0 || len(s) <= n {
		return s
	}
	for at := range s {
		if n == 0 {
			return s[:at]
		}
		n--
	}
	return s
}
