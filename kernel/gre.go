package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The attributes of a GRE link (linux/if_tunnel.h).
const (
	greLink        = 1
	greIFlags      = 2
	greOFlags      = 3
	greIKey        = 4
	greOKey        = 5
	greLocal       = 6
	greRemote      = 7
	greTTL         = 8
	grePMTUDisc    = 10
	greCollectMeta = 18
	greIgnoreDF    = 19

	greKeyFlag        = 0x2000 // GRE_KEY, in network byte order on the wire of netlink too
	kindGRE, kindGRE6 = "gre", "ip6gre"
)

// greParams are the parameters of an mGRE tunnel that the configuration decides.
type greParams struct {
	local netip.Addr // IPv4
	key   uint32
	keyed bool
	ttl   uint8
	// fragment has outer packets that are larger than the path fragmented after encryption, whatever the inner packet says of DF
	// (nopmtudisc ignore-df). Otherwise the kernel drops them, and tells the sender of an inner packet only if it has DF set.
	fragment bool
	device   int // index of the device that the tunnel is bound to; 0: none
}

// link is a link as the kernel has it; what concerns GRE is only set where kind is gre or ip6gre.
type link struct {
	index    int
	name     string
	alias    string
	kind     string // as `ip -d link` names it; empty for hardware
	up       bool
	noARP    bool
	mtu      int
	master   int
	gre      greParams
	pmtuDisc bool // outer packets have DF set
	ignoreDF bool // the DF of inner packets is not heeded
	okey     uint32
	okeyed   bool
	remote   netip.Addr
	// elsewhere reports that the device that the tunnel is bound to is in another network namespace: its index means nothing here.
	elsewhere bool
	external  bool                // its tunnel parameters come with each packet
	data      []netlink.Attribute // all GRE attributes, to hand back what is not ours to change
}

func (l *link) isGRE() bool { return l.kind == kindGRE || l.kind == kindGRE6 }

// isNBMA says whether it is a GRE tunnel with many peers.
func (l *link) isNBMA() bool {
	return l.isGRE() && !l.external && (!l.remote.IsValid() || l.remote.IsUnspecified())
}

// matches says whether the tunnel has these parameters.
func (l *link) matches(p greParams) bool {
	return l.kind == kindGRE && l.gre == p && l.sameKey(p)
}

// sameKey reports whether the tunnel sends and receives with the key of p, or without a key like p.
func (l *link) sameKey(p greParams) bool {
	return l.kind == kindGRE && l.gre.key == p.key && l.gre.keyed == p.keyed && l.okey == p.key && l.okeyed == p.keyed
}

// linkByName reads a link. Without one of that name it returns nil.
func (r *requests) linkByName(name string) (*link, error) {
	attributes := netlink.NewAttributeEncoder()
	attributes.String(unix.IFLA_IFNAME, name)
	l, err := r.oneLink(append(make([]byte, ifinfomsgLen), encoded(attributes)...))
	return l, explain(err, "read the link %s", name)
}

// linkByIndex reads a link. Without one of that index it returns nil.
func (r *requests) linkByIndex(index int) (*link, error) {
	head := make([]byte, ifinfomsgLen)
	binary.NativeEndian.PutUint32(head[4:], uint32(index))
	l, err := r.oneLink(head)
	return l, explain(err, "read the link with index %d", index)
}

func (r *requests) oneLink(data []byte) (*link, error) {
	answers, err := r.ask(netlink.Message{Header: netlink.Header{Type: unix.RTM_GETLINK}, Data: data})
	if errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, m := range answers {
		if l, ok := parseLink(m); ok {
			return l, nil
		}
	}
	return nil, nil
}

// greLinks reads all links of kind gre or ip6gre.
func (r *requests) greLinks() ([]*link, error) {
	messages, err := r.dump(unix.RTM_GETLINK, make([]byte, ifinfomsgLen))
	if err != nil {
		return nil, fmt.Errorf("read the links: %w", err)
	}
	var tunnels []*link
	for _, m := range messages {
		if l, ok := parseLink(m); ok && l.isGRE() {
			tunnels = append(tunnels, l)
		}
	}
	return tunnels, nil
}

func parseLink(m netlink.Message) (*link, bool) {
	if m.Header.Type != unix.RTM_NEWLINK || len(m.Data) < ifinfomsgLen {
		return nil, false
	}
	attributes, err := netlink.NewAttributeDecoder(m.Data[ifinfomsgLen:])
	if err != nil {
		return nil, false
	}
	flags := binary.NativeEndian.Uint32(m.Data[8:])
	l := &link{index: int(int32(binary.NativeEndian.Uint32(m.Data[4:]))), up: flags&unix.IFF_UP != 0, noARP: flags&unix.IFF_NOARP != 0}
	for attributes.Next() {
		switch attributes.Type() {
		case unix.IFLA_IFNAME:
			l.name = attributes.String()
		case unix.IFLA_IFALIAS:
			l.alias = attributes.String()
		case unix.IFLA_MTU:
			l.mtu = int(attributes.Uint32())
		case unix.IFLA_LINK_NETNSID:
			l.elsewhere = true
		case unix.IFLA_MASTER:
			l.master = int(attributes.Uint32())
		case unix.IFLA_LINKINFO:
			attributes.Nested(l.parseInfo)
		}
	}
	return l, attributes.Err() == nil
}

