package node

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/node/admin"
	"github.com/pulmonode/pulmonode/node/audit"
	"github.com/pulmonode/pulmonode/node/secure"
	"github.com/pulmonode/pulmonode/node/series"
	"github.com/pulmonode/pulmonode/node/store"
)

// Receiver takes instances from the sources that may send. It is the
// dimse.Handler of the node's listeners.
type Receiver struct {
	sources []source
	store   *store.Store
	tracker *series.Tracker
	metrics *admin.Metrics
	log     *zap.Logger
	refused rate // a scan of the network must not fill the log
	auditor *auditor

	// last numbers the associations of both listeners: each server counts from 1,
	// and one association must not end what another is bringing.
	last atomic.Uint64

	maxInstance int64 // bytes of a data set

	// Storage commitment: report has a result told to who asked, or is false;
	// committed takes what a destination says.
	report    func(*dimse.Association, *source, *dimse.CommitmentResult) bool
	committed func(*dimse.CommitmentResult) dimse.Status
}

// Associate lets a peer in that a [[source]] row names; others are refused as
// unknown (PS3.8 9.3.4: rejected-permanent, service user, calling AE title not
// recognised).
func (r *Receiver) Associate(_ context.Context, a *dimse.Association) (dimse.Session, error) {
	id := r.last.Add(1)
	from, refusal := admits(r.sources, a.CallingAE, a.RemoteAddr, a.TLS)
	if from == nil {
		r.metrics.Refusals.WithLabelValues(refusal.word).Inc()
		if left, ok := r.refused.allow(time.Now()); ok {
			r.log.Warn("association_refused", zap.Int("not_logged_before", left), zap.Uint64("association", id), zap.String("calling_ae", a.CallingAE),
				zap.Stringer("from", a.RemoteAddr), zap.String("reason", refusal.clause), shown(a.TLS), zap.String("do", refusal.remedy))
			r.auditor.refused(peerOf(a), audit.Minor, refusal.clause, left)
		}
		return nil, &dimse.Reject{Result: 1, Source: 1, Reason: 3}
	}
	r.metrics.AssociationsOpen.Inc()
	r.log.Info("association_opened", zap.Uint64("association", id), zap.String("calling_ae", a.CallingAE), zap.Stringer("from", a.RemoteAddr))
	if classes := notTaken(a); len(classes) > 0 {
		r.log.Warn("sop_classes_refused", zap.Uint64("association", id), zap.Strings("sop_classes", classes),
			zap.String("do", "only CT is taken, unless [node] accept is \"any\""))
	}
	return &session{r: r, association: a, source: from, id: id, callingAE: a.CallingAE, from: from.label(), began: time.Now(), tally: r.auditor.tally(a)}, nil
}

// notTaken lists the SOP classes of an association in which nothing was
// accepted: it can bring nothing.
func notTaken(a *dimse.Association) (classes []string) {
	for _, c := range a.Contexts {
		if c.Result == 0 {
			return nil
		}
		if dataset.ValidUID(c.SOPClassUID) == nil && !slices.Contains(classes, c.SOPClassUID) {
			classes = append(classes, c.SOPClassUID)
		}
	}
	return classes
}

// refusals says of the rejections that the server gives by itself what they are.
var refusals = map[dimse.Reject]refusal{
	{Result: 1, Source: 1, Reason: 7}: {"called_ae", "it calls another AE title", "let the sender call [node] ae_title, capitals and all"},
	{Result: 2, Source: 3, Reason: 2}: {"limit", "[node] max_associations are open", ""},
}

// refusal is a word for the metrics, a clause for people, and what they may do.
type refusal struct{ word, clause, do string }

func (r refusal) remedy() zap.Field {
	if r.do == "" {
		return zap.Skip()
	}
	return zap.String("do", r.do)
}

// Refused logs a request that was rejected before anybody looked at its sender.
func (r *Receiver) Refused(a *dimse.Association, reject *dimse.Reject) {
	why, ok := refusals[*reject]
	if !ok {
		why.word, why.clause = "protocol", reject.Error()
	}
	r.metrics.Refusals.WithLabelValues(why.word).Inc()
	if left, ok := r.refused.allow(time.Now()); ok {
		r.log.Warn("association_refused", zap.Int("not_logged_before", left), zap.String("calling_ae", a.CallingAE),
			zap.String("called_ae", a.CalledAE), zap.Stringer("from", a.RemoteAddr), zap.String("reason", why.clause), why.remedy())
		if why.word != "limit" { // which is no question of who it is
			r.auditor.refused(peerOf(a), audit.Minor, why.clause, left)
		}
	}
}

