package engine

import (
	"slices"
	"time"
)

// Status returns a copy of the state of all interfaces. The interfaces are in the order of their
// names, and everything in them is in the order of addresses.
func (e *Engine) Status() []InterfaceStatus {
	var list []InterfaceStatus
	for _, ifc := range e.interfaces() {
		list = append(list, ifc.status())
	}
	return list
}

// status copies the state of the interface.
func (ifc *iface) status() InterfaceStatus {
	st := InterfaceStatus{
		Name:       ifc.cfg.Name,
		Address:    ifc.cfg.Address,
		NBMA:       ifc.local,
		PublicNBMA: ifc.public(),
		Protected:  ifc.cfg.Protected,
		Left:       ifc.left,
	}
	for _, n := range ifc.nhs {
		st.NHS = append(st.NHS, n.status())
	}
	for _, b := range inOrder(ifc.bindings, byAddr) {
		st.Bindings = append(st.Bindings, b.status())
	}
	for _, s := range inOrder(ifc.shortcuts, byPrefix) {
		st.Shortcuts = append(st.Shortcuts, s.status())
	}
	for protocol, n := range ifc.neighbors {
		if n.routed {
			st.Routers = append(st.Routers, protocol)
		}
	}
	slices.SortFunc(st.Routers, byAddr)
	for _, p := range inOrder(ifc.peers, byAddr) {
		st.Peers = append(st.Peers, p.status())
	}
	return st
}

// status copies the state of the registration with an NHS.
func (n *nhs) status() NHSStatus {
	st := NHSStatus{
		Name:     n.cfg.Name,
		Protocol: n.protocol,
		NBMA:     n.nbma,
		State:    n.state(),
		Next:     n.next,
		Attempts: n.attempts,
		Error:    n.err,
	}
	if st.Error == "" {
		st.Error = n.announcement.err
	}
	if n.awaiting {
		st.Asked = n.asked
	}
	if n.registered {
		st.Announced = slices.Clone(n.announcement.held)
		st.Registered, st.Expires = n.since, n.expires
	}
	return st
}

// status copies a binding.
func (b *binding) status() BindingStatus {
	return BindingStatus{
		Protocol:     b.protocol,
		NBMA:         b.nbma,
		Real:         b.ifc.realOf(b.nbma),
		ClientNBMA:   b.clientNBMA,
		Identity:     b.identity,
		Static:       b.static,
		Unique:       b.unique,
		Secured:      b.ifc.secured(b.nbma),
		MTU:          b.mtu,
		Prefixes:     b.prefixList(),
		Routed:       b.routed && len(b.prefixes) > 0,
		RegisteredAt: b.since,
		Expires:      b.expires,
	}
}

// status copies a shortcut, or the question for one.
func (s *shortcut) status() ShortcutStatus {
	st := ShortcutStatus{
		Prefix:   s.prefix,
		Dest:     s.dest,
		NextHop:  s.nextHop,
		NBMA:     s.nbma,
		Real:     s.ifc.realOf(s.nbma),
		Identity: s.identity,
		State:    s.state,
		Routed:   s.routed,
		Since:    s.since,
		Used:     s.used,
	}
	if s.state != ShortcutResolving {
		st.Expires = s.expires
	}
	return st
}

// status copies the state of a peer. Without an SA, it leaves out what IKE proved.
func (p *peer) status() PeerStatus {
	st := PeerStatus{
		Peer:     p.ike,
		State:    p.state(),
		Since:    p.since,
		Interest: p.reasonNames(),
		In:       p.in,
		Out:      p.out,
		Error:    p.err,
	}
	st.Admitted = p.admitted()
	if p.secured {
		st.Prohibited = p.ifc.objectTo(p.nbma).Text
	} else {
		st.Peer = Peer{}
		st.In, st.Out = time.Time{}, time.Time{}
	}
	st.Interface, st.NBMA, st.Real = p.ifc.cfg.Name, p.nbma, p.real
	return st
}
