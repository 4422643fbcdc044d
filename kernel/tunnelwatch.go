package kernel

import (
	"context"

	"golang.org/x/sys/unix"
)

const (
	groupXFRMPolicy = 4 // XFRMNLGRP_POLICY

	xfrmNewPolicy   = 0x13
	xfrmDelPolicy   = 0x14
	xfrmUpdPolicy   = 0x19
	xfrmFlushPolicy = 0x1d

	selectorLen      = 56 // struct xfrm_selector
	selectorPrefixes = 42 // the lengths of the destination's prefix and the source's
	selectorProtocol = 44
)

// listenGuard opens the monitor of IPsec policies. Where the guard is not set there is nothing to listen to.
func (t *Tunnel) listenGuard(ctx context.Context) (<-chan notice, error) {
	if !t.cfg.Protected {
		return nil, nil
	}
	return listen(ctx, t.log, monitorConfig{family: unix.NETLINK_XFRM, groups: []uint32{groupXFRMPolicy}})
}

// guardTouched says whether a notification of IPsec policies may be about a guard: all are gone, or one between an address and all
// others for GRE changed, or one that the notification only names by its index.
func guardTouched(n notice) bool {
	if n.lost {
		return true
	}
	for _, m := range n.messages {
		switch m.Header.Type {
		case xfrmFlushPolicy:
			return true
		case xfrmDelPolicy, xfrmNewPolicy, xfrmUpdPolicy:
			if len(m.Data) < selectorLen {
				continue
			}
			wide := m.Data[selectorPrefixes] == 0 || m.Data[selectorPrefixes+1] == 0
			if protocol := m.Data[selectorProtocol]; wide && (protocol == unix.IPPROTO_GRE || protocol == 0) {
				return true
			}
		}
	}
	return false
}

// listen opens the monitor of links and addresses, trying again until ctx ends.
func (t *Tunnel) listen(ctx context.Context) (<-chan notice, error) {
	return listen(ctx, t.log, monitorConfig{
		family: unix.NETLINK_ROUTE,
		groups: []uint32{unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR},
	})
}

// concerns says whether a notification is about the tunnel's link, its underlay's, or that of the device it is bound to.
func (t *Tunnel) concerns(n notice) bool {
	if n.lost {
		return true
	}
	for _, m := range n.messages {
		switch m.Header.Type {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			m.Header.Type = unix.RTM_NEWLINK
			if l, ok := parseLink(m); ok && (l.name == t.cfg.Name || l.name == t.cfg.Underlay || l.name == t.bound || l.index == t.state.Index) {
				return true
			}
		case unix.RTM_NEWADDR, unix.RTM_DELADDR:
			return true
		}
	}
	return false
}
