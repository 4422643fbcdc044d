package proof

import (
	"net/netip"

	"cygnet/nhrpd/packet"
)

// IsProbe reports whether a request is a probe.
func IsProbe(p *packet.Packet) bool {
	_, kind := p.Vendor()
	return kind == packet.VendorProbe
}

// IsAnswer reports whether a reply is the answer to a probe.
func IsAnswer(p *packet.Packet) bool {
	_, kind := p.Vendor()
	return kind == packet.VendorAnswer
}

// probe returns the extension of a probe, without zeros that lengthen it.
func probe() packet.Extension {
	return packet.VendorExtension(packet.VendorProbe, netip.Addr{})
}
