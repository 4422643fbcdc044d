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

// Misses calls f with every overlay address that the kernel has packets for on the device with that
// index and no neighbour, about once a second while it waits: see kernel.TunnelConfig.ResolveMisses
// for how long it holds the packets. f is called on Misses' goroutine. Misses that are lost come
// again. Misses returns nil when ctx ends, and an error only where trying again is of no use
// (rtnl.ErrNoPermission).
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
				if e, at, ok := rtnl.ParseNeighbor(m); ok && at == index && m.Header.Type == unix.RTM_GETNEIGH && incomplete(m) {
					f(e.Protocol)
				}
			}
		}
	}
}

// incomplete says whether a neighbour that the kernel asks for is not known; it also asks to have
// one confirmed.
func incomplete(m netlink.Message) bool {
	return binary.NativeEndian.Uint16(m.Data[8:])&unix.NUD_INCOMPLETE != 0
}

// missFilter lets through the kernel's questions for neighbours of one device: all else that
// happens to neighbours, on a hub thousands at a time, stays in the kernel.
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
