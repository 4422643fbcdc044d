package engine

import (
	"net/netip"
	"slices"
	"time"
)

// Configure takes the first configuration and every later one.
//
//   - An interface that the new configuration lacks leaves, as with the event Leave.
//   - An interface that stays is changed in place. If its address, routing table or protection has
//     changed, it leaves and joins again.
//   - An interface that has left joins again.
func (e *Engine) Configure(now time.Time, cfg Config, out *Output) {
	e.enter(now, out)
	for _, ifc := range e.interfaces() {
		if !slices.ContainsFunc(cfg.Interfaces,
			func(c InterfaceConfig) bool { return c.Name == ifc.cfg.Name }) {
			e.leaveAtOnce(ifc)
			delete(e.ifaces, ifc.cfg.Name)
		}
	}
	for _, c := range cfg.Interfaces {
		ifc := e.ifaces[c.Name]
		if ifc == nil {
			ifc = e.newInterface(c)
			e.ifaces[c.Name] = ifc
		}
		e.reconfigure(ifc, c)
	}
	e.finish()
}

// reconfigure applies the configuration of one interface, which may be new or may have left.
func (e *Engine) reconfigure(ifc *iface, cfg InterfaceConfig) {
	old := ifc.cfg
	if old.Address != cfg.Address || old.Protected != cfg.Protected || old.Table != cfg.Table {
		e.leaveAtOnce(ifc)
	}
	joins := ifc.left
	if ifc.leaving {
		e.leaveNow(ifc) // otherwise our goodbyes would end the new registrations
	}
	ifc.left = false
	ifc.configure(cfg)
	e.setNHSs(ifc)
	e.setMaps(ifc)
	if old.Overlay != cfg.Overlay && !joins {
		e.reviewOverlay(ifc)
	}
	switch {
	case !old.Policy.Equal(cfg.Policy), old.NameAttributes != cfg.NameAttributes:
		e.reviewPolicy(ifc)
	case old.Policy != cfg.Policy: // the same rules, in other lines of the file
		for _, p := range ifc.peers {
			p.authorizations = ifc.rules.OfSeveral(p.ike.Identity, p.ike.SharedWith, e.blocks)
		}
	}
	switch {
	case !cfg.Shortcut:
		for _, s := range inOrder(ifc.shortcuts, byPrefix) {
			e.endShortcut(s, "shortcuts are switched off")
		}
		e.dropRelaysBy(ifc, netip.Addr{})
		fallthrough
	default:
		e.reviewAnnounced(ifc)
		e.reroute(ifc, everything)
	}
	restated := old.HoldingTime != cfg.HoldingTime || old.Authentication != cfg.Authentication ||
		old.MTU != cfg.MTU || old.Unique != cfg.Unique
	for _, n := range ifc.nhs {
		switch {
		case joins || restated:
			e.registerAnew(n)
		case !slices.Equal(old.Announce, cfg.Announce):
			e.announceAnew(n)
		}
	}
	e.timers.Stop(&ifc.poll)
	if ifc.needsUse() {
		e.startPoll(ifc)
	}
}

// setNHSs gives the interface the next hop servers of its configuration, in that order. An NHS
// whose configuration is unchanged keeps its registration.
func (e *Engine) setNHSs(ifc *iface) {
	old := ifc.nhs
	ifc.nhs = nil
	for _, c := range ifc.cfg.NHS {
		i := slices.IndexFunc(old, func(n *nhs) bool { return n.cfg == c })
		if i >= 0 {
			ifc.nhs = append(ifc.nhs, old[i])
			old = slices.Delete(old, i, i+1)
			continue
		}
		n := e.newNHS(ifc, c)
		if i := slices.IndexFunc(old, func(n *nhs) bool { return n.cfg.Name == c.Name }); i >= 0 {
			n.addrs = old[i].addrs // NHSResolved does not come again for this name
		}
		ifc.nhs = append(ifc.nhs, n)
	}
	for _, n := range old {
		e.dropNHS(n)
	}
	for _, n := range ifc.nhs {
		e.useResolved(n)
	}
}
