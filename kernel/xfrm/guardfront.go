package xfrm

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"cygnet/kernel/rtnl"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The guard has two parts. The part in guard.go stays for good. It comes behind the policies of all
// SAs, including those whose priority charon chose (366975 and the like).
//
// The front guard is a second set of block policies, which comes before all of those. A policy of
// another program that lets everything pass (charon's bypass-lan plugin, a shunt) then has no
// effect on GRE. Only policies whose priority is a smaller number than GuardFront come before the
// front guard. If the policy of an SA has a larger number, the front guard is not set, because it
// would block the packets of that SA.
//
// The front guard has a lifetime, which the daemon renews; some time after the daemon stops, the
// kernel removes it. This lets a user go back to an older version of the daemon, which neither
// knows the front guard nor gives its SAs a priority. The front guard consists of two halves of the
// address space, because the kernel holds only one policy for a selector, and the older versions
// find their guard by its selector.

// GuardFront is the priority of the front guard. The policies of SAs need a smaller number.
const GuardFront = 2000

const (
	// frontLifetime is how long the front guard stays if the daemon does not renew it.
	frontLifetime = 150 * time.Second

	// frontRenewal is the age from which the front guard is renewed. An audit comes every minute,
	// so each audit renews it.
	frontRenewal = 45 * time.Second
)

// Messages of the kernel's IPsec interface, and the layout of its structures (linux/xfrm.h).
const (
	xfrmGetPolicy = 0x15

	policyInfoLen = 168 // struct xfrm_userpolicy_info
	policyIDLen   = 64  // struct xfrm_userpolicy_id

	selectorDst       = 0
	selectorSrc       = 16
	selectorFamily    = 40
	selectorPrefixDst = 42
	selectorPrefixSrc = 43

	policyLimits    = 56 // struct xfrm_lifetime_cfg: eight 64-bit numbers
	policyHardTime  = 96
	policyAddedAt   = 136
	policyUsedAt    = 144
	policyPriority  = 152
	policyIndex     = 156
	policyDirection = 160
	policyAction    = 161

	policyTemplates  = 5  // XFRMA_TMPL
	templateLen      = 64 // struct xfrm_user_tmpl
	templateOptional = 50

	actionAllow = 0
	actionBlock = 1

	directionIn  = 0
	directionOut = 1
)

// policy is what this package needs to know about an IPsec policy.
type policy struct {
	src, dst  netip.Prefix
	protocol  uint8
	direction uint8
	action    uint8
	priority  uint32
	index     uint32
	expires   bool // the policy has a lifetime
	added     time.Time
	demands   bool // packets must arrive or leave through an SA
}

// coversGRE reports whether the policy's selector may match GRE packets that leave from local (a
// policy of direction out) or arrive at local (a policy of direction in).
func (p *policy) coversGRE(local netip.Addr) bool {
	if p.protocol != unix.IPPROTO_GRE && p.protocol != 0 {
		return false
	}
	switch p.direction {
	case directionIn:
		return p.dst.Contains(local)
	case directionOut:
		return p.src.Contains(local)
	}
	return false
}

// policies lists the kernel's IPsec policies in no particular order.
func policies() ([]policy, error) {
	conn, err := netlink.Dial(unix.NETLINK_XFRM,
		&netlink.Config{MessageBufferSize: rtnl.MessageBuffer})
	if err != nil {
		return nil, rtnl.Explain(err, "open a netlink socket for IPsec")
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(rtnl.ReadTimeout)); err != nil {
		return nil, rtnl.Explain(err, "read the IPsec policies")
	}
	messages, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: xfrmGetPolicy, Flags: netlink.Request | netlink.Dump},
		Data:   make([]byte, policyIDLen),
	})
	if err != nil {
		return nil, rtnl.Explain(err, "read the IPsec policies")
	}
	list := make([]policy, 0, len(messages))
	for _, m := range messages {
		if p, ok := parsePolicy(m.Data); ok {
			list = append(list, p)
		}
	}
	return list, nil
}

// parsePolicy reads a struct xfrm_userpolicy_info and the attributes that follow it.
func parsePolicy(b []byte) (policy, bool) {
	if len(b) < policyInfoLen {
		return policy{}, false
	}
	size := 4
	if binary.NativeEndian.Uint16(b[selectorFamily:]) == unix.AF_INET6 {
		size = 16
	}
	prefix := func(address, bits int) netip.Prefix {
		a, _ := netip.AddrFromSlice(b[address : address+size])
		return netip.PrefixFrom(a, int(b[bits]))
	}
	number := func(at int) uint64 { return binary.NativeEndian.Uint64(b[at:]) }
	p := policy{
		src:       prefix(selectorSrc, selectorPrefixSrc),
		dst:       prefix(selectorDst, selectorPrefixDst),
		protocol:  b[selectorProtocol],
		direction: b[policyDirection],
		action:    b[policyAction],
		priority:  binary.NativeEndian.Uint32(b[policyPriority:]),
		index:     binary.NativeEndian.Uint32(b[policyIndex:]),
		expires:   number(policyHardTime) != 0 && number(policyHardTime) != ^uint64(0),
		added:     time.Unix(int64(number(policyAddedAt)), 0),
	}
	attributes, err := netlink.NewAttributeDecoder(b[policyInfoLen:])
	if err != nil {
		return policy{}, false
	}
	for attributes.Next() {
		if attributes.Type() != policyTemplates || p.action != actionAllow {
			continue
		}
		for t := attributes.Bytes(); len(t) >= templateLen; t = t[templateLen:] {
			p.demands = p.demands || t[templateOptional] == 0
		}
	}
	return p, attributes.Err() == nil && p.src.IsValid() && p.dst.IsValid()
}

