package rtnl

import (
	"bytes"
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
	greLimit    = 11 // IFLA_GRE_ENCAP_LIMIT
	greIP6Flags = 13 // IFLA_GRE_FLAGS

	ignoreLimit = 1 // IP6_TNL_F_IGN_ENCAP_LIMIT: no destination option with an encapsulation limit

	// greCollectMeta (IFLA_GRE_COLLECT_METADATA) is an attribute of a GRE link in external mode.
	greCollectMeta = 18
	greIgnoreDF    = 19

	greKeyFlag = 0x2000 // GRE_KEY; netlink carries it in network byte order

	// KindGRE is the kind of a GRE link over IPv4, as `ip -d link` names it.
	KindGRE, KindGRE6 = "gre", "ip6gre"

	// KindVRF is the kind of a VRF, and vrfTable (IFLA_VRF_TABLE) its attribute (linux/if_link.h).
	KindVRF  = "vrf"
	vrfTable = 1
)

// GREParams are the parameters of an mGRE tunnel that the configuration decides.
type GREParams struct {
	Local netip.Addr // IPv4
	Key   uint32
	Keyed bool // the tunnel has the key Key; false: it has none
	TTL   uint8

	OuterDF OuterDF // empty only in a link of another kind

	Device int // index of the device that the tunnel is bound to; 0: none
}

// OuterDF is which outer packets have the flag don't fragment, and so what the kernel does with
// a packet that is larger than the path.
type OuterDF string

// The values of OuterDF, each with the words of `ip link` for it.
const (
	// OuterDFNever has the kernel send such a packet in fragments, after encryption, whatever the
	// flag of the inner packet says: nopmtudisc ignore-df.
	OuterDFNever OuterDF = "never"
	// OuterDFCopy does so with inner packets that do not have the flag, IPv6 among them. It drops
	// the others, and tells their sender at the next packet: nopmtudisc.
	OuterDFCopy OuterDF = "copy"
	// OuterDFAlways drops such a packet. The kernel tells its sender at the next packet if that has
	// the flag or is an IPv6 packet, and the path takes 1280 bytes of it: pmtudisc.
	OuterDFAlways OuterDF = "always"
)

// Link is a link as the kernel has it. The fields about GRE are set only if Kind is gre or ip6gre.
type Link struct {
	Index  int
	Name   string
	Alias  string
	Kind   string // as `ip -d link` names it; empty for hardware
	Up     bool
	MTU    int
	Master int // index of the bridge, bond or VRF that the link belongs to; 0: none

	// Broadcast is the link-layer address to which a GRE link over IPv4 sends packets for groups.
	// It is not valid if the link has none.
	Broadcast netip.Addr

	GRE    GREParams // its key is the one of received packets
	OKey   uint32    // key of sent packets
	OKeyed bool      // sent packets have a key
	Remote netip.Addr

	// Elsewhere reports whether the device that the tunnel is bound to is in another network
	// namespace. The index of that device means nothing here.
	Elsewhere bool

	VRFTable uint32 // the routing table of a VRF; 0: the link is no VRF

	External bool // external mode: each packet carries its own tunnel parameters

	Carrier, NoARP, Multicast, Loopback, PointToPoint bool // flags of the link

	// Dormant reports whether the link's operational state is dormant (RFC 2863 §3.1.12). Then the
	// link is up and carries packets, and routing daemons that follow the state do not use it.
	Dormant bool

	// data holds all GRE attributes, so that a change can hand back those that it must keep.
	data []netlink.Attribute
}

// IsGRE reports whether the link is a GRE tunnel, over IPv4 or IPv6.
func (l *Link) IsGRE() bool { return l.Kind == KindGRE || l.Kind == KindGRE6 }

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
		Multicast:    flags&unix.IFF_MULTICAST != 0,
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
		case unix.IFLA_BROADCAST:
			if b := attributes.Bytes(); len(b) == 4 && !bytes.Equal(b, make([]byte, 4)) {
				l.Broadcast, _ = netip.AddrFromSlice(b)
			}
		case unix.IFLA_OPERSTATE:
			l.Dormant = attributes.Uint8() == operDormant
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
			if l.Kind == KindVRF {
				info.Nested(l.parseVRF)
			}
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

// parseVRF reads the attributes of a VRF.
func (l *Link) parseVRF(vrf *netlink.AttributeDecoder) error {
	for vrf.Next() {
		if vrf.Type() == vrfTable {
			l.VRFTable = vrf.Uint32()
		}
	}
	return vrf.Err()
}

// parseGRE reads the attributes of a GRE tunnel.
func (l *Link) parseGRE(b []byte) (err error) {
	if l.data, err = netlink.UnmarshalAttributes(b); err != nil {
		return err
	}
	always, ignored := false, false
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
			always = a.Data[0] != 0
		case a.Type == greIgnoreDF && n == 1:
			ignored = a.Data[0] != 0
		case a.Type == greCollectMeta:
			l.External = true
		}
	}
	switch {
	case always:
		l.GRE.OuterDF = OuterDFAlways
	case ignored:
		l.GRE.OuterDF = OuterDFNever
	default:
		l.GRE.OuterDF = OuterDFCopy
	}
	return nil
}

