package main

import (
	"encoding/binary"
	"fmt"
	"net"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"cygnet/kernel/nhrpsocket"
)

// Offsets in a registration whose addresses are all IPv4, without subaddresses (RFC 2332 §5.1,
// §5.2.0.1).
const (
	checksumAt       = 12
	typeAt           = 17
	sourceProtocolAt = 32
	destProtocolAt   = 36
	leastLen         = 40
)

// runBareLoop is the least that a hub can do. It reads a batch of packets, turns each request into
// a reply in place, sets a neighbour for each without checking whether it exists, and sends the
// batch. It remembers nothing and checks nothing, and returns only with an error.
func runBareLoop() error {
	link, err := net.InterfaceByName(hubDevice)
	if err != nil {
		return err
	}
	socket, err := nhrpsocket.Listen(link.Index, protoNHRP)
	if err != nil {
		return err
	}
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Strict: true})
	if err != nil {
		return fmt.Errorf("open a netlink socket: %w", err)
	}
	batch := make([]nhrpsocket.Message, 128)
	neighbors := make([]netlink.Message, 0, len(batch))
	for {
		n, err := socket.ReadBatch(batch)
		if err != nil {
			return err
		}
		neighbors = neighbors[:0]
		for i := range n {
			if turn(batch[i].Data) {
				neighbors = append(neighbors, neighbor(link.Index, &batch[i]))
			}
		}
		if len(neighbors) > 0 {
			if _, err := conn.SendMessages(neighbors); err != nil {
				return fmt.Errorf("set %d neighbours: %w", len(neighbors), err)
			}
		}
		if _, err := socket.WriteBatch(batch[:n]); err != nil {
			return err
		}
	}
}

// turn turns a request into a reply in place. It reports false for any other packet.
func turn(b []byte) bool {
	if len(b) < leastLen || b[typeAt] != 3 {
		return false
	}
	b[typeAt] = 4
	own := hubOverlay.As4()
	copy(b[destProtocolAt:], own[:])
	b[checksumAt], b[checksumAt+1] = 0, 0
	binary.BigEndian.PutUint16(b[checksumAt:], checksum(b))
	return true
}

// neighbor returns the message that binds a spoke's overlay address to the source of its packet.
func neighbor(index int, m *nhrpsocket.Message) netlink.Message {
	const headLen, attributeLen = 12, 8
	b := make([]byte, headLen+2*attributeLen)
	b[0] = unix.AF_INET
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint16(b[8:], unix.NUD_PERMANENT)
	nbma := m.NBMA.As4()
	attribute(b[headLen:], unix.NDA_DST, m.Data[sourceProtocolAt:destProtocolAt])
	attribute(b[headLen+attributeLen:], unix.NDA_LLADDR, nbma[:])
	return netlink.Message{
		Header: netlink.Header{
			Type: unix.RTM_NEWNEIGH, Flags: netlink.Request | netlink.Create | netlink.Replace,
		},
		Data: b,
	}
}

func attribute(b []byte, kind uint16, value []byte) {
	binary.NativeEndian.PutUint16(b, 8)
	binary.NativeEndian.PutUint16(b[2:], kind)
	copy(b[4:], value)
}
