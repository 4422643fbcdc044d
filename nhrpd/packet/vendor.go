package packet

import (
	"bytes"
	"net/netip"
)

// VendorKind is what our vendor-private extension says. A packet has one such extension at most
// (RFC 2332 §5.3.5 recommends that), without the compulsory bit: a router that does not know it
// copies it. So a reply with the kind of the request is from a router that does not know it.
type VendorKind byte

// The kinds of our vendor-private extension. The package's documentation has its layout.
const (
	// VendorOffer is in a Resolution Request: the requester would probe the path.
	VendorOffer VendorKind = iota + 1
	// VendorAccept is in the reply: the responder answers probes.
	VendorAccept
	// VendorProbe is in a probe, which is a Resolution Request.
	VendorProbe
	// VendorAnswer is in the answer to a probe.
	VendorAnswer
	// VendorRequester is in a request, and says nothing but the address that may follow.
	VendorRequester
	// VendorResponder is in the reply to that.
	VendorResponder
)

// vendorID takes the place of the IEEE vendor number (RFC 2332 §5.3.5). It is a locally
// administered one, which no vendor has.
var vendorID = [...]byte{0x02, 'C', 'Y'}

// VendorHeadLen is the length of the data of our vendor-private extension up to and including its
// kind.
const VendorHeadLen = len(vendorID) + 1

// VendorData returns the data of our vendor-private extension of a kind, with an address of the
// sender's, unless that is the zero address.
func VendorData(kind VendorKind, other netip.Addr) []byte {
	data := append(vendorID[:len(vendorID):len(vendorID)], byte(kind))
	return append(data, other.AsSlice()...)
}

// VendorExtension returns our vendor-private extension with the data that VendorData returns.
func VendorExtension(kind VendorKind, other netip.Addr) Extension {
	return Extension{Type: ExtensionVendor, Data: VendorData(kind, other)}
}

// Vendor returns our vendor-private extension in the packet, and its kind. It returns nil if there
// is none. The first one counts.
func (p *Packet) Vendor() (*Extension, VendorKind) {
	for i := range p.Extensions {
		ext := &p.Extensions[i]
		if ext.Type == ExtensionVendor && len(ext.Data) >= VendorHeadLen &&
			bytes.Equal(ext.Data[:len(vendorID)], vendorID[:]) {
			return ext, VendorKind(ext.Data[len(vendorID)])
		}
	}
	return nil, 0
}

// OtherNBMA returns the NBMA address of the sender that is of another IP version than those in the
// rest of the packet: of the requester in a request, of the responder in a reply. It returns the
// zero address if the packet has none, or what it has can be no such address.
func (p *Packet) OtherNBMA() netip.Addr {
	ext, kind := p.Vendor()
	switch kind {
	case VendorOffer, VendorRequester:
		if p.Type.IsReply() {
			return netip.Addr{} // the responder has copied it
		}
	case VendorAccept, VendorResponder:
		if !p.Type.IsReply() {
			return netip.Addr{}
		}
	default:
		return netip.Addr{}
	}
	a, ok := netip.AddrFromSlice(ext.Data[VendorHeadLen:])
	if !ok || a.Is4In6() || p.SourceNBMA.IsValid() && a.Is4() == p.SourceNBMA.Is4() {
		return netip.Addr{}
	}
	return a
}