// CreateGRE creates an mGRE tunnel. The new link is down and has no addresses.
func (r *Conn) CreateGRE(name string, p GREParams) error {
	attributes := netlink.NewAttributeEncoder()
	attributes.String(unix.IFLA_IFNAME, name)
	addGREInfo(attributes, p, nil)
	return r.setLink(netlink.Create|netlink.Excl, linkFlags{}, attributes)
}

// PeerGREParams are the parameters of a GRE tunnel over IPv6 to a single peer.
type PeerGREParams struct {
	Local, Remote netip.Addr // IPv6
	Key           uint32
	Keyed         bool
	TTL           uint8 // 0: the kernel's default
	Device        int   // index of the device that the tunnel is bound to; 0: none
}

// CreatePeerGRE creates a GRE tunnel over IPv6 to a single peer. The new link is down and has no
// addresses.
func (r *Conn) CreatePeerGRE(name string, mtu int, p PeerGREParams) error {
	flags := make([]byte, 2)
	if p.Keyed {
		binary.BigEndian.PutUint16(flags, greKeyFlag)
	}
	key := binary.BigEndian.AppendUint32(nil, p.Key)
	attributes := netlink.NewAttributeEncoder()
	attributes.String(unix.IFLA_IFNAME, name)
	attributes.Uint32(unix.IFLA_MTU, uint32(mtu))
	attributes.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
		info.String(unix.IFLA_INFO_KIND, KindGRE6)
		info.Nested(unix.IFLA_INFO_DATA, func(gre *netlink.AttributeEncoder) error {
			gre.Bytes(greLocal, p.Local.AsSlice())
			gre.Bytes(greRemote, p.Remote.AsSlice())
			gre.Bytes(greIFlags, flags)
			gre.Bytes(greOFlags, flags)
			gre.Bytes(greIKey, key)
			gre.Bytes(greOKey, key)
			gre.Uint8(greTTL, p.TTL)
			gre.Uint8(greLimit, 0)
			gre.Uint32(greIP6Flags, ignoreLimit)
			if p.Device != 0 {
				gre.Uint32(greLink, uint32(p.Device))
			}
			return nil
		})
		return nil
	})
	return r.setLink(netlink.Create|netlink.Excl, linkFlags{}, attributes)
}

// PeerGRE returns the parameters of a GRE tunnel over IPv6. It returns false if the link is none,
// or does not use the same key in both directions.
func (l *Link) PeerGRE() (PeerGREParams, bool) {
	p := PeerGREParams{
		Local: l.GRE.Local, Remote: l.Remote,
		Key: l.GRE.Key, Keyed: l.GRE.Keyed, TTL: l.GRE.TTL, Device: l.GRE.Device,
	}
	return p, l.Kind == KindGRE6 && !l.External && l.OKey == p.Key && l.OKeyed == p.Keyed
}

// ChangeGRE changes the parameters of a tunnel in place, so that its neighbours, routes and
// addresses stay. The request also sets the MTU, because the kernel computes a new MTU if the
// device that the tunnel is bound to changes. The kernel refuses pmtudisc as long as the link has
// ignore-df, even in a request that ends that, so that this change takes two requests.
func (r *Conn) ChangeGRE(l *Link, p GREParams, mtu int) error {
	if l.GRE.OuterDF == OuterDFNever && p.OuterDF == OuterDFAlways {
		between := p
		between.OuterDF = OuterDFCopy
		if err := r.changeGRE(l, between, mtu); err != nil {
			return err
		}
	}
	return r.changeGRE(l, p, mtu)
}

// changeGRE is ChangeGRE by one request.
func (r *Conn) changeGRE(l *Link, p GREParams, mtu int) error {
	var keep []netlink.Attribute
	for _, a := range l.data {
		switch a.Type {
		case greIFlags, greOFlags, greIKey, greOKey, greLocal, greTTL, greLink,
			grePMTUDisc, greIgnoreDF:
		default:
			keep = append(keep, a)
		}
	}
	attributes := netlink.NewAttributeEncoder()
	attributes.Uint32(unix.IFLA_MTU, uint32(mtu))
	addGREInfo(attributes, p, keep)
	return r.setLink(0, linkFlags{index: l.Index}, attributes)
}

// one returns 1 for true and 0 for false.
func one(b bool) uint8 {
	if b {
		return 1
	}
	return 0
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
			gre.Uint8(grePMTUDisc, one(p.OuterDF == OuterDFAlways))
			gre.Uint8(greIgnoreDF, one(p.OuterDF == OuterDFNever))
			for _, a := range data {
				gre.Bytes(a.Type, a.Data)
			}
			return nil
		})
		return nil
	})
}
