package engine

import (
	"net/netip"

	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/report"
)

// localAddress sets the address that the tunnel sends from. All our registrations name that
// address, so localAddress registers with every NHS again. If we had another address before, it
// also ends the direct paths from and to that one.
func (ifc *iface) localAddress(nbma netip.Addr) {
	if ifc.Local == nbma {
		return
	}
	ifc.Local = nbma
	moved := nbma.IsValid() && ifc.Known.IsValid() && ifc.Known != nbma
	if nbma.IsValid() && ifc.Known != nbma {
		ifc.Known = nbma
		ifc.StateChanged()
	}
	ifc.client.LocalAddressChanged()
	if moved {
		ifc.endDirectPaths()
	}
}

// endDirectPaths ends the direct paths between us and other routers when our NBMA address has
// changed. It takes back our answers, which name the old address. Without IPsec it also ends our
// own shortcuts: no next hop takes what we send from the new address before we ask it again. With
// IPsec, the SAs of those shortcuts ended together with the old address.
func (ifc *iface) endDirectPaths() {
	ifc.Responder.TakeAllBack()
	if ifc.Config.Protected {
		return
	}
	for _, s := range ordered.Values(ifc.Requester.Shortcuts, ordered.ByPrefix) {
		if s.State == report.ShortcutUp {
			ifc.Requester.EndShortcut(s,
				"our NBMA address changed, and its next hop takes data from the old one only")
		}
	}
}
