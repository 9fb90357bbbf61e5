package dimse

import (
	"context"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// Echo sends a C-ECHO (PS3.7 9.1.5).
func (k *Conn) Echo(ctx context.Context) (status Status, err error) {
	p, err := k.context(dataset.Verification, "")
	if err != nil {
		return 0, err
	}
	err = k.guard(ctx, func() error {
		k.message++
		body := encodeCommand([]commandElement{{elAffectedSOPClass, dataset.Verification}, {elCommandField, uint16(cEchoRQ)}, {elMessageID, k.message}, {elDataSetType, uint16(noDataSet)}})
		if err := k.t.write(k.t.appendCommand(nil, p.ID, body)); err != nil {
			return k.unsent(err)
		}
		status, err = k.response(ctx, cEchoRSP)
		return err
	})
	return status, err
}
