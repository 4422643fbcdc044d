package collect

import (
	"net/netip"
	"slices"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/explain"
	"cygnet/nhrpd/netcheck"
)

// tunnels returns the interfaces with their NHSs: those of the daemon, or if it does not answer,
// those of the configuration.
func (c *Collector) tunnels() []netcheck.Tunnel {
	var all []netcheck.Tunnel
	if c.status != nil {
		for n := range c.status.Interfaces {
			all = append(all, c.running(&c.status.Interfaces[n]))
		}
	} else if c.Config != nil {
		for n := range c.Config.Interfaces {
			all = append(all, c.configured(&c.Config.Interfaces[n]))
		}
	}
	for n := range all {
		c.complete(&all[n])
	}
	return all
}

// running returns an interface as the daemon has it.
func (c *Collector) running(i *api.Interface) netcheck.Tunnel {
	t := netcheck.Tunnel{Interface: i.Name, Error: i.Error, Up: i.Up, Protected: i.Protected,
		MTU: i.MTU, OuterDF: i.OuterDF, Address: i.NBMA, Second: i.SecondNBMA}
	for n := range i.Bindings {
		if b := &i.Bindings[n]; !b.Static {
			t.Clients++
			if b.ClientNBMA.IsValid() {
				t.ClientsNAT++
			}
		}
	}
	for n := range i.NHS {
		s := &i.NHS[n]
		t.Servers = append(t.Servers, netcheck.Server{Name: s.Name, Address: s.NBMA,
			Protocol: s.Protocol, State: string(s.State), Use: string(s.Use), Error: s.Error})
	}
	return t
}

// configured returns an interface as the configuration has it.
func (c *Collector) configured(i *config.Interface) netcheck.Tunnel {
	t := netcheck.Tunnel{Interface: i.Name, Protected: i.Protected, MTU: i.MTU,
		OuterDF: string(i.OuterDF), Address: i.Underlay.Address, Second: i.Underlay.Address6}
	if i.Underlay.Device != "" {
		v4, v6, err := c.Host.Addresses(i.Underlay.Device)
		if t.Address, t.Second = v4, v6; !v4.IsValid() {
			t.Address, t.Second = v6, netip.Addr{}
		}
		if err != nil {
			t.Error = err.Error()
		}
	} else if !t.Address.IsValid() {
		t.Address, t.Second = t.Second, netip.Addr{}
	}
	for _, s := range i.NHS {
		address, err := netip.ParseAddr(s.NBMA)
		if err != nil {
			address = netip.Addr{}
		}
		t.Servers = append(t.Servers,
			netcheck.Server{Name: s.NBMA, Address: address, Protocol: s.Protocol})
	}
	return t
}

// complete adds what the host has of an interface, and lists that are empty.
func (c *Collector) complete(t *netcheck.Tunnel) {
	if t.Address.IsValid() {
		name, mtu, err := c.Host.Device(t.Address)
		if err == nil {
			t.Device, t.UnderlayMTU = name, mtu
		}
	}
	if i := c.settings(t.Interface); i != nil && t.UnderlayMTU > 0 {
		t.FitMTU = i.FitMTU(t.UnderlayMTU)
	}
	t.Certificates = append([]netcheck.Certificate{}, c.Certificates[t.Interface]...)
	t.Servers = append([]netcheck.Server{}, t.Servers...)
	for n := range t.Servers {
		t.Servers[n].Ports = []netcheck.Port{}
	}
}

// settings returns the configuration of an interface; nil if it is not known.
func (c *Collector) settings(name string) *config.Interface {
	if c.Config == nil {
		return nil
	}
	for n := range c.Config.Interfaces {
		if c.Config.Interfaces[n].Name == name {
			return &c.Config.Interfaces[n]
		}
	}
	return nil
}

// vrf returns the VRF of an interface's underlay.
func (c *Collector) vrf(name string) string {
	if i := c.settings(name); i != nil {
		return i.UnderlayVRF
	}
	return ""
}

// shown returns an interface of the daemon's status; nil if there is none.
func (c *Collector) shown(name string) *api.Interface {
	if c.status == nil {
		return nil
	}
	n := slices.IndexFunc(c.status.Interfaces, func(i api.Interface) bool { return i.Name == name })
	if n < 0 {
		return nil
	}
	return &c.status.Interfaces[n]
}

// peer returns the daemon's peer at an address; nil if there is none.
func (c *Collector) peer(device string, at netip.Addr) *api.Peer {
	if i := c.shown(device); i != nil {
		for n := range i.Peers {
			if i.Peers[n].NBMA == at {
				return &i.Peers[n]
			}
		}
	}
	return nil
}

// used returns the addresses that the daemon uses of a name.
func (c *Collector) used(device, name string) []netip.Addr {
	all := []netip.Addr{}
	if i := c.shown(device); i != nil {
		for _, s := range i.NHS {
			if s.Name == name && s.NBMA.IsValid() {
				all = append(all, s.NBMA)
			}
		}
	}
	return all
}

// localTo returns the address that a tunnel sends from to another address.
func localTo(t *netcheck.Tunnel, to netip.Addr) netip.Addr {
	for _, a := range []netip.Addr{t.Address, t.Second} {
		if a.IsValid() && a.Is4() == to.Is4() {
			return a
		}
	}
	return netip.Addr{}
}

// usable returns the first address of a name that a tunnel can send to.
func usable(t *netcheck.Tunnel, r *netcheck.Resolved) netip.Addr {
	for _, a := range slices.Concat(r.IPv4, r.IPv6) {
		if !t.Address.IsValid() || localTo(t, a).IsValid() {
			return a
		}
	}
	return netip.Addr{}
}

// addNAT adds to each NHS what IKE and NHRP found of NAT.
func (c *Collector) addNAT(r *netcheck.Report) {
	for n := range r.Tunnels {
		t := &r.Tunnels[n]
		for m := range t.Servers {
			s := &t.Servers[m]
			local := localTo(t, s.Address)
			if !s.Address.IsValid() || !local.IsValid() {
				continue
			}
			s.NAT = &netcheck.NAT{Own: local, Others: []netip.Addr{}}
			at := explain.Peer{NBMA: s.Address, AnyMark: true}
			for _, sa := range explain.With(c.before, at) {
				if len(sa.Children) == 0 {
					continue // it is not established, and IKE has not found out yet
				}
				s.NAT.SA = true
				s.NAT.Local = s.NAT.Local || sa.LocalNAT
				s.NAT.Remote = s.NAT.Remote || sa.RemoteNAT
			}
			c.seen(t, s)
		}
	}
}

// seen adds which address the NHSs of an interface see this router at.
func (c *Collector) seen(t *netcheck.Tunnel, s *netcheck.Server) {
	i := c.shown(t.Interface)
	if i == nil {
		return
	}
	for _, other := range i.NHS {
		at := other.PublicNBMA
		switch {
		case other.State != api.NHSRegistered:
			continue
		case !at.IsValid():
			at = localTo(t, other.NBMA)
		}
		if other.Name == s.Name && other.NBMA == s.Address {
			s.NAT.Seen = at
		} else {
			s.NAT.Others = append(s.NAT.Others, at)
		}
	}
}
