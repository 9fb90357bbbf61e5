package dataset

import (
	"bufio"
	"compress/flate"
	"errors"
	"fmt"
	"io"
)

// ErrTruncated is in the chain of errors about data sets that end too early.
var ErrTruncated = errors.New("the data set is cut short")

// Pixels says where the value of Pixel Data lies.
type Pixels struct {
	VR           string
	Offset       int64 // of the value: in a File from the file's beginning, else from that of the (inflated) data set
	Length       int64 // of the value in bytes, -1 where it is encapsulated
	Encapsulated bool  // a sequence of fragments (PS3.5 A.4)
}

func pixelsOf(h head, base int64) Pixels {
	p := Pixels{VR: h.vr, Offset: base + int64(h.size), Length: int64(h.length)}
	if h.length == undefinedLength {
		p.Encapsulated, p.Length = true, -1
	}
	return p
}

// ParseHeader reads the data set in r up to, not including, Pixel Data, or to the
// end. It may read a little beyond from r. An end inside an element is an error
// with ErrTruncated in its chain.
func ParseHeader(r io.Reader, transferSyntax string, lim Limits) (*Dataset, error) {
	enc, err := layoutOf(transferSyntax)
	if err != nil {
		return nil, err
	}
	var s scanner
	s.init(enc, lim)
	if transferSyntax == DeflatedLE {
		r = s.inflated(r)
	}
	if err := s.readFrom(r); err != nil {
		return nil, err
	}
	return s.build()
}

// inflated is the inflated r, whose bytes the header may cost memory for.
func (s *scanner) inflated(r io.Reader) io.Reader {
	c := &counted{r: r}
	s.deflated = &c.n
	return flate.NewReader(bufio.NewReader(c))
}

type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// readFrom feeds the scanner until the header is complete.
func (s *scanner) readFrom(r io.Reader) error {
	var chunk [4096]byte
	for !s.done {
		n, err := r.Read(chunk[:])
		if _, bad := s.write(chunk[:n]); bad != nil {
			return bad
		}
		if err == io.EOF {
			if !s.complete() {
				return s.truncated()
			}
			return nil
		}
		if err != nil && !s.done {
			return fmt.Errorf("reading a data set at byte %d: %w", len(s.buf), err)
		}
	}
	return nil
}

func (s *scanner) truncated() error {
	return fmt.Errorf("%w inside an element at byte %d: send it again", ErrTruncated, s.pos)
}

// HeaderParser reads the header of a data set from the bytes that pass by: it is
// an io.Writer beside the file that they go to. It holds no more than the header
// (Limits) and, for Deflated, a window of 32 KiB.
type HeaderParser struct {
	scan    scanner
	inflate *inflater // nil unless deflated
	header  *Dataset
	err     error // of the header; sticky

	pixel   Pixels
	behind  behindHeader
	inflErr error // bad deflated bytes behind the header
}

// NewHeaderParser makes a parser for a data set in the transfer syntax. An unknown
// one is the error of the first Write.
func NewHeaderParser(transferSyntax string, lim Limits) *HeaderParser {
	p := &HeaderParser{}
	enc, err := layoutOf(transferSyntax)
	p.err = err
	p.scan.init(enc, lim)
	if transferSyntax == DeflatedLE {
		p.inflate = newInflater(p.take, lim)
		p.scan.deflated = &p.inflate.taken
	}
	return p
}

// Write takes the next bytes of the data set. It fails when the header is bad or
// beyond the limits: then the rest need not be received. Once Pixel Data has
// begun it never fails; what is wrong behind it is for Finish to say.
func (p *HeaderParser) Write(b []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	if p.inflate == nil {
		if err := p.take(b); err != nil {
			return 0, err
		}
		return len(b), nil
	}
	if p.inflErr != nil {
		return len(b), nil
	}
	if err := p.inflate.write(b); err != nil {
		if p.header == nil {
			if p.err == nil {
				p.err = err
			}
			return 0, p.err
		}
		p.inflErr = err
	}
	return len(b), nil
}

