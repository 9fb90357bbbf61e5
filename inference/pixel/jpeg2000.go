package pixel

import (
	"encoding/binary"
	"fmt"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// Markers of ITU T.800 table A.2.
const (
	markerSOC = 0xFF4F
	markerCAP = 0xFF50 // T.814: HTJ2K
	markerSIZ = 0xFF51
	markerCOD = 0xFF52
	markerTLM = 0xFF55
	markerPRF = 0xFF56
	markerPLM = 0xFF57
	markerPLT = 0xFF58
	markerCPF = 0xFF59
	markerQCD = 0xFF5C
	markerQCC = 0xFF5D
	markerCRG = 0xFF63
	markerCOM = 0xFF64
	markerSOT = 0xFF90
	markerSOD = 0xFF93
	markerEOC = 0xFFD9
)

// What OpenJPEG allocates follows from the tiles, precincts and code-blocks that a
// codestream says it has, and the time it takes from the packets. A slice of
// 512 x 512 has one tile, some 80 code-blocks and 6 packets.
const (
	maxJPEG2000Samples = 1 << 24 // 12 bytes each while it is decoded
	maxTiles           = 1024
	maxPrecincts       = 1 << 16
	maxCodeBlocks      = 1 << 18
	maxPacketTable     = 1 << 22 // 2 bytes each
	maxGrid            = 1 << 20 // columns and rows of the reference grid
)

// codestream is what the main header of a JPEG 2000 codestream says (T.800 annex
// A): one component on a reference grid, cut into tiles.
type codestream struct {
	x0, y0, x1, y1       int64 // the image on the reference grid
	tx, ty, txo, tyo     int64 // size and origin of the tiles
	precision            int
	layers, levels       int
	blockX, blockY       int     // exponents of the code-block's size
	precinctX, precinctY [33]int // exponents, of each resolution
}

// checkJPEG2000 reads the main header and walks the tile-parts before OpenJPEG
// does, so that what a few bytes claim is refused before it is allocated, and a
// codestream that was cut is refused whatever OpenJPEG makes of it.
func checkJPEG2000(b []byte, p Format) (precision int, err error) {
	if p.Samples() > maxJPEG2000Samples {
		return 0, fmt.Errorf("JPEG 2000 frame of %d x %d is larger than is decoded", p.Rows, p.Columns)
	}
	if len(b) < 4 || binary.BigEndian.Uint16(b) != markerSOC || binary.BigEndian.Uint16(b[2:]) != markerSIZ {
		return 0, fmt.Errorf("JPEG 2000 codestream does not begin with SOC and SIZ")
	}
	var c codestream
	at, coded, quantised := 2, false, false
	for {
		marker, value, err := jpeg2000Segment(b, at)
		if err != nil {
			return 0, err
		}
		switch marker {
		case markerSIZ:
			if c.precision > 0 {
				return 0, fmt.Errorf("JPEG 2000 codestream has two image sizes")
			}
			err = c.size(value, p)
		case markerCOD:
			if coded { // OpenJPEG takes two, and which of them counts is its own affair
				return 0, fmt.Errorf("JPEG 2000 codestream has two coding styles")
			}
			err, coded = c.coding(value), true
		case markerQCD:
			quantised = true
		case markerSOT:
			if !coded || !quantised {
				return 0, fmt.Errorf("JPEG 2000 main header has no coding style or quantisation (COD, QCD)")
			}
			if err := c.bounded(len(b)); err != nil {
				return 0, err
			}
			return c.precision, c.tileParts(b, at)
		case markerCAP, markerTLM, markerPRF, markerPLM, markerCPF, markerQCC, markerCRG, markerCOM:
		default:
			// COC, RGN, POC, PPM: not met in pictures of one component, and more than
			// is counted here.
			return 0, fmt.Errorf("JPEG 2000 marker %04X in the main header is not decoded", marker)
		}
		if err != nil {
			return 0, err
		}
		at += 4 + len(value)
	}
}

// jpeg2000Segment reads the marker segment at byte at (T.800 A.1).
func jpeg2000Segment(b []byte, at int) (marker int, value []byte, err error) {
	if at+4 > len(b) {
		return 0, nil, fmt.Errorf("JPEG 2000 header: %w", dataset.ErrTruncated)
	}
	marker = int(binary.BigEndian.Uint16(b[at:]))
	n := int(binary.BigEndian.Uint16(b[at+2:]))
	if n < 2 || at+2+n > len(b) {
		return 0, nil, fmt.Errorf("JPEG 2000 marker segment %04X: %w", marker, dataset.ErrTruncated)
	}
	return marker, b[at+4 : at+2+n], nil
}

// size reads SIZ (T.800 A.5.1).
func (c *codestream) size(v []byte, p Format) error {
	if len(v) < 39 {
		return fmt.Errorf("JPEG 2000 image size: %w", dataset.ErrTruncated)
	}
	u32 := func(at int) int64 { return int64(binary.BigEndian.Uint32(v[at:])) }
	c.x1, c.y1, c.x0, c.y0 = u32(2), u32(6), u32(10), u32(14)
	c.tx, c.ty, c.txo, c.tyo = u32(18), u32(22), u32(26), u32(30)
	components := int(binary.BigEndian.Uint16(v[34:]))
	c.precision = int(v[36]&0x7F) + 1
	if c.x1 > maxGrid || c.y1 > maxGrid || c.x0 >= c.x1 || c.y0 >= c.y1 {
		return fmt.Errorf("JPEG 2000 image lies outside its reference grid")
	}
	if err := p.fits("JPEG 2000", int(c.y1-c.y0), int(c.x1-c.x0), components, c.precision); err != nil {
		return err
	}
	if v[37] != 1 || v[38] != 1 {
		return fmt.Errorf("JPEG 2000 component is subsampled")
	}
	if c.txo > c.x0 || c.tyo > c.y0 || c.txo+c.tx <= c.x0 || c.tyo+c.ty <= c.y0 {
		return fmt.Errorf("JPEG 2000 tiles do not cover the image")
	}
	if n := c.tiles(); n > maxTiles {
		return fmt.Errorf("JPEG 2000 image has %d tiles; at most %d are decoded", n, maxTiles)
	}
	return nil
}

func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }

