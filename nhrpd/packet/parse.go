package packet

import "encoding/binary"

// Parse fills p from the NHRP packet at the start of b. It ignores what follows the packet's own
// size, which is padding. The byte slices in p alias b. CIEs and extensions lie in memory that
// belongs to p and that the next Parse overwrites: a caller that keeps them must copy them, even
// when it keeps a copy of *p. In return, parsing into the same Packet again allocates nothing, once
// it has held a packet as large.
//
// An error is always a *ParseError. p then holds what Parse read before the fault, which may be
// enough to answer the packet: the addresses of the header if they are valid, else zero.
//
// Parse accepts what RFC 2332 lets a receiver ignore. It accepts a hop count of 0, since that
// concerns only a router that has to forward the packet. The values of flags, codes and prefix
// lengths are the caller's to check.
//
// Parse also accepts two faults of other implementations, and Append writes both again. OpenNHRP's
// Error Indications have bytes after the End extension; Parse ignores them. FRR's hub puts IPv4
// addresses into the Responder extension of an IPv6 packet: in the CIEs of the extensions 3, 4 and
// 5 an address that is not of the packet's family counts as absent.
func (p *Packet) Parse(b []byte) error {
	*p = Packet{memory: p.memory}
	if err := p.parse(b); err != nil {
		// RFC 2332 §5.2.7: an Error Indication never answers another.
		if len(b) > offType && Type(b[offType]) == ErrorIndication {
			err.silent = true
		}
		return err
	}
	return nil
}

func (p *Packet) parse(b []byte) *ParseError {
	b, err := frame(b)
	if err != nil {
		return err
	}
	if err := p.parseFixed(b); err != nil {
		return err
	}
	end, err := mandatoryEnd(b)
	if err != nil {
		return err
	}
	at, err := p.parseCommon(b[:end])
	if err != nil {
		return err
	}
	p.memory.cies = p.memory.cies[:0]
	if p.Type.hasCIEs() {
		if p.CIEs, err = p.parseCIEs(b[:end], at, false); err != nil {
			return err
		}
	} else {
		p.Quoted = opaque(b[at:end])
	}
	if binary.BigEndian.Uint16(b[offExtensions:]) == 0 {
		return nil
	}
	return p.parseExtensions(b, end)
}

// frame cuts off the padding and checks that the packet is complete and its checksum right.
func frame(b []byte) ([]byte, *ParseError) {
	if len(b) < headerLen {
		return nil, tooShort(b)
	}
	size := int(binary.BigEndian.Uint16(b[offSize:]))
	if size < headerLen || size > len(b) {
		return nil, damaged(offSize, "packet size", size, "at least 28 and not more than was received")
	}
	b = b[:size]
	if checksum(b) != 0 {
		return nil, damaged(offChecksum, "checksum", int(binary.BigEndian.Uint16(b[offChecksum:])),
			"that of the packet")
	}
	return b, nil
}

func tooShort(b []byte) *ParseError {
	return damaged(len(b), "length of the packet", len(b), "at least 28")
}

// parseFixed reads the fixed header.
func (p *Packet) parseFixed(b []byte) *ParseError {
	if b[offVersion] != version {
		return malformed(offVersion, "version", int(b[offVersion]), "1")
	}
	t := Type(b[offType])
	if t < ResolutionRequest || t > TrafficIndication {
		return malformed(offType, "message type", int(t), "1 to 8")
	}
	p.Type = t
	switch family := binary.BigEndian.Uint16(b[offFamily:]); family {
	case familyIPv4:
		p.nbmaLen = 4
	case familyIPv6:
		p.nbmaLen = 16
	default:
		return malformed(offFamily, "address family", int(family), "1 (IPv4) or 2 (IPv6)")
	}
	switch protocol := binary.BigEndian.Uint16(b[offProtocol:]); protocol {
	case protocolIPv4:
		p.protocolLen = 4
	case protocolIPv6:
		p.protocolLen = 16
	default:
		return malformed(offProtocol, "protocol type", int(protocol), "2048 (IPv4) or 34525 (IPv6)")
	}
	copy(p.snap[:], b[offSNAP:])
	p.HopCount = b[offHopCount]
	if binary.BigEndian.Uint16(b[offChecksum:]) == 0xffff {
		p.received |= oddChecksum
	}
	return nil
}

// mandatoryEnd returns the offset of the mandatory part's end.
func mandatoryEnd(b []byte) (int, *ParseError) {
	offset := int(binary.BigEndian.Uint16(b[offExtensions:]))
	if offset == 0 {
		return len(b), nil
	}
	if offset < headerLen || offset > len(b)-tlvLen {
		return 0, malformed(offExtensions, "extension offset", offset, "0, or in the packet and after the mandatory part's header")
	}
	return offset, nil
}

