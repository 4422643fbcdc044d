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

// The messages and groups of linux/xfrm.h that tell of ESP states which are gone.
const (
	xfrmMsgDelSA   = 0x11
	xfrmMsgExpire  = 0x18
	xfrmMsgFlushSA = 0x1c

	xfrmGroupExpire = 2
	xfrmGroupSA     = 3

	// Where the destination is in a message: struct xfrm_usersa_id begins with it, and in struct
	// xfrm_user_expire the selector of 56 bytes is before it. The family is further behind.
	deletedAddressAt, deletedFamilyAt = 0, 20
	expiredAddressAt, expiredFamilyAt = 56, 212
)

// DeletedStates notices ESP states that are deleted, flushed or expire. A state may come and go
// between two looks at the table, and only this tells. Its methods belong to one goroutine.
type DeletedStates struct{ conn *netlink.Conn }

// WatchDeletedStates notices states of this network namespace from now on. The caller closes it.
func WatchDeletedStates() (*DeletedStates, error) {
	conn, err := netlink.Dial(unix.NETLINK_XFRM, nil)
	if err != nil {
		return nil, rtnl.Explain(err, "watch for deleted IPsec states")
	}
	d := &DeletedStates{conn}
	const buffer = 1 << 20 // an overflow is no fault: see Drain
	err = errors.Join(conn.SetReadBuffer(buffer), conn.JoinGroup(xfrmGroupSA),
		conn.JoinGroup(xfrmGroupExpire))
	if err != nil {
		return nil, errors.Join(rtnl.Explain(err, "watch for deleted IPsec states"), d.Close())
	}
	return d, nil
}

// Close ends the watch.
func (d *DeletedStates) Close() error { return d.conn.Close() }

// Drain returns to which addresses states were deleted since the last call. All is true where that
// is not known: the table was flushed, or there were more notifications than the socket holds. It
// does not wait.
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

// deletedIn enters the destinations that the messages tell of. It reports whether all are affected:
// by a flush, or because a message cannot be read.
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

// xfrmAddress reads an address whose family stands elsewhere in the message. It is invalid where
// the message is too short.
func xfrmAddress(b []byte, at, familyAt int) netip.Addr {
	if len(b) < at+16 || len(b) < familyAt+2 {
		return netip.Addr{}
	}
	if binary.NativeEndian.Uint16(b[familyAt:]) == unix.AF_INET {
		return netip.AddrFrom4([4]byte(b[at : at+4]))
	}
	return netip.AddrFrom16([16]byte(b[at : at+16]))
}
