package preflight

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// links lists the interfaces of this host with their addresses. All addresses are read at once:
// package net reads all of them anew for each interface, and a host may have thousands.
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

// address reads one address and the index of its interface. Where an interface leads to a single
// peer, IFA_ADDRESS is the peer's.
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
		if attribute.Attr.Type == syscall.IFA_LOCAL || attribute.Attr.Type == syscall.IFA_ADDRESS && !a.IsValid() {
			if found, valid := netip.AddrFromSlice(attribute.Value); valid {
				a = found
			}
		}
	}
	// struct ifaddrmsg: family, prefix length, flags and scope of a byte each, then the index.
	return int(binary.NativeEndian.Uint32(m.Data[4:])), netip.PrefixFrom(a, int(m.Data[1])), a.IsValid()
}
