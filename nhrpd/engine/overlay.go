package engine

import "net/netip"

// onLink reports whether the kernel reaches an overlay address without a host route, because the
// prefix of our own address contains it.
func (ifc *iface) onLink(a netip.Addr) bool { return ifc.cfg.Address.Contains(a) }

// overlayRange returns the prefix that contains all overlay addresses. It returns the zero prefix
// if the range is unknown, because our own address has a host prefix and no overlay is configured.
func (ifc *iface) overlayRange() netip.Prefix {
	switch {
	case ifc.cfg.Overlay.IsValid():
		return ifc.cfg.Overlay
	case ifc.cfg.Address.IsSingleIP():
		return netip.Prefix{}
	}
	return ifc.cfg.Address.Masked()
}

// inOverlay reports whether an address is known to be an overlay address.
func (ifc *iface) inOverlay(a netip.Addr) bool {
	r := ifc.overlayRange()
	return r.IsValid() && r.Contains(a)
}

// overlaid reports whether a prefix overlaps the overlay. If the overlay's range is unknown, it
// reports whether the prefix covers our own overlay address.
func (ifc *iface) overlaid(prefix netip.Prefix) bool {
	if r := ifc.overlayRange(); r.IsValid() {
		return prefix.Overlaps(r)
	}
	return prefix.Overlaps(ifc.cfg.Address)
}

// linkAround returns the prefix around an overlay address by which packets to that address go into
// the tunnel, even if the mirror has no route for them. That is the overlay's range, or else the
// prefix on the tunnel's link. It is the address itself where the engine has a shortcut for the
// address because the kernel missed its neighbour. linkAround returns false if there is no such
// prefix.
func (ifc *iface) linkAround(dest netip.Addr) (netip.Prefix, bool) {
	switch {
	case ifc.inOverlay(dest):
		return ifc.overlayRange(), true
	case ifc.onLink(dest):
		return ifc.cfg.Address.Masked(), true
	}
	host := hostPrefix(dest)
	s := ifc.shortcuts[host]
	return host, s != nil && s.missed
}

// reviewOverlay ends the bindings and shortcuts to addresses outside the overlay, after the
// overlay's range has changed. It also forgets the learned addresses of NHSs that are outside.
func (e *Engine) reviewOverlay(ifc *iface) {
	const reason = "its overlay address is outside the overlay that is configured now"
	for _, b := range inOrder(ifc.bindings, byAddr) {
		if !b.static && !ifc.clientAddress(b.protocol) {
			e.unbind(b, reason)
		}
	}
	for _, s := range inOrder(ifc.shortcuts, byPrefix) {
		if s.state != ShortcutResolving && !ifc.clientAddress(s.nextHop) {
			e.endShortcut(s, reason)
		}
	}
	for _, n := range ifc.nhs {
		if !n.cfg.Protocol.IsValid() && n.protocol.IsValid() && !ifc.clientAddress(n.protocol) {
			e.dropNeighbor(&n.neighbor)
			n.protocol = n.cfg.Protocol
			e.registerAnew(n)
		}
	}
}

// clientAddress reports whether an overlay address may be another router's. Such an address lies in
// the overlay, is not ours, and is neither the network nor the broadcast address of the prefix on
// the tunnel's link. If the overlay's range is unknown, any unicast address may be.
func (ifc *iface) clientAddress(a netip.Addr) bool {
	prefix := ifc.cfg.Address
	switch known := ifc.overlayRange(); {
	case !ifc.onOverlay(a) || a == prefix.Addr():
		return false
	case known.IsValid() && !known.Contains(a), !known.IsValid() && !a.IsGlobalUnicast():
		return false
	case prefix.Bits() >= a.BitLen()-1:
		return true // RFC 3021: both addresses are hosts
	}
	return a != prefix.Masked().Addr() && a != broadcast(prefix)
}

// broadcast returns the last address of an IPv4 prefix, and the zero address for IPv6.
func broadcast(p netip.Prefix) netip.Addr {
	if !p.Addr().Is4() {
		return netip.Addr{}
	}
	a := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		a[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(a)
}

// broadcast returns the overlay's broadcast address. It returns the zero address where there is
// none: in IPv6, and in a prefix of one or two addresses.
func (ifc *iface) broadcast() netip.Addr {
	if p := ifc.cfg.Address; p.Bits() < p.Addr().BitLen()-1 {
		return broadcast(p)
	}
	return netip.Addr{}
}
