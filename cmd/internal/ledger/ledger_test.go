package ledger

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// What was confirmed and is missing, or has other bytes on disk, is found.
func TestCheckFindsLoss(t *testing.T) {
	data := t.TempDir()
	var l Ledger
	keep := func(uid string, sent, kept []byte) {
		l.Confirm(Instance{Study: "1", Series: "1.1", UID: uid, Data: sent})
		folder := filepath.Join(data, "series", "1", "1.1", "instances")
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		meta := dataset.FileMeta(dataset.MetaInfo{SOPClassUID: dataset.CTImage, SOPInstanceUID: uid, TransferSyntax: dataset.ExplicitLE})
		if err := os.WriteFile(filepath.Join(folder, uid+".dcm"), append(meta, kept...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	element := func(v string) []byte { return append([]byte("\x08\x00\x60\x00CS\x02\x00"), v...) } // (0008,0060) Modality
	keep("1.1.1", element("CT"), element("CT"))
	keep("1.1.2", element("CT"), element("MR"))
	l.Confirm(Instance{Study: "1", Series: "1.1", UID: "1.1.3"})
	n, lost := l.Check(data)
	said := strings.Join(lost, "\n")
	if n != 3 || len(lost) != 2 || !strings.Contains(said, "1.1.2 was confirmed: it has other bytes") || !strings.Contains(said, "1.1.3 was confirmed: open") {
		t.Errorf("%d confirmed:\n%s", n, said)
	}
}
