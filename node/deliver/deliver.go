package deliver

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/store"
)

// Destination is a peer that results go to.
type Destination struct {
	job.Destination
	AETitle string
	Address string
	// TLS is the configuration of the connection, asked for each time so that
	// renewed certificates count; nil: plain.
	TLS func() (*tls.Config, error)
}

// maxDelivery bounds one attempt whatever the peer does: the results of a
// series are a few MB, a slow line needs minutes.
const maxDelivery = time.Hour

// Sender sends results. Its fields are set once.
type Sender struct {
	Store     *store.Store
	CallingAE string
	Timeouts  dimse.Timeouts // zero: the client's
	Log       *zap.Logger
	Now       func() time.Time // nil: time.Now

	// AnswerWithin is how long an association is kept open for the answer to a
	// request for storage commitment; zero: AnswerAtOnce.
	AnswerWithin time.Duration

	asked     questions
	answering sync.Mutex // one answer at a time changes receipts
}

func (s *Sender) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

// Deliver sends what of generation n the destination has no receipt for, and asks
// a destination with Commit to answer for what it took. It returns nil when
// nothing is left to do, an *UncommittedError while the answer is awaited, an
// error of job.Final when no further attempt can help, and any other error when
// one may. The errors of earlier attempts tell it what has been tried. Before
// every object it asks whether the job is still this node's: the error is that of
// job.Attempt.Held when it is not.
func (s *Sender) Deliver(ctx context.Context, k store.Key, n int, d Destination, try job.Attempt) error {
	p, err := s.prepare(k, n, d, try.Errors)
	if err != nil || p == nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, maxDelivery, fmt.Errorf("the delivery took longer than %v", maxDelivery))
	defer cancel()
	p.ctx, p.held = ctx, try.Held
	if p.conn, err = s.dial(ctx, d, p.objects); err != nil {
		return err
	}
	for _, o := range p.objects {
		if err := p.held(ctx); err != nil {
			p.conn.Abort()
			return err
		}
		if err := p.send(o); err != nil {
			p.conn.Abort()
			return errors.Join(append(p.problems, err)...)
		}
	}
	if d.Commit && len(p.problems) == 0 {
		err := p.held(ctx)
		if err == nil {
			err = p.ask()
		}
		if err != nil {
			p.conn.Abort()
			return err
		}
	}
	release, end := context.WithTimeout(ctx, 10*time.Second)
	defer end()
	if err := p.conn.Release(release); err != nil {
		// Every object has its status; how the association ends changes nothing.
		s.Log.Debug("release_failed", zap.String("destination", d.Name), zap.Error(err))
	}
	if err := p.outcome(); err != nil || !d.Commit {
		return err
	}
	return s.answered(k, n, d)
}

// prepare finds what is left to do; nil when nothing is.
func (s *Sender) prepare(k store.Key, n int, d Destination, earlier []string) (*sending, error) {
	m, err := s.Store.Generation(k, n)
	if errors.Is(err, store.ErrNotExist) {
		return nil, nil // removed, or set aside for another analysis, which is delivered anew
	}
	if err != nil {
		return nil, err
	}
	left, err := d.Undelivered(s.Store, m)
	if err != nil || len(left) == 0 {
		return nil, err
	}
	receipts, err := s.Store.Receipts(k, n, d.Name)
	if err != nil {
		return nil, err
	}
	folder, err := s.Store.GenerationFolder(k, n)
	if err != nil {
		return nil, err
	}
	p := &sending{s: s, k: k, n: n, d: d, earlier: earlier, left: left}
	if err := refusals(d, left, receipts, earlier); err != nil {
		return nil, err // as the attempt that failed by them, which had ended before the answer came
	}
	for _, f := range left {
		r, ok := receipts[f.SOPInstanceUID]
		if ok && r.Refused == "" {
			continue // taken; it is asked to answer for it
		}
		o, err := openObject(filepath.Join(folder, f.Name), f)
		if err != nil {
			return nil, err
		}
		o.refusals = r.Refusals
		p.objects = append(p.objects, o)
	}
	if len(p.objects) == 0 {
		return s.waitFor(p, receipts)
	}
	return p, nil
}

