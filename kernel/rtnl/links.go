package rtnl

import (
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Device is what the reconciler and the mirror of routes need to know about a link.
type Device struct {
	Name    string
	up      bool
	carrier bool
}

// Links holds the links of the network namespace by index.
type Links map[int]Device

// Name returns the name of the link with this index, or "" if there is no such link.
func (t Links) Name(index int) string { return t[index].Name }

// Up returns the indexes of the links that are up, by name.
func (t Links) Up() map[string]int {
	indexes := make(map[string]int, len(t))
	for i, d := range t {
		if d.up {
			indexes[d.Name] = i
		}
	}
	return indexes
}

// LinkHeaderLen is the size in bytes of struct ifinfomsg, which the attributes follow.
const LinkHeaderLen = 16

// Links reads all links of the network namespace.
func (r *Conn) Links() (Links, error) {
	const skipStatistics = 8 // RTEXT_FILTER_SKIP_STATS
	attributes := netlink.NewAttributeEncoder()
	attributes.Uint32(unix.IFLA_EXT_MASK, skipStatistics)
	messages, err := r.Dump(unix.RTM_GETLINK,
		append(make([]byte, LinkHeaderLen), Encode(attributes)...))
	if err != nil {
		return nil, fmt.Errorf("read the links: %w", err)
	}
	t := make(Links, len(messages))
	for _, m := range messages {
		t.Apply(m)
	}
	return t, nil
}

// Apply updates t by a link message. It returns the link as it was and as it is now; the zero
// Device means that there is no link.
func (t Links) Apply(m netlink.Message) (before, now Device) {
	if len(m.Data) < LinkHeaderLen {
		return Device{}, Device{}
	}
	attributes, err := netlink.NewAttributeDecoder(m.Data[LinkHeaderLen:])
	if err != nil {
		return Device{}, Device{}
	}
	flags := binary.NativeEndian.Uint32(m.Data[8:])
	now = Device{up: flags&unix.IFF_UP != 0, carrier: flags&unix.IFF_LOWER_UP != 0}
	for attributes.Next() {
		if attributes.Type() == unix.IFLA_IFNAME {
			now.Name = attributes.String()
		}
	}
	index := int(int32(binary.NativeEndian.Uint32(m.Data[4:])))
	before = t[index]
	if m.Header.Type == unix.RTM_DELLINK {
		delete(t, index)
		return before, Device{}
	}
	t[index] = now
	return before, now
}
