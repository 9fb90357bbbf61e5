package dimse

import (
	"context"
	"errors"
	"time"

	"github.com/pulmonode/pulmonode/dimse/pdu"
	"github.com/pulmonode/pulmonode/dimse/ul"
)

// errReleasedByUs is why an association is over that this side released.
var errReleasedByUs = errors.New("the association was released")

// release asks the peer to end the association in order, and waits for its
// answer. When both ask at once each answers the other, the association's
// requestor first (PS3.8 9.2.2: AR-8, then AR-9 or AR-10). What the peer had
// under way is read past (AR-6): it has no answer, so the peer knows that nothing
// came of it.
func (t *transport) release() error {
	t.machine.Do(ul.Evt11)
	if err := t.write(pdu.AReleaseRQ); err != nil {
		return t.broken(err, "taking the release")
	}
	by := time.Now().Add(t.times.Release)
	for {
		h, err := t.header(by, "before it answered the release")
		if err != nil {
			return err
		}
		if h.Type == pdu.TypeAReleaseRP { // it ends the association, so only when it is whole
			if err := t.skip(); err != nil {
				return t.broken(err, "in its answer to the release")
			}
		}
		a, err := t.take(h)
		if err != nil {
			return err
		}
		if err := t.skip(); err != nil {
			return t.broken(err, "before it answered the release")
		}
		switch a {
		case ul.AR8: // a collision
			if t.machine.Requestor {
				if err := t.releaseResponse(); err != nil { // AR-9; the peer's answer comes next
					return err
				}
			}
		case ul.AR3:
			t.ended = errReleasedByUs
			t.Conn.Close()
			return nil
		case ul.AR10: // the requestor answered first; now we do, and it closes (AR-4)
			if err := t.releaseResponse(); err != nil {
				return err
			}
			t.ended = errReleasedByUs
			t.linger()
			return nil
		}
	}
}

func (t *transport) releaseResponse() error {
	t.machine.Do(ul.Evt14)
	if err := t.write(pdu.AReleaseRP); err != nil {
		return t.broken(err, "taking the release")
	}
	return nil
}

// answerRelease answers a release by the peer, which then closes.
func (t *transport) answerRelease() error {
	t.machine.Do(ul.Evt14)
	err := t.write(pdu.AReleaseRP)
	t.ended = errReleased
	if err == nil {
		t.linger()
	} else {
		t.Conn.Close()
	}
	return t.ended
}

// Release ends the association in order.
func (k *Conn) Release(ctx context.Context) error {
	return k.guard(ctx, k.t.release)
}
