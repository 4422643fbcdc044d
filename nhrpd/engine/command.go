package engine

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/proof"
	"cygnet/nhrpd/engine/report"
)

// This file has what the administrator asks of the engine. Each method takes an event's place: it
// gets the time and the output, and returns what was done.

// byAdministrator is the reason of what the administrator ends.
const byAdministrator = "cleared by the administrator"

// Resolve asks now for a direct path to dest on an interface, whatever its cool-down. It returns
// why it cannot, or "".
func (e *Engine) Resolve(
	now time.Time, ifname string, dest netip.Addr, out *output.Output,
) (refused string) {
	e.router.Enter(now, out)
	if ifc := e.ifaces[ifname]; ifc != nil {
		refused = ifc.resolve(dest)
	}
	e.finish()
	return refused
}

// resolve asks for a direct path to dest.
func (ifc *iface) resolve(dest netip.Addr) (refused string) {
	switch {
	case ifc.Left || !ifc.Local.IsValid():
		return "the interface is not active"
	case !ifc.Config.Shortcut:
		return "this router asks for no direct paths (shortcut is not set)"
	case !ifc.HasFamily(dest):
		return "the overlay has no addresses of that family"
	}
	if s := ifc.Requester.Covering(dest); s != nil {
		ifc.Requester.AskAgain(s)
		return ""
	}
	way, fault := ifc.neighbors.PathTo(dest)
	switch {
	case fault == neighbors.PathNoBinding:
		return "no next hop server is usable"
	case fault != neighbors.PathOK || ifc.IsOwn(dest):
		return "the route there does not lead through the tunnel"
	case dest == way.NextHop && ifc.peers.IsNHS(way.Peer):
		return "it is the next hop server itself: \"cygnet ping\" asks that"
	case len(ifc.Requester.Shortcuts) >= ifc.Config.Limits.Shortcuts:
		return "there are as many shortcuts as limits.shortcuts allows"
	}
	ifc.Requester.AskNow(dest, way)
	return ""
}

// Pinged is a router that a ping goes to.
type Pinged struct {
	Interface string
	Protocol  netip.Addr
	Outer     netip.Addr
	Identity  string
	MTU       int // of the tunnel
	peer      peerid.ID
}

// FindRouter returns the router that an address is of: its overlay address, or its NBMA address. It
// returns false if no interface knows such a router with an overlay address.
func (e *Engine) FindRouter(address netip.Addr) (Pinged, bool) {
	for _, ifc := range e.interfaces() {
		protocol, id, ok := ifc.router(address)
		if !ok {
			continue
		}
		return Pinged{
			Interface: ifc.Config.Name,
			Protocol:  protocol,
			Outer:     ifc.peers.Outer(id),
			Identity:  ifc.peers.Identity(id),
			MTU:       int(ifc.Config.MTU),
			peer:      id,
		}, true
	}
	return Pinged{}, false
}

// router returns the overlay address and the ID of the router that an address is of.
func (ifc *iface) router(address netip.Addr) (protocol netip.Addr, id peerid.ID, ok bool) {
	if id, rank, ok := ifc.neighbors.Lookup(address); ok && rank != neighbors.RankRelay {
		return address, id, true
	}
	for _, protocol := range slices.SortedFunc(ifc.neighbors.All(), ordered.ByAddr) {
		id, rank, _ := ifc.neighbors.Lookup(protocol)
		if ifc.peers.Outer(id) == address && rank != neighbors.RankRelay {
			return protocol, id, true
		}
	}
	return netip.Addr{}, peerid.ID{}, false
}

// Ping sends a packet to a router: a probe of that size in bytes, or a plain Resolution Request. It
// returns nil if too many are under way. The caller reads the ping between calls into the engine.
func (e *Engine) Ping(
	now time.Time, to Pinged, plain bool, size int, out *output.Output,
) *proof.Ping {
	e.router.Enter(now, out)
	ifc := e.ifaces[to.Interface]
	if ifc == nil {
		return nil
	}
	p := ifc.proofs.Ping(to.peer, to.Protocol, plain, size)
	e.finish()
	return p
}

