package rtnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The attributes of a GRE link (linux/if_tunnel.h), a flag, and the kinds of GRE links.
const (
	greLink     = 1
	greIFlags   = 2
	greOFlags   = 3
	greIKey     = 4
	greOKey     = 5
	greLocal    = 6
	greRemote   = 7
	greTTL      = 8
	grePMTUDisc = 10

	// greCollectMeta (IFLA_GRE_COLLECT_METADATA) is an attribute of a GRE link in external mode.
	greCollectMeta = 18
	greIgnoreDF    = 19

	greKeyFlag = 0x2000 // GRE_KEY; netlink carries it in network byte order

	// KindGRE is the kind of a GRE link over IPv4, as `ip -d link` names it.
	KindGRE, kindGRE6 = "gre", "ip6gre"
)

// GREParams are the parameters of an mGRE tunnel that the configuration decides.
type GREParams struct {
	Local netip.Addr // IPv4
	Key   uint32
	Keyed bool // the tunnel has the key Key; false: it has none
	TTL   uint8

	// Fragment has the kernel fragment an outer packet that is larger than the path. It does so
	// after encryption, whatever the inner packet's DF bit says (nopmtudisc ignore-df). Without
	// Fragment the kernel drops such a packet, and tells the sender of the inner packet only if the
	// inner packet has DF set.
	Fragment bool

	Device int // index of the device that the tunnel is bound to; 0: none
}

// Link is a link as the kernel has it. The fields about GRE are set only if Kind is gre or ip6gre.
type Link struct {
	Index    int
	Name     string
	Alias    string
	Kind     string // as `ip -d link` names it; empty for hardware
	Up       bool
	MTU      int
	Master   int       // index of the bridge, bond or VRF that the link belongs to; 0: none
	GRE      GREParams // its key is the one of received packets
	PMTUDisc bool      // outer packets have DF set
	IgnoreDF bool      // the kernel ignores the DF bit of inner packets
	OKey     uint32    // key of sent packets
	OKeyed   bool      // sent packets have a key
	Remote   netip.Addr

	// Elsewhere reports whether the device that the tunnel is bound to is in another network
	// namespace. The index of that device means nothing here.
	Elsewhere bool

	External bool // external mode: each packet carries its own tunnel parameters

	Carrier, NoARP, Loopback, PointToPoint bool // flags of the link

	// data holds all GRE attributes, so that a change can hand back those that it must keep.
	data []netlink.Attribute
}

// IsGRE reports whether the link is a GRE tunnel, over IPv4 or IPv6.
func (l *Link) IsGRE() bool { return l.Kind == KindGRE || l.Kind == kindGRE6 }

// IsNBMA reports whether the link is a GRE tunnel with many peers.
func (l *Link) IsNBMA() bool {
	return l.IsGRE() && !l.External && (!l.Remote.IsValid() || l.Remote.IsUnspecified())
}

// Matches reports whether the link is a GRE tunnel over IPv4 with these parameters.
func (l *Link) Matches(p GREParams) bool {
	return l.Kind == KindGRE && l.GRE == p && l.SameKey(p)
}

// SameKey reports whether the tunnel sends and receives with the key of p. If p has no key, SameKey
// reports whether the tunnel has none either.
func (l *Link) SameKey(p GREParams) bool {
	return l.Kind == KindGRE &&
		l.GRE.Key == p.Key && l.GRE.Keyed == p.Keyed &&
		l.OKey == p.Key && l.OKeyed == p.Keyed
}

// linkHeaderLen is the size in bytes of struct ifinfomsg, which the attributes follow.
const linkHeaderLen = 16

// LinkByName reads the link with this name. It returns nil if there is none.
func (r *Conn) LinkByName(name string) (*Link, error) {
	attributes := netlink.NewAttributeEncoder()
	attributes.String(unix.IFLA_IFNAME, name)
	l, err := r.oneLink(append(make([]byte, linkHeaderLen), Encode(attributes)...))
	return l, Explain(err, "read the link %s", name)
}

