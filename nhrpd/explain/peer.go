package explain

import (
	"fmt"
	"net/netip"
	"slices"

	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/api"
	"cygnet/vici/profile"
)

// Peer is a router as IPsec tells it from others.
type Peer struct {
	NBMA netip.Addr // zero: not known, and only the mark counts

	// Mark is the mark of the router's SA; 0: that SA has none. Routers behind one NAT address have
	// marks.
	Mark uint32

	// AnyMark stands for every router at the address, whatever its mark.
	AnyMark bool
}

// With returns the SAs with a peer.
func With(sas []api.SA, p Peer) []api.SA {
	list := []api.SA{}
	for _, sa := range sas {
		if p.NBMA.IsValid() && sa.Remote != p.NBMA {
			continue
		}
		// Marks that the site's own connections set say nothing about the peer.
		is := p.AnyMark || p.Mark == 0 && !profile.GivesMarks(sa.Connection)
		for i := range sa.Children {
			is = is || p.Mark != 0 && sa.Children[i].Mark == p.Mark
		}
		if is {
			list = append(list, sa)
		}
	}
	return list
}

// StatesWith returns the ESP states between one of the local addresses and a peer, as the API shows
// them.
func (k Kernel) StatesWith(locals []netip.Addr, p Peer) ([]api.ESPState, error) {
	list := []api.ESPState{}
	for _, local := range locals {
		if !local.IsValid() || p.NBMA.IsValid() && local.Is4() != p.NBMA.Is4() {
			continue
		}
		states, err := k.States(local)
		if err != nil {
			return nil, err
		}
		for _, s := range p.states(states) {
			list = append(list, api.ESPState{
				SPI:     fmt.Sprintf("%08x", s.SPI),
				Out:     s.Src == local,
				InUDP:   s.InUDP,
				Bytes:   s.Bytes,
				Packets: s.Packets,
				Added:   s.Added,
			})
		}
	}
	return list, nil
}

// states returns those of a list of ESP states that are with the peer. An outbound state has the
// mark that packets need, and an inbound state the one that it sets on packets.
func (p Peer) states(all []xfrm.ESPState) []xfrm.ESPState {
	there := slices.DeleteFunc(slices.Clone(all), func(s xfrm.ESPState) bool {
		return s.SPI == 0 || p.NBMA.IsValid() && s.Src != p.NBMA && s.Dst != p.NBMA
	})
	if p.AnyMark {
		return there
	}
	others := make(map[uint32]bool) // the marks of outbound states
	for _, s := range there {
		if s.MarkMask != 0 {
			others[s.Mark] = true
		}
	}
	return slices.DeleteFunc(there, func(s xfrm.ESPState) bool {
		if p.Mark != 0 {
			return (s.MarkMask == 0 || s.Mark != p.Mark) && s.SetMark != p.Mark
		}
		// A mark that no outbound state has is one that the site sets for its firewall.
		return s.MarkMask != 0 || s.SetMark != 0 && others[s.SetMark]
	})
}

// standsFor returns the peer that the link-layer address of a neighbour on a tunnel stands for, and
// the address that the tunnel sends to the peer from; local is the one that the tunnel has itself.
// Of a marked peer standsFor returns the mark alone. It returns the zero Peer if the kernel drops
// packets to the address: its IPv6 peer has no device, or its peer is parked.
func (k Kernel) standsFor(
	at netip.Addr, tunnel string, local netip.Addr,
) (Peer, netip.Addr, error) {
	if _, linked := xfrm.LinkedNumber(at); linked {
		links, err := k.Links()
		for _, l := range links {
			if l.Tunnel == tunnel && l.Name == at {
				return Peer{NBMA: l.Remote}, l.Local, nil
			}
		}
		return Peer{}, local, err
	}
	mark, marked := xfrm.MarkOf(at)
	switch {
	case !marked:
		return Peer{NBMA: at}, local, nil
	case !xfrm.MarkedNBMA(mark).IsValid():
		return Peer{}, local, nil
	}
	return Peer{Mark: mark}, local, nil
}

// outerOf returns the outer address of a marked peer, by the kernel's ESP states or by charon's
// SAs. It returns the zero address if neither has its mark. It returns an error if neither tells
// and the kernel cannot be asked.
func (k Kernel) outerOf(mark uint32, local netip.Addr, sas []api.SA) (netip.Addr, error) {
	states, err := k.States(local)
	for _, s := range states {
		if s.Src == local && s.MarkMask != 0 && s.Mark == mark {
			return s.Dst, nil
		}
	}
	for _, sa := range With(sas, Peer{Mark: mark}) {
		return sa.Remote, nil
	}
	return netip.Addr{}, err
}