// UnreachableError says that no association could be had: it lies with the
// destination, not with what is sent.
type UnreachableError struct{ Err error }

func (e *UnreachableError) Error() string { return e.Err.Error() }
func (e *UnreachableError) Unwrap() error { return e.Err }

// object is one file that is to be sent.
type object struct {
	store.ManifestFile
	file     *dataset.File
	refusals int // how often the destination took it and did not answer for it
}

// openObject opens a file and checks that it still is what was written.
func openObject(path string, f store.ManifestFile) (object, error) {
	damaged := func(err error) (object, error) {
		return object{}, job.Final(fmt.Errorf("%s is damaged (%w): restore it, or remove the series' results and start the node again", f.Name, err))
	}
	file, err := os.Open(path)
	if err != nil {
		return object{}, fmt.Errorf("opening %s: %w", f.Name, err)
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return object{}, fmt.Errorf("reading %s: %w", f.Name, err)
	}
	if sum := hex.EncodeToString(hash.Sum(nil)); sum != f.SHA256 {
		return damaged(errors.New("its SHA-256 is not the manifest's"))
	}
	parsed, err := dataset.Open(path, dataset.Limits{})
	if err != nil {
		return damaged(err)
	}
	return object{ManifestFile: f, file: parsed}, nil
}

// dial opens the association with a presentation context for each SOP class.
func (s *Sender) dial(ctx context.Context, d Destination, objects []object) (*dimse.Conn, error) {
	var contexts []dimse.Context
	for _, o := range objects {
		syntaxes := []string{o.file.TransferSyntax}
		if o.file.TransferSyntax == dataset.ExplicitLE {
			syntaxes = append(syntaxes, dataset.ImplicitLE)
		}
		c := dimse.Context{SOPClassUID: o.SOPClassUID, TransferSyntaxUIDs: syntaxes}
		if !slices.ContainsFunc(contexts, func(have dimse.Context) bool { return have.SOPClassUID == c.SOPClassUID }) {
			contexts = append(contexts, c)
		}
	}
	if d.Commit {
		contexts = append(contexts, dimse.CommitmentContext)
	}
	client := dimse.Client{CallingAE: s.CallingAE, CalledAE: d.AETitle, Address: d.Address, Timeouts: s.Timeouts, Committed: s.committed}
	if d.TLS != nil {
		config, err := d.TLS()
		if err != nil {
			return nil, fmt.Errorf("preparing TLS to %s: %w", d.Name, err)
		}
		client.TLS = config
	}
	conn, err := client.Dial(ctx, contexts)
	if err == nil {
		return conn, nil
	}
	var reject *dimse.RejectError
	if errors.As(err, &reject) {
		permanent, sentence := rejection(d, s.CallingAE, reject.Result, reject.Source, reject.Reason)
		if permanent {
			return nil, job.Final(errors.New(sentence))
		}
		return nil, &UnreachableError{errors.New(sentence)}
	}
	return nil, &UnreachableError{fmt.Errorf("%s (%s) cannot be reached: %w: look whether it runs and whether a firewall is between", d.Name, d.Address, err)}
}

// sending is the state of one attempt.
type sending struct {
	s        *Sender
	ctx      context.Context
	conn     *dimse.Conn
	k        store.Key
	n        int
	d        Destination
	held     func(context.Context) error
	earlier  []string
	left     []store.ManifestFile // all that the destination is to have or to answer for
	objects  []object             // those of them that it has not taken yet
	problems []error              // one for each object that the peer did not take
	worth    bool                 // one of them is worth another attempt
}