// LinkByIndex reads the link with this index. It returns nil if there is none.
func (r *Conn) LinkByIndex(index int) (*Link, error) {
	head := make([]byte, linkHeaderLen)
	binary.NativeEndian.PutUint32(head[4:], uint32(index))
	l, err := r.oneLink(head)
	return l, Explain(err, "read the link with index %d", index)
}

// oneLink reads the link that the request asks for. It returns nil if there is none.
func (r *Conn) oneLink(data []byte) (*Link, error) {
	answers, err := r.Ask(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETLINK},
		Data:   data,
	})
	if errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, m := range answers {
		if l, ok := ParseLink(m); ok {
			return l, nil
		}
	}
	return nil, nil
}

// AllLinks reads all links of the network namespace.
func (r *Conn) AllLinks() ([]*Link, error) {
	const skipStatistics = 8 // RTEXT_FILTER_SKIP_STATS
	attributes := netlink.NewAttributeEncoder()
	attributes.Uint32(unix.IFLA_EXT_MASK, skipStatistics)
	messages, err := r.Dump(unix.RTM_GETLINK,
		append(make([]byte, linkHeaderLen), Encode(attributes)...))
	if err != nil {
		return nil, fmt.Errorf("read the links: %w", err)
	}
	var all []*Link
	for _, m := range messages {
		if l, ok := ParseLink(m); ok {
			all = append(all, l)
		}
	}
	return all, nil
}

// GRELinks reads all links of kind gre or ip6gre.
func (r *Conn) GRELinks() ([]*Link, error) {
	all, err := r.AllLinks()
	return slices.DeleteFunc(all, func(l *Link) bool { return !l.IsGRE() }), err
}

// ParseLink reads an RTM_NEWLINK or RTM_DELLINK message. It returns false for any other message,
// and for one that is damaged.
func ParseLink(m netlink.Message) (*Link, bool) {
	about := m.Header.Type == unix.RTM_NEWLINK || m.Header.Type == unix.RTM_DELLINK
	if !about || len(m.Data) < linkHeaderLen {
		return nil, false
	}
	attributes, err := netlink.NewAttributeDecoder(m.Data[linkHeaderLen:])
	if err != nil {
		return nil, false
	}
	flags := binary.NativeEndian.Uint32(m.Data[8:])
	l := &Link{
		Index:        int(int32(binary.NativeEndian.Uint32(m.Data[4:]))),
		Up:           flags&unix.IFF_UP != 0,
		Carrier:      flags&unix.IFF_LOWER_UP != 0,
		NoARP:        flags&unix.IFF_NOARP != 0,
		Loopback:     flags&unix.IFF_LOOPBACK != 0,
		PointToPoint: flags&unix.IFF_POINTOPOINT != 0,
	}
	for attributes.Next() {
		switch attributes.Type() {
		case unix.IFLA_IFNAME:
			l.Name = attributes.String()
		case unix.IFLA_IFALIAS:
			l.Alias = attributes.String()
		case unix.IFLA_MTU:
			l.MTU = int(attributes.Uint32())
		case unix.IFLA_LINK_NETNSID:
			l.Elsewhere = true
		case unix.IFLA_MASTER:
			l.Master = int(attributes.Uint32())
		case unix.IFLA_LINKINFO:
			attributes.Nested(l.parseInfo)
		}
	}
	return l, attributes.Err() == nil
}

// parseInfo reads IFLA_LINKINFO: the kind of the link and, for a GRE tunnel, its parameters.
func (l *Link) parseInfo(info *netlink.AttributeDecoder) error {
	for info.Next() {
		switch info.Type() {
		case unix.IFLA_INFO_KIND:
			l.Kind = info.String()
		case unix.IFLA_INFO_DATA:
			if !l.IsGRE() {
				continue
			}
			if err := l.parseGRE(info.Bytes()); err != nil {
				return err
			}
		}
	}
	return nil
}

