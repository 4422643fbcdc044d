package engine

import (
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/packet"
)

// purgeRequest handles a purge request: this router forgets what the sender itself told it, and
// nothing else. Only an NHS may take back other routers too (see [resolution.Resolution.ShutOut])
// and this router's own registration with it (see [client.Client.TakenBack]).
//
// If one of the prefixes is not the sender's to take back, the purge gets no reply, since a reply
// would say that all of it was done. Such a sender may well be the router that it claims to be, at
// an address that this router does not know yet. It then repeats the purge, perhaps along an NHS by
// that time.
func (ifc *iface) purgeRequest(m *overlay.Message) {
	if !ifc.Understood(m) {
		return
	}
	refused, nhs := false, ifc.client.SentByNHS(m)
	var prefixes []netip.Prefix
	for i := range m.CIEs {
		prefix, ok := m.CIEs[i].PrefixOf(m.ClientOf(&m.CIEs[i]))
		if !ok {
			continue
		}
		bindings := ifc.server.TakeBackBindings(m, prefix)
		announced := ifc.server.Announced.TakeBack(m, prefix)
		if (bindings || announced) && !(nhs && ifc.neighbors.IsRouter(prefix)) {
			refused = true
		}
		prefixes = append(prefixes, prefix)
	}
	for _, prefix := range ifc.Requester.TakeBackShortcuts(m, prefixes) {
		if !(nhs && ifc.neighbors.IsRouter(prefix)) {
			refused = true
		}
	}
	if nhs {
		ifc.ShutOut(m)
		if slices.Contains(prefixes, overlay.HostPrefix(ifc.AddressFor(m.SourceProtocol))) {
			ifc.client.TakenBack(m)
		}
	}
	if refused || m.Flags&packet.PurgeNoReply != 0 {
		return
	}
	m.Type = packet.PurgeReply
	m.HopCount = overlay.HopCount
	ifc.FillResponder(m)
	ifc.Send(m.From, m.Packet)
}
