package rtnl

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// addressHeaderLen is the size in bytes of struct ifaddrmsg, which the attributes follow.
const addressHeaderLen = 8

// Address is an IP address of a link.
type Address struct {
	Index  int
	Prefix netip.Prefix // this host's address, with the length of the network's prefix
	Scope  byte         // unix.RT_SCOPE_…
	flags  uint32       // unix.IFA_F_…
}

// Addresses reads the addresses of a link.
func (r *Conn) Addresses(index int) ([]Address, error) {
	all, err := r.AllAddresses()
	return slices.DeleteFunc(all, func(a Address) bool { return a.Index != index }), err
}

// AllAddresses reads the addresses of all links.
func (r *Conn) AllAddresses() ([]Address, error) {
	messages, err := r.Dump(unix.RTM_GETADDR, make([]byte, addressHeaderLen))
	if err != nil {
		return nil, fmt.Errorf("read the addresses: %w", err)
	}
	var all []Address
	for _, m := range messages {
		if a, ok := ParseAddress(m); ok {
			all = append(all, a)
		}
	}
	return all, nil
}

// Has reports whether an address is this host's: a link has it, or a local route leads to it.
func (r *Conn) Has(ip netip.Addr) (bool, error) {
	all, err := r.AllAddresses()
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(all, func(a Address) bool { return a.Prefix.Addr() == ip }) {
		return true, nil
	}
	head := make([]byte, RouteHeaderLen)
	head[0], head[1] = Family(ip), byte(ip.BitLen())
	attributes := netlink.NewAttributeEncoder()
	attributes.Bytes(unix.RTA_DST, ip.AsSlice())
	answer, err := r.Ask(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETROUTE},
		Data:   append(head, Encode(attributes)...),
	})
	if err != nil || len(answer) == 0 {
		return false, nil // the kernel has several errors for an address that no route leads to
	}
	route, ok := ParseRoute(answer[0])
	return ok && route.Kind == unix.RTN_LOCAL, nil
}

// ParseAddress reads an RTM_NEWADDR or RTM_DELADDR message. It returns false if the message is too
// short or has no address.
func ParseAddress(m netlink.Message) (a Address, ok bool) {
	if len(m.Data) < addressHeaderLen {
		return a, false
	}
	attributes, err := netlink.NewAttributeDecoder(m.Data[addressHeaderLen:])
	if err != nil {
		return a, false
	}
	a.flags, a.Scope = uint32(m.Data[2]), m.Data[3]
	a.Index = int(int32(binary.NativeEndian.Uint32(m.Data[4:])))
	var ip, local netip.Addr
	for attributes.Next() {
		switch attributes.Type() {
		case unix.IFA_ADDRESS:
			ip, _ = netip.AddrFromSlice(attributes.Bytes())
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(attributes.Bytes())
		case unix.IFA_FLAGS:
			a.flags = attributes.Uint32()
		}
	}
	// On a point-to-point link IFA_ADDRESS is the peer's address, and IFA_LOCAL is this host's.
	if local.IsValid() {
		ip = local
	}
	a.Prefix = netip.PrefixFrom(ip, int(m.Data[1]))
	return a, attributes.Err() == nil && a.Prefix.IsValid()
}

// AddAddress gives a link an address. It switches duplicate address detection off, since that needs
// multicast, which a tunnel with many peers does not carry.
func (r *Conn) AddAddress(index int, prefix netip.Prefix) error {
	return r.changeAddress(unix.RTM_NEWADDR, netlink.Create|netlink.Replace, index, prefix)
}

// DeleteAddress removes an address from a link. It returns the kernel's error if the link does not
// have the address.
func (r *Conn) DeleteAddress(index int, prefix netip.Prefix) error {
	return r.changeAddress(unix.RTM_DELADDR, 0, index, prefix)
}

// changeAddress sends a request of the given type, with the given extra flags, for one address.
func (r *Conn) changeAddress(
	kind netlink.HeaderType, how netlink.HeaderFlags, index int, prefix netip.Prefix,
) error {
	head := make([]byte, addressHeaderLen)
	head[0], head[1] = Family(prefix.Addr()), byte(prefix.Bits())
	binary.NativeEndian.PutUint32(head[4:], uint32(index))
	attributes := netlink.NewAttributeEncoder()
	attributes.Bytes(unix.IFA_LOCAL, prefix.Addr().AsSlice())
	attributes.Bytes(unix.IFA_ADDRESS, prefix.Addr().AsSlice())
	if prefix.Addr().Is6() {
		attributes.Uint32(unix.IFA_FLAGS, unix.IFA_F_NODAD)
	} else if prefix.Bits() < 31 {
		attributes.Bytes(unix.IFA_BROADCAST, broadcast(prefix))
	}
	_, err := r.Ask(netlink.Message{
		Header: netlink.Header{Type: kind, Flags: netlink.Acknowledge | how},
		Data:   append(head, Encode(attributes)...),
	})
	return err
}

