package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Append appends the encoding of p to dst. It computes the packet size, the extension offset and
// the checksum, and adds the End extension where p has extensions. It derives the address family
// and the protocol type from the addresses in p. Where p has no NBMA address, Append uses the
// family that Parse read, and IPv4 in a Packet built by hand; the same goes for overlay addresses.
//
// A Packet that Parse filled is encoded to the same bytes again. Append returns dst unchanged and
// an error if p cannot be encoded: if its addresses are of several families or have a zone, if it
// has fields that its message type does not have, or if the packet would exceed 65535 bytes.
func (p *Packet) Append(dst []byte) ([]byte, error) {
	b, err := p.append(dst)
	if err != nil {
		return dst, fmt.Errorf("encode NHRP %s: %w", p.Type, err)
	}
	return b, nil
}

func (p *Packet) append(dst []byte) ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	f := families{}
	if err := f.scan(p); err != nil {
		return nil, err
	}
	start := len(dst)
	b := p.appendFixed(dst, f)
	b, err := p.appendMandatory(b)
	if err != nil {
		return nil, err
	}
	offset := 0
	if len(p.Extensions) > 0 || p.received&oddEndPresent != 0 {
		offset = len(b) - start
		if b, err = p.appendExtensions(b); err != nil {
			return nil, err
		}
	}
	whole := b[start:]
	if len(whole) > maxSize {
		return nil, fmt.Errorf("%d bytes, more than %d", len(whole), maxSize)
	}
	binary.BigEndian.PutUint16(whole[offSize:], uint16(len(whole)))
	binary.BigEndian.PutUint16(whole[offExtensions:], uint16(offset))
	sum := checksum(whole)
	if sum == 0 && p.received&oddChecksum != 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(whole[offChecksum:], sum)
	return b, nil
}

// check returns an error if p has fields that its message type does not have.
func (p *Packet) check() error {
	if p.Type < ResolutionRequest || p.Type > TrafficIndication {
		return errors.New("no such type of message")
	}
	if p.Type != ErrorIndication && (p.ErrorCode != 0 || p.ErrorOffset != 0) {
		return errors.New("error code and offset belong to error indications")
	}
	if p.Type.hasCIEs() {
		if len(p.Quoted) > 0 {
			return errors.New("a quoted packet belongs to indications")
		}
		return nil
	}
	if p.RequestID != 0 {
		return errors.New("indications have no request id")
	}
	if len(p.CIEs) > 0 {
		return errors.New("indications have no CIEs")
	}
	return nil
}

// appendFixed appends the fixed header, in which packet size, checksum and extension offset are
// still 0.
func (p *Packet) appendFixed(b []byte, f families) []byte {
	family, protocol := uint16(familyIPv4), uint16(protocolIPv4)
	if f.nbma == 16 {
		family = familyIPv6
	}
	if f.protocol == 16 {
		protocol = protocolIPv6
	}
	b = binary.BigEndian.AppendUint16(b, family)
	b = binary.BigEndian.AppendUint16(b, protocol)
	b = append(b, p.snap[:]...)
	b = append(b, p.HopCount, 0, 0, 0, 0, 0, 0, version, byte(p.Type))
	return append(b,
		typeLen(addrLen(p.SourceNBMA), p.received&oddAddressFormat),
		typeLen(len(p.SourceSubaddress), p.received&oddSubaddressFormat))
}

func (p *Packet) appendMandatory(b []byte) ([]byte, error) {
	if n := len(p.SourceSubaddress); n > maxSubaddress {
		return nil, fmt.Errorf("source NBMA subaddress of %d bytes, more than %d", n, maxSubaddress)
	}
	b = append(b, byte(addrLen(p.SourceProtocol)), byte(addrLen(p.DestProtocol)))
	b = binary.BigEndian.AppendUint16(b, uint16(p.Flags))
	switch p.Type {
	case ErrorIndication:
		b = binary.BigEndian.AppendUint16(b, uint16(p.ErrorCode))
		b = binary.BigEndian.AppendUint16(b, p.ErrorOffset)
	case TrafficIndication:
		b = binary.BigEndian.AppendUint32(b, p.unused)
	default:
		b = binary.BigEndian.AppendUint32(b, p.RequestID)
	}
	b = appendAddr(b, p.SourceNBMA)
	b = append(b, p.SourceSubaddress...)
	b = appendAddr(b, p.SourceProtocol)
	b = appendAddr(b, p.DestProtocol)
	b = append(b, p.Quoted...)
	return appendCIEs(b, p.CIEs)
}

func (p *Packet) appendExtensions(b []byte) ([]byte, error) {
	var seen uint16
	for i := range p.Extensions {
		e := &p.Extensions[i]
		if err := e.check(); err != nil {
			return nil, err
		}
		if e.Type.once(len(e.Data)) {
			if seen&(1<<e.Type) != 0 {
				return nil, fmt.Errorf("%s extension more than once", e.Type)
			}
			seen |= 1 << e.Type
		}
		var err error
		if b, err = e.append(b); err != nil {
			return nil, fmt.Errorf("%s extension: %w", e.Type, err)
		}
	}
	end := Extension{
		Type: ExtensionEnd, Compulsory: p.received&oddEndOptional == 0,
		received: p.received & oddUnusedBit,
	}
	b, err := end.append(b)
	return append(b, p.afterEnd...), err
}

