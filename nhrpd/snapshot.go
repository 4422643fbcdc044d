package nhrpd

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"cygnet/nhrpd/cleargre"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/mismatch"
	"cygnet/nhrpd/translate"
	"cygnet/vici/profile"
)

// The loop's state belongs to the loop. What other goroutines have to know of it, they get as a
// copy of one moment.

// configured returns the configuration of the open interfaces, in the order of their names.
func (l *loop) configured() config.Config {
	var c config.Config
	for i := range l.opened() {
		c.Interfaces = append(c.Interfaces, i.config)
	}
	slices.SortFunc(c.Interfaces, func(a, b config.Interface) int {
		return strings.Compare(a.Name, b.Name)
	})
	return c
}

// protectedTunnels returns the protected tunnels that have a local address. It returns none if the
// context has ended.
func (d *Daemon) protectedTunnels(ctx context.Context) []cleargre.Tunnel {
	// The channel has room, so that the loop does not wait if the context ended during the call.
	found := make(chan []cleargre.Tunnel, 1)
	err := d.loop.call(ctx, func(time.Time) { found <- d.loop.protectedTunnels() })
	if err != nil {
		return nil
	}
	return <-found
}

// protectedTunnels returns the protected tunnels that have a local address.
func (l *loop) protectedTunnels() []cleargre.Tunnel {
	var list []cleargre.Tunnel
	for i := range l.opened() {
		if !i.config.Protected || len(i.state.Addresses()) == 0 {
			continue
		}
		list = append(list, cleargre.Tunnel{
			Name:    i.name,
			Locals:  i.state.Addresses(),
			Path:    i.path(),
			Offload: offloads(translate.IPsecProfile(&i.config, i.state.Addresses(), false)),
		})
	}
	return list
}

// offloads reports whether network devices may do the ESP of a profile's SAs.
func offloads(p profile.Profile) bool {
	child := p.Child
	if p.Site != nil {
		child = p.Site.Child
	}
	how, ok := child["hw_offload"].(string)
	return ok && how != "no"
}

// protectedAddresses returns the addresses that the protected tunnels send from, each once. It
// returns none if the context has ended.
func (d *Daemon) protectedAddresses(ctx context.Context) []netip.Addr {
	var locals []netip.Addr
	for _, t := range d.protectedTunnels(ctx) {
		locals = append(locals, t.Locals...)
	}
	slices.SortFunc(locals, netip.Addr.Compare)
	return slices.Compact(locals)
}

// situation returns what the loop knows about mismatches. It returns an error if the context ends.
func (d *Daemon) situation(
	ctx context.Context, sources []netip.Addr,
) (mismatch.Situation, error) {
	found := make(chan mismatch.Situation, 1) // with room, as in protectedTunnels
	err := d.loop.call(ctx, func(now time.Time) { found <- d.loop.situation(now, sources) })
	if err != nil {
		return mismatch.Situation{}, err
	}
	return <-found, nil
}

// situation returns what the engine finds amiss, what the tunnels are, and which of the sources
// have an SA.
func (l *loop) situation(now time.Time, sources []netip.Addr) mismatch.Situation {
	s := mismatch.Situation{Now: now, Found: l.engine.Mismatches(now)}
	for i := range l.opened() {
		if i.channel == nil || !i.state.Local.IsValid() {
			continue
		}
		secured := make(map[netip.Addr]bool, len(sources))
		for _, a := range sources {
			secured[a] = l.engine.Secured(i.name, peerid.At(a))
		}
		s.Tunnels = append(s.Tunnels, mismatch.Tunnel{
			Name:      i.name,
			Local:     i.state.Local,
			Key:       i.config.Key,
			Protected: i.config.Protected,
			Secured:   func(a netip.Addr) bool { return secured[a] },
		})
	}
	return s
}

// mostOuter is how many underlay addresses of an interface the daemon checks.
const mostOuter = 16

// outerAddresses returns, by interface, the underlay addresses that the tunnel has to reach, at
// most mostOuter: those of the NHSs first, then those of other peers.
func outerAddresses(interfaces []engine.InterfaceStatus) map[string][]netip.Addr {
	outer := make(map[string][]netip.Addr, len(interfaces))
	for n := range interfaces {
		i := &interfaces[n]
		var all []netip.Addr
		add := func(a netip.Addr) {
			if a.IsValid() && len(all) < mostOuter && !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
		for _, s := range i.NHS {
			add(s.NBMA)
		}
		for _, p := range i.Peers {
			add(p.Outer)
		}
		outer[i.Name] = all
	}
	return outer
}
