package tunnel

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"

	"cygnet/kernel/rtnl"

	"golang.org/x/sys/unix"
)

// UnderlayMTU returns the MTU of the device that a tunnel sends from: of device or, if that is
// empty, of the one that has the address local. It returns 0 if there is no such device, or if the
// device does not tell how long packets may be, as the loopback device and a VRF do not.
func UnderlayMTU(device string, local netip.Addr) (int, error) {
	r, err := rtnl.Open()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	l, err := underlayOf(r, device, local)
	if err != nil || l == nil || l.Loopback || l.Kind == "vrf" {
		return 0, err
	}
	return l.MTU, nil
}

// underlayOf returns the device that a tunnel sends from, or nil if there is none.
func underlayOf(r *rtnl.Conn, device string, local netip.Addr) (*rtnl.Link, error) {
	if device != "" {
		return r.LinkByName(device)
	}
	all, err := r.AllAddresses()
	if err != nil {
		return nil, err
	}
	n := slices.IndexFunc(all, func(a rtnl.Address) bool { return a.Prefix.Addr() == local })
	if n < 0 {
		return nil, nil
	}
	return r.LinkByIndex(all[n].Index)
}

// WatchUnderlays calls f once, and then whenever a device or an address of this host may have
// changed, until ctx ends. Several changes at once may cause one call.
func WatchUnderlays(ctx context.Context, log *slog.Logger, f func()) error {
	notices, err := rtnl.Listen(ctx, log, rtnl.MonitorConfig{
		Family: unix.NETLINK_ROUTE,
		Groups: []uint32{unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR},
	})
	if err != nil {
		return err
	}
	for {
		f()
		select {
		case <-ctx.Done():
			return nil
		case <-notices:
		}
	}
}
