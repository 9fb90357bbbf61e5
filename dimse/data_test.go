package dimse

import (
	"bytes"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/dimse/pdu"
)

// PDUs that have no place in an association, or are none (Sta6 of table 9-10).
func TestUnexpectedPDUs(t *testing.T) {
	request, accepted := associateRQ(t, nil), associateAC(t, nil)
	release, released := pdu.AReleaseRQ, pdu.AReleaseRP
	play(t, []situation{
		{"a second request", join(request, request), join(accepted, aborted(2, 2)), Aborted},
		{"an acceptance", join(request, accepted), join(accepted, aborted(2, 2)), Aborted},
		{"a rejection", join(request, rejected(1, 1, 1)), join(accepted, aborted(2, 2)), Aborted},
		{"a release response", join(request, released), join(accepted, aborted(2, 2)), Aborted},
		{"an unknown PDU", join(request, []byte("\x09\x00\x00\x00\x00\x00")), join(accepted, aborted(2, 1)), Aborted},
		{"a release of five bytes", join(request, []byte("\x05\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00")), join(accepted, aborted(2, 6)), Aborted},
		{"an abort", join(request, aborted(0, 0)), accepted, Aborted},
		{"an abort of no length", join(request, []byte("\x07\x00\x00\x00\x00\x00")), accepted, Aborted},
		{"hangs up", request, accepted, Broken},
		{"hangs up in a PDU's header", join(request, release[:4]), accepted, Broken},
		{"hangs up in an abort", join(request, aborted(0, 0)[:8]), accepted, Broken},

		{"an acceptance of 4 GiB", join(request, []byte("\x02\x00\xFF\xFF\xFF\xFF")), join(accepted, aborted(2, 6)), Aborted},
		{"a second request of 1 MiB", join(request, []byte{1, 0, 0, 0x10, 0, 0}, make([]byte, 1<<20)), join(accepted, aborted(2, 6)), Aborted},
	})
}