// parseGRE reads the attributes of a GRE tunnel.
func (l *Link) parseGRE(b []byte) (err error) {
	if l.data, err = netlink.UnmarshalAttributes(b); err != nil {
		return err
	}
	for _, a := range l.data {
		switch n := len(a.Data); {
		case a.Type == greIFlags && n == 2:
			l.GRE.Keyed = binary.BigEndian.Uint16(a.Data)&greKeyFlag != 0
		case a.Type == greOFlags && n == 2:
			l.OKeyed = binary.BigEndian.Uint16(a.Data)&greKeyFlag != 0
		case a.Type == greIKey && n == 4:
			l.GRE.Key = binary.BigEndian.Uint32(a.Data)
		case a.Type == greOKey && n == 4:
			l.OKey = binary.BigEndian.Uint32(a.Data)
		case a.Type == greLocal:
			l.GRE.Local, _ = netip.AddrFromSlice(a.Data)
		case a.Type == greRemote:
			l.Remote, _ = netip.AddrFromSlice(a.Data)
		case a.Type == greTTL && n == 1:
			l.GRE.TTL = a.Data[0]
		case a.Type == greLink && n == 4:
			l.GRE.Device = int(binary.NativeEndian.Uint32(a.Data))
		case a.Type == grePMTUDisc && n == 1:
			l.PMTUDisc = a.Data[0] != 0
		case a.Type == greIgnoreDF && n == 1:
			l.IgnoreDF = a.Data[0] != 0
		case a.Type == greCollectMeta:
			l.External = true
		}
	}
	l.GRE.Fragment = !l.PMTUDisc && l.IgnoreDF
	return nil
}

// CreateGRE creates an mGRE tunnel. The new link is down and has no addresses.
func (r *Conn) CreateGRE(name string, p GREParams) error {
	attributes := netlink.NewAttributeEncoder()
	attributes.String(unix.IFLA_IFNAME, name)
	addGREInfo(attributes, p, nil)
	return r.setLink(netlink.Create|netlink.Excl, linkFlags{}, attributes)
}

// ChangeGRE changes the parameters of a tunnel in place, so that its neighbours, routes and
// addresses stay. The request also sets the MTU, because the kernel computes a new MTU if the
// device that the tunnel is bound to changes.
func (r *Conn) ChangeGRE(l *Link, p GREParams, mtu int) error {
	var keep []netlink.Attribute
	for _, a := range l.data {
		switch a.Type {
		case greIFlags, greOFlags, greIKey, greOKey, greLocal, greTTL, greLink:
		case grePMTUDisc, greIgnoreDF:
			if !p.Fragment {
				keep = append(keep, a)
			}
		default:
			keep = append(keep, a)
		}
	}
	attributes := netlink.NewAttributeEncoder()
	attributes.Uint32(unix.IFLA_MTU, uint32(mtu))
	addGREInfo(attributes, p, keep)
	return r.setLink(0, linkFlags{index: l.Index}, attributes)
}

// addGREInfo adds the attributes of an mGRE tunnel with parameters p. It adds the attributes data
// as they are.
func addGREInfo(attributes *netlink.AttributeEncoder, p GREParams, data []netlink.Attribute) {
	var flags []byte
	if p.Keyed {
		flags = binary.BigEndian.AppendUint16(nil, greKeyFlag)
	} else {
		flags = make([]byte, 2)
	}
	key := binary.BigEndian.AppendUint32(nil, p.Key)
	attributes.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
		info.String(unix.IFLA_INFO_KIND, KindGRE)
		info.Nested(unix.IFLA_INFO_DATA, func(gre *netlink.AttributeEncoder) error {
			gre.Bytes(greLocal, p.Local.AsSlice())
			gre.Bytes(greIFlags, flags)
			gre.Bytes(greOFlags, flags)
			gre.Bytes(greIKey, key)
			gre.Bytes(greOKey, key)
			gre.Uint8(greTTL, p.TTL)
			if p.Device != 0 {
				gre.Uint32(greLink, uint32(p.Device))
			}
			if p.Fragment {
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
