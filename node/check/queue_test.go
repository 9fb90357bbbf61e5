package check

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/job/postgrestest"
)

func TestADatabaseThatCannotBeReachedIsAFault(t *testing.T) {
	c := config.Default()
	c.Queue.URL = "postgres://someone:S3cret@127.0.0.1:1/pulmonode"
	faults := real.queue(t.Context(), c)
	if len(faults) != 1 || faults[0].Warning || !strings.Contains(faults[0].Problem, "cannot be reached") || strings.Contains(faults[0].Problem, "S3cret") {
		t.Errorf("%+v", faults)
	}
}

func TestAPasswordFileThatIsMissingIsAFault(t *testing.T) {
	c := config.Default()
	c.Queue.URL, c.Queue.PasswordFile = "postgres://someone@127.0.0.1:1/pulmonode", "/nowhere/password"
	must(t, real.queue(t.Context(), c), false, "[queue] password_file", "/nowhere/password", "may read")
}

// What is wrong in the settings alone is said once, by config.
func TestWhatTheSettingsAreAtFaultForIsSaidOnce(t *testing.T) {
	c := config.Default()
	c.Queue.URL, c.Admin.Listen, c.Output.SR = "mysql://someone@127.0.0.1:1/pulmonode", "hospital", "foo"
	for _, where := range []string{"[queue] url", "[admin] listen", "[output] sr"} {
		if !slices.ContainsFunc(c.Check(), func(f config.Fault) bool { return f.Where == where }) {
			t.Errorf("%s is no fault of the settings: %v", where, c.Check())
		}
	}
	if faults := append(real.queue(t.Context(), c), real.listener(t.Context(), "[admin] listen", c.Admin.Listen)...); len(faults) != 0 {
		t.Errorf("%v", faults)
	}
	if contexts, _ := needed(c.Output, config.Destination{Send: []string{"sr", "pdf"}}); len(contexts) != 1 || contexts[0].SOPClassUID != dataset.EncapsulatedPDF {
		t.Errorf("asked for is %v", contexts)
	}
}

func TestANodeWithOtherSettingsIsWarnedOf(t *testing.T) {
	p, err := postgrestest.Start()
	if missing := new(postgrestest.Missing); errors.As(err, &missing) {
		t.Skip(missing)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	url, err := p.Database("pulmonode")
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	c.Node.Name, c.Queue.URL = "b", url
	if faults := real.queue(t.Context(), c); len(faults) != 0 {
		t.Errorf("of an empty database: %+v", faults)
	}
	other := *c
	other.Output.SeriesNumberSR = 77
	q, err := job.Open(t.Context(), job.Options{URL: url, Node: "a", Settings: other.Fingerprints()})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Stop(t.Context())
	faults := real.queue(t.Context(), c)
	if len(faults) != 1 || !faults[0].Warning || !strings.Contains(faults[0].Problem, "node a") || !strings.Contains(faults[0].Problem, "[output]") {
		t.Errorf("%+v", faults)
	}
}
