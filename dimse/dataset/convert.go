package dataset

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ToImplicit converts a data set from Explicit VR Little Endian to Implicit VR
// Little Endian while it streams: memory does not depend on its size. Sequences
// come out with undefined lengths, since theirs shrink; group lengths, which
// would become wrong and are retired (PS3.5 7.2), are left out. Encapsulated
// Pixel Data can't be implicit and is an error.
func ToImplicit(w io.Writer, r io.Reader) error {
	c := converter{r: bufio.NewReaderSize(r, 32<<10), w: bufio.NewWriterSize(w, 32<<10)}
	if err := c.elements(-1, layout{}, 0, false); err != nil {
		return fmt.Errorf("converting to Implicit VR Little Endian at byte %d: %w", c.at, err)
	}
	return c.w.Flush()
}

type converter struct {
	r  *bufio.Reader
	w  *bufio.Writer
	at int64
}

// head reads the next element's head; io.EOF only where nothing of it was there.
func (c *converter) head(enc layout) (head, error) {
	var b [12]byte
	if _, err := io.ReadFull(c.r, b[:8]); err != nil {
		if err == io.ErrUnexpectedEOF {
			err = ErrTruncated
		}
		return head{}, err
	}
	h, err := parseHead(b[:8], enc)
	if err == nil && h.size == 12 {
		if _, err = io.ReadFull(c.r, b[8:]); err != nil {
			return h, ErrTruncated
		}
		h, err = parseHead(b[:], enc)
	}
	c.at += int64(h.size)
	return h, err
}

func (c *converter) put(t Tag, length uint32) error {
	var b [8]byte
	binary.LittleEndian.PutUint16(b[:], t.Group())
	binary.LittleEndian.PutUint16(b[2:], uint16(t))
	binary.LittleEndian.PutUint32(b[4:], length)
	_, err := c.w.Write(b[:])
	return err
}

func (c *converter) copy(n int64) error {
	m, err := io.CopyN(c.w, c.r, n)
	c.at += m
	if err == io.EOF {
		return ErrTruncated
	}
	return err
}

// elements converts elements up to offset end, or where end is negative to the
// delimiter of an item, or at the top to the end of the data.
func (c *converter) elements(end int64, enc layout, depth int, item bool) error {
	if depth > maxDepth {
		return fmt.Errorf("sequences are nested more than %d deep", maxDepth)
	}
	for end < 0 || c.at < end {
		h, err := c.head(enc)
		if errors.Is(err, io.EOF) && !item {
			return nil
		}
		if errors.Is(err, io.EOF) {
			return ErrTruncated
		}
		if err != nil {
			return err
		}
		if h.tag == tagItemDelimiter && item && end < 0 {
			return nil
		}
		if h.tag.Group() == 0xFFFE {
			return fmt.Errorf("%v where an element is expected", h.tag)
		}
		kind, inner, err := contentOf(h, enc)
		switch {
		case err != nil:
			return err
		case kind == fragments:
			return fmt.Errorf("%v is encapsulated: send it in its own transfer syntax", h.tag)
		case kind == sequence:
			err = c.sequence(h, inner, depth+1)
		case h.tag&0xFFFF == 0:
			var n int
			n, err = c.r.Discard(int(h.length))
			c.at += int64(n)
			if err != nil {
				err = ErrTruncated
			}
		default:
			if err = c.put(h.tag, h.length); err == nil {
				err = c.copy(int64(h.length))
			}
		}
		if err != nil {
			return err
		}
	}
	if c.at > end && end >= 0 {
		return fmt.Errorf("an element is longer than the item around it")
	}
	return nil
}

func (c *converter) sequence(h head, enc layout, depth int) error {
	if err := c.put(h.tag, undefinedLength); err != nil {
		return err
	}
	end := int64(-1)
	if h.length != undefinedLength {
		end = c.at + int64(h.length)
	}
	for end < 0 || c.at < end {
		item, err := c.head(enc)
		if err == io.EOF {
			return ErrTruncated
		}
		if err != nil {
			return err
		}
		if item.tag == tagSequenceDelimiter && end < 0 {
			break
		}
		if item.tag != tagItem {
			return fmt.Errorf("%v where an item is expected", item.tag)
		}
		if err := c.put(tagItem, undefinedLength); err != nil {
			return err
		}
		itemEnd := int64(-1)
		if item.length != undefinedLength {
			itemEnd = c.at + int64(item.length)
		}
		if err := c.elements(itemEnd, enc, depth, true); err != nil {
			return err
		}
		if err := c.put(tagItemDelimiter, 0); err != nil {
			return err
		}
	}
	if end >= 0 && c.at > end {
		return fmt.Errorf("an item is longer than the sequence around it")
	}
	return c.put(tagSequenceDelimiter, 0)
}
