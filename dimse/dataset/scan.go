package dataset

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// Limits bounds what a header may cost. A zero field means its default.
type Limits struct {
	HeaderBytes int64 // bytes before Pixel Data; default 1 MiB. A CT header has 2-20 KiB, an enhanced one of 500 frames some 700 KiB
	Elements    int   // attributes and items, all levels together; default 65536
	Depth       int   // sequences inside each other; default and most 64
	ValueBytes  int64 // one value before Pixel Data; default HeaderBytes
	Inflated    int64 // bytes a deflated data set may grow to while it is checked; default 4 GiB
	Ratio       int64 // inflated bytes for each deflated one, beyond the first 16 MiB; default 100. CT deflates to a half or a third, a blank slice of 2048 x 2048 is 8 MiB
}

// What a header costs in memory is at most costRatio times the bytes that came
// and costRoom. Undeflated ones can't cost more, see scanner.grow and charge; of
// deflated ones it is held against them, so that no bomb goes off in a header.
const (
	costRatio = 16
	costRoom  = 1<<20 - 192<<10 // less what inflating needs by itself
)

// freeInflation is what any deflated data set may grow to, whatever its ratio.
const freeInflation = 16 << 20

const maxDepth = 64

func (l Limits) withDefaults() Limits {
	if l.HeaderBytes <= 0 {
		l.HeaderBytes = 1 << 20
	}
	if l.Elements <= 0 {
		l.Elements = 1 << 16
	}
	if l.Depth <= 0 || l.Depth > maxDepth {
		l.Depth = maxDepth
	}
	if l.ValueBytes <= 0 || l.ValueBytes > l.HeaderBytes {
		l.ValueBytes = l.HeaderBytes
	}
	if l.Inflated <= 0 {
		l.Inflated = 4 << 30
	}
	if l.Ratio <= 0 {
		l.Ratio = 100
	}
	return l
}

const undefinedLength = 0xFFFFFFFF

// layout is how elements are laid out (PS3.5 7.1).
type layout struct{ implicit, bigEndian bool }

