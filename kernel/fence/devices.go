package fence

import (
	"net/netip"
	"slices"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/xfrm"
)

// device is a device that has the fence's filters, or needs them.
type device struct {
	name  string
	index int
}

// devicesFor returns the devices that need the filters, and the names of those that are left out
// because they do ESP by themselves.
func devicesFor(
	locals []netip.Addr, offload bool,
) (devices []device, offloaded []string, err error) {
	r, err := rtnl.Open()
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	all, err := r.AllLinks()
	if err != nil {
		return nil, nil, err
	}
	links := make(map[int]*rtnl.Link)
	for _, l := range all {
		links[l.Index] = l
	}
	numbered, err := numberedLinks(r, slices.ContainsFunc(locals, netip.Addr.Is6))
	if err != nil {
		return nil, nil, err
	}
	var byDevice map[int]bool
	if offload {
		if byDevice, err = xfrm.PacketOffload(locals); err != nil {
			return nil, nil, err
		}
	}
	for index, l := range links {
		switch {
		case l.Loopback, l.Kind == "vrf", !numbered[index] && !l.PointToPoint:
			continue
		case l.Master != 0 && (links[l.Master] == nil || links[l.Master].Kind != "vrf"):
			continue
		case l.IsGRE() && (l.External || slices.Contains(locals, l.GRE.Local)):
			continue
		case byDevice[index]:
			offloaded = append(offloaded, l.Name)
			continue
		}
		devices = append(devices, device{l.Name, index})
	}
	slices.SortFunc(devices, func(a, b device) int { return a.index - b.index })
	slices.Sort(offloaded)
	return devices, offloaded, nil
}

// numberedLinks returns the indexes of the links that have an IPv4 address or, with six, an IPv6
// address: a link-local address suffices to send from another one by the link.
func numberedLinks(r *rtnl.Conn, six bool) (map[int]bool, error) {
	all, err := r.AllAddresses()
	if err != nil {
		return nil, err
	}
	numbered := make(map[int]bool)
	for _, a := range all {
		if six || a.Prefix.Addr().Is4() {
			numbered[a.Index] = true
		}
	}
	return numbered, nil
}
