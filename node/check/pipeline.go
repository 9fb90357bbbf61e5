package check

import (
	"errors"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/inference"
	"github.com/pulmonode/pulmonode/inference/onnx"
)

// pipeline loads the models as the node would and runs each once.
func pipeline(c *config.Config) (faults []config.Fault) {
	p, err := inference.Open(inference.Options{
		RuntimeLibrary: c.Inference.RuntimeLibrary, Provider: c.Inference.Provider,
		Localize: c.Inference.Localize, Refine: c.Inference.Refine, Threads: c.Inference.Threads,
	})
	switch {
	case errors.Is(err, onnx.ErrNoLibrary):
		return []config.Fault{fault("[inference] runtime_library", err.Error(), "without it series are received, but wait")}
	case err != nil:
		return []config.Fault{fault("[inference]", err.Error(), "put the model or library in its place, or leave the setting out to use the shipped one")}
	}
	defer p.Close()
	for _, w := range p.Warnings() {
		faults = append(faults, warning("[inference] provider", w, `set provider = "cpu" if that is intended`))
	}
	return faults
}