func (c *codestream) tilesAcross() int64 { return ceilDiv(c.x1-c.txo, c.tx) }
func (c *codestream) tiles() int64       { return c.tilesAcross() * ceilDiv(c.y1-c.tyo, c.ty) }

// coding reads COD (T.800 A.6.1).
func (c *codestream) coding(v []byte) error {
	if len(v) < 10 {
		return fmt.Errorf("JPEG 2000 coding style: %w", dataset.ErrTruncated)
	}
	c.layers, c.levels = int(binary.BigEndian.Uint16(v[2:])), int(v[5])
	c.blockX, c.blockY = int(v[6])+2, int(v[7])+2
	if c.layers < 1 || c.levels > 32 || c.blockX > 10 || c.blockY > 10 || c.blockX+c.blockY > 12 {
		return fmt.Errorf("JPEG 2000 coding style with %d layers, %d levels, code-blocks of 2^%d x 2^%d", c.layers, c.levels, c.blockX, c.blockY)
	}
	own := v[0]&1 == 1
	if own && len(v) < 10+c.levels+1 {
		return fmt.Errorf("JPEG 2000 precinct sizes: %w", dataset.ErrTruncated)
	}
	for r := range c.levels + 1 {
		c.precinctX[r], c.precinctY[r] = 15, 15
		if own {
			c.precinctX[r], c.precinctY[r] = int(v[10+r]&15), int(v[10+r]>>4)
		}
		if r > 0 && (c.precinctX[r] == 0 || c.precinctY[r] == 0) {
			return fmt.Errorf("JPEG 2000 precincts of resolution %d have no size", r)
		}
	}
	return nil
}

