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

// Stray is a kind of packet that comes to a tunnel's local address and shows that the other end
// has another idea of IPsec.
type Stray uint8

// The kinds of stray packets.
const (
	StrayGRE Stray = iota // GRE in clear, to a protected tunnel
	StrayIKE              // IKE, to an unprotected one
)

// How much is overheard. The socket's buffer is small and is read at intervals: a flood costs no
// more than the filter.
const (
	overhearBuffer = 64 << 10
	overhearPause  = 500 * time.Millisecond
	overhearBatch  = 64
	overhearLength = 64 // bytes of each packet
)

// Overhear calls f with the source of stray packets of one kind to the local IPv4 address, on any
// device, until ctx ends. It hears them before IPsec policies and firewalls drop them, and does
// not hear what was decrypted. Of many at once it hears some.
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
			unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})),
		os.NewSyscallError("setsockopt SO_RCVBUF", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, overhearBuffer)),
	)
	if err == nil {
		if err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); errors.Is(err, unix.ENOPROTOOPT) {
			err = nil // what goes out has another destination
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

// strayFilter passes the packets of one kind. It sees them from the IP header on.
func strayFilter(kind Stray, local netip.Addr) []bpf.Instruction {
	address := local.As4()
	pass, drop := bpf.RetConstant{Val: overhearLength}, bpf.RetConstant{}
	head := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtProto},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IP, SkipTrue: 1}, drop,
		bpf.LoadAbsolute{Off: 16, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(address[:]), SkipTrue: 1}, drop,
		bpf.LoadAbsolute{Off: 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipFalse: 1}, drop, // a later fragment
		bpf.LoadAbsolute{Off: 9, Size: 1},
	}
	if kind == StrayGRE {
		return append(head, bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_GRE, SkipTrue: 1}, drop, pass)
	}
	return append(head,
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolUDP, SkipTrue: 1}, drop,
		bpf.LoadMemShift{Off: 0},
		bpf.LoadIndirect{Off: 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: portIKE, SkipTrue: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: portNATT, SkipTrue: 1}, drop,
		bpf.LoadIndirect{Off: 8, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipFalse: 1}, // the marker of IKE; ESP has an SPI there
		pass, drop,
	)
}

// HasIKE reports whether a program on this host receives IKE, for whatever purpose.
func HasIKE() bool {
	for _, file := range []string{"/proc/net/udp", "/proc/net/udp6"} {
		data, err := os.ReadFile(file)
		if err == nil && listensOn(string(data), portIKE) {
			return true
		}
	}
	return false
}

// listensOn looks for a local port in a list of sockets as /proc/net has them.
func listensOn(sockets string, port uint16) bool {
	for line := range strings.Lines(sockets) {
		fields := strings.Fields(line)
		if len(fields) > 1 && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) {
			return true
		}
	}
	return false
}
