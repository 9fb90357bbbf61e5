package dataset

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
)

// File is a Part 10 file (PS3.10 7) of which the header has been read.
type File struct {
	Path           string // empty where it was read by Read
	Meta           *Dataset
	TransferSyntax string
	Header         *Dataset // up to Pixel Data
	Pixel          Pixels   // Offset 0 where there is none; in a deflated file Offset counts inflated bytes

	base int64       // where the data set begins
	size int64       // of the file
	r    io.ReaderAt // nil where Path is opened when needed

	fragments *fragmentList // of encapsulated Pixel Data
	inflated  *inflatedPixels
}

// ErrNotPart10 is in the chain of errors about files that are not of PS3.10.
var ErrNotPart10 = errors.New("not a DICOM file")

// metaLimits: file meta information has ten short elements.
var metaLimits = Limits{HeaderBytes: 16 << 10, Elements: 64, Depth: 4}

// Open reads the meta information and the header of the Part 10 file at path.
// Pixel Data that is not deflated and longer than the file is an error with
// ErrTruncated in its chain; so is an end inside an element.
func Open(path string, lim Limits) (*File, error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	info, err := r.Stat()
	if err != nil {
		return nil, err
	}
	f, err := Read(r, info.Size(), lim)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f.Path, f.r = path, nil
	return f, nil
}

// Read is Open for size bytes in r.
func Read(r io.ReaderAt, size int64, lim Limits) (*File, error) {
	in := bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 16<<10)
	start, err := in.Peek(132)
	if err != nil || string(start[128:]) != "DICM" {
		return nil, fmt.Errorf("%w: no DICM behind a preamble of 128 bytes (PS3.10 7.1)", ErrNotPart10)
	}
	in.Discard(132)

	meta := scanner{metaOnly: true}
	meta.init(layout{}, metaLimits)
	if err := meta.readExactly(in); err != nil {
		return nil, fmt.Errorf("file meta information: %w", err)
	}
	f := &File{r: r, size: size, fragments: &fragmentList{}, inflated: &inflatedPixels{}}
	if f.Meta, err = meta.build(); err != nil {
		return nil, fmt.Errorf("file meta information: %w", err)
	}
	if f.TransferSyntax = f.Meta.Text(TransferSyntaxUID); f.TransferSyntax == "" {
		return nil, fmt.Errorf("%w: it names no transfer syntax (PS3.10 7.1)", ErrNotPart10)
	}
	f.base = 132 + int64(meta.pos)

	enc, err := layoutOf(f.TransferSyntax)
	if err != nil {
		return nil, err
	}
	var body io.Reader = io.NewSectionReader(r, f.base, size-f.base)
	var s scanner
	s.init(enc, lim)
	if f.TransferSyntax == DeflatedLE {
		body = s.inflated(body)
	}
	if err := s.readFrom(body); err != nil {
		return nil, err
	}
	if f.Header, err = s.build(); err != nil {
		return nil, err
	}
	if !s.done {
		return f, nil
	}
	base := f.base
	if f.TransferSyntax == DeflatedLE {
		base = 0
	}
	f.Pixel = pixelsOf(s.pixel, base+int64(s.pos))
	if f.TransferSyntax == DeflatedLE && f.Pixel.Offset+f.Pixel.Length > s.lim.inflatable(size-f.base) {
		return nil, s.lim.bomb(size - f.base)
	}
	if f.TransferSyntax != DeflatedLE && f.Pixel.Offset+max(f.Pixel.Length, 0) > size {
		return nil, fmt.Errorf("%w: Pixel Data says %d bytes, the file has %d: send it again",
			ErrTruncated, f.Pixel.Length, max(0, size-f.Pixel.Offset))
	}
	return f, nil
}

