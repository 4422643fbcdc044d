// Package explain reads what the kernel and charon show of the way that packets to an address take.
// The daemon adds to that what it knows itself. Without a daemon it is the whole account.
package explain

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/api"
)

// Kernel asks the kernel. Each field is one function, so that tests bring their own.
type Kernel struct {
	// Way returns the route that a packet to an address takes, by the table of a VRF if its name is
	// not empty, and the tunnel that it leads into.
	Way func(dest netip.Addr, vrf string) (Way, error)
	// Neighbor returns where the kernel has the neighbour for an overlay address on a device. ok is
	// false if it has none.
	Neighbor func(device string, protocol netip.Addr) (n rtnl.NeighborEntry, ok bool, err error)
	// States returns the ESP states from and to a local address.
	States func(local netip.Addr) ([]xfrm.ESPState, error)
}

// Linux returns the functions that ask this machine's kernel.
func Linux() Kernel { return Kernel{Way: wayTo, Neighbor: neighborOf, States: xfrm.ESPStates} }

// Way is a route and the device that it leads out of.
type Way struct {
	Route api.ExplainedRoute
	GRE   bool // the device is a GRE tunnel with many peers
	Up    bool
	Local netip.Addr // that the tunnel sends from
}

// NextHop returns the overlay address that packets to an address go to next.
func (w *Way) NextHop(dest netip.Addr) netip.Addr {
	if w.Route.NextHop.IsValid() {
		return w.Route.NextHop
	}
	return dest
}

// routeKinds has the kernel's words for the types of routes.
var routeKinds = map[byte]string{
	unix.RTN_UNICAST:     "unicast",
	unix.RTN_LOCAL:       "local",
	unix.RTN_BROADCAST:   "broadcast",
	unix.RTN_ANYCAST:     "anycast",
	unix.RTN_MULTICAST:   "multicast",
	unix.RTN_BLACKHOLE:   "blackhole",
	unix.RTN_UNREACHABLE: "unreachable",
	unix.RTN_PROHIBIT:    "prohibit",
}

// wayTo implements Kernel.Way. That there is no route is in the answer, and is no error.
func wayTo(dest netip.Addr, vrf string) (Way, error) {
	r, err := rtnl.Open()
	if err != nil {
		return Way{}, fmt.Errorf("ask the kernel for the route to %s: %w", dest, err)
	}
	defer r.Close()
	links, err := r.AllLinks()
	if err != nil {
		return Way{}, fmt.Errorf("read the devices: %w", err)
	}
	master := 0
	for i := range links {
		if vrf != "" && links[i].Name == vrf {
			master = links[i].Index
		}
	}
	if vrf != "" && master == 0 {
		return Way{}, fmt.Errorf("there is no VRF %s", vrf)
	}
	found, err := r.Lookup(dest, master)
	if errors.Is(err, rtnl.ErrNoRoute) {
		return Way{Route: api.ExplainedRoute{Error: err.Error()}}, nil
	}
	if err != nil {
		return Way{}, err
	}
	hop := found.Hops[0]
	w := Way{Route: api.ExplainedRoute{
		Prefix:   found.Prefix,
		NextHop:  hop.Gateway,
		Table:    found.Table,
		Metric:   found.Metric,
		MTU:      found.MTU,
		Protocol: found.Protocol,
		Maker:    rtnl.Maker(found.Protocol),
		Ours:     found.Protocol == rtnl.Protocol,
		Kind:     routeKinds[found.Kind],
	}}
	for i := range links {
		if l := links[i]; l.Index == hop.Index {
			w.Route.Device, w.Up, w.GRE, w.Local = l.Name, l.Up, l.IsNBMA(), l.GRE.Local
		}
	}
	return w, nil
}

// neighborOf implements Kernel.Neighbor.
func neighborOf(device string, protocol netip.Addr) (n rtnl.NeighborEntry, ok bool, err error) {
	r, err := rtnl.Open()
	if err != nil {
		return n, false, fmt.Errorf("read the neighbours: %w", err)
	}
	defer r.Close()
	links, err := r.Links()
	if err != nil {
		return n, false, fmt.Errorf("read the devices: %w", err)
	}
	entries, err := r.Neighbors(links)
	if err != nil {
		return n, false, err
	}
	for _, e := range entries {
		if e.Device == device && e.Protocol == protocol && e.NBMA.IsValid() {
			return e, true, nil
		}
	}
	return n, false, nil
}

// StatesWith returns the ESP states between one of the local addresses and another router, as the
// API shows them.
func (k Kernel) StatesWith(locals []netip.Addr, remote netip.Addr) ([]api.ESPState, error) {
	list := []api.ESPState{}
	for _, local := range locals {
		if !local.IsValid() || local.Is4() != remote.Is4() {
			continue
		}
		states, err := k.States(local)
		if err != nil {
			return nil, err
		}
		for _, s := range states {
			if s.SPI == 0 || s.Src != remote && s.Dst != remote {
				continue
			}
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
