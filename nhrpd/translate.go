package nhrpd

import (
	"net/netip"

	"cygnet/kernel/tunnel"
	"cygnet/kernel/watch"
	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
	"cygnet/vici"
	"cygnet/vici/profile"
)

// engineConfig returns the part of the configuration that the engine decides by.
func engineConfig(c *config.Config) engine.Config {
	var out engine.Config
	for i := range c.Interfaces {
		out.Interfaces = append(out.Interfaces, engineInterface(&c.Interfaces[i]))
	}
	return out
}

// engineInterface returns what the engine has to know of an interface.
func engineInterface(c *config.Interface) engine.InterfaceConfig {
	out := engine.InterfaceConfig{
		Name:           c.Name,
		Address:        c.Address,
		Overlay:        c.Overlay,
		Table:          c.Table,
		Protected:      c.Protected,
		HoldingTime:    c.HoldingTime,
		IdleTime:       c.IdleTime,
		Authentication: string(c.Authentication),
		MTU:            uint16(c.MTU),
		Unique:         c.Unique,
		Shortcut:       c.Shortcut,
		Redirect:       c.Redirect,
		Server:         c.Server,
		Announce:       c.Announce,
		Accept:         c.Accept,
		Policy:         c.Policy,
		NameAttributes: c.NameAttributes(),
		Limits:         engineLimits(c.Limits),
	}
	for _, nhs := range c.NHS {
		out.NHS = append(out.NHS, engine.NHSConfig{Name: nhs.NBMA, Protocol: nhs.Protocol})
	}
	for _, m := range c.Maps {
		out.Maps = append(out.Maps, engine.Map(m))
	}
	return out
}

// tunnelConfig returns what the kernel has to know of an interface.
func tunnelConfig(c *config.Interface) tunnel.Config {
	return tunnel.Config{
		Name:          c.Name,
		Address:       c.Address,
		Local:         c.Underlay.Address,
		Underlay:      c.Underlay.Device,
		Key:           c.Key,
		TTL:           c.TTL,
		MTU:           c.MTU,
		Protected:     c.Protected,
		Front:         inFront(c),
		ResolveMisses: c.Shortcut,
	}
}

// inFront reports whether the policies of all the interface's SAs come before the front guard.
func inFront(c *config.Interface) bool {
	if !c.Protected || c.IPsec == nil || c.IPsec.SwanctlConnection != "" && c.IPsec.Swanctl == nil {
		return false
	}
	n := ipsecProfile(c, netip.Addr{}, false).Priority()
	return n > 0 && n < xfrm.GuardFront
}

// engineLimits returns the limits that the engine keeps. Package vici keeps the remaining one, SAs.
func engineLimits(l config.Limits) engine.Limits {
	return engine.Limits{
		Bindings:    l.Bindings,
		Prefixes:    l.Prefixes,
		Shortcuts:   l.Shortcuts,
		Answers:     l.Answers,
		Held:        l.Held,
		Indications: l.Indications,
		Errors:      l.Errors,
		Requests:    l.Requests,
		Transit:     l.Transit,
	}
}

// ipsecProfile returns the IPsec profile of a protected interface that sends from the address
// local. marks tells whether the kernel can give the interface's packets marks.
func ipsecProfile(c *config.Interface, local netip.Addr, marks bool) profile.Profile {
	s := c.IPsec
	if s.Swanctl != nil {
		return siteProfile(c, local, marks)
	}
	return profile.Profile{
		Interface:      c.Name,
		Marks:          marks,
		LocalAddrs:     []netip.Addr{local},
		Identity:       s.Identity,
		PSK:            profile.Secret(s.PSK),
		Certs:          s.Certs,
		CACerts:        s.CACerts,
		RemoteIdentity: s.RemoteIdentity,
		Hub:            hub(c),
		Proposals:      s.Proposals,
		ESPProposals:   s.ESPProposals,
		DPDDelay:       s.DPDDelay,
		RekeyTime:      s.RekeyTime,
		ChildRekeyTime: s.ChildRekeyTime,
		MaxSAs:         c.Limits.SAs,
		Connection:     s.Connection,
		Child:          s.Child,
	}
}

// siteProfile returns the profile of an interface that takes its IPsec settings from a connection
// of the site's own swanctl.conf.
func siteProfile(c *config.Interface, local netip.Addr, marks bool) profile.Profile {
	t := c.IPsec.Swanctl
	return profile.Profile{
		Interface:  c.Name,
		Marks:      marks,
		LocalAddrs: []netip.Addr{local},
		Hub:        hub(c),
		MaxSAs:     c.Limits.SAs,
		Site:       &profile.Site{Name: t.Name, Connection: t.Connection, Child: t.Child},
	}
}

// hub reports whether many routers dial in at the interface. They do so at a router that registers
// with nobody, and at one that redirects traffic, such as a regional hub.
func hub(c *config.Interface) bool { return len(c.NHS) == 0 || c.Redirect }

// engineRoutes turns changes of the kernel's routes into the engine's event.
func engineRoutes(b watch.RouteBatch) engine.RoutesChanged {
	return engine.RoutesChanged{
		Table:   b.Table,
		Reset:   b.Reset,
		Added:   routesOf(b.Added),
		Removed: routesOf(b.Removed),
	}
}

// routesOf turns the kernel's routes into the engine's.
func routesOf(entries []watch.RouteEntry) []engine.Route {
	out := make([]engine.Route, len(entries))
	for i, e := range entries {
		out[i] = engine.Route(e)
	}
	return out
}

// enginePeer turns a peer of strongSwan's into the engine's. The engine gets the name of a peer
// with a mark in place of the NBMA address, and the outer address beside it.
func enginePeer(p vici.Peer) engine.Peer {
	out := engine.Peer{
		Interface:  p.Interface,
		NBMA:       nbmaOf(p.Key()),
		Identity:   p.Identity,
		Initiator:  p.Initiator,
		LocalNAT:   p.LocalNAT,
		RemoteNAT:  p.RemoteNAT,
		SharedWith: p.SharedWith,
		Separating: p.Separating,
	}
	if p.Mark != 0 {
		out.Real = p.NBMA
	}
	return out
}

// engineEvent turns an event of strongSwan's into the engine's. It returns nil for an event that
// only the daemon uses.
func engineEvent(ev vici.Event) engine.Event {
	switch ev := ev.(type) {
	case vici.Moved:
		return engine.PeerMoved{From: nbmaOf(ev.From), Peer: enginePeer(ev.Peer)}
	case vici.Renewed:
		return engine.PeerRenewed{Interface: ev.Interface, NBMA: nbmaOf(ev.Key())}
	case vici.Down:
		return engine.PeerLost{
			Interface: ev.Interface,
			NBMA:      nbmaOf(ev.Key),
			Reason:    ev.Reason,
			Closed:    ev.Closed(),
		}
	case vici.Failed:
		return engine.PeerFailed{Interface: ev.Interface, NBMA: nbmaOf(ev.Key), Reason: ev.Reason}
	case vici.Snapshot:
		peers := make([]engine.Peer, len(ev.Peers))
		for i, p := range ev.Peers {
			peers[i] = enginePeer(p)
		}
		return engine.PeersSecured{Interface: ev.Interface, Peers: peers}
	}
	return nil
}

// wanted translates what the engine wants for a peer into what vici is to do.
func wanted(s engine.Security) vici.Want {
	switch s {
	case engine.SAInitiateFirst:
		return vici.InitiateFirst
	case engine.SAInitiate:
		return vici.Initiate
	case engine.SAAccept:
		return vici.Accept
	}
	return vici.None
}