func (e layout) order() binary.ByteOrder {
	if e.bigEndian {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// layoutOf gives the layout of a transfer syntax's (inflated) data set.
func layoutOf(transferSyntax string) (layout, error) {
	if !KnownTransferSyntax(transferSyntax) {
		return layout{}, fmt.Errorf("transfer syntax %.64q cannot be read: ask the sender for Explicit VR Little Endian", transferSyntax)
	}
	return layout{implicit: transferSyntax == ImplicitLE, bigEndian: transferSyntax == ExplicitBE}, nil
}

// head is the part of an element before its value.
type head struct {
	tag    Tag
	vr     string
	length uint32
	size   int // bytes of the head itself: 8 or 12
}

// parseHead reads the head at the start of b, which has at least 8 bytes. A size
// of 12 with fewer bytes in b asks for more.
func parseHead(b []byte, enc layout) (head, error) {
	o := enc.order()
	h := head{tag: Tag(o.Uint16(b))<<16 | Tag(o.Uint16(b[2:])), size: 8}
	if h.tag.Group() == 0xFFFE { // items and delimiters have no VR (PS3.5 7.5)
		h.length = o.Uint32(b[4:])
		return h, nil
	}
	if enc.implicit {
		h.vr, h.length = h.tag.VR(), o.Uint32(b[4:])
		return h, nil
	}
	if b[4] < 'A' || b[4] > 'Z' || b[5] < 'A' || b[5] > 'Z' {
		return h, fmt.Errorf("%v has no value representation", h.tag)
	}
	h.vr = vrName(b[4], b[5])
	if shortVR(h.vr) {
		h.length = uint32(o.Uint16(b[6:]))
		return h, nil
	}
	h.size = 12
	if len(b) >= 12 {
		h.length = o.Uint32(b[8:])
	}
	return h, nil
}

// vrNames holds the value representations of PS3.5 table 6.2-1, first those with
// a 16-bit length (PS3.5 table 7.1-2).
const vrNames = "AEASATCSDADSDTFDFLISLOLTPNSHSLSSSTTMUIULUSOBODOFOLOVOWSQSVUCUNURUTUV"

const shortVRs = "AEASATCSDADSDTFDFLISLOLTPNSHSLSSSTTMUIULUS"

// vrName interns the names, so that a header does not allocate one an element.
func vrName(a, b byte) string {
	for i := 0; i < len(vrNames); i += 2 {
		if vrNames[i] == a && vrNames[i+1] == b {
			return vrNames[i : i+2]
		}
	}
	return string([]byte{a, b})
}

// shortVR reports whether the length has 16 bits. One that is not known has 32
// (PS3.5 6.2, for VRs of the future).
func shortVR(vr string) bool {
	for i := 0; i < len(shortVRs); i += 2 {
		if shortVRs[i:i+2] == vr {
			return true
		}
	}
	return false
}

// content says what an element's value is made of.
type content uint8

const (
	plain     content = iota
	sequence          // items with elements
	fragments         // items with bytes: encapsulated pixel data, at the top or in an icon
)

// contentOf decides, and gives the layout inside a sequence.
func contentOf(h head, enc layout) (content, layout, error) {
	switch {
	case h.vr == "SQ":
		return sequence, enc, nil
	case h.vr == "UN" && h.tag.VR() == "SQ": // a gateway did not know it (PS3.5 6.2.2)
		return sequence, layout{implicit: true}, nil
	case h.length != undefinedLength:
		return plain, enc, nil
	case h.vr == "UN": // PS3.5 6.2.2: implicit little endian inside
		return sequence, layout{implicit: true}, nil
	case h.vr == "OB" || h.vr == "OW":
		return fragments, enc, nil
	}
	return plain, enc, fmt.Errorf("%v with value representation %s has an undefined length", h.tag, h.vr)
}

// frame is a container that the scanner is inside of.
type frame struct {
	inside elementsOf
	enc    layout
	end    int // offset where it ends, -1 where a delimiter does
	count  int // index into scanner.counts
}

type elementsOf uint8

const (
	inDataset elementsOf = iota
	inSequence
	inFragments
)

type await uint8

const (
	awaitHead   await = iota // 8 bytes of an element or item
	awaitLength              // 4 more bytes of a long length
	awaitValue               // the value's last byte
)

// scanner takes the bytes of a header as they come, keeps them, checks the
// structure and stops in front of Pixel Data. It asks for exactly the bytes that
// the next step needs, so it never takes more than the header. The tree is built
// when the header is complete, by build, in exactly the memory it needs: counts
// has the number of children of each container, in the order of opening.
type scanner struct {
	lim      Limits
	metaOnly bool // stop in front of the first element outside group 0002
	buf      []byte
	pos      int // where the element that is looked at begins
	need     int // length of buf at which the next step can be taken
	await    await
	stack    [2*maxDepth + 1]frame
	depth    int // index of the innermost frame
	sqs      int // sequences open
	elements int
	counts   []uint32
	done     bool
	pixel    head // Pixel Data's head where done and not metaOnly
	enc      layout
	cost     int64  // bytes of memory that buf and the tree take, all in all
	deflated *int64 // bytes that came in; nil where they are not deflated
}

func (s *scanner) init(enc layout, lim Limits) {
	s.lim, s.enc = lim.withDefaults(), enc
	s.stack[0] = frame{inside: inDataset, enc: enc, end: -1}
	s.counts = append(s.counts[:0], 0)
	s.need = 8
}

// write takes what it needs of p and says how much that was: less than all only
// when the header is complete (done) or bad.
func (s *scanner) write(p []byte) (int, error) {
	taken := 0
	for !s.done {
		n := min(s.need-len(s.buf), len(p)-taken)
		if err := s.grow(n); err != nil {
			return taken, fmt.Errorf("data set at byte %d: %w", s.pos, err)
		}
		s.buf = append(s.buf, p[taken:taken+n]...)
		taken += n
		if len(s.buf) < s.need {
			break
		}
		if err := s.step(); err != nil {
			return taken, fmt.Errorf("data set at byte %d: %w", s.pos, err)
		}
	}
	return taken, nil
}

// grow makes room for n bytes more. The buffers of a header, one after the other,
// take at most 5.4 times its bytes, or 1 KiB.
func (s *scanner) grow(n int) error {
	if len(s.buf)+n <= cap(s.buf) {
		return nil
	}
	size := max(2*cap(s.buf), len(s.buf)+n, 512)
	if size > 64<<10 {
		size = max(min(2*size, int(s.lim.HeaderBytes)+12), len(s.buf)+n)
	}
	if err := s.charge(size); err != nil {
		return err
	}
	s.buf = append(make([]byte, 0, size), s.buf...)
	return nil
}

// charge counts memory.
func (s *scanner) charge(n int) error {
	s.cost += int64(n)
	if s.deflated != nil && s.cost > costRatio**s.deflated+costRoom {
		return fmt.Errorf("the deflated header grows to more than %d times its bytes: ask the sender for Explicit VR Little Endian", costRatio)
	}
	return nil
}

func (s *scanner) step() error {
	f := &s.stack[s.depth]
	if s.await == awaitValue {
		s.pos = s.need
		return s.next()
	}
	if s.metaOnly && s.depth == 0 && binary.LittleEndian.Uint16(s.buf[s.pos:]) != 2 {
		s.finish(head{}) // the data set begins, in a layout of its own
		return nil
	}
	h, err := parseHead(s.buf[s.pos:], f.enc)
	if err != nil {
		return err
	}
	if h.size == 12 && s.await == awaitHead {
		s.await = awaitLength
		return s.want(s.pos + 12)
	}
	switch f.inside {
	case inSequence:
		return s.item(f, h)
	case inFragments:
		return s.fragment(f, h)
	}
	return s.element(f, h)
}

// want sets the next stop, within the limits and the container. Heads at the top
// level may begin at the limit: they may be Pixel Data's.
func (s *scanner) want(n int) error {
	f := &s.stack[s.depth]
	if f.end >= 0 && n > f.end {
		return fmt.Errorf("an element is longer than the sequence or item around it")
	}
	limit := int(s.lim.HeaderBytes)
	if s.depth == 0 && s.await != awaitValue {
		limit += 12
	}
	if n > limit {
		return fmt.Errorf("the header is longer than %d bytes: not taken", s.lim.HeaderBytes)
	}
	s.need = n
	return nil
}

// next goes on behind a complete element or item, closing what ends there.
func (s *scanner) next() error {
	for s.depth > 0 && s.stack[s.depth].end >= 0 && s.pos >= s.stack[s.depth].end {
		if s.pos > s.stack[s.depth].end {
			return fmt.Errorf("a sequence is longer than the item around it")
		}
		s.pop()
	}
	s.await = awaitHead
	return s.want(s.pos + 8)
}

func (s *scanner) pop() {
	if s.stack[s.depth].inside == inSequence {
		s.sqs--
	}
	s.depth--
}

func (s *scanner) push(f frame) error {
	if f.inside == inSequence {
		if s.sqs++; s.sqs > s.lim.Depth {
			return fmt.Errorf("sequences are nested more than %d deep: not taken", s.lim.Depth)
		}
	}
	if outer := s.stack[s.depth].end; outer >= 0 && f.end > outer {
		return fmt.Errorf("a sequence or item is longer than the one around it")
	}
	if int64(f.end) > s.lim.HeaderBytes {
		return fmt.Errorf("the header is longer than %d bytes: not taken", s.lim.HeaderBytes)
	}
	s.depth++
	f.count = len(s.counts)
	if f.inside != inFragments {
		s.counts = append(s.counts, 0)
	}
	s.stack[s.depth] = f
	return s.next()
}

func (s *scanner) count(f *frame) error {
	s.counts[f.count]++
	if s.elements++; s.elements > s.lim.Elements {
		return fmt.Errorf("more than %d elements: not taken", s.lim.Elements)
	}
	return s.charge(elementCost)
}

// elementCost is what an element or item of the tree takes, its share of counts
// included.
const elementCost = 96

func (s *scanner) element(f *frame, h head) error {
	begin := s.pos + h.size
	switch {
	case s.depth == 0 && h.tag == PixelData:
		s.finish(h)
		return nil
	case h.tag == tagItemDelimiter && s.depth > 0 && f.end < 0:
		if h.length != 0 {
			return fmt.Errorf("item delimiter has length %d", h.length)
		}
		s.pos = begin
		s.pop()
		return s.next()
	case h.tag.Group() == 0xFFFE:
		return fmt.Errorf("%v where an element is expected", h.tag)
	}
	if err := s.count(f); err != nil {
		return err
	}
	kind, enc, err := contentOf(h, f.enc)
	if err != nil {
		return err
	}
	if kind == plain {
		return s.value(h.tag, begin, h.length)
	}
	end := -1
	if h.length != undefinedLength {
		end = begin + int(h.length)
	}
	s.pos = begin
	inside := inSequence
	if kind == fragments {
		inside = inFragments
	}
	return s.push(frame{inside: inside, enc: enc, end: end})
}

func (s *scanner) value(t Tag, begin int, length uint32) error {
	if int64(length) > s.lim.ValueBytes {
		return fmt.Errorf("%v says it has %d bytes; at most %d are taken before Pixel Data", t, length, s.lim.ValueBytes)
	}
	s.await = awaitValue
	if err := s.want(begin + int(length)); err != nil {
		return err
	}
	if length == 0 {
		s.pos = begin
		return s.next()
	}
	return nil
}

func (s *scanner) item(f *frame, h head) error {
	begin := s.pos + 8
	switch {
	case h.tag == tagItem:
		if err := s.count(f); err != nil {
			return err
		}
		end := -1
		if h.length != undefinedLength {
			end = begin + int(h.length)
		}
		s.pos = begin
		return s.push(frame{inside: inDataset, enc: f.enc, end: end})
	case h.tag == tagSequenceDelimiter && f.end < 0 && h.length == 0:
		s.pos = begin
		s.pop()
		return s.next()
	}
	return fmt.Errorf("%v where an item is expected", h.tag)
}

func (s *scanner) fragment(f *frame, h head) error {
	begin := s.pos + 8
	switch {
	case h.tag == tagItem && h.length != undefinedLength:
		return s.value(h.tag, begin, h.length)
	case h.tag == tagSequenceDelimiter && h.length == 0:
		s.pos = begin
		s.pop()
		return s.next()
	}
	return fmt.Errorf("%v where a fragment is expected", h.tag)
}

func (s *scanner) finish(h head) {
	s.done, s.pixel = true, h
	s.buf = s.buf[:s.pos]
}

// complete reports whether the bytes so far end at the end of a top-level element.
func (s *scanner) complete() bool {
	return s.done || s.depth == 0 && s.await == awaitHead && len(s.buf) == s.pos
}

// build makes the tree of a complete header. Values point into the scanner's buffer.
func (s *scanner) build() (*Dataset, error) {
	b := builder{buf: s.buf, counts: s.counts}
	d := &Dataset{bigEndian: s.enc.bigEndian}
	if _, err := b.dataset(d, 0, len(s.buf), s.enc); err != nil {
		return nil, err
	}
	return d, nil
}

type builder struct {
	buf    []byte
	counts []uint32
	opened int
}

func (b *builder) children() int {
	n := b.counts[b.opened]
	b.opened++
	return int(n)
}

// dataset fills d from the elements at pos and gives the offset behind them. The
// scanner has checked the structure.
func (b *builder) dataset(d *Dataset, pos, end int, enc layout) (int, error) {
	n := b.children()
	d.Elements = make([]Element, 0, n)
	sorted := true
	for range n {
		h, _ := parseHead(b.buf[pos:min(pos+12, len(b.buf))], enc)
		pos += h.size
		e := Element{Tag: h.tag, VR: h.vr}
		kind, inner, _ := contentOf(h, enc)
		switch kind {
		case plain:
			e.Value = b.buf[pos : pos+int(h.length) : pos+int(h.length)]
			pos += int(h.length)
		case sequence:
			e.VR = "SQ"
			var err error
			if pos, err = b.sequence(&e, d, pos, h.length, inner); err != nil {
				return 0, err
			}
		case fragments:
			begin := pos
			for {
				item, _ := parseHead(b.buf[pos:], inner)
				pos += 8
				if item.tag == tagSequenceDelimiter {
					break
				}
				pos += int(item.length)
			}
			e.Value = b.buf[begin : pos-8 : pos-8]
		}
		if k := len(d.Elements); k > 0 && d.Elements[k-1].Tag >= e.Tag {
			sorted = false
		}
		d.Elements = append(d.Elements, e)
	}
	if !sorted { // tolerated, but what is said twice has no meaning (PS3.5 7.1)
		slices.SortStableFunc(d.Elements, func(a, b Element) int { return int(int64(a.Tag) - int64(b.Tag)) })
		for i := 1; i < len(d.Elements); i++ {
			if d.Elements[i].Tag == d.Elements[i-1].Tag {
				return 0, fmt.Errorf("data set has %v twice", d.Elements[i].Tag)
			}
		}
	}
	if end < 0 {
		pos += 8 // item delimiter
	}
	return pos, nil
}

func (b *builder) sequence(e *Element, d *Dataset, pos int, length uint32, enc layout) (int, error) {
	n := b.children()
	items := make([]Dataset, n)
	e.Items = make([]*Dataset, n)
	for i := range items {
		h, _ := parseHead(b.buf[pos:], enc)
		pos += 8
		end := -1
		if h.length != undefinedLength {
			end = pos + int(h.length)
		}
		items[i] = Dataset{bigEndian: enc.bigEndian, parent: d}
		e.Items[i] = &items[i]
		var err error
		if pos, err = b.dataset(&items[i], pos, end, enc); err != nil {
			return 0, err
		}
	}
	if length == undefinedLength {
		pos += 8
	}
	return pos, nil
}