// shown is the certificate that a peer showed, as [[source]] certificate takes
// it; it names nobody.
func shown(state *tls.ConnectionState) zap.Field {
	if state == nil || len(state.PeerCertificates) == 0 {
		return zap.Skip()
	}
	return zap.String("certificate", fmt.Sprintf("sha256:%x", sha256.Sum256(state.PeerCertificates[0].Raw)))
}

// NoRequest logs and counts a connection that failed before it asked for an
// association: a TLS handshake that was refused, or something that is not DICOM.
func (r *Receiver) NoRequest(from net.Addr, err error) {
	word, clause := secure.Refusal(err)
	var abort *dimse.AbortError
	if errors.As(err, &abort) {
		word, clause = "not_dicom", "it sends no association request; one that speaks TLS belongs on the port of [tls] listen"
		if abort.ByPeer {
			return // it thought better of it
		}
	}
	if word == "" {
		return
	}
	r.metrics.Refusals.WithLabelValues(word).Inc()
	if left, ok := r.refused.allow(time.Now()); ok {
		r.log.Warn("connection_refused", zap.Int("not_logged_before", left), zap.Stringer("from", from), zap.String("reason", clause))
		o := audit.Minor
		if strings.HasPrefix(word, "certificate") {
			o = audit.Serious
		}
		r.auditor.refused(audit.Peer{Address: from.String()}, o, clause, left)
	}
}

// Fault logs a fault of the program, which cost its sender one answer or one
// connection.
func (r *Receiver) Fault(a *dimse.Association, panicked any, stack []byte) {
	fields := []zap.Field{zap.Any("panic", panicked), zap.ByteString("stack", stack), zap.String("do", "send the log to the makers")}
	if a != nil {
		fields = append(fields, zap.String("calling_ae", a.CallingAE), zap.Stringer("from", a.RemoteAddr))
	}
	r.metrics.Faults.Inc()
	r.log.Error("association_panicked", fields...)
}

// session is one association that brings instances.
type session struct {
	r           *Receiver
	association *dimse.Association
	source      *source
	id          uint64
	callingAE   string
	from        string
	began       time.Time

	stored, identical, different, refused int
	bytes                                 int64
	missing                               map[string]bool // refused and not sent again since, by SOP Instance UID
	tally                                 *tally          // for the audit trail
}

// maxMissing bounds what is remembered of refusals; an association with more of
// them has not come completely, whatever it sends again.
const maxMissing = 10000

// copyBuffers are what instances pass through on their way to the disk: one an
// association that is receiving.
var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 128<<10); return &b }}

// Store keeps one instance. It returns success only when the instance is
// durable.
func (s *session) Store(ctx context.Context, q *dimse.StoreRequest) dimse.Status {
	began := time.Now()
	status, outcome, n, err := s.keep(q)
	m := s.r.metrics
	m.StoreSeconds.Observe(time.Since(began).Seconds())
	m.Instances.WithLabelValues(s.from, outcome).Inc()
	m.ReceivedBytes.WithLabelValues(s.from).Add(float64(n))
	s.bytes += n
	if err == nil {
		delete(s.missing, q.SOPInstanceUID)
	} else {
		s.refused++
		if s.missing == nil {
			s.missing = map[string]bool{}
		}
		if len(s.missing) < maxMissing {
			s.missing[q.SOPInstanceUID] = true
		}
		s.r.log.Warn("instance_refused", zap.Uint64("association", s.id), zap.String("sop_instance", loggable(q.SOPInstanceUID)),
			zap.String("status", statusText(status)), zap.Error(err))
	}
	return status
}

// loggable keeps what a peer sent as a UID out of the log unless it is one.
func loggable(uid string) string {
	if dataset.ValidUID(uid) != nil {
		return "not a UID"
	}
	return uid
}

