package engine

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/packet"
)

// Made returns in words what the last call into the engine made of the packet that it handled:
// accepted, held, or dropped and why.
func (e *Engine) Made() string { return e.router.Made() }

// PeerOf returns the outer address of a peer of an interface, and the identity that IKE proved; the
// identity is empty if it proved none.
func (e *Engine) PeerOf(ifname string, id peerid.ID) (outer netip.Addr, identity string) {
	if ifc := e.ifaces[ifname]; ifc != nil {
		return ifc.peers.Outer(id), ifc.peers.Identity(id)
	}
	return id.Address(), ""
}

// WithoutPassword returns a copy of a packet of an interface that has as many x in the place of
// passwords: that of the packet, that of the packet which an Error Indication quotes, and this
// router's own wherever it is. The copy has the checksum that fits, unless it cannot be parsed.
func (e *Engine) WithoutPassword(ifname string, data []byte) []byte {
	var p packet.Packet
	copied := slices.Clone(data)
	fault := p.Parse(copied)
	blankPassword(&p)
	if p.Type == packet.ErrorIndication {
		blankQuoted(p.Quoted)
	}
	if ifc := e.ifaces[ifname]; ifc != nil && ifc.Config.Authentication != "" {
		own := []byte(ifc.Config.Authentication)
		for rest := copied; ; {
			at := bytes.Index(rest, own)
			if at < 0 {
				break
			}
			blank(rest[at : at+len(own)])
			rest = rest[at+len(own):]
		}
	}
	if fault != nil {
		return copied
	}
	written, err := p.Append(nil)
	if err != nil {
		return nil // a packet that was parsed can be written
	}
	return written
}

// blankPassword overwrites the password of a parsed packet, in the memory that it was parsed from.
func blankPassword(p *packet.Packet) {
	const head = 4 // RFC 2332 §5.3.4.1: reserved and SPI
	for i := range p.Extensions {
		ext := &p.Extensions[i]
		if ext.Type == packet.ExtensionAuthentication && len(ext.Data) > head {
			blank(ext.Data[head:])
		}
	}
}

// blankQuoted overwrites the password in a quoted packet. That may be cut off, and cannot be parsed
// then, so blankQuoted looks for the beginning of the extension.
func blankQuoted(b []byte) {
	plaintext := []byte{0, 0, 0, 1} // RFC 2332 §5.3.4.1: reserved and SPI
	for i := 0; i+8 <= len(b); i++ {
		kind := packet.ExtensionType(binary.BigEndian.Uint16(b[i:]) & 0x3fff)
		if kind == packet.ExtensionAuthentication && bytes.Equal(b[i+4:i+8], plaintext) {
			length := int(binary.BigEndian.Uint16(b[i+2:]))
			blank(b[min(i+8, len(b)):min(max(i+4+length, i+8), len(b))])
		}
	}
}

// blank overwrites bytes with x.
func blank(b []byte) {
	for i := range b {
		b[i] = 'x'
	}
}
