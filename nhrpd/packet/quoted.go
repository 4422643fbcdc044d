package packet

import "encoding/binary"

// ParseQuoted fills p from the packet that an Error Indication quotes. It reads type, flags,
// request ID and the header's addresses, by which the sender of that packet recognises it. CIEs and
// extensions stay empty. Routers quote differently, so a cut-off end and a checksum that no longer
// fits are no errors. An error is always a *ParseError, which is never answerable.
func (p *Packet) ParseQuoted(b []byte) error {
	*p = Packet{memory: p.memory}
	if err := p.parseQuoted(b); err != nil {
		err.silent = true
		return err
	}
	return nil
}

func (p *Packet) parseQuoted(b []byte) *ParseError {
	if len(b) < headerLen {
		return tooShort(b)
	}
	if err := p.parseFixed(b); err != nil {
		return err
	}
	_, err := p.parseCommon(b)
	return err
}

// Size returns how many bytes at the start of b are the NHRP packet. The rest is padding. If b is
// too short to tell, or tells a size that b does not have, Size returns len(b).
func Size(b []byte) int {
	if len(b) < headerLen {
		return len(b)
	}
	if size := int(binary.BigEndian.Uint16(b[offSize:])); size >= headerLen && size <= len(b) {
		return size
	}
	return len(b)
}
