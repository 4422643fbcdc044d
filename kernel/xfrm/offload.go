package xfrm

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"cygnet/kernel/rtnl"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The layout of struct xfrm_usersa_info and struct xfrm_user_offload (linux/xfrm.h).
const (
	xfrmGetState = 0x12

	stateInfoLen = 224
	stateDst     = 56
	stateSrc     = 80
	stateFamily  = 212

	stateOffload  = 28 // XFRMA_OFFLOAD_DEV
	offloadLen    = 5
	offloadPacket = 4 // XFRM_OFFLOAD_PACKET
)

// PacketOffload returns the indexes of the devices that do ESP for whole packets (packet offload)
// from or to one of the local addresses. The kernel hands such packets to the device in clear, and
// gets them from the device in clear.
func PacketOffload(locals []netip.Addr) (map[int]bool, error) {
	conn, err := netlink.Dial(unix.NETLINK_XFRM,
		&netlink.Config{MessageBufferSize: rtnl.MessageBuffer})
	if err != nil {
		return nil, rtnl.Explain(err, "open a netlink socket for IPsec")
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(rtnl.ReadTimeout)); err != nil {
		return nil, rtnl.Explain(err, "read the IPsec states")
	}
	messages, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: xfrmGetState, Flags: netlink.Request | netlink.Dump},
	})
	if err != nil {
		return nil, rtnl.Explain(err, "read the IPsec states")
	}
	devices := make(map[int]bool)
	for _, m := range messages {
		if index, ok := packetOffloadOf(m.Data, locals); ok {
			devices[index] = true
		}
	}
	return devices, nil
}

// packetOffloadOf returns the index of the device that does ESP for whole packets of a state. It
// returns false if there is none, or if the state is not from or to one of the local addresses.
func packetOffloadOf(b []byte, locals []netip.Addr) (index int, ok bool) {
	if len(b) < stateInfoLen {
		return 0, false
	}
	size := 4
	if binary.NativeEndian.Uint16(b[stateFamily:]) == unix.AF_INET6 {
		size = 16
	}
	src, _ := netip.AddrFromSlice(b[stateSrc : stateSrc+size])
	dst, _ := netip.AddrFromSlice(b[stateDst : stateDst+size])
	if !slices.Contains(locals, src) && !slices.Contains(locals, dst) {
		return 0, false
	}
	attributes, err := netlink.NewAttributeDecoder(b[stateInfoLen:])
	if err != nil {
		return 0, false
	}
	for attributes.Next() {
		if o := attributes.Bytes(); attributes.Type() == stateOffload &&
			len(o) >= offloadLen && o[4]&offloadPacket != 0 {
			return int(int32(binary.NativeEndian.Uint32(o))), true
		}
	}
	return 0, false
}
