package engine

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/report"
)

// Status returns a copy of the state of all interfaces. The interfaces are in the order of their
// names, and everything in them is in the order of addresses.
func (e *Engine) Status() []report.InterfaceStatus {
	var list []report.InterfaceStatus
	for _, ifc := range e.interfaces() {
		list = append(list, ifc.status())
	}
	return list
}

// status copies the state of the interface.
func (ifc *iface) status() report.InterfaceStatus {
	st := report.InterfaceStatus{
		Name:       ifc.Config.Name,
		Address:    ifc.Config.Address,
		Second:     ifc.Config.Second.Address,
		NBMA:       ifc.Local,
		SecondNBMA: ifc.Second,
		PublicNBMA: ifc.client.Public(ifc.Local),
		Protected:  ifc.Config.Protected,
		Left:       ifc.Left,
		Draining:   ifc.server.Draining,
		Fill:       ifc.fill(),
	}
	for _, n := range ifc.client.NHS {
		st.NHS = append(st.NHS, n.Status())
	}
	for _, b := range ordered.Values(ifc.server.Bindings, ordered.ByAddr) {
		st.Bindings = append(st.Bindings, b.Status())
	}
	for _, s := range ordered.Values(ifc.Requester.Shortcuts, ordered.ByPrefix) {
		st.Shortcuts = append(st.Shortcuts, s.Status())
	}
	st.Shortcuts = append(st.Shortcuts, ifc.Requester.Unresolved.Impossible()...)
	st.Routers, st.HostTable = ifc.neighbors.HostRoutes(), ifc.neighbors.InHostTable()
	for _, p := range ordered.Values(ifc.peers.ByID, peerid.ID.Compare) {
		st.Peers = append(st.Peers, ifc.peerStatus(p))
	}
	ifc.addProtocols(&st)
	st.Authorizer = ifc.inquiries.Status()
	return st
}

// addProtocols adds the overlay addresses of the peers to the status of an interface: what NHSs,
// bindings, shortcuts, answers and paths have of them.
func (ifc *iface) addProtocols(st *report.InterfaceStatus) {
	known := make(map[peerid.ID][]netip.Addr, len(st.Peers))
	for _, n := range ifc.client.NHS {
		for _, r := range n.Registrations {
			known[n.ID()] = append(known[n.ID()], r.Protocol)
		}
	}
	for i := range st.Shortcuts {
		s := &st.Shortcuts[i]
		known[s.Peer] = append(known[s.Peer], s.NextHop)
	}
	for i := range st.Peers {
		p := &st.Peers[i]
		list := append(known[p.ID], p.Path.NextHop)
		list = append(list, ifc.peers.ByID[p.ID].Routers()...)
		list = slices.DeleteFunc(list, func(a netip.Addr) bool { return !a.IsValid() })
		slices.SortFunc(list, netip.Addr.Compare)
		p.Protocols = slices.Compact(list)
	}
}

// fill counts the entries of the tables that have a limit.
func (ifc *iface) fill() report.Fill {
	return report.Fill{
		Bindings:  len(ifc.server.Bindings),
		Prefixes:  ifc.server.Announced.Count(),
		Shortcuts: len(ifc.Requester.Shortcuts),
		Answers:   len(ifc.Responder.Answers),
		Held:      ifc.peers.Held.Count(),
	}
}

// status copies the state of a peer. Without an SA, it leaves out what IKE proved.
func (ifc *iface) peerStatus(p *peers.Peer) report.PeerStatus {
	st := report.PeerStatus{
		Peer:    p.IKE,
		State:   p.State(),
		Since:   p.Since,
		Reasons: p.ReasonNames(),
		In:      p.In,
		Out:     p.Out,
		Error:   p.Err,
	}
	st.Admitted = ifc.admissions.TakesFrom(p.ID)
	if p.Secured {
		st.Prohibited = ifc.peers.ObjectTo(p.ID).Text
	} else {
		st.Peer = event.Peer{}
		st.In, st.Out = time.Time{}, time.Time{}
	}
	st.Path, _ = ifc.proofs.Status(p.ID)
	st.Interface, st.ID, st.Outer = ifc.Config.Name, p.ID, p.Outer
	return st
}

// Stats returns a copy of the counters. Counters that are 0 are left out.
func (e *Engine) Stats() report.Stats { return e.router.Stats() }

// Receivers returns the peers that are to get what this router sends to groups over an interface,
// in the order of their IDs. It is the sum of all changes in Output.Receivers so far.
func (e *Engine) Receivers(ifname string) []peerid.ID {
	ifc := e.ifaces[ifname]
	if ifc == nil {
		return nil
	}
	return ifc.receivers.Receivers()
}

// AnyUsableNHS reports whether an NHS of an interface has registered this router and can be
// reached.
func (e *Engine) AnyUsableNHS(ifname string) bool {
	ifc := e.ifaces[ifname]
	if ifc == nil {
		return false
	}
	return ifc.client.AnyUsable()
}

// NHSAddresses returns the NBMA addresses of the NHSs of an interface, as far as they are known.
func (e *Engine) NHSAddresses(ifname string) []netip.Addr {
	ifc := e.ifaces[ifname]
	if ifc == nil {
		return nil
	}
	return ifc.client.Names.Addresses()
}

// RegisteredWithAll reports whether every NHS of an interface that is not in reserve has registered
// this router.
func (e *Engine) RegisteredWithAll(ifname string) bool {
	ifc := e.ifaces[ifname]
	return ifc != nil && ifc.client.RegisteredWithAll()
}

// Admitted returns the peers that the kernel is to take data from on an interface, ordered by NBMA
// address. It is the sum of all changes in Output.Admitted so far.
func (e *Engine) Admitted(ifname string) []output.AdmissionChange {
	ifc := e.ifaces[ifname]
	if ifc == nil {
		return nil
	}
	return ifc.admissions.Wanted()
}