// take takes inflated bytes.
func (p *HeaderParser) take(b []byte) error {
	if p.header == nil {
		n, err := p.scan.write(b)
		if err != nil {
			p.err = err
			return err
		}
		if !p.scan.done {
			return nil
		}
		if p.header, p.err = p.scan.build(); p.err != nil {
			return p.err
		}
		p.pixel = pixelsOf(p.scan.pixel, int64(p.scan.pos))
		p.behind.init(p.scan.pixel, p.scan.enc)
		b = b[n:]
	}
	p.behind.write(b)
	return nil
}

// Header is the header once Pixel Data has begun, before that nil.
func (p *HeaderParser) Header() *Dataset { return p.header }

// Pixels says where Pixel Data lies; false where none has begun.
func (p *HeaderParser) Pixels() (Pixels, bool) { return p.pixel, p.header != nil && p.scan.done }

// Finish is called when the data set has ended. It gives the header, or an error
// where the data set ended inside an element, inside Pixel Data (by its length,
// or without its delimiter), or inside a deflated block.
func (p *HeaderParser) Finish() (*Dataset, error) {
	if p.err != nil {
		return nil, p.err
	}
	if p.inflErr != nil {
		return nil, p.inflErr
	}
	if p.inflate != nil && !p.inflate.ended() {
		return nil, fmt.Errorf("%w inside a deflated block: send it again", ErrTruncated)
	}
	if p.header != nil {
		return p.header, p.behind.finish()
	}
	if !p.scan.complete() {
		return nil, p.scan.truncated()
	}
	p.header, p.err = p.scan.build()
	return p.header, p.err
}

// behindHeader watches the bytes of Pixel Data and what follows it, without
// keeping them, so that a data set that was cut there does not pass as whole.
type behindHeader struct {
	enc   layout
	skip  int64 // bytes of a value still to come
	head  [12]byte
	n     int  // bytes of head there
	inSeq bool // inside the fragments of encapsulated pixel data
	blind bool // behind something that is not worth following
	err   error
}

func (b *behindHeader) init(pixel head, enc layout) {
	b.enc = enc
	if pixel.length == undefinedLength {
		b.inSeq = true
	} else {
		b.skip = int64(pixel.length)
	}
}

func (b *behindHeader) write(p []byte) {
	for len(p) > 0 && !b.blind && b.err == nil {
		if b.skip > 0 {
			n := min(b.skip, int64(len(p)))
			b.skip -= n
			p = p[n:]
			continue
		}
		need := 8
		if b.n >= 8 {
			need = 12
		}
		k := copy(b.head[b.n:need], p)
		b.n += k
		p = p[k:]
		if b.n == need {
			b.element()
		}
	}
}

func (b *behindHeader) element() {
	h, err := parseHead(b.head[:b.n], b.enc)
	switch {
	case err != nil:
		b.err = fmt.Errorf("behind Pixel Data: %w", err)
	case h.size > b.n:
		return // four more bytes
	case b.inSeq && h.tag == tagItem && h.length != undefinedLength:
		b.skip = int64(h.length)
	case b.inSeq && h.tag == tagSequenceDelimiter:
		b.inSeq = false
	case b.inSeq:
		b.err = fmt.Errorf("%v where a fragment of Pixel Data is expected", h.tag)
	case h.length == undefinedLength || h.tag.Group() == 0xFFFE:
		b.blind = true
	default:
		b.skip = int64(h.length)
	}
	b.n = 0
}

func (b *behindHeader) finish() error {
	switch {
	case b.err != nil:
		return b.err
	case b.skip > 0:
		return fmt.Errorf("%w: %d bytes are missing in or behind Pixel Data: send it again", ErrTruncated, b.skip)
	case b.inSeq:
		return fmt.Errorf("%w: Pixel Data has no end (PS3.5 A.4): send it again", ErrTruncated)
	case b.n > 0:
		return fmt.Errorf("%w inside an element behind Pixel Data: send it again", ErrTruncated)
	}
	return nil
}
