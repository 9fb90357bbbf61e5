package pdu

import "encoding/binary"

// PDVHeaderLength is the length of what a presentation data value item begins
// with: item length, presentation context ID, message control header.
const PDVHeaderLength = 6

// PDVHeader begins a presentation data value item (PS3.8 9.3.5.1, E.2).
type PDVHeader struct {
	ContextID byte
	Command   bool   // a fragment of a command; otherwise of a data set
	Last      bool   // the last fragment
	Length    uint32 // of the fragment, without context ID and control header
}

// ParsePDVHeader reads the header of an item of which, with the header, left
// bytes remain in the PDU. Fragments of length 0 are legal.
func ParsePDVHeader(b [PDVHeaderLength]byte, left uint32) (PDVHeader, error) {
	n := binary.BigEndian.Uint32(b[:])
	if n < 2 {
		return PDVHeader{}, invalid("a presentation data value of length %d has no room for its context ID and control header (PS3.8 9.3.5.1)", n)
	}
	if uint64(n)+4 > uint64(left) {
		return PDVHeader{}, invalid("a presentation data value of length %d goes beyond its PDU, of which %d bytes are left (PS3.8 9.3.5)", n, left)
	}
	return PDVHeader{ContextID: b[4], Command: b[5]&1 != 0, Last: b[5]&2 != 0, Length: n - 2}, nil
}

// PDataOverhead is what stands before the fragment in a P-DATA-TF with one item.
const PDataOverhead = HeaderLength + PDVHeaderLength

// PutPDataHeader writes the header of a P-DATA-TF with one item, whose fragment
// is h.Length bytes long and follows.
func PutPDataHeader(b *[PDataOverhead]byte, h PDVHeader) {
	b[0], b[1] = byte(TypePDataTF), 0
	binary.BigEndian.PutUint32(b[2:], h.Length+PDVHeaderLength)
	h.put(b[HeaderLength:])
}

func (h PDVHeader) put(b []byte) {
	binary.BigEndian.PutUint32(b, h.Length+2)
	b[4], b[5] = h.ContextID, 0
	if h.Command {
		b[5] |= 1
	}
	if h.Last {
		b[5] |= 2
	}
}

// AppendMessage appends P-DATA-TFs that carry the whole of a command or data
// set in fragments that fit the peer's maximum length (0: any, PS3.8 D.1).
func AppendMessage(dst []byte, contextID byte, command bool, message []byte, maxLength uint32) []byte {
	room := FragmentLength(maxLength, len(message))
	for {
		n := min(room, len(message))
		var head [PDataOverhead]byte
		PutPDataHeader(&head, PDVHeader{ContextID: contextID, Command: command, Last: n == len(message), Length: uint32(n)})
		dst = append(append(dst, head[:]...), message[:n]...)
		if message = message[n:]; len(message) == 0 {
			return dst
		}
	}
}

// FragmentLength is the length of the fragments that a peer with this maximum
// length takes, at most limit. It is even (PS3.8 9.3.5.1) and at least 2.
func FragmentLength(maxLength uint32, limit int) int {
	n := max(limit, 2)
	if maxLength != 0 {
		n = min(n, int(max(maxLength, PDVHeaderLength+2)-PDVHeaderLength))
	}
	if n < limit {
		n &^= 1
	}
	return n
}

// PDataTF carries presentation data values (PS3.8 9.3.5).
type PDataTF struct{ Items []PDV }

// PDV is a presentation data value item held whole.
type PDV struct {
	ContextID     byte
	Command, Last bool
	Fragment      []byte
}

func (*PDataTF) Type() Type { return TypePDataTF }

func decodePDataTF(body []byte) (PDU, error) {
	p := &PDataTF{}
	for len(body) > 0 {
		if len(body) < PDVHeaderLength {
			return nil, invalid("%d bytes at the end of a P-DATA-TF are no presentation data value (PS3.8 9.3.5)", len(body))
		}
		h, err := ParsePDVHeader([PDVHeaderLength]byte(body), uint32(len(body)))
		if err != nil {
			return nil, err
		}
		end := PDVHeaderLength + int(h.Length)
		p.Items = append(p.Items, PDV{h.ContextID, h.Command, h.Last, body[PDVHeaderLength:end:end]})
		body = body[end:]
	}
	if len(p.Items) == 0 {
		return nil, invalid("a P-DATA-TF without a presentation data value (PS3.8 9.3.5)")
	}
	return p, nil
}

func (p *PDataTF) appendBody(b []byte) ([]byte, error) {
	for _, v := range p.Items {
		var head [PDVHeaderLength]byte
		PDVHeader{v.ContextID, v.Command, v.Last, uint32(len(v.Fragment))}.put(head[:])
		b = append(append(b, head[:]...), v.Fragment...)
	}
	return b, nil
}
