package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const ifaddrmsgLen = 8

// address is an IP address of a link.
type address struct {
	index  int
	prefix netip.Prefix // the host's address with the network's length
	scope  byte
	flags  uint32 // unix.IFA_F_…
}

// addresses reads the addresses of a link.
func (r *requests) addresses(index int) ([]address, error) {
	all, err := r.allAddresses()
	return slices.DeleteFunc(all, func(a address) bool { return a.index != index }), err
}

// allAddresses reads the addresses of all links.
func (r *requests) allAddresses() ([]address, error) {
	messages, err := r.dump(unix.RTM_GETADDR, make([]byte, ifaddrmsgLen))
	if err != nil {
		return nil, fmt.Errorf("read the addresses: %w", err)
	}
	var all []address
	for _, m := range messages {
		if a, ok := parseAddress(m); ok {
			all = append(all, a)
		}
	}
	return all, nil
}

func parseAddress(m netlink.Message) (a address, ok bool) {
	if len(m.Data) < ifaddrmsgLen {
		return a, false
	}
	attributes, err := netlink.NewAttributeDecoder(m.Data[ifaddrmsgLen:])
	if err != nil {
		return a, false
	}
	a.flags, a.scope = uint32(m.Data[2]), m.Data[3]
	a.index = int(int32(binary.NativeEndian.Uint32(m.Data[4:])))
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
	if local.IsValid() { // on a point-to-point link the other one is the peer's
		ip = local
	}
	a.prefix = netip.PrefixFrom(ip, int(m.Data[1]))
	return a, attributes.Err() == nil && a.prefix.IsValid()
}

// addAddress gives a link an address. Duplicate address detection is off: it needs multicast, which a tunnel with many peers lacks.
func (r *requests) addAddress(index int, prefix netip.Prefix) error {
	return r.changeAddress(unix.RTM_NEWADDR, netlink.Create|netlink.Replace, index, prefix)
}

func (r *requests) deleteAddress(index int, prefix netip.Prefix) error {
	return r.changeAddress(unix.RTM_DELADDR, 0, index, prefix)
}

func (r *requests) changeAddress(kind netlink.HeaderType, how netlink.HeaderFlags, index int, prefix netip.Prefix) error {
	head := make([]byte, ifaddrmsgLen)
	head[0], head[1] = family(prefix.Addr()), byte(prefix.Bits())
	binary.NativeEndian.PutUint32(head[4:], uint32(index))
	attributes := netlink.NewAttributeEncoder()
	attributes.Bytes(unix.IFA_LOCAL, prefix.Addr().AsSlice())
	attributes.Bytes(unix.IFA_ADDRESS, prefix.Addr().AsSlice())
	if prefix.Addr().Is6() {
		attributes.Uint32(unix.IFA_FLAGS, unix.IFA_F_NODAD)
	} else if prefix.Bits() < 31 {
		attributes.Bytes(unix.IFA_BROADCAST, broadcast(prefix))
	}
	_, err := r.ask(netlink.Message{
		Header: netlink.Header{Type: kind, Flags: netlink.Acknowledge | how},
		Data:   append(head, encoded(attributes)...),
	})
	return err
}

// broadcast returns the last address of an IPv4 network.
func broadcast(prefix netip.Prefix) []byte {
	a := prefix.Addr().As4()
	host := ^uint32(0) >> prefix.Bits()
	return binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32(a[:])|host)
}

// UnderlayAddress returns the first global IPv4 address of a device, the family that tunnels are made over. Without one it returns ErrNoAddress.
func UnderlayAddress(device string) (netip.Addr, error) {
	r, err := openRequests()
	if err != nil {
		return netip.Addr{}, err
	}
	defer r.close()
	return r.underlayAddress(device, netip.Addr{})
}

// underlayAddress returns preferred if the device has it, else its first global IPv4 address.
func (r *requests) underlayAddress(device string, preferred netip.Addr) (netip.Addr, error) {
	l, err := r.linkByName(device)
	if err != nil {
		return netip.Addr{}, err
	}
	if l == nil {
		return netip.Addr{}, fmt.Errorf("there is no device %s (correct underlay if that is not its name; else the tunnel waits for it): %w", device, ErrNoAddress)
	}
	all, err := r.addresses(l.index)
	if err != nil {
		return netip.Addr{}, err
	}
	var first netip.Addr
	var six bool
	for _, a := range all {
		const notYet = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED | unix.IFA_F_DEPRECATED
		ip := a.prefix.Addr()
		if a.scope != unix.RT_SCOPE_UNIVERSE || a.flags&notYet != 0 || !ip.IsGlobalUnicast() {
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
