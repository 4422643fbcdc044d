package engine

import "net/netip"

// localAddress sets the addresses that the tunnel sends from: one, or one of each IP version. All
// our registrations name them, so localAddress registers with every NHS again. If we had another
// address before, it also ends the direct paths from and to that one.
func (ifc *iface) localAddress(nbma, second netip.Addr) {
	if ifc.Local == nbma && ifc.Second == second {
		return
	}
	ifc.Local, ifc.Second = nbma, second
	ifc.Requester.Unresolved.ForgetImpossible()
	moved := false
	if nbma.IsValid() && (ifc.Known != nbma || ifc.KnownSecond != second) {
		moved = ifc.gone(ifc.Known) || ifc.gone(ifc.KnownSecond)
		ifc.Known, ifc.KnownSecond = nbma, second
		ifc.StateChanged()
	}
	ifc.client.LocalAddressChanged()
	if moved {
		ifc.endDirectPaths()
	}
}

// gone reports whether an address that the tunnel had is not one of those that it has now.
func (ifc *iface) gone(before netip.Addr) bool {
	return before.IsValid() && before != ifc.Local && before != ifc.Second
}

// tunnelMTU sets the MTU of the tunnel. All our registrations name it, and the proofs of direct
// paths are for packets of that size, so tunnelMTU does both again.
func (ifc *iface) tunnelMTU(mtu uint16) {
	if ifc.Config.MTU == mtu {
		return
	}
	ifc.Config.MTU = mtu
	if ifc.Left {
		return
	}
	for _, n := range ifc.client.NHS {
		ifc.client.RegisterAnew(n)
	}
	ifc.proofs.Reconfigure()
}

// endDirectPaths ends the direct paths between us and other routers when our NBMA address has
// changed. It takes back our answers, which name the old address, and ends our own shortcuts: no
// next hop takes what we send from the new address before we ask it again.
func (ifc *iface) endDirectPaths() {
	ifc.Responder.TakeAllBack()
	ifc.Requester.LocalAddressGone()
}
