package engine

import (
	"slices"
	"time"

	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/report"
)

// Configure takes the first configuration and every later one.
//
//   - An interface that the new configuration lacks leaves, as with the event Leave.
//   - An interface that stays is changed in place. If its address, routing tables or its protection
//     have changed, it leaves and joins again.
//   - An interface that has left joins again.
func (e *Engine) Configure(now time.Time, cfg overlay.Config, out *output.Output) {
	e.router.Enter(now, out)
	for _, ifc := range e.interfaces() {
		if !slices.ContainsFunc(cfg.Interfaces,
			func(c overlay.InterfaceConfig) bool { return c.Name == ifc.Config.Name }) {
			ifc.leaveAtOnce()
			ifc.leaveGroup()
			delete(e.ifaces, ifc.Config.Name)
			e.router.StateChanged()
		}
	}
	for _, c := range cfg.Interfaces {
		ifc := e.ifaces[c.Name]
		if ifc == nil {
			ifc = e.newInterface(c)
			e.ifaces[c.Name] = ifc
		}
		ifc.reconfigure(c)
	}
	e.finish()
}

// reconfigure applies the configuration of one interface, which may be new or may have left.
func (ifc *iface) reconfigure(cfg overlay.InterfaceConfig) {
	old := ifc.Config
	if old.Address != cfg.Address || old.Second.Address != cfg.Second.Address ||
		old.Protected != cfg.Protected || old.Table != cfg.Table ||
		old.HostTable != cfg.HostTable || old.SAGroup != cfg.SAGroup {
		ifc.leaveAtOnce()
	}
	if old.SAGroup != cfg.SAGroup {
		ifc.leaveGroup()
		ifc.joinGroup(cfg.SAGroup)
	}
	if old.Protected != cfg.Protected {
		ifc.StateChanged()
	}
	joins := ifc.Left
	if ifc.Leaving {
		ifc.leaveNow() // otherwise our goodbyes would end the new registrations
	}
	ifc.Left = false
	if old.Metric != cfg.Metric {
		ifc.moveRoutes(func() { ifc.configure(cfg) })
	} else {
		ifc.configure(cfg)
	}
	ifc.neighbors.ReviseLinkLocals(old.LinkLocals())
	ifc.client.SetNHSs()
	ifc.server.SetMaps()
	if !old.Multicast.Equal(cfg.Multicast) {
		ifc.receivers.ReviewAll()
	}
	if (old.Overlay != cfg.Overlay || old.Second != cfg.Second) && !joins {
		ifc.reviewOverlay()
	}
	switch {
	case !old.Policy.Equal(cfg.Policy), old.NameAttributes != cfg.NameAttributes:
		ifc.reviewPolicy()
	case old.Policy != cfg.Policy: // the same rules, in other lines of the file
		ifc.peers.RulesRenumbered()
	}
	if old.Authorizer != cfg.Authorizer {
		ifc.inquiries.Reconfigured(old.Authorizer)
		ifc.server.NarrowAll()
	}
	switch {
	case !cfg.Shortcut:
		for _, s := range ordered.Values(ifc.Requester.Shortcuts, ordered.ByPrefix) {
			ifc.Requester.EndShortcut(s, "shortcuts are switched off")
		}
		ifc.Relays.DropRelaysBy(peerid.ID{})
		fallthrough
	default:
		ifc.server.Announced.Review()
		ifc.reroute(everything)
	}
	restated := old.HoldingTime != cfg.HoldingTime || old.Authentication != cfg.Authentication ||
		old.MTU != cfg.MTU || old.Unique != cfg.Unique
	for _, n := range ifc.client.NHS {
		switch {
		case joins || restated:
			ifc.client.RegisterAnew(n)
		case !slices.Equal(old.Announce, cfg.Announce):
			for _, r := range n.Registrations {
				r.AnnounceAnew()
			}
		}
	}
	if old.Paths != cfg.Paths || old.MTU != cfg.MTU {
		ifc.proofs.Reconfigure()
	}
	ifc.peers.Poll.Restart()
}

// moveRoutes takes back the routes of the interface, changes the interface's metric by f, and asks
// for the same routes with the new metric. The kernel adds routes before it deletes others, so that
// no packet is lost between the two.
func (ifc *iface) moveRoutes(f func()) {
	routes := slices.Concat(
		ifc.neighbors.Routes(), ifc.server.Announced.Routes(), ifc.Requester.Placements.Routes())
	for _, r := range routes {
		r.Delete = true
		ifc.ChangeRoute(r)
	}
	f()
	for _, r := range routes {
		ifc.ChangeRoute(r)
	}
}

// joinGroup has the interface share its SAs with the others of a group. It does nothing without a
// group.
func (ifc *iface) joinGroup(name string) {
	if name == "" {
		return
	}
	g := ifc.engine.groups[name]
	if g == nil {
		g = &peers.Group{}
		ifc.engine.groups[name] = g
	}
	ifc.peers.Join(g)
}

// leaveGroup takes the interface out of its group, if it is in one.
func (ifc *iface) leaveGroup() {
	if ifc.peers.Leave() {
		delete(ifc.engine.groups, ifc.Config.SAGroup)
	}
}

// reviewOverlay ends the bindings and shortcuts to addresses outside the overlay, after the
// overlay's range has changed. It also forgets the learned addresses of NHSs that are outside.
func (ifc *iface) reviewOverlay() {
	const reason = "its overlay address is outside the overlay that is configured now"
	for _, b := range ordered.Values(ifc.server.Bindings, ordered.ByAddr) {
		if !b.Static && !ifc.ClientAddress(b.Protocol) {
			ifc.server.Unbind(b, reason)
		}
	}
	for _, s := range ordered.Values(ifc.Requester.Shortcuts, ordered.ByPrefix) {
		if s.State != report.ShortcutResolving && !ifc.ClientAddress(s.NextHop) {
			ifc.Requester.EndShortcut(s, reason)
		}
	}
	ifc.client.ReviewOverlay()
}
