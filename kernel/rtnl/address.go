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

// UnderlayAddress returns the first global IPv4 address of a device; tunnels run over IPv4 only. It
// returns ErrNoAddress if the device has none.
func UnderlayAddress(device string) (netip.Addr, error) {
	r, err := Open()
	if err != nil {
		return netip.Addr{}, err
	}
	defer r.Close()
	return r.UnderlayAddress(device, netip.Addr{})
}

// UnderlayAddress returns the address preferred if the device has it, and otherwise the device's
// first global IPv4 address. It returns ErrNoAddress if the device has none.
func (r *Conn) UnderlayAddress(device string, preferred netip.Addr) (netip.Addr, error) {
	l, err := r.LinkByName(device)
	if err != nil {
		return netip.Addr{}, err
	}
	if l == nil {
		return netip.Addr{}, fmt.Errorf("there is no device %s (correct underlay if that is not its name; else the tunnel waits for it): %w", device, ErrNoAddress)
	}
	all, err := r.Addresses(l.Index)
	if err != nil {
		return netip.Addr{}, err
	}
	var first netip.Addr
	var six bool
	for _, a := range all {
		const notYet = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED | unix.IFA_F_DEPRECATED
		ip := a.Prefix.Addr()
		if a.Scope != unix.RT_SCOPE_UNIVERSE || a.flags&notYet != 0 || !ip.IsGlobalUnicast() {
			continue
		}
		switch {
		case ip.Is6():
			six = true
		case ip == preferred:
			return ip, nil
		case !first.IsValid():
			first = ip
		}
	}
	switch {
	case first.IsValid():
		return first, nil
	case six:
		return first, fmt.Errorf("the underlay interface %s has IPv6 addresses only: %w (Linux does not tell the sender of what came through GRE over IPv6, so NHRP cannot work there)", device, ErrNoAddress)
	}
	return first, fmt.Errorf("the device %s has no global IPv4 address (the tunnel waits for one): %w", device, ErrNoAddress)
}