// bounded counts what OpenJPEG will have to allocate and to read (T.800 B.5 to
// B.7, B.10). A packet takes a byte at least.
func (c *codestream) bounded(bytes int) error {
	var precincts, blocks, most int64
	across := c.tilesAcross()
	for tile := range c.tiles() {
		x0, y0 := c.txo+tile%across*c.tx, c.tyo+tile/across*c.ty
		x1, y1 := min(x0+c.tx, c.x1), min(y0+c.ty, c.y1)
		x0, y0 = max(x0, c.x0), max(y0, c.y0)
		for r := range c.levels + 1 {
			scale := int64(1) << (c.levels - r)
			rx0, ry0, rx1, ry1 := ceilDiv(x0, scale), ceilDiv(y0, scale), ceilDiv(x1, scale), ceilDiv(y1, scale)
			if rx0 >= rx1 || ry0 >= ry1 {
				continue
			}
			px, py := c.precinctX[r], c.precinctY[r]
			n := (ceilDiv(rx1, 1<<px) - rx0>>px) * (ceilDiv(ry1, 1<<py) - ry0>>py)
			precincts, most = precincts+n, max(most, n)
			// Subbands are half as large as the resolution that they make, but the
			// first, and so are the precincts in them.
			half, bands := 1, int64(3)
			if r == 0 {
				half, bands = 0, 1
			}
			bx, by := min(c.blockX, px-half), min(c.blockY, py-half)
			blocks += bands * ((rx1-rx0)>>half>>bx + 2) * ((ry1-ry0)>>half>>by + 2)
		}
	}
	if precincts > maxPrecincts || blocks > maxCodeBlocks {
		return fmt.Errorf("JPEG 2000 image has %d precincts and up to %d code-blocks; at most %d and %d are decoded", precincts, blocks, maxPrecincts, maxCodeBlocks)
	}
	// The packets that were read are marked in a table of all layers and resolutions
	// with as many precincts as the one that has most.
	if n := int64(c.layers) * int64(c.levels+1) * most; n > maxPacketTable {
		return fmt.Errorf("JPEG 2000 image of %d layers, %d levels and up to %d precincts: more than is decoded", c.layers, c.levels, most)
	}
	if packets := precincts * int64(c.layers); packets > int64(bytes) {
		return fmt.Errorf("JPEG 2000 image of %d packets cannot be in %d bytes: %w", packets, bytes, dataset.ErrTruncated)
	}
	return nil
}

// tileParts walks the tile-parts from the one at byte at to EOC (T.800 A.4.2):
// each lies within the codestream, and each tile has one.
func (c *codestream) tileParts(b []byte, at int) error {
	seen := make([]bool, c.tiles())
	missing := len(seen)
	for at+2 > len(b) || binary.BigEndian.Uint16(b[at:]) != markerEOC {
		marker, v, err := jpeg2000Segment(b, at)
		if err != nil {
			return err
		}
		if marker != markerSOT || len(v) != 8 {
			return fmt.Errorf("JPEG 2000 codestream: no tile-part at byte %d", at)
		}
		tile, length := int(binary.BigEndian.Uint16(v)), int64(binary.BigEndian.Uint32(v[2:]))
		if tile >= len(seen) {
			return fmt.Errorf("JPEG 2000 tile-part is of tile %d of %d", tile, len(seen))
		}
		end := at + int(length)
		if length == 0 { // up to EOC, of which nothing but padding is behind
			for end = len(b); end > at && b[end-1] == 0; end-- {
			}
			if end -= 2; end < at+12 || binary.BigEndian.Uint16(b[end:]) != markerEOC {
				return fmt.Errorf("JPEG 2000 codestream: %w: no EOC", dataset.ErrTruncated)
			}
		}
		if end > len(b) || end < at+14 {
			return fmt.Errorf("JPEG 2000 tile-part of %d bytes, %d are there: %w", length, len(b)-at, dataset.ErrTruncated)
		}
		for at += 12; binary.BigEndian.Uint16(b[at:]) != markerSOD; {
			marker, v, err := jpeg2000Segment(b[:end], at)
			if err != nil {
				return err
			}
			switch marker {
			case markerQCD, markerQCC, markerPLT, markerCOM:
			default:
				return fmt.Errorf("JPEG 2000 marker %04X in a tile-part is not decoded", marker)
			}
			if at += 4 + len(v); at+2 > end {
				return fmt.Errorf("JPEG 2000 tile-part has no data: %w", dataset.ErrTruncated)
			}
		}
		if !seen[tile] {
			seen[tile] = true
			missing--
		}
		at = end
	}
	if missing > 0 {
		return fmt.Errorf("JPEG 2000 codestream: %d of %d tiles are missing: %w", missing, len(seen), dataset.ErrTruncated)
	}
	return nil
}
