package fence

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/xfrm"

	"golang.org/x/sys/unix"
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
	messages, err := r.Dump(unix.RTM_GETLINK, make([]byte, rtnl.LinkHeaderLen))
	if err != nil {
		return nil, nil, fmt.Errorf("read the links: %w", err)
	}
	numbered, err := dumpNumbered(r)
	if err != nil {
		return nil, nil, err
	}
	var byDevice map[int]bool
	if offload {
		if byDevice, err = xfrm.PacketOffload(locals); err != nil {
			return nil, nil, err
		}
	}
	links := make(map[int]*rtnl.Link)
	pointToPoint := make(map[int]bool)
	loopback := make(map[int]bool)
	for _, m := range messages {
		l, ok := rtnl.ParseLink(m)
		if !ok {
			continue
		}
		flags := binary.NativeEndian.Uint32(m.Data[8:])
		links[l.Index] = l
		pointToPoint[l.Index] = flags&unix.IFF_POINTOPOINT != 0
		loopback[l.Index] = flags&unix.IFF_LOOPBACK != 0
	}
	for index, l := range links {
		switch {
		case loopback[index], l.Kind == "vrf", !numbered[index] && !pointToPoint[index]:
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

// dumpNumbered returns the indexes of the links that have an IPv4 address.
func dumpNumbered(r *rtnl.Conn) (map[int]bool, error) {
	head := make([]byte, rtnl.AddressHeaderLen)
	head[0] = unix.AF_INET
	messages, err := r.Dump(unix.RTM_GETADDR, head)
	if err != nil {
		return nil, fmt.Errorf("read the addresses: %w", err)
	}
	numbered := make(map[int]bool)
	for _, m := range messages {
		if a, ok := rtnl.ParseAddress(m); ok && a.Prefix.Addr().Is4() {
			numbered[a.Index] = true
		}
	}
	return numbered, nil
}