// check returns an error if e has contents that an extension of its type cannot have.
func (e *Extension) check() error {
	switch {
	case e.Type == ExtensionEnd:
		return errors.New("the End extension is not to be listed")
	case e.Type > extTypeMask:
		return fmt.Errorf("extension type %d, more than %d", e.Type, extTypeMask)
	case !e.Type.hasCIEs(len(e.Data)) && len(e.CIEs) > 0:
		return fmt.Errorf("%s extension with CIEs", e.Type)
	case e.Type.hasCIEs(len(e.Data)) && len(e.Data) > 0:
		return fmt.Errorf("%s extension with data instead of CIEs", e.Type)
	}
	return nil
}

func (e *Extension) append(b []byte) ([]byte, error) {
	head := uint16(e.Type)
	if e.Compulsory {
		head |= extCompulsory
	}
	if e.received&oddUnusedBit != 0 {
		head |= extUnused
	}
	b = binary.BigEndian.AppendUint16(b, head)
	b = append(b, 0, 0)
	value := len(b)
	b = append(b, e.Data...)
	b, err := appendCIEs(b, e.CIEs)
	if err != nil {
		return nil, err
	}
	// A length that does not fit into 16 bits makes the packet too long, which Append reports.
	binary.BigEndian.PutUint16(b[value-2:], uint16(len(b)-value))
	return b, nil
}

func appendCIEs(b []byte, cies []CIE) ([]byte, error) {
	for i := range cies {
		c := &cies[i]
		if n := len(c.NBMASubaddress); n > maxSubaddress {
			return nil, fmt.Errorf("client NBMA subaddress of %d bytes, more than %d",
				n, maxSubaddress)
		}
		b = append(b, byte(c.Code), c.PrefixLength)
		b = binary.BigEndian.AppendUint16(b, c.unused)
		b = binary.BigEndian.AppendUint16(b, c.MTU)
		b = binary.BigEndian.AppendUint16(b, c.HoldingTime)
		b = c.appendAddresses(b)
	}
	return b, nil
}

// appendAddresses appends the lengths of c's addresses, the preference and then the addresses.
func (c *CIE) appendAddresses(b []byte) []byte {
	nbma, protocol := addrLen(c.NBMA), addrLen(c.Protocol)
	if c.foreign.bytes != nil {
		nbma, protocol = int(c.foreign.nbma), int(c.foreign.protocol)
	}
	b = append(b,
		typeLen(nbma, c.received&oddAddressFormat),
		typeLen(len(c.NBMASubaddress), c.received&oddSubaddressFormat),
		byte(protocol), c.Preference)
	if c.foreign.bytes != nil {
		return append(b, c.foreign.bytes...)
	}
	b = appendAddr(b, c.NBMA)
	b = append(b, c.NBMASubaddress...)
	return appendAddr(b, c.Protocol)
}

// families holds the lengths of a packet's NBMA and overlay addresses.
type families struct{ nbma, protocol int }

// scan sets f from all addresses in p. It returns an error if they are of several families.
func (f *families) scan(p *Packet) error {
	err := f.add(p.SourceNBMA, p.SourceProtocol)
	if err == nil {
		err = f.add(netip.Addr{}, p.DestProtocol)
	}
	for i := 0; i < len(p.CIEs) && err == nil; i++ {
		err = f.add(p.CIEs[i].NBMA, p.CIEs[i].Protocol)
	}
	for i := range p.Extensions {
		cies := p.Extensions[i].CIEs
		for j := 0; j < len(cies) && err == nil; j++ {
			err = f.add(cies[j].NBMA, cies[j].Protocol)
		}
	}
	if err != nil {
		return err
	}
	if f.nbma == 0 {
		f.nbma = int(p.nbmaLen)
	}
	if f.protocol == 0 {
		f.protocol = int(p.protocolLen)
	}
	return nil
}

func (f *families) add(nbma, protocol netip.Addr) error {
	if err := same(&f.nbma, nbma); err != nil {
		return fmt.Errorf("NBMA address %s %w", nbma, err)
	}
	if err := same(&f.protocol, protocol); err != nil {
		return fmt.Errorf("protocol address %s %w", protocol, err)
	}
	return nil
}

// same returns an error if a has another length than *n. An absent address always passes, and if *n
// is 0, same sets it.
func same(n *int, a netip.Addr) error {
	if !a.IsValid() {
		return nil
	}
	if a.Zone() != "" {
		return errors.New("has a zone")
	}
	if *n == 0 {
		*n = addrLen(a)
	}
	if *n != addrLen(a) {
		return errors.New("is not of the family of the packet's other addresses")
	}
	return nil
}

// typeLen returns the type/length field (RFC 2332 §5.1) for an address of n bytes. Where the format
// bit has no meaning, it is the bit that was received.
func typeLen(n int, received oddity) byte {
	if n == 0 && received != 0 {
		return lenFormat
	}
	return byte(n)
}

func addrLen(a netip.Addr) int { return a.BitLen() / 8 }

func appendAddr(b []byte, a netip.Addr) []byte {
	switch {
	case a.Is4():
		v := a.As4()
		return append(b, v[:]...)
	case a.Is6():
		v := a.As16()
		return append(b, v[:]...)
	}
	return b
}