// Clear ends the shortcuts, the SAs or the binding that an address is about, and returns what it
// ended. A shortcut is one whose prefix contains the address, or whose next hop has it; a peer is
// found by its NBMA or overlay address; a binding by its overlay address.
func (e *Engine) Clear(
	now time.Time, what report.Clearable, address netip.Addr, out *output.Output,
) []report.Cleared {
	e.router.Enter(now, out)
	var list []report.Cleared
	for _, ifc := range e.interfaces() {
		if ifc.Left {
			continue
		}
		switch what {
		case report.ClearShortcut:
			list = append(list, ifc.clearShortcuts(address)...)
		case report.ClearPeer:
			list = append(list, ifc.clearPeer(address)...)
		case report.ClearBinding:
			list = append(list, ifc.clearBinding(address)...)
		}
	}
	e.finish()
	return list
}

// clearShortcuts ends the shortcuts that an address is about, and what keeps this router from
// asking for it again at once.
func (ifc *iface) clearShortcuts(address netip.Addr) []report.Cleared {
	var list []report.Cleared
	for _, s := range ordered.Values(ifc.Requester.Shortcuts, ordered.ByPrefix) {
		if !s.Prefix.Contains(address) && s.NextHop != address {
			continue
		}
		list = append(list, report.Cleared{Interface: ifc.Config.Name, Prefix: s.Prefix,
			Protocol: s.NextHop, Outer: ifc.peers.Outer(s.Peer), Identity: s.Identity})
		peer := s.Peer
		ifc.Requester.EndShortcut(s, byAdministrator)
		ifc.proofs.Reset(peer)
	}
	if ifc.Requester.Unresolved.Retry(address) && len(list) == 0 {
		list = append(list, report.Cleared{Interface: ifc.Config.Name,
			Prefix: overlay.HostPrefix(address), CoolDown: true})
	}
	q := ifc.Requester.Questions.Own.Last(peerid.ID{}, address)
	if q != nil && q.NextHopNBMA.IsValid() {
		ifc.proofs.Reset(ifc.neighbors.PeerIDOf(q.NextHop, q.NextHopNBMA))
	}
	return list
}

// clearPeer closes the SA with a peer. What depends on the peer stays for a moment, so that a new
// SA finds it there.
func (ifc *iface) clearPeer(address netip.Addr) []report.Cleared {
	var list []report.Cleared
	protocol, id, known := ifc.router(address)
	for _, p := range ordered.Values(ifc.peers.ByID, peerid.ID.Compare) {
		if !p.Secured || p.Outer != address && !(known && p.ID == id) {
			continue
		}
		cleared := report.Cleared{Interface: ifc.Config.Name, Outer: p.Outer,
			Identity: p.IKE.Identity}
		if known && p.ID == id {
			cleared.Protocol = protocol
		}
		list = append(list, cleared)
		ifc.proofs.Reset(p.ID)
		ifc.peers.HaveRegisterAgain(p, byAdministrator)
	}
	return list
}

// clearBinding ends the binding of a client. The SA with the client ends too, since a client
// registers at once through a new one, and would not know otherwise that it is not registered. An
// authorizer is asked anew then.
func (ifc *iface) clearBinding(address netip.Addr) []report.Cleared {
	b := ifc.server.Bindings[address]
	if b == nil || b.Static {
		return nil
	}
	cleared := report.Cleared{Interface: ifc.Config.Name, Protocol: b.Protocol,
		Outer: ifc.peers.Outer(b.Peer), Identity: b.Identity}
	p := ifc.peers.ByID[b.Peer]
	ifc.server.ForgetRuling(b)
	ifc.server.Unbind(b, byAdministrator)
	if p != nil && p.Secured {
		ifc.peers.HaveRegisterAgain(p, "its binding was "+byAdministrator)
	}
	return []report.Cleared{cleared}
}

// RegisterNow registers this router at once with each NHS that it uses or tries, on an interface,
// or on all if the name is empty. It returns with how many.
func (e *Engine) RegisterNow(now time.Time, ifname string, out *output.Output) int {
	e.router.Enter(now, out)
	count := 0
	for _, ifc := range e.interfaces() {
		if ifc.Left || ifname != "" && ifc.Config.Name != ifname {
			continue
		}
		count += ifc.client.RegisterNow()
	}
	e.finish()
	return count
}
