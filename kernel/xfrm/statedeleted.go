package xfrm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"cygnet/kernel/rtnl"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The messages and multicast groups (linux/xfrm.h) by which the kernel reports that ESP states are
// gone.
const (
	xfrmMsgDelSA   = 0x11
	xfrmMsgExpire  = 0x18
	xfrmMsgFlushSA = 0x1c

	xfrmGroupExpire = 2
	xfrmGroupSA     = 3

	// The offsets of the destination and of its address family in a message. Struct xfrm_usersa_id
	// begins with the destination; in struct xfrm_user_expire it follows a selector of 56 bytes.
	deletedAddressAt, deletedFamilyAt = 0, 20
	expiredAddressAt, expiredFamilyAt = 56, 212
)

// DeletedStates notices ESP states that are deleted, are flushed or expire. A state may come and go
// between two readings of the table, so reading the table does not show all of them. DeletedStates
// is not for concurrent use.
type DeletedStates struct{ conn *netlink.Conn }

// WatchDeletedStates starts to watch the ESP states of this network namespace. The caller closes
// the watch.
func WatchDeletedStates() (*DeletedStates, error) {
	conn, err := netlink.Dial(unix.NETLINK_XFRM, nil)
	if err != nil {
		return nil, rtnl.Explain(err, "watch for deleted IPsec states")
	}
	d := &DeletedStates{conn}
	const buffer = 1 << 20 // bytes; an overflow is no error: see Drain
	err = errors.Join(conn.SetReadBuffer(buffer), conn.JoinGroup(xfrmGroupSA),
		conn.JoinGroup(xfrmGroupExpire))
	if err != nil {
		return nil, errors.Join(rtnl.Explain(err, "watch for deleted IPsec states"), d.Close())
	}
	return d, nil
}

// Close ends the watch.
func (d *DeletedStates) Close() error { return d.conn.Close() }

// Drain returns the destinations of the states that were deleted since the last call. all is true
// if any state may have been deleted: the table was flushed, a notification could not be read, or
// there were more notifications than the socket's buffer holds. Drain does not wait.
func (d *DeletedStates) Drain() (to map[netip.Addr]bool, all bool, err error) {
	raw, err := d.conn.SyscallConn()
	if err != nil {
		return nil, false, fmt.Errorf("read of deleted IPsec states: %w", err)
	}
	to = make(map[netip.Addr]bool)
	buf := make([]byte, 1<<16)
	for {
		var n int
		var fault error
		err := raw.Read(func(fd uintptr) bool {
			n, _, fault = unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
			return true
		})
		switch {
		case err != nil:
			return nil, false, fmt.Errorf("read of deleted IPsec states: %w", err)
		case errors.Is(fault, unix.EAGAIN):
			return to, all, nil
		case errors.Is(fault, unix.ENOBUFS):
			all = true
		case errors.Is(fault, unix.EINTR):
		case fault != nil:
			return nil, false, fmt.Errorf("read of deleted IPsec states: %w", fault)
		default:
			all = deletedIn(buf[:n], to) || all
		}
	}
}

// deletedIn adds the destinations of the states that the messages report as deleted. It returns
// true if any state may have been deleted: the table was flushed, or a message cannot be read.
func deletedIn(b []byte, to map[netip.Addr]bool) (all bool) {
	messages, err := syscall.ParseNetlinkMessage(b)
	if err != nil || len(b) < unix.SizeofNlMsghdr {
		return true
	}
	for _, m := range messages {
		var dst netip.Addr
		switch m.Header.Type {
		case xfrmMsgFlushSA:
			return true
		case xfrmMsgDelSA:
			dst = xfrmAddress(m.Data, deletedAddressAt, deletedFamilyAt)
		case xfrmMsgExpire:
			dst = xfrmAddress(m.Data, expiredAddressAt, expiredFamilyAt)
		default:
			continue
		}
		if !dst.IsValid() {
			return true
		}
		to[dst] = true
	}
	return false
}

// xfrmAddress reads the address at one offset, whose family is at another offset. It returns the
// zero address if the message is too short.
func xfrmAddress(b []byte, at, familyAt int) netip.Addr {
	if len(b) < at+16 || len(b) < familyAt+2 {
		return netip.Addr{}
	}
	if binary.NativeEndian.Uint16(b[familyAt:]) == unix.AF_INET {
		return netip.AddrFrom4([4]byte(b[at : at+4]))
	}
	return netip.AddrFrom16([16]byte(b[at : at+16]))
}
