package sr

import (
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/sr/study"
)

func TestATreeWithHalfACodeIsRefused(t *testing.T) {
	good := func() *item {
		return container(imagingMeasurementReport, "1500").add(contains, code(finding, nodule), num(volume, 1, cubicMillimeter),
			scoord(study.Code{}, "POINT", 1, 2).add(selectedFrom, image(study.Code{}, ctClass, "1.2.3", 0, 0)))
	}
	if err := good().whole(); err != nil {
		t.Errorf("a whole tree is refused: %v", err)
	}
	for name, c := range map[string]struct {
		bad  *item
		says string
	}{
		"a name without a meaning":     {text(study.Code{Value: "121106", Scheme: "DCM"}, "x"), "not whole"},
		"a name without a scheme":      {text(study.Code{Value: "121106", Meaning: "Comment"}, "x"), "not whole"},
		"a name without a value":       {text(study.Code{Scheme: "DCM", Meaning: "Comment"}, "x"), "not whole"},
		"no name where one must be":    {num(study.Code{}, 1, millimeter), "no concept name"},
		"an answer without a meaning":  {code(finding, study.Code{Value: "27925004", Scheme: "SCT"}), "not whole"},
		"an answer that is none":       {code(finding, study.Code{}), "not whole"},
		"an answer without its scheme": {code(finding, study.Code{Value: "27925004", Meaning: "Nodule"}), "not whole"},
	} {
		root := good()
		root.children[0].add(hasProperties, c.bad) // deep in the tree
		if err := root.whole(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
