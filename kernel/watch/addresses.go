package watch

import (
	"context"
	"log/slog"

	"cygnet/kernel/rtnl"

	"golang.org/x/sys/unix"
)

// Addresses calls f once when it listens, and whenever an IPv4 address or a device may have changed
// after that, until ctx ends. Several changes may cause one call. It returns an error only if
// trying again is useless (rtnl.Permanent).
func Addresses(ctx context.Context, log *slog.Logger, f func()) error {
	notices, err := rtnl.Listen(ctx, log, rtnl.MonitorConfig{
		Family: unix.NETLINK_ROUTE,
		Groups: []uint32{unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR},
	})
	if err != nil {
		return err
	}
	for f(); ; f() {
		select {
		case <-ctx.Done():
			return nil
		case <-notices:
		}
	}
}
