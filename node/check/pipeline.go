package check

import (
	"os"
	"strings"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/inference"
	"github.com/pulmonode/pulmonode/inference/onnx"
)

// pipeline loads the models as the node would and runs each once. What can be
// told apart is tried apart, so that each fault stands at its own setting.
func pipeline(c config.Inference) []config.Fault {
	o := inference.Options{RuntimeLibrary: c.RuntimeLibrary, Provider: c.Provider, Localize: c.Localize, Refine: c.Refine, Threads: c.Threads,
		RuntimeSHA256: c.RuntimeSHA256, LocalizeSHA256: c.LocalizeSHA256, RefineSHA256: c.RefineSHA256}
	var models []config.Fault
	for _, m := range []struct {
		key    string
		role   onnx.Role
		path   *string
		pinned *string
	}{{"localize", onnx.Localize, &o.Localize, &o.LocalizeSHA256}, {"refine", onnx.Refine, &o.Refine, &o.RefineSHA256}} {
		if err := model(*m.path, m.role, *m.pinned); err != nil {
			problem, remedy := split(cause(err), "put the model file in its place again")
			models = append(models, fault("[inference] "+m.key, *m.path+": "+problem, remedy+" (leave this setting empty for the shipped model)"))
			*m.path, *m.pinned = "", "" // the rest is tried with the shipped one
		}
	}
	const wait = "; until then series are received, but wait"
	library, err := onnx.FindLibrary(c.RuntimeLibrary)
	if err != nil {
		problem, remedy := split(err, "install ONNX Runtime "+onnx.Version)
		return append([]config.Fault{fault("[inference] runtime_library", problem, remedy+wait)}, models...)
	}
	if err := onnx.Trusted(library, c.RuntimeSHA256); err != nil {
		problem, remedy := split(err, "let the user that runs pulmonode read it")
		return append([]config.Fault{fault("[inference] runtime_sha256", problem, remedy+wait)}, models...)
	}
	return append(open(o), models...)
}

// model reads a model file and holds it against its contract; "" is the shipped one.
func model(path string, role onnx.Role, pinned string) error {
	if path == "" {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := inference.Pinned(text, role, pinned); err != nil {
		return err
	}
	g, err := onnx.Parse(text)
	if err != nil {
		return err
	}
	_, err = g.Check(role)
	return err
}

func open(o inference.Options) (faults []config.Fault) {
	p, err := inference.Open(o)
	if err != nil {
		where := "[inference] runtime_library"
		for _, m := range []struct{ key, path string }{{"localize", o.Localize}, {"refine", o.Refine}} {
			if m.path != "" && strings.HasPrefix(err.Error(), m.path+": ") {
				where = "[inference] " + m.key
			}
		}
		if o.Provider != "cpu" {
			// Where the CPU would do, neither library nor models are to blame.
			o.Provider = "cpu"
			if p, err := inference.Open(o); err == nil {
				p.Close()
				where = "[inference] provider"
			}
		}
		problem, remedy := split(err, "take the library of ONNX Runtime "+onnx.Version+", and leave localize and refine empty to use the shipped models")
		return []config.Fault{fault(where, problem, remedy)}
	}
	defer p.Close()
	for _, w := range p.Warnings() {
		faults = append(faults, warning("[inference] provider", w, `set provider = "cpu" if that is intended`))
	}
	return faults
}

// split takes an error apart that ends in what to do; otherwise is what to do
// where it does not.
func split(err error, otherwise string) (problem, remedy string) {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if i := strings.LastIndex(text, "; "); i >= 0 {
		return strings.TrimSuffix(text[:i], "."), text[i+2:]
	}
	return text, otherwise
}
