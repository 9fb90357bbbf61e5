"""pynetdicom as either end of storage commitment (PS3.4 annex J).

    commitment.py scu HOST PORT same|new OWNPORT    asks for 1.2.3 and 1.2.4, prints the result as JSON
    commitment.py scp OWNPORT same|new HOST PORT    answers for the first that is asked for, not for the others

"same": the result comes on the association that brought the request; "new": on
one of the SCP's own.
"""

import json
import sys
import threading

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import CTImageStorage, StorageCommitmentPushModel, StorageCommitmentPushModelInstance

PATIENCE = 30  # seconds


def reference(uid, reason=None):
    d = Dataset()
    d.ReferencedSOPClassUID, d.ReferencedSOPInstanceUID = CTImageStorage, uid
    if reason is not None:
        d.FailureReason = reason
    return d


def scu(host, port, where, own):
    came, gone, told = threading.Event(), threading.Event(), {}

    def result(event):
        info = event.event_information
        told.update(
            event=event.event_type, transaction=info.TransactionUID,
            committed=[i.ReferencedSOPInstanceUID for i in info.get("ReferencedSOPSequence", [])],
            failed={i.ReferencedSOPInstanceUID: i.FailureReason for i in info.get("FailedSOPSequence", [])})
        came.set()
        return 0x0000, None

    handlers = [(evt.EVT_N_EVENT_REPORT, result)]
    ae = AE("ASKS")
    if where == "new":
        ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        ae.start_server(("127.0.0.1", own), block=False, evt_handlers=handlers + [(evt.EVT_CONN_CLOSE, lambda event: gone.set())])
    ae.add_requested_context(StorageCommitmentPushModel)
    assoc = ae.associate(host, port, ae_title="PULMONODE", evt_handlers=handlers)
    assert assoc.is_established
    request = Dataset()
    request.TransactionUID = generate_uid()
    request.ReferencedSOPSequence = [reference("1.2.3"), reference("1.2.4")]
    status, _ = assoc.send_n_action(request, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
    assert status and status.Status == 0x0000, status
    if where == "new":
        assoc.release()
    assert came.wait(PATIENCE), "no result"
    if where == "same":
        assoc.release()
    else:  # the result came, but a shutdown now would cut off its answer
        assert gone.wait(PATIENCE), "not released"
    assert told.pop("transaction") == request.TransactionUID
    print(json.dumps(told))
    ae.shutdown()


def scp(own, where, host, port):
    asked = {}  # requests by association, until their response is sent

    def action(event):
        asked[event.assoc] = event.action_information
        return 0x0000, None

    def sent(event):
        if type(event.message).__name__ == "N_ACTION_RSP":
            threading.Thread(target=report, args=(event.assoc, asked.pop(event.assoc))).start()

    def report(assoc, request):
        uids = [i.ReferencedSOPInstanceUID for i in request.ReferencedSOPSequence]
        result = Dataset()
        result.TransactionUID = request.TransactionUID
        result.ReferencedSOPSequence = [reference(uids[0])]
        result.FailedSOPSequence = [reference(uid, 0x0112) for uid in uids[1:]]
        if where == "new":
            back = AE("ANSWERS")
            back.add_requested_context(StorageCommitmentPushModel)
            assoc = back.associate(host, port, ae_title="PULMONODE", ext_neg=[build_role(StorageCommitmentPushModel, scp_role=True)])
        status, _ = assoc.send_n_event_report(result, 2, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
        print("answered", status, flush=True)
        if where == "new":
            assoc.release()

    ae = AE("ANSWERS")
    ae.add_supported_context(StorageCommitmentPushModel)
    ae.start_server(("127.0.0.1", own), evt_handlers=[(evt.EVT_N_ACTION, action), (evt.EVT_DIMSE_SENT, sent)])


if __name__ == "__main__":
    role, args = sys.argv[1], sys.argv[2:]
    if role == "scu":
        scu(args[0], int(args[1]), args[2], int(args[3]))
    else:
        scp(int(args[0]), args[1], args[2], int(args[3]))
