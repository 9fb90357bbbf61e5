package dimse

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Elements of a command set (PS3.7 annex E), group 0000.
const (
	elGroupLength        = 0x0000
	elAffectedSOPClass   = 0x0002
	elRequestedSOPClass  = 0x0003
	elCommandField       = 0x0100
	elMessageID          = 0x0110
	elMessageIDResponded = 0x0120
	elPriority           = 0x0700
	elDataSetType        = 0x0800
	elStatus             = 0x0900
	elAffectedInstance   = 0x1000
	elRequestedInstance  = 0x1001
	elEventType          = 0x1002
	elActionType         = 0x1008
	elMoveOriginatorAE   = 0x1030
	elMoveOriginatorID   = 0x1031
)

// Values of Command Field (PS3.7 E.1-1).
const (
	cStoreRQ        = 0x0001
	cStoreRSP       = 0x8001
	cEchoRQ         = 0x0030
	cEchoRSP        = 0x8030
	nEventReportRQ  = 0x0100
	nEventReportRSP = 0x8100
	nActionRQ       = 0x0130
	nActionRSP      = 0x8130
	cCancelRQ       = 0x0FFF
	response        = 0x8000
)

// noDataSet is the Data Set Type that says that none follows (PS3.7 E.1-1).
const noDataSet = 0x0101

// command is a command set's elements by their number in group 0000. Values
// are as on the wire, Implicit VR Little Endian (PS3.7 6.3.1).
type command map[uint16][]byte

func decodeCommand(b []byte) (command, error) {
	c := command{}
	for len(b) > 0 {
		if len(b) < 8 {
			return nil, fmt.Errorf("%d bytes are left where a command element should be", len(b))
		}
		group, element := binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:])
		n := binary.LittleEndian.Uint32(b[4:])
		if uint64(n) > uint64(len(b)-8) {
			return nil, fmt.Errorf("command element (%04X,%04X) of %d bytes where %d are left", group, element, n, len(b)-8)
		}
		if group == 0 {
			c[element] = b[8 : 8+n]
		}
		b = b[8+n:]
	}
	return c, nil
}

// number returns a US element's value.
func (c command) number(element uint16) (uint16, bool) {
	if v := c[element]; len(v) >= 2 {
		return binary.LittleEndian.Uint16(v), true
	}
	return 0, false
}

func (c command) text(element uint16) string { return strings.TrimRight(string(c[element]), " \x00") }

func (c command) hasDataSet() bool {
	v, ok := c.number(elDataSetType)
	return ok && v != noDataSet
}

// commandElement is one element to be written.
type commandElement struct {
	element uint16
	value   any // string (UI) or uint16 (US)
}

// encodeCommand writes a command set, group length first. The elements must
// ascend.
func encodeCommand(elements []commandElement) []byte {
	b := make([]byte, 12, 256)
	for _, e := range elements {
		b = binary.LittleEndian.AppendUint16(b, 0)
		b = binary.LittleEndian.AppendUint16(b, e.element)
		switch v := e.value.(type) {
		case uint16:
			b = binary.LittleEndian.AppendUint32(b, 2)
			b = binary.LittleEndian.AppendUint16(b, v)
		case string:
			if len(v)%2 == 1 {
				v += "\x00"
			}
			b = binary.LittleEndian.AppendUint32(b, uint32(len(v)))
			b = append(b, v...)
		}
	}
	binary.LittleEndian.PutUint32(b[4:], 4)
	binary.LittleEndian.PutUint32(b[8:], uint32(len(b)-12))
	return b
}
