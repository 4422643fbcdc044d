package client

import (
	"fmt"
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
)

// Names has the addresses of the configured names of NHSs.
type Names struct {
	*overlay.Interface

	resolved map[string][]netip.Addr // by name
}

// SetNHSs gives the interface the next hop servers of its configuration. An NHS that is still in
// the configuration keeps its registration. Those that are given by address are there at once, so
// that the best of all is chosen, and not the first to be resolved.
func (cl *Client) SetNHSs() {
	for name := range cl.Names.resolved {
		if !cl.Names.configured(name) {
			delete(cl.Names.resolved, name)
		}
	}
	for _, c := range cl.Config.NHS {
		if a, err := netip.ParseAddr(c.Name); err == nil && cl.Names.resolved[c.Name] == nil {
			cl.Names.record(c.Name, []netip.Addr{a})
		}
	}
	cl.findNHSs()
}

// configured reports whether an NHS of that name is in the configuration.
func (ns *Names) configured(name string) bool {
	return slices.ContainsFunc(ns.Config.NHS,
		func(c overlay.NHSConfig) bool { return c.Name == name })
}

// NHSResolved handles the event that a configured name resolves to these addresses. While the name
// resolves to none, we keep using the addresses that we have.
func (cl *Client) NHSResolved(name string, addrs []netip.Addr) {
	if cl.Names.configured(name) && cl.Names.record(name, addrs) && !cl.Left {
		cl.findNHSs()
	}
}

// record records the addresses of a name, as many of each IP version as are used, with IPv6 first.
// It leaves out those that cannot be an NHS's, and reports whether others are left.
func (ns *Names) record(name string, addrs []netip.Addr) bool {
	addrs = slices.DeleteFunc(slices.Clone(addrs),
		func(a netip.Addr) bool { return !a.IsValid() || overlay.InThisNetwork(a) })
	if len(addrs) == 0 {
		return false
	}
	four, six := overlay.SplitVersions(addrs)
	four = four[:min(len(four), overlay.MaxAddressesOfNHS)]
	six = six[:min(len(six), overlay.MaxAddressesOfNHS)]
	ns.resolved[name] = slices.Concat(six, four)
	return true
}

// findNHSs makes the list of NHSs from the configuration and the addresses of its names. An NHS
// that was in the list before keeps its state. One that is not in the list any more is told so.
func (cl *Client) findNHSs() {
	old := cl.NHS
	cl.NHS = nil
	for number, c := range cl.Config.NHS {
		addrs, why := cl.Names.addressesOf(c, old)
		if len(addrs) == 0 {
			addrs = []netip.Addr{{}}
		}
		first := len(cl.NHS)
		for _, nbma := range addrs {
			i := slices.IndexFunc(old, func(n *NHS) bool { return n.is(c, nbma) })
			if i < 0 {
				cl.NHS = append(cl.NHS, cl.newNHS(c, nbma))
			} else {
				old[i].Config = c
				cl.NHS = append(cl.NHS, old[i])
				old = slices.Delete(slices.Clone(old), i, i+1)
			}
		}
		four, six := overlay.SplitVersions(addrs)
		for _, n := range cl.NHS[first:] {
			n.name = 0
			if len(four) > 0 && len(six) > 0 {
				n.name = number + 1
			}
		}
		if n := cl.NHS[len(cl.NHS)-1]; why != "" {
			cl.cannotAsk(n, why, cl.Names.resolved[c.Name][0])
		}
	}
	for _, n := range old {
		cl.DropNHS(n)
	}
	cl.chooseSoon()
}

// is reports whether an NHS is the one of the configuration at that address, for the overlay
// addresses that we have. Another priority does not make it another NHS.
func (n *NHS) is(c overlay.NHSConfig, nbma netip.Addr) bool {
	families := n.cl.Config.Families()
	return n.Config.Name == c.Name && n.Config.Protocol == c.Protocol &&
		n.Config.Second == c.Second && n.NBMA == nbma &&
		slices.EqualFunc(n.Registrations, families, func(r *Registration, f overlay.Family) bool {
			return r.own == f.Address.Addr()
		})
}

// addressesOf returns those addresses of an NHS's name that the tunnel can send to: those of the
// same IP version as our own address, or all as long as we have never had one. If it can send to
// none, addressesOf returns the addresses that were in use in the list old, or if there are none,
// why the NHS cannot be asked.
func (ns *Names) addressesOf(c overlay.NHSConfig, old []*NHS) (usable []netip.Addr, why string) {
	addrs := ns.resolved[c.Name]
	for _, a := range addrs {
		if ns.SendsTo(a) {
			usable = append(usable, a)
		}
	}
	if len(usable) > 0 || len(addrs) == 0 {
		return usable, ""
	}
	for _, n := range old {
		if n.Config.Name == c.Name && n.NBMA.IsValid() && ns.SendsTo(n.NBMA) {
			usable = append(usable, n.NBMA)
		}
	}
	if len(usable) > 0 {
		return usable, ""
	}
	return nil, fmt.Sprintf(
		"its name has no address that the tunnel can send to from %s, only such as %s, of another IP version",
		ns.Known, addrs[0])
}

// cannotAsk reports why we cannot register with an NHS: its name has only addresses such as nbma,
// to which the tunnel cannot send.
func (cl *Client) cannotAsk(n *NHS, why string, nbma netip.Addr) {
	if n.Registrations[0].err == why {
		return
	}
	for _, r := range n.Registrations {
		r.err = why
	}
	cl.Notice(output.Notice{Kind: output.NoticeUnanswered, Peer: peerid.At(nbma),
		Reason: "the NHS cannot be asked: " + why})
}

// Addresses returns the addresses of all NHSs, as far as their names are resolved, each once.
func (ns *Names) Addresses() []netip.Addr {
	var all []netip.Addr
	for _, c := range ns.Config.NHS {
		for _, a := range ns.resolved[c.Name] {
			if !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	return all
}

// ResolvedInside returns an address inside prefix that the name of an NHS has. It returns the zero
// address if there is none.
func (ns *Names) ResolvedInside(prefix netip.Prefix) netip.Addr {
	for _, c := range ns.Config.NHS {
		for _, a := range ns.resolved[c.Name] {
			if prefix.Contains(a) {
				return a
			}
		}
	}
	return netip.Addr{}
}
