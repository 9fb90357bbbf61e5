package audit

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Header fields of PS3.15 A.6.2: facility 10, severity 5, or 4 for what did not
// succeed.
const (
	facility = 10
	notice   = 5
	warning  = 4
	msgID    = "DICOM+RFC3881"
	bom      = "\xEF\xBB\xBF" // RFC 5424 section 6.4: the message is UTF-8
)

// syslog is an XML message as RFC 5424 carries it.
func syslog(xml []byte, o Outcome, at time.Time, host string, pid int) []byte {
	severity := notice
	if o != Success {
		severity = warning
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "<%d>1 %s %s pulmonode %d %s - %s", facility*8+severity, at.Format(timestamp), headerName(host), pid, msgID, bom)
	b.Write(xml)
	return b.Bytes()
}

// headerName is a HOSTNAME of RFC 5424: 1 to 255 printable ASCII characters.
func headerName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, first(s, 255))
	if s == "" {
		return "-"
	}
	return s
}

// frame precedes a message with its length: RFC 5425 section 4.3, which TCP has
// from RFC 6587 3.4.1.
func frame(message []byte) []byte {
	return append(append(strconv.AppendInt(nil, int64(len(message)), 10), ' '), message...)
}

// maxDigits are those of maxMessage.
const maxDigits = 5

// unframe splits the first frame off; false where there is no whole one.
func unframe(b []byte) (message, rest []byte, ok bool) {
	digits, _, found := bytes.Cut(b[:min(len(b), maxDigits+1)], []byte{' '})
	if !found || len(digits) == 0 || digits[0] < '1' || digits[0] > '9' {
		return nil, b, false
	}
	n, err := strconv.Atoi(string(digits))
	if err != nil || n > maxMessage || len(b) < len(digits)+1+n {
		return nil, b, false
	}
	return b[len(digits)+1 : len(digits)+1+n], b[len(digits)+1+n:], true
}
