package preflight

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// links returns the network interfaces of this host with their addresses. It reads all addresses at
// once, because package net would read all of them again for each interface, and a host may have
// thousands of interfaces.
func links() ([]Link, error) {
	all, err := net.Interfaces()
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
	list := make([]Link, len(all))
	for i := range all {
		list[i] = Link{all[i].Name, all[i].Flags&net.FlagLoopback != 0, addresses[all[i].Index]}
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
