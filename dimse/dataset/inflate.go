package dataset

import (
	"errors"
	"fmt"
	"math/bits"
)

// inflater is a decoder of RFC 1951 that is written to, where compress/flate
// reads: a data set's bytes are pushed by the network, and a goroutine between
// the two could not be ended by the code that only ever writes. It works in
// small steps (a block header, a symbol); a step that runs out of bits is put
// back and taken again when more bytes have come.
type inflater struct {
	out   func([]byte) error
	lim   Limits
	total int64 // bytes put out
	taken int64 // bytes that came in

	in   []byte // not yet used; at most a block header and what a Write brought
	base []byte // the memory behind in
	acc  uint64
	nacc uint

	window [windowSize]byte
	pos    int // next byte of window
	sent   int // window[:sent] has been put out

	state          inflateState
	final          bool
	stored         int
	literal, dists huffman
}

// inflatable is how far that many deflated bytes may grow.
func (l Limits) inflatable(deflated int64) int64 {
	return min(l.Inflated, max(freeInflation, l.Ratio*deflated))
}

func (l Limits) bomb(deflated int64) error {
	return fmt.Errorf("deflated data set of %d bytes grows beyond %d: not taken", deflated, l.inflatable(deflated))
}

const windowSize = 64 << 10 // distances reach 32 KiB back

type inflateState uint8

const (
	blockHeader inflateState = iota
	storedBytes
	symbols
	streamEnd
)

var (
	errMoreBits = errors.New("more bits are needed")
	errDeflate  = errors.New("deflated data set is damaged (RFC 1951): send it again")
)

func newInflater(out func([]byte) error, lim Limits) *inflater {
	return &inflater{out: out, lim: lim.withDefaults()}
}

func (f *inflater) ended() bool { return f.state == streamEnd }

func (f *inflater) write(p []byte) error {
	for len(p) > 0 {
		// A step that ran dry left its bytes in f.in: bring the next ones in pieces, so
		// that they are not copied more often than needed.
		n := min(len(p), 4096)
		f.base = append(append(f.base[:0], f.in...), p[:n]...)
		f.in = f.base
		p = p[n:]
		f.taken += int64(n)
		if err := f.run(); err != nil {
			return err
		}
	}
	return nil
}

func (f *inflater) run() error {
	for f.state != streamEnd {
		in, acc, nacc := f.in, f.acc, f.nacc
		err := f.step()
		if err == errMoreBits {
			f.in, f.acc, f.nacc = in, acc, nacc
			break
		}
		if err != nil {
			return err
		}
	}
	if f.state == streamEnd {
		f.in = nil // padding to an even length
	}
	return f.flush()
}

func (f *inflater) flush() error {
	if f.sent == f.pos {
		return nil
	}
	err := f.out(f.window[f.sent:f.pos])
	if f.sent = f.pos; f.pos == windowSize {
		f.pos, f.sent = 0, 0
	}
	return err
}

// bits takes n <= 16 bits, the least significant first.
func (f *inflater) bits(n uint) (uint, error) {
	for f.nacc < n {
		if len(f.in) == 0 {
			return 0, errMoreBits
		}
		f.acc |= uint64(f.in[0]) << f.nacc
		f.in = f.in[1:]
		f.nacc += 8
	}
	v := uint(f.acc & (1<<n - 1))
	f.acc >>= n
	f.nacc -= n
	return v, nil
}

func (f *inflater) step() error {
	switch f.state {
	case blockHeader:
		return f.header()
	case storedBytes:
		if f.stored == 0 {
			return f.endBlock()
		}
		if f.nacc >= 8 { // whole bytes that a symbol's look-ahead took
			f.window[f.pos] = byte(f.acc)
			f.acc >>= 8
			f.nacc -= 8
			f.stored--
			return f.advance(1)
		}
		if len(f.in) == 0 {
			return errMoreBits
		}
		n := min(f.stored, len(f.in), windowSize-f.pos)
		copy(f.window[f.pos:], f.in[:n])
		f.in = f.in[n:]
		f.stored -= n
		return f.advance(n)
	}
	return f.symbol()
}

func (f *inflater) endBlock() error {
	f.state = blockHeader
	if f.final {
		f.state = streamEnd
	}
	return nil
}

// advance counts n bytes that were put at pos and hands the window on when full.
func (f *inflater) advance(n int) error {
	f.pos += n
	if f.total += int64(n); f.total > f.lim.inflatable(f.taken) {
		return f.lim.bomb(f.taken)
	}
	if f.pos == windowSize {
		return f.flush()
	}
	return nil
}

func (f *inflater) header() error {
	b, err := f.bits(3)
	if err != nil {
		return err
	}
	switch b >> 1 {
	case 0:
		if _, err := f.bits(f.nacc % 8); err != nil { // to the byte's end
			return err
		}
		n, err := f.bits(16)
		if err != nil {
			return err
		}
		not, err := f.bits(16)
		if err != nil {
			return err
		}
		if n != not^0xFFFF {
			return errDeflate
		}
		f.stored, f.state = int(n), storedBytes
	case 1:
		f.literal, f.dists = fixedLiteral, fixedDistance
		f.state = symbols
	case 2:
		if err := f.dynamic(); err != nil {
			return err
		}
		f.state = symbols
	default:
		return errDeflate
	}
	f.final = b&1 == 1
	return nil
}

