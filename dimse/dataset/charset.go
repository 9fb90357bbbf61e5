package dataset

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
)

// CharacterSets are the values of Specific Character Set that hold for the text
// of this data set: its own, or for an item without one those around it. None
// means the default repertoire, ASCII.
func (d *Dataset) CharacterSets() []string {
	for ; d != nil; d = d.parent {
		if e := d.Get(SpecificCharacterSet); e != nil {
			values := strings.Split(string(bytes.TrimRight(e.Value, " \x00")), `\`)
			for i := range values {
				values[i] = strings.Trim(values[i], " \x00")
			}
			if len(values) == 1 && values[0] == "" {
				return nil
			}
			return values
		}
	}
	return nil
}

// UTF8 is the whole value of a text attribute, decoded, without padding. Where
// a character set is not known or the bytes are not of it, what could not be
// decoded stands as U+FFFD and the error says so.
func (d *Dataset) UTF8(t Tag) (string, error) {
	e := d.Get(t)
	if e == nil {
		return "", nil
	}
	raw := string(bytes.TrimRight(e.Value, " \x00"))
	switch e.knownVR() {
	case "SH", "LO", "UC", "PN", "ST", "LT", "UT": // PS3.5 6.1.2.3: only these are subject to it
	default:
		return Decode(raw, nil)
	}
	s, err := Decode(raw, d.CharacterSets())
	if err != nil {
		err = fmt.Errorf("%v: %w", t, err)
	}
	return s, err
}

// singleByte are the sets without code extensions and the G1 halves of those
// with them, by the ISO registration number in their defined term (PS3.3
// C.12.1.1.2, tables C.12-2 and C.12-3).
var singleByte = map[string]*charmap.Charmap{
	"100": charmap.ISO8859_1,
	"101": charmap.ISO8859_2,
	"109": charmap.ISO8859_3,
	"110": charmap.ISO8859_4,
	"144": charmap.ISO8859_5, // Cyrillic
	"127": charmap.ISO8859_6, // Arabic
	"126": charmap.ISO8859_7, // Greek
	"138": charmap.ISO8859_8, // Hebrew
	"148": charmap.ISO8859_9,
	"203": charmap.ISO8859_15,
	"166": charmap.Windows874, // Thai: TIS 620-2533 is a part of it
}

// designations are the escape sequences of PS3.3 tables C.12-3 and C.12-4
// (without ESC), and what they make of G0 or G1.
var designations = []struct {
	escape string
	g1     bool
	set    string
}{
	{"(B", false, "6"}, {"(J", false, "14"}, {")I", true, "13"},
	{"-A", true, "100"}, {"-B", true, "101"}, {"-C", true, "109"}, {"-D", true, "110"},
	{"-L", true, "144"}, {"-G", true, "127"}, {"-F", true, "126"}, {"-H", true, "138"},
	{"-M", true, "148"}, {"-b", true, "203"}, {"-T", true, "166"},
	{"$B", false, "87"}, {"$(D", false, "159"}, {"$)C", true, "149"}, {"$)A", true, "58"},
}

// charsetNumber is the registration number of a defined term: "100" of
// "ISO_IR 100" and "ISO 2022 IR 100"; the term itself where it has none.
func charsetNumber(term string) string {
	for _, prefix := range []string{"ISO_IR ", "ISO 2022 IR ", "ISO-IR ", "ISO_IR_", "ISO 2022-"} {
		if n, ok := strings.CutPrefix(term, prefix); ok {
			return n
		}
	}
	return term
}

// Decode gives text of DICOM character sets (values of Specific Character Set) as
// UTF-8, switching sets by the escape sequences of ISO 2022 (PS3.5 6.1.2.5). What
// can't be decoded becomes U+FFFD, with an error beside the text.
func Decode(raw string, charsets []string) (string, error) {
	if len(charsets) == 0 && isASCII(raw) {
		return raw, nil
	}
	d := newCharsetDecoder(charsets)
	var b strings.Builder
	b.Grow(len(raw))
	for len(raw) > 0 {
		raw = raw[d.next(&b, raw):]
	}
	return b.String(), d.err
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 || s[i] == 0x1B {
			return false
		}
	}
	return true
}

type charsetDecoder struct {
	first, g0, g1 string // registration numbers
	err           error
}

func newCharsetDecoder(charsets []string) *charsetDecoder {
	d := &charsetDecoder{}
	if len(charsets) > 0 {
		d.first = charsetNumber(charsets[0])
	}
	for _, term := range charsets {
		n := charsetNumber(term)
		known := n == "" || n == "6" || n == "13" || n == "192" || n == "GB18030" || n == "GBK" || singleByte[n] != nil ||
			slices.ContainsFunc(designations, func(e struct {
				escape string
				g1     bool
				set    string
			}) bool {
				return e.set == n
			})
		if !known && d.err == nil {
			d.err = fmt.Errorf("specific character set %.32q is not known", term)
		}
	}
	d.reset()
	return d
}

// reset goes back to the first set: at the start and behind delimiters (PS3.5
// 6.1.2.5.3).
func (d *charsetDecoder) reset() {
	d.g0, d.g1 = "6", d.first
	switch d.first {
	case "", "6":
		d.g1 = ""
	case "13":
		d.g0 = "14"
	case "87", "159":
		d.g0, d.g1 = d.first, "" // seen in files, though not allowed as the first
	}
}

// next decodes one character or escape sequence at the start of s and gives its
// length in bytes.
func (d *charsetDecoder) next(b *strings.Builder, s string) int {
	if d.first == "192" || d.first == "GB18030" || d.first == "GBK" {
		return d.wholeSet(b, s)
	}
	c := s[0]
	switch {
	case c == 0x1B:
		for _, e := range designations {
			if strings.HasPrefix(s[1:], e.escape) {
				if e.g1 {
					d.g1 = e.set
				} else {
					d.g0 = e.set
				}
				return 1 + len(e.escape)
			}
		}
		return d.bad(b, 1)
	case c < 0x20:
		if c == '\r' || c == '\n' || c == '\f' || c == '\t' {
			d.reset()
		}
		b.WriteByte(c)
		return 1
	case c < 0x80:
		return d.left(b, s)
	}
	switch d.g1 {
	case "13": // half-width katakana
		if c >= 0xA1 && c <= 0xDF {
			b.WriteRune(rune(c) - 0xA1 + 0xFF61)
			return 1
		}
		return d.bad(b, 1)
	case "149":
		return d.pair(b, s, korean.EUCKR)
	case "58":
		return d.pair(b, s, simplifiedchinese.GBK)
	}
	if set := singleByte[d.g1]; set != nil {
		if r := set.DecodeByte(c); r != utf8.RuneError {
			b.WriteRune(r)
			return 1
		}
	}
	return d.bad(b, 1)
}

// left decodes bytes 20H to 7FH, the G0 set.
func (d *charsetDecoder) left(b *strings.Builder, s string) int {
	c := s[0]
	switch d.g0 {
	case "14": // JIS X 0201 romaji: ASCII but for two characters; the backslash stays a delimiter
		switch c {
		case '~':
			b.WriteRune('‾')
		default:
			b.WriteByte(c)
		}
	case "87", "159":
		if len(s) < 2 || c < 0x21 || c > 0x7E || s[1] < 0x21 || s[1] > 0x7E {
			if c == ' ' {
				b.WriteByte(c)
				return 1
			}
			return d.bad(b, 1)
		}
		euc := []byte{c | 0x80, s[1] | 0x80}
		if d.g0 == "159" {
			euc = append([]byte{0x8F}, euc...) // EUC-JP reaches JIS X 0212 by SS3
		}
		return d.decode(b, euc, 2, japanese.EUCJP)
	default:
		b.WriteByte(c)
		if c == '\\' {
			d.reset()
		}
		return 1
	}
	if c == '\\' {
		d.reset()
	}
	return 1
}

// pair decodes a character of two bytes in G1.
func (d *charsetDecoder) pair(b *strings.Builder, s string, set encoding.Encoding) int {
	if len(s) < 2 || s[1] < 0xA1 {
		return d.bad(b, 1)
	}
	return d.decode(b, []byte(s[:2]), 2, set)
}

func (d *charsetDecoder) decode(b *strings.Builder, code []byte, n int, set encoding.Encoding) int {
	out, err := set.NewDecoder().Bytes(code)
	if err != nil || bytes.ContainsRune(out, utf8.RuneError) {
		return d.bad(b, n)
	}
	b.Write(out)
	return n
}

// wholeSet decodes a character of the sets that stand alone (PS3.3 table C.12-5).
func (d *charsetDecoder) wholeSet(b *strings.Builder, s string) int {
	if d.first == "192" {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n <= 1 {
			return d.bad(b, 1)
		}
		b.WriteString(s[:n])
		return n
	}
	n := 1
	if s[0] >= 0x81 && len(s) > 1 {
		n = 2
		if s[1] >= '0' && s[1] <= '9' && len(s) >= 4 {
			n = 4
		}
	}
	return d.decode(b, []byte(s[:n]), n, simplifiedchinese.GB18030)
}

func (d *charsetDecoder) bad(b *strings.Builder, n int) int {
	if d.err == nil {
		d.err = fmt.Errorf("text has bytes that are not of its character set")
	}
	b.WriteRune(utf8.RuneError)
	return n
}

// splitText splits raw text at the backslashes that are not half of a character:
// in GB18030 and in the two-byte Japanese sets the second byte may be 5CH.
func splitText(raw string, charsets []string) []string {
	if strings.IndexByte(raw, '\\') < 0 {
		return []string{raw}
	}
	d := newCharsetDecoder(charsets)
	var out []string
	var ignored strings.Builder
	start := 0
	for i := 0; i < len(raw); {
		n := d.next(&ignored, raw[i:])
		if n == 1 && raw[i] == '\\' {
			out = append(out, raw[start:i])
			start = i + 1
			d.reset()
		}
		i += n
	}
	return append(out, raw[start:])
}