// Values and fragments (PS3.8 annex E).
func TestValuesAndFragments(t *testing.T) {
	request, accepted := associateRQ(t, nil), associateAC(t, nil)
	release, released := pdu.AReleaseRQ, pdu.AReleaseRP
	data := pData(value(3, dataLast, []byte("data")))
	bytewise := func(contextID byte, command []byte) (b []byte) {
		for i := range command {
			control := byte(commandMore)
			if i == len(command)-1 {
				control = commandLast
			}
			b = append(b, pData(value(contextID, control, command[i:i+1]))...)
		}
		return b
	}
	half := storeCommand(1)[:60]
	play(t, []situation{
		{"a value for a context that was refused", join(associateRQ(t, func(a *pdu.AAssociate) { a.Contexts[0].AbstractSyntax = mr }), echoRQ(1)),
			join(associateAC(t, func(a *pdu.AAssociate) { a.Contexts[0].Result = 3 }), aborted(2, 6)), Aborted},
		{"a value for a context never proposed", join(request, pData(value(9, commandLast, echoRQ(1)[12:]))), join(accepted, aborted(2, 6)), Aborted},
		{"a value of length 0", join(request, pData([]byte{0, 0, 0, 0, 3, 3})), join(accepted, aborted(2, 6)), Aborted},
		{"a value of length 1", join(request, pData([]byte{0, 0, 0, 1, 3, 3})), join(accepted, aborted(2, 6)), Aborted},
		{"a value beyond its PDU", join(request, pData([]byte{0, 0, 0, 3, 3, 3})), join(accepted, aborted(2, 6)), Aborted},
		{"a PDU too short for a value", join(request, pData([]byte{0, 0, 0, 2, 3})), join(accepted, aborted(2, 6)), Aborted},
		{"a PDU longer than agreed", join(request, []byte("\x04\x00\x00\x04\x00\x01")), join(accepted, aborted(2, 6)), Aborted},
		{"a PDU as long as agreed", join(request, storeRQ(1), pData(value(3, dataLast, make([]byte, DefaultMaxPDU-6))), release), join(accepted, storeRSP(1, Success), released), Released},
		{"a PDU without values", join(request, pData(), echoRQ(1), pData(), release), join(accepted, echoRSP(1), released), Released},
		{"command and data in one PDU", join(request, pData(value(3, commandLast, storeCommand(1)), value(3, dataMore, []byte("da")), value(3, dataLast, []byte("ta"))), release),
			join(accepted, storeRSP(1, Success), released), Released},
		{"two messages in one PDU", join(request, pData(value(1, commandLast, echoRQ(1)[12:]), value(1, commandLast, echoRQ(2)[12:])), release), join(accepted, echoRSP(1), echoRSP(2), released), Released},
		{"a command byte by byte", join(request, bytewise(1, echoRQ(1)[12:]), release), join(accepted, echoRSP(1), released), Released},
		{"an empty last fragment of a command", join(request, pData(value(1, commandMore, echoRQ(1)[12:])), pData(value(1, commandLast, nil)), release), join(accepted, echoRSP(1), released), Released},
		{"empty fragments of a data set", join(request, storeRQ(1), pData(value(3, dataMore, nil)), pData(value(3, dataMore, []byte("data"))), pData(value(3, dataMore, nil), value(3, dataLast, nil)), release),
			join(accepted, storeRSP(1, Success), released), Released},
		{"an empty data set", join(request, storeRQ(1), pData(value(3, dataLast, nil)), release), join(accepted, storeRSP(1, Success), released), Released},
		{"data where a command is due", join(request, data), join(accepted, aborted(2, 5)), Aborted},
		{"data inside a command", join(request, pData(value(3, commandMore, storeCommand(1)[:20])), data), join(accepted, aborted(2, 5)), Aborted},
		{"a command in two contexts", join(request, pData(value(3, commandMore, storeCommand(1)[:20]), value(1, commandLast, storeCommand(1)[20:]))), join(accepted, aborted(2, 5)), Aborted},
		{"a command inside a data set", join(request, storeRQ(1), pData(value(3, dataMore, []byte("da"))), echoRQ(2)), join(accepted, aborted(2, 5)), Aborted},
		{"another context inside a data set", join(request, storeRQ(1), pData(value(1, dataMore, []byte("da")))), join(accepted, aborted(2, 5)), Aborted},
		{"a command of more than 16 KiB", join(request, pData(value(3, commandMore, make([]byte, 10000))), pData(value(3, commandMore, make([]byte, 10000)))), join(accepted, aborted(2, 6)), Aborted},
		{"a command in 4096 fragments", join(request, bytes.Repeat(pData(value(1, commandMore, nil)), 4095), echoRQ(1), release), join(accepted, echoRSP(1), released), Released},
		{"a command in 4097 fragments", join(request, bytes.Repeat(pData(value(1, commandMore, nil)), 4096), echoRQ(1)), join(accepted, aborted(2, 6)), Aborted},
		{"a command that is none", join(request, pData(value(1, commandLast, []byte("no command set")))), join(accepted, aborted(2, 6)), Aborted},
		{"an empty command", join(request, pData(value(1, commandLast, nil))), join(accepted, aborted(2, 6)), Aborted},
		{"a command without a message ID", join(request, message(1, commandElement{elCommandField, uint16(cEchoRQ)})), join(accepted, aborted(2, 6)), Aborted},
		{"a response", join(request, echoRSP(1)), join(accepted, aborted(2, 6)), Aborted},

		{"a value of 4 GiB", join(request, pData([]byte{0xFF, 0xFF, 0xFF, 0xFF, 3, 3})), join(accepted, aborted(2, 6)), Aborted},
		{"a PDU of 4 GiB", join(request, []byte("\x04\x00\xFF\xFF\xFF\xFF")), join(accepted, aborted(2, 6)), Aborted},
		{"an even context", join(request, pData(value(2, commandLast, storeCommand(1)))), join(accepted, aborted(2, 6)), Aborted},
		{"a data set in a context that was refused", join(request, storeRQ(1), pData(value(5, dataLast, []byte("data")))), join(accepted, aborted(2, 5)), Aborted},
		{"the data set before its command", join(request, data, storeRQ(1)), join(accepted, aborted(2, 5)), Aborted},
		{"command and data set by turns", join(request, pData(value(3, commandMore, half), value(3, dataMore, []byte("da")), value(3, commandLast, storeCommand(1)[60:]), value(3, dataLast, []byte("ta")))),
			join(accepted, aborted(2, 5)), Aborted},
		{"a command without its last fragment", join(request, pData(value(3, commandMore, storeCommand(1))), data), join(accepted, aborted(2, 5)), Aborted},
		{"a command's last fragment twice", join(request, pData(value(3, commandMore, half)), pData(value(3, commandLast, storeCommand(1)[60:])), pData(value(3, commandLast, storeCommand(1)[60:]))),
			join(accepted, aborted(2, 5)), Aborted},
		{"a data set without its last fragment", join(request, storeRQ(1), pData(value(3, dataMore, []byte("data"))), storeRQ(2), data), join(accepted, aborted(2, 5)), Aborted},
		{"a data set's last fragment twice", join(request, storeRQ(1), data, data), join(accepted, storeRSP(1, Success), aborted(2, 5)), Aborted},
		{"reserved bits of the control header", join(request, pData(value(3, commandLast|0xF0, storeCommand(1))), pData(value(3, dataLast|0xF0, []byte("data"))), release), join(accepted, storeRSP(1, Success), released), Released},
		{"a data set byte by byte", join(request, storeRQ(1), bytes.Repeat(pData(value(3, dataMore, []byte("x"))), 1000), pData(value(3, dataLast, nil)), release), join(accepted, storeRSP(1, Success), released), Released},
	})
}

