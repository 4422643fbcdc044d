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

// The guard has two parts. The one of guard.go stays for good, behind the policies of all SAs,
// also of those that charon gave its own priority (366975 and the like). The front guard is a
// second block policy before all that: a policy of another program's that lets everything pass
// (charon's bypass-lan, a shunt) then has no effect on GRE. Only SAs whose policies have a
// smaller number than GuardFront get past it. While a policy of an SA is behind it, it is not
// set: the SA would be dead.
//
// The front guard has a lifetime that the daemon renews, and goes when the daemon stops. An older
// version that is installed again neither knows it nor gives its SAs a priority. It consists of
// two halves of all addresses because the kernel holds one policy for a selector, and the older
// versions look for theirs by its selector.

// GuardFront is the priority of the front guard. The policies of SAs need a smaller number.
const GuardFront = 2000

const (
	frontLifetime = 150 * time.Second
	frontRenewal  = 45 * time.Second // an audit comes every minute: it finds one that is older
)

// Messages of the kernel's IPsec interface and the layout of its structures (linux/xfrm.h).
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

// policy is what this package needs to know of an IPsec policy.
type policy struct {
	src, dst  netip.Prefix
	protocol  uint8
	direction uint8
	action    uint8
	priority  uint32
	index     uint32
	expires   bool
	added     time.Time
	demands   bool // packets must come or leave through an SA
}

// coversGRE reports whether the policy's selector fits GRE packets that leave from (direction out)
// or come to (direction in) local.
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

// policies lists the kernel's IPsec policies in no order.
func policies() ([]policy, error) {
	conn, err := netlink.Dial(unix.NETLINK_XFRM, &netlink.Config{MessageBufferSize: rtnl.MessageBuffer})
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

// parsePolicy reads a struct xfrm_userpolicy_info and the attributes behind it.
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

// holdsBack reports whether the policy lets GRE of the local address pass through an SA and would
// come after the front guard.
func (p *policy) holdsBack(local netip.Addr) bool {
	return p.demands && p.priority >= GuardFront && p.coversGRE(local)
}

// isFront reports whether the policy is a part of the front guard of local.
func (p *policy) isFront(local netip.Addr) bool {
	if p.action != actionBlock || p.priority != GuardFront || p.protocol != unix.IPPROTO_GRE || !p.expires {
		return false
	}
	own, others := p.dst, p.src
	if p.direction == directionOut {
		own, others = p.src, p.dst
	}
	return own.IsSingleIP() && own.Addr() == local && others.Bits() == 1
}

// EnsureFront sets the front guard of a local address, or takes it away where the policy of an SA
// is behind it or wanted is false. It reports whether the front guard is there. It may be called
// at any time: it changes nothing that is right, and renews what is about to end.
func EnsureFront(local netip.Addr, wanted bool) (bool, error) {
	return ensureFront(local, wanted, frontLifetime)
}

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
	conn, err := netlink.Dial(unix.NETLINK_XFRM, &netlink.Config{MessageBufferSize: rtnl.MessageBuffer})
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

// policyID is the struct xfrm_userpolicy_id that names a policy by its index.
func policyID(p *policy) []byte {
	b := make([]byte, policyIDLen)
	binary.NativeEndian.PutUint32(b[selectorLen:], p.index)
	b[selectorLen+4] = p.direction
	return b
}

// frontParts are the policies of the front guard as the kernel takes them.
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
		parts = append(parts, frontPart(half, own, directionIn, lifetime), frontPart(own, half, directionOut, lifetime))
	}
	return parts
}

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
	for i := range 4 { // bytes and packets, soft and hard
		binary.NativeEndian.PutUint64(b[policyLimits+8*i:], unlimited)
	}
	binary.NativeEndian.PutUint64(b[policyHardTime:], uint64(lifetime/time.Second))
	binary.NativeEndian.PutUint32(b[policyPriority:], GuardFront)
	b[policyDirection], b[policyAction] = direction, actionBlock
	return b
}
