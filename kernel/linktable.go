package kernel

import (
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// device is what the tables need to know of a link.
type device struct {
	name    string
	up      bool
	carrier bool
}

// linkTable knows the namespace's links by index.
type linkTable map[int]device

// name returns the name of the link with this index, or "".
func (t linkTable) name(index int) string { return t[index].name }

// up returns the indexes of the links that are up, by name.
func (t linkTable) up() map[string]int {
	indexes := make(map[string]int, len(t))
	for i, d := range t {
		if d.up {
			indexes[d.name] = i
		}
	}
	return indexes
}

const ifinfomsgLen = 16

// dumpLinks reads all links.
func (r *requests) dumpLinks() (linkTable, error) {
	const skipStatistics = 8 // RTEXT_FILTER_SKIP_STATS
	attributes := netlink.NewAttributeEncoder()
	attributes.Uint32(unix.IFLA_EXT_MASK, skipStatistics)
	messages, err := r.dump(unix.RTM_GETLINK, append(make([]byte, ifinfomsgLen), encoded(attributes)...))
	if err != nil {
		return nil, fmt.Errorf("read the links: %w", err)
	}
	t := make(linkTable, len(messages))
	for _, m := range messages {
		t.apply(m)
	}
	return t, nil
}

// apply enters what a link message says. It returns the link as it was and as it is now; the zero device stands for none.
func (t linkTable) apply(m netlink.Message) (before, now device) {
	if len(m.Data) < ifinfomsgLen {
		return device{}, device{}
	}
	attributes, err := netlink.NewAttributeDecoder(m.Data[ifinfomsgLen:])
	if err != nil {
		return device{}, device{}
	}
	flags := binary.NativeEndian.Uint32(m.Data[8:])
	now = device{up: flags&unix.IFF_UP != 0, carrier: flags&unix.IFF_LOWER_UP != 0}
	for attributes.Next() {
		if attributes.Type() == unix.IFLA_IFNAME {
			now.name = attributes.String()
		}
	}
	index := int(int32(binary.NativeEndian.Uint32(m.Data[4:])))
	before = t[index]
	if m.Header.Type == unix.RTM_DELLINK {
		delete(t, index)
		return before, device{}
	}
	t[index] = now
	return before, now
}