// Commands and their answers (PS3.7 9.1, 9.3, annex C). The association outlives
// a refused operation.
func TestCommands(t *testing.T) {
	request, accepted := associateRQ(t, nil), associateAC(t, nil)
	release, released := pdu.AReleaseRQ, pdu.AReleaseRP
	data := pData(value(3, dataLast, []byte("data")))
	// operation is a request with a command field of choice, respond the answer to it.
	operation := func(contextID byte, field uint16, class string) []byte {
		return message(contextID, commandElement{elAffectedSOPClass, class}, commandElement{elCommandField, field}, commandElement{elMessageID, uint16(7)}, commandElement{elDataSetType, uint16(noDataSet)})
	}
	respond := func(contextID byte, field uint16, class string, status Status, instance ...string) []byte {
		elements := []commandElement{{elAffectedSOPClass, class}, {elCommandField, field}, {elMessageIDResponded, uint16(7)}, {elDataSetType, uint16(noDataSet)}, {elStatus, uint16(status)}}
		for _, uid := range instance {
			elements = append(elements, commandElement{elAffectedInstance, uid})
		}
		return message(contextID, elements...)
	}
	store := func(class, instance string, dataSetType uint16) []byte {
		elements := []commandElement{{elAffectedSOPClass, class}, {elCommandField, uint16(cStoreRQ)}, {elMessageID, uint16(7)}, {elPriority, uint16(0)}, {elDataSetType, dataSetType}}
		if instance != "" {
			elements = append(elements, commandElement{elAffectedInstance, instance})
		}
		return message(3, elements...)
	}
	// requested is a request about an instance that is there already (PS3.7 10.1).
	requested := func(field uint16) []byte {
		return message(3, commandElement{elRequestedSOPClass, ct}, commandElement{elCommandField, field}, commandElement{elMessageID, uint16(7)}, commandElement{elDataSetType, uint16(noDataSet)},
			commandElement{elRequestedInstance, "1.2.3"})
	}
	// with is the C-STORE-RQ with other elements, without those whose value is nil.
	with := func(change map[uint16]any) []byte {
		var elements []commandElement
		for _, e := range []commandElement{{elAffectedSOPClass, ct}, {elCommandField, uint16(cStoreRQ)}, {elMessageID, uint16(7)}, {elPriority, uint16(0)},
			{elDataSetType, uint16(1)}, {elAffectedInstance, "1.2.3"}, {elMoveOriginatorAE, nil}, {elMoveOriginatorID, nil}} {
			if v, ok := change[e.element]; ok {
				e.value = v
			}
			if e.value != nil {
				elements = append(elements, e)
			}
		}
		return message(3, elements...)
	}
	// grouped is the C-STORE-RQ with a group length of n, which nobody needs.
	grouped := func(n byte) []byte {
		b := storeCommand(7)
		b[8] = n
		return pData(value(3, commandLast, b))
	}
	stored := join(accepted, storeRSP(7, Success), echoRSP(1), released)
	play(t, []situation{
		{"C-ECHO", join(request, echoRQ(1), echoRQ(65535), release), join(accepted, echoRSP(1), echoRSP(65535), released), Released},
		{"C-STORE", join(request, storeRQ(1), data, storeRQ(2), data, release), join(accepted, storeRSP(1, Success), storeRSP(2, Success), released), Released},
		{"C-FIND in a storage context", join(request, operation(3, 0x0020, ct), echoRQ(1), release), join(accepted, respond(3, 0x8020, ct, UnrecognizedOperation), echoRSP(1), released), Released},
		{"C-FIND with its data set", join(request, message(3, commandElement{elAffectedSOPClass, ct}, commandElement{elCommandField, uint16(0x0020)}, commandElement{elMessageID, uint16(7)}, commandElement{elDataSetType, uint16(1)}), data, echoRQ(1), release),
			join(accepted, respond(3, 0x8020, ct, UnrecognizedOperation), echoRSP(1), released), Released},
		{"an operation nobody knows", join(request, operation(3, 0x0666, ct), echoRQ(1), release), join(accepted, respond(3, 0x8666, ct, UnrecognizedOperation), echoRSP(1), released), Released},
		{"C-ECHO in a storage context", join(request, operation(3, cEchoRQ, ct), echoRQ(1), release), join(accepted, respond(3, cEchoRSP, ct, UnrecognizedOperation), echoRSP(1), released), Released},
		{"C-STORE in the context of Verification", join(request, operation(1, cStoreRQ, ct), echoRQ(1), release), join(accepted, respond(1, cStoreRSP, ct, UnrecognizedOperation), echoRSP(1), released), Released},
		{"C-STORE of a class not of its context", join(request, store(mr, "1.2.3", 1), data, echoRQ(1), release), join(accepted, respond(3, cStoreRSP, mr, SOPClassNotSupported, "1.2.3"), echoRSP(1), released), Released},
		{"C-STORE without a class", join(request, store("", "1.2.3", 1), data, echoRQ(1), release), join(accepted, respond(3, cStoreRSP, "", MistypedArgument, "1.2.3"), echoRSP(1), released), Released},
		{"C-STORE without an instance", join(request, store(ct, "", 1), data, echoRQ(1), release), join(accepted, respond(3, cStoreRSP, ct, MistypedArgument), echoRSP(1), released), Released},
		{"C-STORE that says it has no data set", join(request, store(ct, "1.2.3", noDataSet), echoRQ(1), release), join(accepted, respond(3, cStoreRSP, ct, MistypedArgument, "1.2.3"), echoRSP(1), released), Released},
		{"C-CANCEL, which has no answer", join(request, message(3, commandElement{elCommandField, uint16(cCancelRQ)}, commandElement{elMessageIDResponded, uint16(7)}, commandElement{elDataSetType, uint16(noDataSet)}), echoRQ(1), release),
			join(accepted, echoRSP(1), released), Released},

		// The C-STORE-RQ's elements, one by one.
		{"the same message ID again", join(request, storeRQ(7), data, storeRQ(7), data, release), join(accepted, storeRSP(7, Success), storeRSP(7, Success), released), Released},
		{"message ID 0", join(request, storeRQ(0), data, release), join(accepted, storeRSP(0, Success), released), Released},
		{"a group length that is too small", join(request, grouped(0), data, echoRQ(1), release), stored, Released},
		{"a group length that is too large", join(request, grouped(255), data, echoRQ(1), release), stored, Released},
		{"no group length", join(request, pData(value(3, commandLast, storeCommand(7)[12:])), data, echoRQ(1), release), stored, Released},
		{"no command field", join(request, with(map[uint16]any{elCommandField: nil})), join(accepted, aborted(2, 6)), Aborted},
		{"a command field of one byte", join(request, with(map[uint16]any{elCommandField: ""})), join(accepted, aborted(2, 6)), Aborted},
		{"no message ID", join(request, with(map[uint16]any{elMessageID: nil})), join(accepted, aborted(2, 6)), Aborted},
		{"no affected SOP class", join(request, with(map[uint16]any{elAffectedSOPClass: nil}), data, echoRQ(1), release), join(accepted, respond(3, cStoreRSP, "", MistypedArgument, "1.2.3"), echoRSP(1), released), Released},
		{"no priority", join(request, with(map[uint16]any{elPriority: nil}), data, echoRQ(1), release), stored, Released},
		{"a priority that is none", join(request, with(map[uint16]any{elPriority: uint16(0xFFFF)}), data, echoRQ(1), release), stored, Released},
		{"no data set type, so no data set", join(request, with(map[uint16]any{elDataSetType: nil}), echoRQ(1), release), join(accepted, respond(3, cStoreRSP, ct, MistypedArgument, "1.2.3"), echoRSP(1), released), Released},
		{"a data set where the type says none", join(request, store(ct, "1.2.3", noDataSet), data), join(accepted, respond(3, cStoreRSP, ct, MistypedArgument, "1.2.3"), aborted(2, 5)), Aborted},
		{"move originators", join(request, with(map[uint16]any{elMoveOriginatorAE: "MOVER", elMoveOriginatorID: uint16(5)}), data, echoRQ(1), release), stored, Released},
		{"a move originator of a hundred characters, without its message", join(request, with(map[uint16]any{elMoveOriginatorAE: strings.Repeat("M", 100), elMoveOriginatorID: ""}), data, echoRQ(1), release), stored, Released},
		{"elements of groups that are not a command's", join(request, pData(value(3, commandLast, join(storeCommand(7), []byte("\x08\x00\x05\x00\x02\x00\x00\x00  ")))), data, echoRQ(1), release), stored, Released},
		{"an element that ends behind the command", join(request, pData(value(3, commandLast, join(storeCommand(7), []byte("\x00\x00\x30\x10\xFF\xFF\xFF\xFF"))))), join(accepted, aborted(2, 6)), Aborted},
		{"a C-STORE-RSP", join(request, storeRSP(1, Success)), join(accepted, aborted(2, 6)), Aborted},

		// Other services' operations in a storage context.
		{"C-GET in a storage context", join(request, operation(3, 0x0010, ct), echoRQ(1), release), join(accepted, respond(3, 0x8010, ct, UnrecognizedOperation), echoRSP(1), released), Released},
		{"C-MOVE in a storage context", join(request, operation(3, 0x0021, ct), echoRQ(1), release), join(accepted, respond(3, 0x8021, ct, UnrecognizedOperation), echoRSP(1), released), Released},
		{"N-EVENT-REPORT in a storage context", join(request, operation(3, 0x0100, ct), echoRQ(1), release), join(accepted, respond(3, 0x8100, ct, UnrecognizedOperation), echoRSP(1), released), Released},
		{"N-GET in a storage context", join(request, requested(0x0110), echoRQ(1), release), join(accepted, respond(3, 0x8110, ct, UnrecognizedOperation, "1.2.3"), echoRSP(1), released), Released},
		{"N-SET in a storage context", join(request, requested(0x0120), echoRQ(1), release), join(accepted, respond(3, 0x8120, ct, UnrecognizedOperation, "1.2.3"), echoRSP(1), released), Released},
		{"N-ACTION in a storage context", join(request, requested(0x0130), echoRQ(1), release), join(accepted, respond(3, 0x8130, ct, UnrecognizedOperation, "1.2.3"), echoRSP(1), released), Released},
		{"N-DELETE in a storage context", join(request, requested(0x0150), echoRQ(1), release), join(accepted, respond(3, 0x8150, ct, UnrecognizedOperation, "1.2.3"), echoRSP(1), released), Released},
		{"N-CREATE in a storage context", join(request, operation(3, 0x0140, ct), echoRQ(1), release), join(accepted, respond(3, 0x8140, ct, UnrecognizedOperation), echoRSP(1), released), Released},
		{"N-ACTION in the context of Verification", join(request, operation(1, 0x0130, verificationUID), echoRQ(1), release), join(accepted, respond(1, 0x8130, verificationUID, UnrecognizedOperation), echoRSP(1), released), Released},
	})
}
