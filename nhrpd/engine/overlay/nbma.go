package overlay

import (
	"net/netip"

	"cygnet/nhrpd/engine/peerid"
)

// UsableNBMA reports whether a saved address can be a router's NBMA address.
func UsableNBMA(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !InThisNetwork(a)
}

// LocalFor returns the NBMA address that the tunnel sends from to an address: the one of the same
// IP version. All NBMA addresses in a packet are of one version (RFC 2332 §5.1), so it is also the
// one that this router has in a packet with that address. It is zero if the tunnel has none of that
// version, and Local for the zero address.
func (ifc *Interface) LocalFor(nbma netip.Addr) netip.Addr {
	if !nbma.IsValid() || !ifc.Local.IsValid() || nbma.Is4() == ifc.Local.Is4() {
		return ifc.Local
	}
	return ifc.Second
}

// LocalTo returns the NBMA address that the tunnel sends from to a peer.
func (ifc *Interface) LocalTo(id peerid.ID) netip.Addr { return ifc.LocalFor(ifc.Peers.Outer(id)) }

// SendsTo reports whether the tunnel can send to an address, by the last addresses that it had.
func (ifc *Interface) SendsTo(nbma netip.Addr) bool {
	return !ifc.Known.IsValid() || nbma.Is4() == ifc.Known.Is4() || ifc.KnownSecond.IsValid()
}

// SplitVersions returns the addresses of each IP version, in their order.
func SplitVersions(addrs []netip.Addr) (four, six []netip.Addr) {
	for _, a := range addrs {
		if a.Is4() {
			four = append(four, a)
		} else {
			six = append(six, a)
		}
	}
	return four, six
}

// InThisNetwork reports whether an address is in 0.0.0.0/8 and not 0.0.0.0. No router has such an
// address (RFC 1122 §3.2.1.3). Whatever takes an NBMA address from outside has to refuse these: in
// the kernel, the link-layer address of a neighbour in 0.0.0.0/8 stands for the mark of a peer, so
// a packet that gives one could have traffic go to another router.
func InThisNetwork(a netip.Addr) bool { return a.Is4() && a.As4()[0] == 0 && !a.IsUnspecified() }
