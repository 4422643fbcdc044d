package packet

import "encoding/binary"

// ParseQuoted fills p from the packet that an Error Indication quotes: type, flags, request ID and the header's addresses, by which its sender
// knows it again. CIEs and extensions stay empty. Neither a cut-off end nor a checksum that no longer fits is an error, since routers quote
// differently. An error is always a *ParseError, which is never answerable.
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

// Size returns how many of b's bytes are the NHRP packet at its start. What follows it is padding. It
// returns len(b) where the packet does not tell.
func Size(b []byte) int {
	if len(b) < headerLen {
		return len(b)
	}
	if size := int(binary.BigEndian.Uint16(b[offSize:])); size >= headerLen && size <= len(b) {
		return size
	}
	return len(b)
}
