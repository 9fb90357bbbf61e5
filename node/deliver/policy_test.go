package deliver

import (
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/node/job"
)

func TestMeaningOfStatuses(t *testing.T) {
	for status, want := range map[uint16]verdict{
		0x0000: stored, 0xB000: stored, 0xB006: stored, 0xB007: stored, 0xB123: stored, 0x0001: stored, 0x0107: stored, 0x0116: stored,
		0x0111: stored, // the UID never has other bytes
		0xA700: again, 0xA7FF: again, 0xA701: again, 0xFE00: again, 0x1234: again,
		0x0110: once,
		0xA900: final, 0xA9FF: final, 0xC000: final, 0xC123: final, 0xCFFF: final,
		0x0117: final, 0x0122: final, 0x0124: final, 0x0210: final, 0x0211: final, 0x0212: final,
	} {
		if got := meaning(status); got.verdict != want {
			t.Errorf("%04X means %v, want %v", status, got.verdict, want)
		}
	}
}

// TestEveryStatusSaysWhatToDo: whatever a peer answers, a person can act on it.
func TestEveryStatusSaysWhatToDo(t *testing.T) {
	for status := range 0x10000 {
		if r := meaning(uint16(status)); r.verdict != stored && (r.words == "" || r.remedy == "") {
			t.Errorf("%04X says %q, to do %q", status, r.words, r.remedy)
		} else if r.verdict == stored && status != 0 && r.words == "" {
			t.Errorf("%04X is stored without a note", status)
		}
	}
}

func TestRejectionsSayWhatToConfigure(t *testing.T) {
	d := Destination{Destination: job.Destination{Name: "pacs"}, AETitle: "PACS", Address: "10.1.2.3:104"}
	for _, c := range []struct {
		result, source, reason byte
		permanent              bool
		words                  string
	}{
		{1, 1, 3, true, `add the AE title "PULMONODE" of this node`},
		{1, 1, 7, true, `another AE title than "PACS"`},
		{1, 1, 1, true, "in the destination's log"},
		{1, 1, 2, true, "check the address"},
		{1, 2, 2, true, "check the address"},
		{2, 3, 1, false, "tried again"},
		{2, 3, 2, false, "allow more associations"},
		{2, 9, 9, false, "in the destination's log"},
	} {
		permanent, sentence := rejection(d, "PULMONODE", c.result, c.source, c.reason)
		if permanent != c.permanent || !strings.Contains(sentence, c.words) || !strings.Contains(sentence, "10.1.2.3:104") {
			t.Errorf("%d/%d/%d: %v %q", c.result, c.source, c.reason, permanent, sentence)
		}
	}
}
