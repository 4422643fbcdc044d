package preflight

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"

	"cygnet/kernel/rtnl"
)

// links returns the network interfaces of this host with their addresses. It reads all addresses at
// once, because package net would read all of them again for each interface, and a host may have
// thousands of interfaces.
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
	answer, err := syscall.NetlinkRIB(syscall.RTM_GETADDR, syscall.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("list the addresses: %w", err)
	}
	messages, err := syscall.ParseNetlinkMessage(answer)
	if err != nil {
		return nil, fmt.Errorf("list the addresses: %w", err)
	}
	addresses := make(map[int][]netip.Prefix)
	for i := range messages {
		if index, p, ok := address(&messages[i]); ok {
			addresses[index] = append(addresses[index], p)
		}
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
			Name:      l.Name,
			Loopback:  l.Loopback,
			MTU:       l.MTU,
			VRF:       cmp.Or(vrfs[l.Master], vrfs[l.Index]),
			IsVRF:     l.Kind == rtnl.KindVRF,
			Addresses: addresses[l.Index],
		}
	}
	return list, nil
}

// address returns the address in a netlink message, and the index of the interface that has it. On
// an interface that leads to a single peer, the attribute IFA_ADDRESS has the peer's address, so
// IFA_LOCAL takes precedence.
func address(m *syscall.NetlinkMessage) (index int, p netip.Prefix, ok bool) {
	if m.Header.Type != syscall.RTM_NEWADDR || len(m.Data) < syscall.SizeofIfAddrmsg {
		return 0, p, false
	}
	attributes, err := syscall.ParseNetlinkRouteAttr(m)
	if err != nil {
		return 0, p, false
	}
	var a netip.Addr
	for _, attribute := range attributes {
		if attribute.Attr.Type == syscall.IFA_LOCAL ||
			attribute.Attr.Type == syscall.IFA_ADDRESS && !a.IsValid() {
			if found, valid := netip.AddrFromSlice(attribute.Value); valid {
				a = found
			}
		}
	}
	// struct ifaddrmsg has family, prefix length, flags and scope, one byte each, then the index.
	return int(binary.NativeEndian.Uint32(m.Data[4:])),
		netip.PrefixFrom(a, int(m.Data[1])),
		a.IsValid()
}
