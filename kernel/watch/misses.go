package watch

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net/netip"

	"cygnet/kernel/rtnl"

	"github.com/mdlayher/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Misses calls f with every overlay address for which the kernel has packets but no neighbour on
// the device with this index. It does so about once a second while the kernel holds the packets;
// see tunnel.Config.ResolveMisses for how long that is. f runs on the goroutine of Misses. If a
// notification is lost, the kernel sends another. Misses returns nil when ctx ends, and returns an
// error only if trying again is useless (rtnl.ErrNoPermission).
func Misses(ctx context.Context, log *slog.Logger, index int, f func(netip.Addr)) error {
	notices, err := rtnl.Listen(ctx, log, rtnl.MonitorConfig{
		Family: unix.NETLINK_ROUTE,
		Groups: []uint32{unix.RTNLGRP_NEIGH},
		Filter: missFilter(index),
	})
	if err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case n := <-notices:
			for _, m := range n.Messages {
				if e, at, ok := rtnl.ParseNeighbor(m); ok && at == index &&
					m.Header.Type == unix.RTM_GETNEIGH && incomplete(m) {
					f(e.Protocol)
				}
			}
		}
	}
}

// incomplete reports whether the kernel asks for a neighbour because it does not know it. The
// kernel also asks in order to have a known neighbour confirmed.
func incomplete(m netlink.Message) bool {
	return binary.NativeEndian.Uint16(m.Data[8:])&unix.NUD_INCOMPLETE != 0
}

// missFilter passes the kernel's requests for neighbours on one device. It keeps all other
// notifications about neighbours in the kernel; on a hub these come by the thousand.
func missFilter(index int) []bpf.Instruction {
	const typeOffset, indexOffset = 4, unix.SizeofNlMsghdr + 4
	device := binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, uint32(index)))
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: typeOffset, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: rtnl.AsLoaded(unix.RTM_GETNEIGH), SkipTrue: 3},
		bpf.LoadAbsolute{Off: indexOffset, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: device, SkipTrue: 1},
		bpf.RetConstant{Val: 1 << 18},
		bpf.RetConstant{Val: 0},
	}
}
