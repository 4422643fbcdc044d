package preflight

import (
	"cmp"
	"fmt"

	"cygnet/kernel/rtnl"
)

// links returns the network interfaces of this host with their addresses. It reads all addresses at
// once, because a host may have thousands of interfaces.
func links() ([]Link, error) {
	r, err := rtnl.Open()
	if err != nil {
		return nil, fmt.Errorf("list the network interfaces: %w", err)
	}
	defer r.Close()
	all, err := r.AllLinks()
	if err != nil {
		return nil, fmt.Errorf("list the network interfaces: %w", err)
	}
	found, err := r.AllAddresses()
	if err != nil {
		return nil, fmt.Errorf("list the addresses: %w", err)
	}
	addresses := make(map[int][]rtnl.Address)
	for _, a := range found {
		addresses[a.Index] = append(addresses[a.Index], a)
	}
	vrfs := make(map[int]string)
	for _, l := range all {
		if l.Kind == rtnl.KindVRF {
			vrfs[l.Index] = l.Name
		}
	}
	list := make([]Link, len(all))
	for i, l := range all {
		list[i] = Link{
			Name:     l.Name,
			Loopback: l.Loopback,
			MTU:      l.MTU,
			VRF:      cmp.Or(vrfs[l.Master], vrfs[l.Index]),
			IsVRF:    l.Kind == rtnl.KindVRF,
		}
		list[i].setAddresses(addresses[l.Index])
	}
	return list, nil
}

// setAddresses sets the addresses of a link.
func (l *Link) setAddresses(all []rtnl.Address) {
	for _, a := range all {
		l.Addresses = append(l.Addresses, a.Prefix)
	}
	l.Underlay = rtnl.ChooseUnderlay(all, rtnl.Underlay{})
}