// holdsBack reports whether the policy sends GRE of the local address through an SA and comes
// behind the front guard. The front guard would then block the packets of that SA.
func (p *policy) holdsBack(local netip.Addr) bool {
	return p.demands && p.priority >= GuardFront && p.coversGRE(local)
}

// isFront reports whether the policy is a part of the front guard of local.
func (p *policy) isFront(local netip.Addr) bool {
	if p.action != actionBlock || p.priority != GuardFront ||
		p.protocol != unix.IPPROTO_GRE || !p.expires {
		return false
	}
	own, others := p.dst, p.src
	if p.direction == directionOut {
		own, others = p.src, p.dst
	}
	return own.IsSingleIP() && own.Addr() == local && others.Bits() == 1
}

// EnsureFront sets the front guard of a local address. If wanted is false, or if the policy of an
// SA comes behind the front guard, EnsureFront removes the front guard instead. It reports whether
// the front guard is set. It may be called at any time: it changes only what is wrong, and renews
// the front guard in time.
func EnsureFront(local netip.Addr, wanted bool) (bool, error) {
	return ensureFront(local, wanted, frontLifetime)
}

// ensureFront is EnsureFront with the lifetime that the kernel gives the front guard.
func ensureFront(local netip.Addr, wanted bool, lifetime time.Duration) (bool, error) {
	all, err := policies()
	if err != nil {
		return false, err
	}
	var front []policy
	fresh := 0
	for i := range all {
		switch p := &all[i]; {
		case p.holdsBack(local):
			wanted = false
		case p.isFront(local):
			front = append(front, *p)
			if age := time.Since(p.added); age >= 0 && age < frontRenewal {
				fresh++
			}
		}
	}
	parts := frontParts(local, lifetime)
	if wanted && fresh == len(parts) || !wanted && len(front) == 0 {
		return wanted, nil
	}
	conn, err := netlink.Dial(unix.NETLINK_XFRM,
		&netlink.Config{MessageBufferSize: rtnl.MessageBuffer})
	if err != nil {
		return false, rtnl.Explain(err, "open a netlink socket for IPsec")
	}
	defer conn.Close()
	change := func(kind netlink.HeaderType, data []byte) error {
		if err := conn.SetDeadline(time.Now().Add(rtnl.ReadTimeout)); err != nil {
			return err
		}
		_, err := conn.Execute(netlink.Message{
			Header: netlink.Header{Type: kind, Flags: netlink.Request | netlink.Acknowledge},
			Data:   data,
		})
		return err
	}
	if wanted {
		for _, p := range parts {
			if err := change(xfrmUpdPolicy, p); err != nil {
				return false, rtnl.Explain(err, "set the front guard of %s", local)
			}
		}
		return true, nil
	}
	for i := range front {
		err := change(xfrmDelPolicy, policyID(&front[i]))
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return false, rtnl.Explain(err, "take back the front guard of %s", local)
		}
	}
	return false, nil
}

// policyID returns the struct xfrm_userpolicy_id that names a policy by its index.
func policyID(p *policy) []byte {
	b := make([]byte, policyIDLen)
	binary.NativeEndian.PutUint32(b[selectorLen:], p.index)
	b[selectorLen+4] = p.direction
	return b
}

// frontParts returns the four policies of the front guard in the kernel's format: one for each half
// of the address space and each direction.
func frontParts(local netip.Addr, lifetime time.Duration) [][]byte {
	low := netip.PrefixFrom(netip.IPv4Unspecified(), 1)
	high := netip.PrefixFrom(netip.AddrFrom4([4]byte{128}), 1)
	if local.Is6() {
		low = netip.PrefixFrom(netip.IPv6Unspecified(), 1)
		high = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x80}), 1)
	}
	own := netip.PrefixFrom(local, local.BitLen())
	var parts [][]byte
	for _, half := range []netip.Prefix{low, high} {
		parts = append(parts,
			frontPart(half, own, directionIn, lifetime),
			frontPart(own, half, directionOut, lifetime))
	}
	return parts
}

// frontPart returns one policy of the front guard, as struct xfrm_userpolicy_info.
func frontPart(src, dst netip.Prefix, direction byte, lifetime time.Duration) []byte {
	b := make([]byte, policyInfoLen)
	copy(b[selectorDst:], dst.Addr().AsSlice())
	copy(b[selectorSrc:], src.Addr().AsSlice())
	family := uint16(unix.AF_INET)
	if src.Addr().Is6() {
		family = unix.AF_INET6
	}
	binary.NativeEndian.PutUint16(b[selectorFamily:], family)
	b[selectorPrefixDst], b[selectorPrefixSrc] = byte(dst.Bits()), byte(src.Bits())
	b[selectorProtocol] = unix.IPPROTO_GRE
	const unlimited = ^uint64(0)
	for i := range 4 { // the soft and the hard limit of bytes and of packets
		binary.NativeEndian.PutUint64(b[policyLimits+8*i:], unlimited)
	}
	binary.NativeEndian.PutUint64(b[policyHardTime:], uint64(lifetime/time.Second))
	binary.NativeEndian.PutUint32(b[policyPriority:], GuardFront)
	b[policyDirection], b[policyAction] = direction, actionBlock
	return b
}