// parseCommon reads the mandatory part up to and including the header's addresses, and returns the
// offset of their end. The mandatory part ends with b.
func (p *Packet) parseCommon(b []byte) (int, *ParseError) {
	p.Flags = Flags(binary.BigEndian.Uint16(b[offFlags:]))
	switch p.Type {
	case ErrorIndication:
		p.ErrorCode = ErrorCode(binary.BigEndian.Uint16(b[offErrorCode:]))
		p.ErrorOffset = binary.BigEndian.Uint16(b[offErrorOffset:])
	case TrafficIndication:
		p.unused = binary.BigEndian.Uint32(b[offRequestID:])
	default:
		p.RequestID = binary.BigEndian.Uint32(b[offRequestID:])
	}
	r := reader{b: b, at: headerLen}
	nbma := r.nbmaLen(offSourceLen, "source NBMA address length", p.nbmaLen, oddAddressFormat,
		&p.received)
	sub := r.subaddressLen(offSubLen, "source NBMA subaddress length", &p.received)
	src := r.protocolLen(offSrcProtoLen, "source protocol address length", p.protocolLen)
	dst := r.protocolLen(offDstProtoLen, "destination protocol address length", p.protocolLen)
	r.room(offSourceLen, "length of the header's addresses", nbma+sub+src+dst)
	p.SourceNBMA = r.address(nbma)
	p.SourceSubaddress = r.bytes(sub)
	p.SourceProtocol = r.address(src)
	p.DestProtocol = r.address(dst)
	return r.at, r.err
}

// parseCIEs reads CIEs from offset at to the end of b. With anyLength it accepts addresses of any
// length, and takes those that are not of the packet's families as absent.
func (p *Packet) parseCIEs(b []byte, at int, anyLength bool) ([]CIE, *ParseError) {
	m := &p.memory
	first := len(m.cies)
	for at < len(b) {
		m.cies = append(m.cies, CIE{})
		next, err := p.parseCIE(&m.cies[len(m.cies)-1], b, at, anyLength)
		if err != nil {
			return nil, err
		}
		at = next
	}
	if len(m.cies) == first {
		return nil, nil
	}
	return m.cies[first:len(m.cies):len(m.cies)], nil
}

// parseCIE reads the CIE at offset at of b into c and returns the offset of its end.
func (p *Packet) parseCIE(c *CIE, b []byte, at int, anyLength bool) (int, *ParseError) {
	if len(b)-at < cieLen {
		return 0, malformed(at, "length of a CIE", len(b)-at, "at least 12")
	}
	h := b[at : at+cieLen]
	c.Code = Code(h[0])
	c.PrefixLength = h[1]
	c.unused = binary.BigEndian.Uint16(h[2:])
	c.MTU = binary.BigEndian.Uint16(h[4:])
	c.HoldingTime = binary.BigEndian.Uint16(h[6:])
	c.Preference = h[11]
	c.addressBits = p.protocolLen * 8

	first := at + cieLen
	r := reader{b: b, at: first, anyLength: anyLength}
	nbma := r.nbmaLen(at+8, "client NBMA address length", p.nbmaLen, oddAddressFormat, &c.received)
	sub := r.subaddressLen(at+9, "client NBMA subaddress length", &c.received)
	protocol := r.protocolLen(at+10, "client protocol address length", p.protocolLen)
	r.room(at+8, "length of a CIE's addresses", nbma+sub+protocol)
	c.NBMA = r.addressOf(p.nbmaLen, nbma)
	c.NBMASubaddress = r.bytes(sub)
	c.Protocol = r.addressOf(p.protocolLen, protocol)
	if r.foreign && r.err == nil {
		c.foreign = foreignAddresses{
			bytes: b[first:r.at:r.at], nbma: uint8(nbma), protocol: uint8(protocol),
		}
	}
	return r.at, r.err
}

// parseExtensions reads the extensions part, from offset at to the end of b.
func (p *Packet) parseExtensions(b []byte, at int) *ParseError {
	m := &p.memory
	m.extensions = m.extensions[:0]
	var seen uint16
	for {
		if len(b)-at < tlvLen {
			return malformed(at, "length of an extension", len(b)-at, "at least 4: the End extension is missing")
		}
		head := binary.BigEndian.Uint16(b[at:])
		n := int(binary.BigEndian.Uint16(b[at+2:]))
		value := at + tlvLen
		if n > len(b)-value {
			return malformed(at+2, "extension length", n,
				"not more than what is left of the packet")
		}
		t := ExtensionType(head & extTypeMask)
		if t == ExtensionEnd {
			p.Extensions = m.extensions[:len(m.extensions):len(m.extensions)]
			return p.parseEnd(b, at, head, n)
		}
		if t.once(n) {
			if seen&(1<<t) != 0 {
				return &ParseError{
					Code: ErrorInvalidExtension, Offset: uint16(at), Field: "extension type",
					Got: int(t), Want: "present only once",
				}
			}
			seen |= 1 << t
		}
		e := Extension{Type: t, Compulsory: head&extCompulsory != 0, offset: uint16(at)}
		if head&extUnused != 0 {
			e.received |= oddUnusedBit
		}
		if t.hasCIEs(n) {
			var err *ParseError
			if e.CIEs, err = p.parseCIEs(b[:value+n], value, t.isRecord()); err != nil {
				return err
			}
		} else {
			e.Data = opaque(b[value : value+n])
		}
		m.extensions = append(m.extensions, e)
		at = value + n
	}
}

// parseEnd checks the End extension at offset at, which must be empty, and keeps the bytes that
// follow it.
func (p *Packet) parseEnd(b []byte, at int, head uint16, n int) *ParseError {
	p.received |= oddEndPresent
	if head&extCompulsory == 0 {
		p.received |= oddEndOptional
	}
	if head&extUnused != 0 {
		p.received |= oddUnusedBit
	}
	if n != 0 {
		return malformed(at+2, "length of the End extension", n, "0")
	}
	p.afterEnd = opaque(b[at+tlvLen:])
	return nil
}

// opaque returns b without spare capacity, so that an append does not overwrite what follows it;
// nil if b is empty.
func opaque(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b[:len(b):len(b)]
}