// send sends one object. An error ends the association; what the peer says of
// the object alone goes to the problems.
func (p *sending) send(o object) error {
	accepted := p.conn.Accepted(o.SOPClassUID)
	if len(accepted) == 0 {
		p.problems = append(p.problems, fmt.Errorf("%s does not accept %s (%s): let it accept this SOP class, or take %q out of its `send` list",
			p.d.Name, ClassName(o.SOPClassUID), o.SOPClassUID, o.Kind))
		return nil
	}
	status, err := p.transmit(o, accepted)
	if err != nil {
		return fmt.Errorf("sending %s to %s: %w", o.Name, p.d.Name, err)
	}
	row := meaning(uint16(status))
	if row.verdict == stored {
		// Who has the job now writes receipts of its own, which may say more.
		if err := p.held(p.ctx); errors.Is(err, job.ErrLost) {
			return err
		}
		err := p.s.Store.WriteReceipt(p.k, p.n, p.d.Name, o.SOPInstanceUID, store.Receipt{
			Status: uint16(status), Note: row.words, Time: p.s.now().UTC(), Refusals: o.refusals,
		})
		if errors.Is(err, store.ErrNotExist) {
			return nil // the results were set aside while they were sent
		}
		if err != nil {
			return err
		}
		if row.words != "" {
			p.s.Log.Warn("stored_with_note", zap.String("destination", p.d.Name), zap.String("series", p.k.Series),
				zap.String("sop_instance", o.SOPInstanceUID), zap.String("status", fmt.Sprintf("%04X", uint16(status))), zap.String("note", row.words))
		}
		return nil
	}
	sentence := fmt.Sprintf("%s answered %04X (%s) to %s %s: %s", p.d.Name, uint16(status), row.words, o.Name, o.SOPInstanceUID, row.remedy)
	if row.verdict == again || row.verdict == once && !told(p.earlier, sentence) {
		p.worth = true
	}
	p.problems = append(p.problems, errors.New(sentence))
	return nil
}

// told reports whether an earlier attempt ended with this sentence.
func told(earlier []string, sentence string) bool {
	return slices.ContainsFunc(earlier, func(e string) bool { return strings.Contains(e, sentence) })
}

// transmit sends the object's data set, as Implicit VR Little Endian when the
// peer takes nothing else.
func (p *sending) transmit(o object, accepted []string) (dimse.Status, error) {
	f, err := o.file.DataSet()
	if err != nil {
		return 0, err
	}
	defer f.Close()
	request := dimse.StoreObject{SOPClassUID: o.SOPClassUID, SOPInstanceUID: o.SOPInstanceUID, TransferSyntaxUID: o.file.TransferSyntax, Data: f}
	if slices.Contains(accepted, o.file.TransferSyntax) {
		return p.conn.Store(p.ctx, request)
	}
	r, w := io.Pipe()
	converted := make(chan struct{})
	go func() {
		defer close(converted)
		w.CloseWithError(dataset.ToImplicit(w, f))
	}()
	request.TransferSyntaxUID, request.Data = dataset.ImplicitLE, r
	status, err := p.conn.Store(p.ctx, request)
	r.CloseWithError(io.ErrClosedPipe)
	<-converted // f is closed after its last reader
	return status, err
}

// outcome is nil when everything was stored; final when no problem is worth
// another attempt.
func (p *sending) outcome() error {
	if len(p.problems) == 0 {
		return nil
	}
	err := errors.Join(p.problems...)
	if !p.worth {
		return job.Final(err)
	}
	return err
}

// ClassName names the SOP classes that this node proposes to destinations.
func ClassName(uid string) string {
	switch uid {
	case dataset.SegmentationStorage:
		return "Segmentation Storage"
	case dataset.LabelMapSegmentation:
		return "Label Map Segmentation Storage"
	case dataset.Comprehensive3DSR:
		return "Comprehensive 3D SR Storage"
	case dataset.ComprehensiveSR:
		return "Comprehensive SR Storage"
	case dataset.EnhancedSR:
		return "Enhanced SR Storage"
	case dataset.KeyObjectSelection:
		return "Key Object Selection Document Storage"
	case dataset.EncapsulatedPDF:
		return "Encapsulated PDF Storage"
	case dataset.SecondaryCapture:
		return "Secondary Capture Image Storage"
	case dataset.StorageCommitmentPush:
		return "Storage Commitment Push Model"
	}
	return "the SOP class"
}