// broadcast returns the last address of an IPv4 network.
func broadcast(prefix netip.Prefix) []byte {
	a := prefix.Addr().As4()
	host := ^uint32(0) >> prefix.Bits()
	return binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32(a[:])|host)
}

// Underlay holds the addresses that a tunnel sends from, one of each IP version. The zero address
// means none.
type Underlay struct {
	V4, V6 netip.Addr
}

// CarriedAddresses returns the addresses of a device that a tunnel sends from (UnderlayAddresses).
// It returns ErrNoAddress also for a device that is down or has no carrier.
func CarriedAddresses(device string) (Underlay, error) {
	r, err := Open()
	if err != nil {
		return Underlay{}, err
	}
	defer r.Close()
	l, err := r.LinkByName(device)
	if err != nil {
		return Underlay{}, err
	}
	if l != nil && (!l.Up || !l.Carrier) {
		return Underlay{}, fmt.Errorf("the device %s has no carrier: %w", device, ErrNoAddress)
	}
	return r.UnderlayAddresses(device, Underlay{})
}

// UnderlayAddresses returns the addresses of a device that a tunnel sends from (ChooseUnderlay). It
// returns ErrNoAddress if the device has none.
func (r *Conn) UnderlayAddresses(device string, preferred Underlay) (Underlay, error) {
	l, err := r.LinkByName(device)
	if err != nil {
		return Underlay{}, err
	}
	if l == nil {
		return Underlay{}, fmt.Errorf("there is no device %s (correct underlay if that is not its name; else the tunnel waits for it): %w", device, ErrNoAddress)
	}
	all, err := r.Addresses(l.Index)
	if err != nil {
		return Underlay{}, err
	}
	found := ChooseUnderlay(all, preferred)
	if found == (Underlay{}) {
		return found, fmt.Errorf("the device %s has no global address (the tunnel waits for one): %w", device, ErrNoAddress)
	}
	return found, nil
}

// ChooseUnderlay returns the addresses that a tunnel sends from, of all addresses of a device.
//
// The device's global IPv4 address is the first one, or preferred.V4 if the device has that. The
// IPv6 address is a global one that is not temporary (RFC 8981) and not deprecated. A unique local
// address (RFC 4193) counts only if the device has no other. Among several, preferred.V6 comes
// first, then one that does not expire, then the first.
func ChooseUnderlay(all []Address, preferred Underlay) Underlay {
	return Underlay{V4: choose(all, preferred.V4, rank4), V6: choose(all, preferred.V6, rank6)}
}

// choose returns the address with the highest rank above 0, the first of several; the zero address
// if there is none. preferred comes before others unless their rank is that of another kind.
func choose(all []Address, preferred netip.Addr, rank func(Address) int) netip.Addr {
	var best netip.Addr
	most := 0
	for _, a := range all {
		const notYet = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED | unix.IFA_F_DEPRECATED
		ip := a.Prefix.Addr()
		if a.Scope != unix.RT_SCOPE_UNIVERSE || a.flags&notYet != 0 || !ip.IsGlobalUnicast() {
			continue
		}
		n := rank(a)
		if ip == preferred && n > 0 {
			n |= rankPreferred
		}
		if n > most {
			best, most = ip, n
		}
	}
	return best
}

// The ranks of addresses to send from, from the least to the most.
const (
	rankUsable = 1 << iota
	rankPermanent
	rankPreferred
	rankGlobal // not a unique local address
)

// rank4 ranks an IPv4 address.
func rank4(a Address) int {
	if !a.Prefix.Addr().Is4() {
		return 0
	}
	return rankUsable
}

// rank6 ranks an IPv6 address.
func rank6(a Address) int {
	if !a.Prefix.Addr().Is6() || a.flags&unix.IFA_F_TEMPORARY != 0 {
		return 0
	}
	n := rankUsable
	if a.flags&unix.IFA_F_PERMANENT != 0 {
		n |= rankPermanent
	}
	if !a.Prefix.Addr().IsPrivate() {
		n |= rankGlobal
	}
	return n
}