// readExactly feeds the scanner no more than it asks for, from a reader that goes
// on behind what it reads.
func (s *scanner) readExactly(r io.Reader) error {
	var chunk [1024]byte
	for !s.done {
		n, err := r.Read(chunk[:min(len(chunk), s.need-len(s.buf))])
		if _, bad := s.write(chunk[:n]); bad != nil {
			return bad
		}
		if err == io.EOF {
			if !s.complete() {
				return s.truncated()
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// HasPixels reports whether the file has Pixel Data.
func (f *File) HasPixels() bool { return f.Pixel.Offset > 0 }

type sectionCloser struct {
	io.Reader
	io.Closer
}

type noClose struct{}

func (noClose) Close() error { return nil }

func (f *File) open() (io.ReaderAt, io.Closer, error) {
	if f.r != nil {
		return f.r, noClose{}, nil
	}
	r, err := os.Open(f.Path)
	return r, r, err
}

// DataSet reads the data set as it stands in the file, behind the meta
// information and deflated if it is: what a C-STORE of the file sends.
func (f *File) DataSet() (io.ReadCloser, error) {
	r, c, err := f.open()
	if err != nil {
		return nil, err
	}
	return sectionCloser{io.NewSectionReader(r, f.base, f.size-f.base), c}, nil
}

// PixelReader reads the value of Pixel Data that is not encapsulated, inflated
// where the file is deflated. An end before its length is io.ErrUnexpectedEOF.
func (f *File) PixelReader() (io.ReadCloser, error) {
	if !f.HasPixels() || f.Pixel.Encapsulated {
		return nil, fmt.Errorf("no Pixel Data that is not encapsulated")
	}
	r, c, err := f.open()
	if err != nil {
		return nil, err
	}
	if f.TransferSyntax != DeflatedLE {
		return sectionCloser{io.NewSectionReader(r, f.Pixel.Offset, f.Pixel.Length), c}, nil
	}
	in := flate.NewReader(bufio.NewReader(io.NewSectionReader(r, f.base, f.size-f.base)))
	if _, err := io.CopyN(io.Discard, in, f.Pixel.Offset); err != nil {
		c.Close()
		return nil, fmt.Errorf("reading a deflated data set: %w", err)
	}
	return sectionCloser{&fullReader{in, f.Pixel.Length}, c}, nil
}

// fullReader reads n bytes, and an end before that is unexpected.
type fullReader struct {
	r io.Reader
	n int64
}

func (f *fullReader) Read(p []byte) (int, error) {
	if f.n == 0 {
		return 0, io.EOF
	}
	n, err := f.r.Read(p[:min(int64(len(p)), f.n)])
	if f.n -= int64(n); err == io.EOF && f.n > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// ReadPixels fills p from offset bytes into the value of Pixel Data that is not
// encapsulated. Of a deflated file it is cheap in ascending order alone: there is
// no way to a frame but through those in front of it.
func (f *File) ReadPixels(p []byte, offset int64) error {
	if !f.HasPixels() || f.Pixel.Encapsulated {
		return fmt.Errorf("no Pixel Data that is not encapsulated")
	}
	if offset < 0 || offset+int64(len(p)) > f.Pixel.Length {
		return fmt.Errorf("%w: Pixel Data has %d bytes, %d are needed", ErrTruncated, f.Pixel.Length, offset+int64(len(p)))
	}
	if f.TransferSyntax == DeflatedLE {
		return f.inflated.read(f, p, offset)
	}
	r, c, err := f.open()
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := r.ReadAt(p, f.Pixel.Offset+offset); err != nil {
		return fmt.Errorf("reading Pixel Data: %w", err)
	}
	return nil
}

// inflatedPixels goes on behind what was read last of deflated Pixel Data.
type inflatedPixels struct {
	mu sync.Mutex
	r  io.Reader // nil where it has to begin anew
	at int64     // in the value; below 0 in front of it
}

func (i *inflatedPixels) read(f *File, p []byte, offset int64) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.r == nil || offset < i.at {
		section := io.NewSectionReader(reopened{f}, f.base, f.size-f.base)
		i.r, i.at = flate.NewReader(bufio.NewReaderSize(section, 32<<10)), -f.Pixel.Offset
	}
	_, err := io.CopyN(io.Discard, i.r, offset-i.at)
	if err == nil {
		_, err = io.ReadFull(i.r, p)
	}
	i.at = offset + int64(len(p))
	if err != nil || i.at+int64(len(p)) > f.Pixel.Length { // no other frame is behind it
		i.r = nil
	}
	if err != nil {
		return fmt.Errorf("reading deflated Pixel Data: %w", err)
	}
	return nil
}

// reopened is a file that is open only while it is read: what waits for its next
// frame may wait for ever.
type reopened struct{ f *File }

func (o reopened) ReadAt(p []byte, offset int64) (int, error) {
	r, c, err := o.f.open()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return r.ReadAt(p, offset)
}

// maxFragments is far beyond the frames of a CT; a file of 4 GiB could claim 500
// million.
const maxFragments = 1 << 17

type fragment struct{ offset, length int64 }

// fragmentList is the items of encapsulated Pixel Data, listed when the first frame
// is asked for: an enhanced image has as many as frames.
type fragmentList struct {
	once  sync.Once
	table []byte // the basic offset table
	list  []fragment
	err   error

	endsOnce sync.Once
	ends     []int // the index behind each fragment that ends a frame
	endsErr  error
}

// Frame gives the compressed bytes of a frame, counted from 0, of encapsulated
// Pixel Data with the given number of frames (PS3.5 A.4): by the offset tables
// where they are there, else one fragment a frame, or all fragments where there
// is one frame, or by the markers that end a frame of JPEG, JPEG-LS or JPEG 2000.
func (f *File) Frame(frame, frames int) ([]byte, error) {
	if !f.Pixel.Encapsulated {
		return nil, fmt.Errorf("no encapsulated Pixel Data")
	}
	if frame < 0 || frame >= frames {
		return nil, fmt.Errorf("frame %d of %d", frame+1, frames)
	}
	r, c, err := f.open()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	s := f.fragments
	s.once.Do(func() { s.table, s.list, s.err = f.listFragments(r) })
	if s.err != nil {
		return nil, s.err
	}
	parts, err := f.ofFrame(r, frame, frames)
	if err != nil {
		return nil, err
	}
	var total int64
	for _, p := range parts {
		total += p.length
	}
	out := make([]byte, total) // bytes that the file has: fragments checked that
	at := out
	for _, p := range parts {
		if _, err := r.ReadAt(at[:p.length], p.offset); err != nil {
			return nil, fmt.Errorf("reading frame %d: %w", frame+1, err)
		}
		at = at[p.length:]
	}
	return out, nil
}

// listFragments reads the items of encapsulated Pixel Data: the basic offset table's
// value and the fragments behind it.
func (f *File) listFragments(r io.ReaderAt) (table []byte, parts []fragment, err error) {
	// Encapsulated data are explicit little endian whatever the sender (PS3.5 A.4).
	at := f.Pixel.Offset
	var h [8]byte
	for n := 0; ; n++ {
		if _, err := r.ReadAt(h[:], at); err != nil {
			return nil, nil, fmt.Errorf("%w: Pixel Data has no end (PS3.5 A.4)", ErrTruncated)
		}
		tag := Tag(binary.LittleEndian.Uint16(h[:]))<<16 | Tag(binary.LittleEndian.Uint16(h[2:]))
		length := int64(binary.LittleEndian.Uint32(h[4:]))
		at += 8
		switch {
		case tag == tagSequenceDelimiter:
			return table, parts, nil
		case tag != tagItem:
			return nil, nil, fmt.Errorf("%v where a fragment of Pixel Data is expected", tag)
		case at+length > f.size:
			return nil, nil, fmt.Errorf("%w inside a fragment of Pixel Data", ErrTruncated)
		case n > maxFragments:
			return nil, nil, fmt.Errorf("the Pixel Data has more than %d fragments: not taken", maxFragments)
		case n == 0:
			if length > 4*maxFragments {
				return nil, nil, fmt.Errorf("the offset table has %d bytes: not taken", length)
			}
			table = make([]byte, length)
			if _, err := r.ReadAt(table, at); err != nil {
				return nil, nil, fmt.Errorf("reading the offset table: %w", err)
			}
		default:
			parts = append(parts, fragment{at, length})
		}
		at += length
	}
}

func (f *File) ofFrame(r io.ReaderAt, frame, frames int) ([]fragment, error) {
	table, parts := f.fragments.table, f.fragments.list
	if frames == 1 {
		return parts, nil
	}
	if len(parts) == frames {
		return parts[frame : frame+1], nil
	}
	// Offsets count from the first fragment's item.
	offset := func(i int) (int64, bool) {
		if len(table) >= 4*frames {
			return int64(binary.LittleEndian.Uint32(table[4*i:])), true
		}
		if e := f.Header.Get(ExtendedOffsetTable); e != nil && len(e.Value) >= 8*frames {
			return int64(binary.LittleEndian.Uint64(e.Value[8*i:])), true
		}
		return 0, false
	}
	begin, ok := offset(frame)
	if !ok {
		return f.fragments.byEnds(r, frame, frames)
	}
	if len(parts) == 0 {
		return nil, fmt.Errorf("the Pixel Data has no fragments for %d frames", frames)
	}
	end := int64(1) << 62
	if frame+1 < frames {
		// Frames that overlapped would make more of the file than it has.
		if end, _ = offset(frame + 1); end <= begin {
			return nil, fmt.Errorf("the offset table has frame %d at %d and frame %d at %d", frame+1, begin, frame+2, end)
		}
	}
	at := func(offset int64) (int, bool) {
		return slices.BinarySearchFunc(parts, offset, func(p fragment, offset int64) int { return cmp.Compare(p.offset-parts[0].offset, offset) })
	}
	first, ok := at(begin)
	if !ok {
		return nil, fmt.Errorf("the offset table does not fit the fragments of Pixel Data")
	}
	last, _ := at(end)
	return parts[first:last], nil
}

// byEnds finds the fragments of a frame without an offset table: EOI of JPEG and
// JPEG-LS, and EOC of JPEG 2000, are FFD9 both, and nothing but padding is behind
// them in the frame's last fragment.
func (s *fragmentList) byEnds(r io.ReaderAt, frame, frames int) ([]fragment, error) {
	s.endsOnce.Do(func() {
		for i, p := range s.list {
			var tail [8]byte
			n := min(p.length, int64(len(tail)))
			if _, err := r.ReadAt(tail[:n], p.offset+p.length-n); err != nil {
				s.endsErr = fmt.Errorf("reading Pixel Data: %w", err)
				return
			}
			if bytes.HasSuffix(bytes.TrimRight(tail[:n], "\x00"), []byte{0xFF, 0xD9}) {
				s.ends = append(s.ends, i+1)
			}
		}
	})
	if s.endsErr != nil {
		return nil, s.endsErr
	}
	if len(s.ends) != frames || s.ends[frames-1] != len(s.list) {
		return nil, fmt.Errorf("%d frames in %d fragments without an offset table: which fragment belongs to which frame is not known", frames, len(s.list))
	}
	first := 0
	if frame > 0 {
		first = s.ends[frame-1]
	}
	return s.list[first:s.ends[frame]], nil
}

// EncapsulatedBytes bounds the bytes of encapsulated Pixel Data: what the file has
// from there on. 0 where it is not encapsulated.
func (f *File) EncapsulatedBytes() int64 {
	if !f.Pixel.Encapsulated {
		return 0
	}
	return f.size - f.Pixel.Offset
}
