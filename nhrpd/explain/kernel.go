// Package explain reads what the kernel and charon show of the way that packets to an address take.
// The daemon adds to that what it knows itself. Without a daemon it is the whole account.
package explain

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"cygnet/kernel/peerlink"
	"cygnet/kernel/rtnl"
	"cygnet/kernel/tunnel"
	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/api"
)

// Kernel asks the kernel. Each field is one function, so that tests bring their own.
type Kernel struct {
	// Way returns the route that a packet to an address takes, by the table of a VRF if its name is
	// not empty, and the tunnel that it leads into.
	Way func(dest netip.Addr, vrf string) (Way, error)
	// VRFs returns the names of the VRFs that have a GRE tunnel with many peers.
	VRFs func() ([]string, error)
	// Neighbor returns where the kernel has the neighbour for an overlay address on a device. ok is
	// false if it has none.
	Neighbor func(device string, protocol netip.Addr) (n rtnl.NeighborEntry, ok bool, err error)
	// Links returns the devices of the peers at IPv6 addresses.
	Links func() ([]peerlink.Left, error)
	// States returns the ESP states from and to a local address.
	States func(local netip.Addr) ([]xfrm.ESPState, error)
}

// Linux returns the functions that ask this machine's kernel.
func Linux() Kernel {
	return Kernel{
		Way:      wayTo,
		VRFs:     vrfs,
		Neighbor: neighborOf,
		Links:    peerlink.Find,
		States:   xfrm.ESPStates,
	}
}

// Way is a route and the device that it leads out of.
type Way struct {
	Route api.ExplainedRoute
	GRE   bool // the device is a GRE tunnel with many peers
	Up    bool
	Local netip.Addr // that the tunnel sends from; the IPv4 address if it has two
}

// NextHop returns the overlay address that packets to an address go to next.
func (w *Way) NextHop(dest netip.Addr) netip.Addr {
	if w.Route.NextHop.IsValid() {
		return w.Route.NextHop
	}
	return dest
}

// WayInto returns the first way to an address that leads into a tunnel, as into reports. The host's
// own table comes first, and then the tables of the VRFs. If no way leads into a tunnel, WayInto
// returns that of the host's own table.
func (k Kernel) WayInto(
	dest netip.Addr, vrfs []string, into func(*Way) bool,
) (first Way, err error) {
	for n, vrf := range append([]string{""}, vrfs...) {
		way, err := k.Way(dest, vrf)
		if err != nil {
			return Way{}, err
		}
		if into(&way) {
			return way, nil
		}
		if n == 0 {
			first = way
		}
	}
	return first, nil
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
	if w.Local == tunnel.Unused {
		w.Local = peerlink.LocalOf(w.Route.Device)
	}
	return w, nil
}

// vrfs implements Kernel.VRFs.
func vrfs() ([]string, error) {
	r, err := rtnl.Open()
	if err != nil {
		return nil, fmt.Errorf("look for VRFs: %w", err)
	}
	defer r.Close()
	links, err := r.AllLinks()
	if err != nil {
		return nil, fmt.Errorf("look for VRFs: %w", err)
	}
	var names []string
	for _, vrf := range links {
		if vrf.Kind == rtnl.KindVRF && slices.ContainsFunc(links, func(l *rtnl.Link) bool {
			return l.Master == vrf.Index && l.IsNBMA()
		}) {
			names = append(names, vrf.Name)
		}
	}
	return names, nil
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
