package sr

import (
	"cmp"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/sr/study"
)

// device is the UID that TID 1004 requires.
func (w *writer) device() string { return cmp.Or(w.o.DeviceUID, dataset.ImplementationUID) }

// observer is TID 1002 for a device, TID 1004.
func (w *writer) observer() []*item {
	return []*item{
		code(observerType, device),
		uidref(deviceUID, w.device()),
		text(deviceName, study.Manufacturer),
		text(deviceManufacturer, study.Manufacturer),
		text(deviceModel, cmp.Or(w.r.Algorithm.Name, study.Manufacturer)),
		textIf(deviceSerial, w.o.DeviceUID),
	}
}