// keep stores one instance; outcome is a word for the metrics.
func (s *session) keep(q *dimse.StoreRequest) (status dimse.Status, outcome string, n int64, err error) {
	for _, uid := range []string{q.SOPClassUID, q.SOPInstanceUID} {
		if err := dataset.ValidUID(uid); err != nil {
			return dimse.CannotUnderstand, "invalid", 0, err
		}
	}
	in, err := s.r.store.Create(dataset.MetaInfo{
		SOPClassUID: q.SOPClassUID, SOPInstanceUID: q.SOPInstanceUID, TransferSyntax: q.TransferSyntaxUID, SourceAE: s.callingAE,
	})
	if err != nil {
		return dimse.OutOfResources, "full", 0, err
	}
	defer in.Discard()
	t := &tee{parser: dataset.NewHeaderParser(q.TransferSyntaxUID, dataset.Limits{}), in: in, room: s.r.maxInstance}
	buffer := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buffer)
	n, err = io.CopyBuffer(t, onlyReader{q.Data}, *buffer)
	switch {
	case t.full != nil:
		return dimse.OutOfResources, "full", 0, t.full
	case t.bad != nil:
		return dimse.CannotUnderstand, "invalid", 0, t.bad
	case err != nil:
		// The peer broke off; whatever status is returned reaches nobody.
		return dimse.CannotUnderstand, "broken_off", 0, err
	}
	header, err := t.parser.Finish()
	if err != nil {
		return dimse.CannotUnderstand, "invalid", 0, err
	}
	class, instance := oneUID(header, dataset.SOPClassUID), oneUID(header, dataset.SOPInstanceUID)
	if class == "" || instance == "" {
		return dimse.CannotUnderstand, "invalid", 0, errors.New("the data set has no SOP Class or Instance UID, or several")
	}
	if class != q.SOPClassUID || instance != q.SOPInstanceUID {
		return dimse.DataSetMismatch, "mismatch", 0, errors.New("the data set has another SOP Class or Instance UID than the command")
	}
	// A data set that was cut where Pixel Data should begin looks whole.
	if _, there := t.parser.Pixels(); !there && slices.Contains(analysable, class) {
		return dimse.CannotUnderstand, "invalid", 0, errors.New("the image has no Pixel Data: send it again")
	}
	k := store.Key{Study: oneUID(header, dataset.StudyInstanceUID), Series: oneUID(header, dataset.SeriesInstanceUID)}
	if err := k.Valid(); err != nil {
		return dimse.CannotUnderstand, "invalid", 0, err
	}
	o, err := in.Commit(k, q.SOPInstanceUID)
	if err != nil {
		return dimse.OutOfResources, "full", 0, err
	}
	switch o {
	case store.Stored:
		s.stored++
	case store.Identical:
		s.identical++
	case store.Different:
		s.different++
		s.r.log.Warn("instance_conflicts", zap.Uint64("association", s.id), zap.String("series", k.Series), zap.String("sop_instance", q.SOPInstanceUID),
			zap.String("do", "the first is analysed, the other is kept beside it: find out at the sender which is right"))
	}
	s.tally.stored(k, class, header, o)
	s.r.tracker.Instance(s.id, k, header, o)
	return dimse.Success, o.String(), n, nil
}

// oneUID is a UID of a data set; "" where there is none, or more than the one that
// there may be.
func oneUID(header *dataset.Dataset, t dataset.Tag) string {
	if all := header.Texts(t); len(all) == 1 {
		return all[0]
	}
	return ""
}

var errTooLarge = errors.New("the instance is larger than [storage] max_instance: raise it, or send it in parts")

// tee writes to the header's parser and to the disk and remembers which failed.
type tee struct {
	parser    *dataset.HeaderParser
	in        *store.Incoming
	room      int64 // what may still come
	bad, full error
}

func (t *tee) Write(p []byte) (int, error) {
	if t.room -= int64(len(p)); t.room < 0 {
		t.bad = errTooLarge
		return 0, t.bad
	}
	if _, err := t.parser.Write(p); err != nil {
		t.bad = err
		return 0, err
	}
	n, err := t.in.Write(p)
	if err != nil {
		t.full = err
	}
	return n, err
}

// onlyReader hides a WriterTo, which would go past the buffer.
type onlyReader struct{ io.Reader }

// End tells the tracker, which may now close what the association completed.
func (s *session) End(e dimse.End) {
	// A series that an instance was refused of has not come completely, however
	// politely its sender said goodbye.
	s.r.tracker.AssociationEnded(s.id, e.How == dimse.Released && len(s.missing) == 0)
	s.tally.ended(e.How == dimse.Released, s.refused)
	how := e.How.String()
	s.r.metrics.AssociationsOpen.Dec()
	s.r.metrics.Associations.WithLabelValues(s.from, how).Inc()
	s.r.log.Info("association_ended", zap.Uint64("association", s.id), zap.String("calling_ae", s.callingAE), zap.String("end", how),
		zap.Int("stored", s.stored), zap.Int("identical", s.identical), zap.Int("different", s.different), zap.Int("refused", s.refused),
		zap.Int64("bytes", s.bytes), zap.Duration("took", time.Since(s.began)), zap.Error(e.Err))
}