func (l *link) parseInfo(info *netlink.AttributeDecoder) error {
	for info.Next() {
		switch info.Type() {
		case unix.IFLA_INFO_KIND:
			l.kind = info.String()
		case unix.IFLA_INFO_DATA:
			if !l.isGRE() {
				continue
			}
			if err := l.parseGRE(info.Bytes()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *link) parseGRE(b []byte) (err error) {
	if l.data, err = netlink.UnmarshalAttributes(b); err != nil {
		return err
	}
	for _, a := range l.data {
		switch n := len(a.Data); {
		case a.Type == greIFlags && n == 2:
			l.gre.keyed = binary.BigEndian.Uint16(a.Data)&greKeyFlag != 0
		case a.Type == greOFlags && n == 2:
			l.okeyed = binary.BigEndian.Uint16(a.Data)&greKeyFlag != 0
		case a.Type == greIKey && n == 4:
			l.gre.key = binary.BigEndian.Uint32(a.Data)
		case a.Type == greOKey && n == 4:
			l.okey = binary.BigEndian.Uint32(a.Data)
		case a.Type == greLocal:
			l.gre.local, _ = netip.AddrFromSlice(a.Data)
		case a.Type == greRemote:
			l.remote, _ = netip.AddrFromSlice(a.Data)
		case a.Type == greTTL && n == 1:
			l.gre.ttl = a.Data[0]
		case a.Type == greLink && n == 4:
			l.gre.device = int(binary.NativeEndian.Uint32(a.Data))
		case a.Type == grePMTUDisc && n == 1:
			l.pmtuDisc = a.Data[0] != 0
		case a.Type == greIgnoreDF && n == 1:
			l.ignoreDF = a.Data[0] != 0
		case a.Type == greCollectMeta:
			l.external = true
		}
	}
	l.gre.fragment = !l.pmtuDisc && l.ignoreDF
	return nil
}

// createGRE makes an mGRE tunnel. It is down and without addresses.
func (r *requests) createGRE(name string, p greParams) error {
	attributes := netlink.NewAttributeEncoder()
	attributes.String(unix.IFLA_IFNAME, name)
	addGREInfo(attributes, p, nil)
	return r.setLink(netlink.Create|netlink.Excl, linkFlags{}, attributes)
}

// changeGRE gives a tunnel of the same kind other parameters, in place: neighbours, routes and addresses stay. The MTU goes with
// the change, since the kernel works out another one where the device changes.
func (r *requests) changeGRE(l *link, p greParams, mtu int) error {
	var keep []netlink.Attribute
	for _, a := range l.data {
		switch a.Type {
		case greIFlags, greOFlags, greIKey, greOKey, greLocal, greTTL, greLink:
		case grePMTUDisc, greIgnoreDF:
			if !p.fragment {
				keep = append(keep, a)
			}
		default:
			keep = append(keep, a)
		}
	}
	attributes := netlink.NewAttributeEncoder()
	attributes.Uint32(unix.IFLA_MTU, uint32(mtu))
	addGREInfo(attributes, p, keep)
	return r.setLink(0, linkFlags{index: l.index}, attributes)
}

func addGREInfo(attributes *netlink.AttributeEncoder, p greParams, data []netlink.Attribute) {
	var flags []byte
	if p.keyed {
		flags = binary.BigEndian.AppendUint16(nil, greKeyFlag)
	} else {
		flags = make([]byte, 2)
	}
	key := binary.BigEndian.AppendUint32(nil, p.key)
	attributes.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
		info.String(unix.IFLA_INFO_KIND, kindGRE)
		info.Nested(unix.IFLA_INFO_DATA, func(gre *netlink.AttributeEncoder) error {
			gre.Bytes(greLocal, p.local.AsSlice())
			gre.Bytes(greIFlags, flags)
			gre.Bytes(greOFlags, flags)
			gre.Bytes(greIKey, key)
			gre.Bytes(greOKey, key)
			gre.Uint8(greTTL, p.ttl)
			if p.device != 0 {
				gre.Uint32(greLink, uint32(p.device))
			}
			if p.fragment {
				gre.Uint8(grePMTUDisc, 0)
				gre.Uint8(greIgnoreDF, 1)
			}
			for _, a := range data {
				gre.Bytes(a.Type, a.Data)
			}
			return nil
		})
		return nil
	})
}