// dynamic reads the code lengths of a block (RFC 1951 3.2.7).
func (f *inflater) dynamic() error {
	v, err := f.bits(14)
	if err != nil {
		return err
	}
	nlit, ndist, nclen := int(v&31)+257, int(v>>5&31)+1, int(v>>10)+4
	if nlit > 286 || ndist > 30 {
		return errDeflate
	}
	var lengths [286 + 30]uint8
	order := [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
	var clens [19]uint8
	for _, at := range order[:nclen] {
		v, err := f.bits(3)
		if err != nil {
			return err
		}
		clens[at] = uint8(v)
	}
	var codes huffman
	if err := codes.build(clens[:]); err != nil {
		return err
	}
	for i := 0; i < nlit+ndist; {
		sym, err := codes.decode(f)
		if err != nil {
			return err
		}
		if sym < 16 {
			lengths[i] = uint8(sym)
			i++
			continue
		}
		var repeat uint
		var value uint8
		switch sym {
		case 16:
			if i == 0 {
				return errDeflate
			}
			value = lengths[i-1]
			repeat, err = f.bits(2)
			repeat += 3
		case 17:
			repeat, err = f.bits(3)
			repeat += 3
		default:
			repeat, err = f.bits(7)
			repeat += 11
		}
		if err != nil {
			return err
		}
		if i+int(repeat) > nlit+ndist {
			return errDeflate
		}
		for range repeat {
			lengths[i] = value
			i++
		}
	}
	if lengths[256] == 0 {
		return errDeflate
	}
	if err := f.literal.build(lengths[:nlit]); err != nil {
		return err
	}
	return f.dists.build(lengths[nlit : nlit+ndist])
}

var (
	lengthBase  = [29]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthExtra = [29]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distBase    = [30]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	distExtra   = [30]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
)

func (f *inflater) symbol() error {
	sym, err := f.literal.decode(f)
	if err != nil {
		return err
	}
	if sym < 256 {
		f.window[f.pos] = byte(sym)
		return f.advance(1)
	}
	if sym == 256 {
		return f.endBlock()
	}
	if sym -= 257; sym >= len(lengthBase) {
		return errDeflate
	}
	extra, err := f.bits(uint(lengthExtra[sym]))
	if err != nil {
		return err
	}
	length := int(lengthBase[sym]) + int(extra)
	d, err := f.dists.decode(f)
	if err != nil {
		return err
	}
	if d >= len(distBase) {
		return errDeflate
	}
	if extra, err = f.bits(uint(distExtra[d])); err != nil {
		return err
	}
	dist := int(distBase[d]) + int(extra)
	if int64(dist) > f.total {
		return errDeflate
	}
	for range length {
		f.window[f.pos] = f.window[(f.pos-dist+windowSize)%windowSize]
		if err := f.advance(1); err != nil {
			return err
		}
	}
	return nil
}

// huffman is a canonical code: a table for codes of up to fastBits, and the
// counting walk of RFC 1951 3.2.2 for longer ones.
type huffman struct {
	fast    [1 << fastBits]uint16 // symbol<<4 | length; 0 where the code is longer
	count   [16]uint16
	symbols [288]uint16
}

const fastBits = 9

var fixedLiteral, fixedDistance = fixedCodes()

func fixedCodes() (literal, distance huffman) {
	var lengths [288]uint8
	for i := range lengths {
		switch {
		case i < 144:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		case i < 280:
			lengths[i] = 7
		default:
			lengths[i] = 8
		}
	}
	var dist [30]uint8
	for i := range dist {
		dist[i] = 5
	}
	literal.fill(lengths[:])
	distance.fill(dist[:])
	return literal, distance
}

// build makes the code; one that is over-subscribed, or incomplete with more than
// one code, is refused.
func (h *huffman) build(lengths []uint8) error {
	*h = huffman{}
	left := h.fill(lengths)
	used := 0
	for _, n := range h.count[1:] {
		used += int(n)
	}
	if left < 0 || left > 0 && used > 1 {
		return errDeflate
	}
	return nil
}

func (h *huffman) fill(lengths []uint8) (left int) {
	for _, n := range lengths {
		h.count[n]++
	}
	h.count[0] = 0
	left = 1
	var offset, code [17]uint16
	for n := 1; n < 16; n++ {
		left = left<<1 - int(h.count[n])
		if left < 0 {
			return left
		}
		offset[n+1] = offset[n] + h.count[n]
		code[n+1] = (code[n] + h.count[n]) << 1
	}
	for sym, n := range lengths {
		if n == 0 {
			continue
		}
		h.symbols[offset[n]] = uint16(sym)
		offset[n]++
		if n <= fastBits {
			reversed := bits.Reverse16(code[n]) >> (16 - n)
			for i := int(reversed); i < 1<<fastBits; i += 1 << n {
				h.fast[i] = uint16(sym)<<4 | uint16(n)
			}
		}
		code[n]++
	}
	return left
}

func (h *huffman) decode(f *inflater) (int, error) {
	for f.nacc < fastBits && len(f.in) > 0 {
		f.acc |= uint64(f.in[0]) << f.nacc
		f.in = f.in[1:]
		f.nacc += 8
	}
	if e := h.fast[f.acc&(1<<fastBits-1)]; e != 0 && uint(e&15) <= f.nacc {
		f.acc >>= e & 15
		f.nacc -= uint(e & 15)
		return int(e >> 4), nil
	}
	code, first, index := 0, 0, 0
	for n := 1; n < 16; n++ {
		b, err := f.bits(1)
		if err != nil {
			return 0, err
		}
		code |= int(b)
		count := int(h.count[n])
		if code-count < first {
			return int(h.symbols[index+code-first]), nil
		}
		index += count
		first = (first + count) << 1
		code <<= 1
	}
	return 0, errDeflate
}
