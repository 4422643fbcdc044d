package engine

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/report"
)

// Configure takes the first configuration and every later one.
//
//   - An interface that the new configuration lacks leaves, as with the event Leave.
//   - An interface that stays is changed in place. If its address, routing table or protection has
//     changed, it leaves and joins again.
//   - An interface that has left joins again.
func (e *Engine) Configure(now time.Time, cfg overlay.Config, out *output.Output) {
	e.router.Enter(now, out)
	for _, ifc := range e.interfaces() {
		if !slices.ContainsFunc(cfg.Interfaces,
			func(c overlay.InterfaceConfig) bool { return c.Name == ifc.Config.Name }) {
			ifc.leaveAtOnce()
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
	if old.Address != cfg.Address || old.Protected != cfg.Protected || old.Table != cfg.Table {
		ifc.leaveAtOnce()
	}
	if old.Protected != cfg.Protected {
		ifc.StateChanged()
	}
	joins := ifc.Left
	if ifc.Leaving {
		ifc.leaveNow() // otherwise our goodbyes would end the new registrations
	}
	ifc.Left = false
	ifc.configure(cfg)
	ifc.client.SetNHSs()
	ifc.server.SetMaps()
	if old.Overlay != cfg.Overlay && !joins {
		ifc.reviewOverlay()
	}
	switch {
	case !old.Policy.Equal(cfg.Policy), old.NameAttributes != cfg.NameAttributes:
		ifc.reviewPolicy()
	case old.Policy != cfg.Policy: // the same rules, in other lines of the file
		ifc.peers.RulesRenumbered()
	}
	switch {
	case !cfg.Shortcut:
		for _, s := range ordered.Values(ifc.Requester.Shortcuts, ordered.ByPrefix) {
			ifc.Requester.EndShortcut(s, "shortcuts are switched off")
		}
		ifc.Relays.DropRelaysBy(netip.Addr{})
		fallthrough
	default:
		ifc.server.ReviewAnnounced()
		ifc.reroute(everything)
	}
	restated := old.HoldingTime != cfg.HoldingTime || old.Authentication != cfg.Authentication ||
		old.MTU != cfg.MTU || old.Unique != cfg.Unique
	for _, n := range ifc.client.NHS {
		switch {
		case joins || restated:
			ifc.client.RegisterAnew(n)
		case !slices.Equal(old.Announce, cfg.Announce):
			ifc.client.AnnounceAnew(n)
		}
	}
	ifc.peers.RestartPoll()
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
