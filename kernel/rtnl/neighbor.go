package rtnl

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Neighbor maps an overlay address on a tunnel device to an NBMA address.
type Neighbor struct {
	Device   string
	Protocol netip.Addr // the overlay address; RFC 2332 calls it the protocol address
	NBMA     netip.Addr
}

// String returns the neighbour in words, for messages.
func (n Neighbor) String() string {
	return fmt.Sprintf("neighbour %s on %s at %s", n.Protocol, n.Device, n.NBMA)
}

// NeighborKey identifies a neighbour in the kernel.
type NeighborKey struct {
	Device   string
	Protocol netip.Addr
}

// Key returns the key that identifies the neighbour in the kernel.
func (n Neighbor) Key() NeighborKey { return NeighborKey{n.Device, n.Protocol} }

// NeighborEntry is a neighbour as the kernel has it.
type NeighborEntry struct {
	Neighbor
	Permanent bool
	Ours      bool // the daemon made it: it has the protocol number Protocol
}

const (
	ndmsgLen    = 12 // size in bytes of struct ndmsg, which the attributes follow
	ndaProtocol = 12 // NDA_PROTOCOL, Linux 5.0
)

// AddNeighbor returns the message that sets a neighbour; it replaces any other entry for that
// address. The entry is permanent: it does not age, and the garbage collection of a full table
// spares permanent entries only.
func AddNeighbor(n Neighbor, index int) netlink.Message {
	attributes := netlink.NewAttributeEncoder()
	attributes.Bytes(unix.NDA_DST, n.Protocol.AsSlice())
	attributes.Bytes(unix.NDA_LLADDR, n.NBMA.AsSlice())
	attributes.Uint8(ndaProtocol, Protocol)
	return netlink.Message{
		Header: netlink.Header{
			Type:  unix.RTM_NEWNEIGH,
			Flags: netlink.Create | netlink.Replace,
		},
		Data: append(neighborHead(n.Protocol, index, unix.NUD_PERMANENT), Encode(attributes)...),
	}
}

// DeleteNeighbor returns the message that removes a neighbour from the link with this index.
func DeleteNeighbor(k NeighborKey, index int) netlink.Message {
	attributes := netlink.NewAttributeEncoder()
	attributes.Bytes(unix.NDA_DST, k.Protocol.AsSlice())
	return netlink.Message{
		Header: netlink.Header{Type: unix.RTM_DELNEIGH},
		Data:   append(neighborHead(k.Protocol, index, 0), Encode(attributes)...),
	}
}

// neighborHead returns struct ndmsg, in a slice with room for the attributes.
func neighborHead(address netip.Addr, index int, state uint16) []byte {
	head := make([]byte, ndmsgLen, 64)
	head[0] = Family(address)
	binary.NativeEndian.PutUint32(head[4:], uint32(index))
	binary.NativeEndian.PutUint16(head[8:], state)
	return head
}

// Neighbors reads the neighbours of all devices; links names the devices.
func (r *Conn) Neighbors(links Links) ([]NeighborEntry, error) {
	messages, err := r.Dump(unix.RTM_GETNEIGH, make([]byte, ndmsgLen))
	if err != nil {
		return nil, fmt.Errorf("read the neighbours: %w", err)
	}
	entries := make([]NeighborEntry, 0, len(messages))
	for _, m := range messages {
		e, index, ok := ParseNeighbor(m)
		if e.Device = links.Name(index); ok && e.Device != "" {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// ParseNeighbor reads a neighbour. It returns the index of the device and leaves the device's name
// empty. It returns false for anything that is not an IP neighbour.
func ParseNeighbor(m netlink.Message) (e NeighborEntry, index int, ok bool) {
	if len(m.Data) < ndmsgLen {
		return e, 0, false
	}
	attributes, err := netlink.NewAttributeDecoder(m.Data[ndmsgLen:])
	if err != nil {
		return e, 0, false
	}
	for attributes.Next() {
		switch attributes.Type() {
		case unix.NDA_DST:
			e.Protocol, _ = netip.AddrFromSlice(attributes.Bytes())
		case unix.NDA_LLADDR:
			e.NBMA, _ = netip.AddrFromSlice(attributes.Bytes())
		case ndaProtocol:
			e.Ours = attributes.Uint8() == Protocol
		}
	}
	e.Permanent = binary.NativeEndian.Uint16(m.Data[8:])&unix.NUD_PERMANENT != 0
	index = int(int32(binary.NativeEndian.Uint32(m.Data[4:])))
	return e, index, attributes.Err() == nil && e.Protocol.IsValid()
}
