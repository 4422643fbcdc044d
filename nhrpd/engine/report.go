package engine

import (
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
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
		NBMA:       ifc.Local,
		PublicNBMA: ifc.client.Public(),
		Protected:  ifc.Config.Protected,
		Left:       ifc.Left,
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
	st.Routers = ifc.neighbors.HostRoutes()
	for _, p := range ordered.Values(ifc.peers.ByNBMA, ordered.ByAddr) {
		st.Peers = append(st.Peers, ifc.peerStatus(p))
	}
	return st
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
	st.Admitted = ifc.admissions.TakesFrom(p)
	if p.Secured {
		st.Prohibited = ifc.peers.ObjectTo(p.NBMA).Text
	} else {
		st.Peer = event.Peer{}
		st.In, st.Out = time.Time{}, time.Time{}
	}
	st.Interface, st.NBMA, st.Real = ifc.Config.Name, p.NBMA, p.Outer
	return st
}

// Stats returns a copy of the counters. Counters that are 0 are left out.
func (e *Engine) Stats() report.Stats { return e.router.Stats() }

// Admitted returns the peers that the kernel is to take data from on an interface, ordered by NBMA
// address. It is the sum of all changes in Output.Admitted so far.
func (e *Engine) Admitted(ifname string) []output.AdmissionChange {
	ifc := e.ifaces[ifname]
	if ifc == nil {
		return nil
	}
	return ifc.admissions.Wanted()
}
