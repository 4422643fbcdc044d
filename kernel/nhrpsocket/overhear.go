package nhrpsocket

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"cygnet/kernel/rtnl"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Stray is a kind of packet that arrives at a tunnel's local address although the tunnel's IPsec
// settings do not expect it. It shows that the other end of the tunnel has other IPsec settings.
type Stray uint8

// The kinds of stray packets.
const (
	StrayGRE Stray = iota // GRE in clear, to a protected tunnel
	StrayIKE              // IKE, to an unprotected tunnel
)

// The limits of overhearing. The socket's buffer is small and is read only at intervals, so a flood
// of stray packets costs little more than the run of the filter for each packet.
const (
	overhearBuffer = 64 << 10               // size of the receive buffer in bytes
	overhearPause  = 500 * time.Millisecond // between two batches
	overhearBatch  = 64                     // packets in a batch
	overhearLength = 64                     // bytes that are read of each packet
)

// Overhear calls f with the source of every stray packet of one kind that it sees, until ctx ends.
// It looks at packets to the local IPv4 address on any device. It sees packets before IPsec
// policies and firewalls drop them, and does not see decrypted packets. If many stray packets
// arrive at once, it sees only some of them.
func Overhear(ctx context.Context, kind Stray, local netip.Addr, f func(from netip.Addr)) error {
	file, err := overhearSocket(kind, local)
	if err != nil {
		return rtnl.Explain(err, "overhear packets to %s", local)
	}
	defer file.Close()
	stop := context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	packet := make([]byte, overhearLength)
	for {
		for range overhearBatch {
			n, err := file.Read(packet)
			switch {
			case ctx.Err() != nil:
				return nil
			case errors.Is(err, unix.ENETDOWN):
				continue
			case err != nil:
				return rtnl.Explain(err, "overhear packets to %s", local)
			}
			if n >= 20 {
				f(netip.AddrFrom4([4]byte(packet[12:16])))
			}
		}
		pause := time.NewTimer(overhearPause)
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil
		case <-pause.C:
		}
	}
}

// overhearSocket opens a packet socket that receives the stray packets of one kind on all devices.
func overhearSocket(kind Stray, local netip.Addr) (*os.File, error) {
	program, err := bpf.Assemble(strayFilter(kind, local))
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	filter := make([]unix.SockFilter, len(program))
	for i, in := range program {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	err = errors.Join(
		os.NewSyscallError("setsockopt SO_ATTACH_FILTER",
			unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
				&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})),
		os.NewSyscallError("setsockopt SO_RCVBUF",
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, overhearBuffer)),
	)
	if err == nil {
		if err = unix.SetsockoptInt(
			fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1,
		); errors.Is(err, unix.ENOPROTOOPT) {
			// Linux before 4.20 does not know the option. It is not needed: outgoing packets have
			// another destination than the local address.
			err = nil
		}
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: rtnl.NetworkOrder(unix.ETH_P_ALL)})
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "overhear"), nil
}

const (
	protocolUDP = 17
	portIKE     = 500
	portNATT    = 4500
)

// strayFilter passes the stray packets of one kind. The packets that it sees begin with the IP
// header.
func strayFilter(kind Stray, local netip.Addr) []bpf.Instruction {
	address := local.As4()
	pass, drop := bpf.RetConstant{Val: overhearLength}, bpf.RetConstant{}
	head := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtProto},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IP, SkipTrue: 1}, drop,
		bpf.LoadAbsolute{Off: 16, Size: 4},
		bpf.JumpIf{
			Cond:     bpf.JumpEqual,
			Val:      binary.BigEndian.Uint32(address[:]),
			SkipTrue: 1,
		},
		drop,
		bpf.LoadAbsolute{Off: 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipFalse: 1}, drop, // a later fragment
		bpf.LoadAbsolute{Off: 9, Size: 1},
	}
	if kind == StrayGRE {
		return append(head,
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_GRE, SkipTrue: 1}, drop,
			pass,
		)
	}
	return append(head,
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolUDP, SkipTrue: 1}, drop,
		bpf.LoadMemShift{Off: 0},
		bpf.LoadIndirect{Off: 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: portIKE, SkipTrue: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: portNATT, SkipTrue: 1}, drop,
		bpf.LoadIndirect{Off: 8, Size: 4},
		// On port 4500 four zero bytes mark IKE (RFC 3948 §2.2); ESP has its SPI there.
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipFalse: 1},
		pass, drop,
	)
}

// HasIKE reports whether any program on this host has a socket on IKE's port.
func HasIKE() bool {
	for _, file := range []string{"/proc/net/udp", "/proc/net/udp6"} {
		data, err := os.ReadFile(file)
		if err == nil && listensOn(string(data), portIKE) {
			return true
		}
	}
	return false
}

// listensOn reports whether a socket has the given local port. sockets has the format of
// /proc/net/udp.
func listensOn(sockets string, port uint16) bool {
	for line := range strings.Lines(sockets) {
		fields := strings.Fields(line)
		if len(fields) > 1 && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) {
			return true
		}
	}
	return false
}
