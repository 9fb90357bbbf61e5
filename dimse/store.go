package dimse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/pulmonode/pulmonode/dimse/pdu"
)

// storagePrefix begins the UIDs of nearly all storage SOP classes (PS3.4 B.5), also
// of those to come.
const storagePrefix = "1.2.840.10008.5.1.4.1.1."

// exceptions are storage classes elsewhere, and what is none for all its UID.
var exceptions = map[string]bool{
	"1.2.840.10008.5.1.4.34.7":  true, // RT Beams Delivery Instruction
	"1.2.840.10008.5.1.4.34.10": true, // RT Brachy Application Setup Delivery Instruction

	"1.2.840.10008.5.1.4.1.1.200.4": false, // Protocol Approval: FIND, MOVE, GET
	"1.2.840.10008.5.1.4.1.1.200.5": false,
	"1.2.840.10008.5.1.4.1.1.200.6": false,
	"1.2.840.10008.5.1.4.1.1.201.2": false, // Inventory: FIND, MOVE, GET
	"1.2.840.10008.5.1.4.1.1.201.3": false,
	"1.2.840.10008.5.1.4.1.1.201.4": false,
	"1.2.840.10008.5.1.4.1.1.201.5": false, // Inventory Creation
	"1.2.840.10008.5.1.4.1.1.201.6": false, // Repository Query
}

func isStorage(class string) bool {
	if is, ok := exceptions[class]; ok {
		return is
	}
	return len(class) > len(storagePrefix) && strings.HasPrefix(class, storagePrefix)
}

// StoreRequest is a C-STORE-RQ (PS3.7 9.1.1).
type StoreRequest struct {
	ContextID byte
	MessageID uint16

	// The UIDs are as in the command: not checked against the data set, and the
	// instance's not for being a UID: see dataset.ValidUID before it names a file.
	SOPClassUID, SOPInstanceUID string

	TransferSyntaxUID string
	Priority          uint16
	MoveOriginatorAE  string
	MoveOriginatorID  uint16
	Data              io.Reader // the data set; io.ErrUnexpectedEOF when the peer breaks off
}

// store hands a C-STORE to the session.
func (c *serverConn) store(context *PresentationContext, message uint16, cmd command, data *dataSet) Status {
	r := &StoreRequest{ContextID: context.ID, MessageID: message, SOPClassUID: cmd.text(elAffectedSOPClass), SOPInstanceUID: cmd.text(elAffectedInstance),
		TransferSyntaxUID: context.TransferSyntax, MoveOriginatorAE: cmd.text(elMoveOriginatorAE), Data: data}
	r.Priority, _ = cmd.number(elPriority)
	r.MoveOriginatorID, _ = cmd.number(elMoveOriginatorID)
	switch {
	case !cmd.hasDataSet(), r.SOPInstanceUID == "", r.SOPClassUID == "":
		return MistypedArgument
	case r.SOPClassUID != context.SOPClassUID:
		return SOPClassNotSupported
	}
	return c.guarded(func() Status { return c.session.Store(c.ctx, r) })
}

// StoreObject is an instance to send. Data is its data set, without file meta
// information, in TransferSyntaxUID.
type StoreObject struct {
	SOPClassUID, SOPInstanceUID, TransferSyntaxUID string
	Data                                           io.Reader
}

// Store sends a C-STORE (PS3.7 9.1.1) and returns the peer's status. An error
// means that there was none; the association is then over, unless nothing was
// sent: ErrNoContext, or an object without its transfer syntax.
func (k *Conn) Store(ctx context.Context, o StoreObject) (status Status, err error) {
	if o.TransferSyntaxUID == "" {
		return 0, errors.New("no transfer syntax: say in StoreObject.TransferSyntaxUID how Data is encoded")
	}
	p, err := k.context(o.SOPClassUID, o.TransferSyntaxUID)
	if err != nil {
		return 0, err
	}
	err = k.guard(ctx, func() error {
		k.message++
		if err := k.sendStore(p.ID, o); err != nil {
			return err
		}
		status, err = k.response(ctx, cStoreRSP)
		return err
	})
	return status, err
}

// sendStore writes the command together with the first of the data set, so
// that a small object is one segment. One byte is read ahead of each fragment,
// to know which is the last: peers are not sent an empty one.
func (k *Conn) sendStore(id byte, o StoreObject) error {
	body := encodeCommand([]commandElement{{elAffectedSOPClass, o.SOPClassUID}, {elCommandField, uint16(cStoreRQ)}, {elMessageID, k.message},
		{elPriority, uint16(0)}, {elDataSetType, uint16(1)}, {elAffectedInstance, o.SOPInstanceUID}})
	head := k.t.appendCommand(make([]byte, 0, 512), id, body)
	size := k.t.fragment(sendFragment)
	if k.chunk == nil {
		k.chunk = make([]byte, size+1)
	}
	n, err := io.ReadFull(o.Data, k.chunk)
	for {
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return fmt.Errorf("reading the instance to send: %w", err)
		}
		last := err != nil
		send := min(n, size)
		head = pdu.AppendPData(head, pdu.PDV{Length: uint32(send), ContextID: id, Last: last})
		if werr := k.t.write(head, k.chunk[:send]); werr != nil {
			return k.unsent(werr)
		}
		if last {
			return nil
		}
		head = head[:0]
		k.chunk[0] = k.chunk[size]
		n, err = io.ReadFull(o.Data, k.chunk[1:])
		n++
	}
}
