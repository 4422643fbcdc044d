package rtnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Rule has the kernel look up every destination of a family in a table (`ip rule add table`). The
// kernel asks the rules in the order of their priorities, the lowest first, until a table has a
// route.
type Rule struct {
	Family   byte // AF_INET or AF_INET6
	Table    uint32
	Priority uint32

	// From restricts the rule to what has this source address. The zero address: all sources.
	From netip.Addr
}

// String returns the rule in words, for messages.
func (r Rule) String() string {
	family := "IPv4"
	if r.Family == unix.AF_INET6 {
		family = "IPv6"
	}
	from := ""
	if r.From.IsValid() {
		from = " from " + r.From.String()
	}
	return fmt.Sprintf("%s rule%s for table %d (priority %d)", family, from, r.Table, r.Priority)
}

// ruleHeaderLen is the size in bytes of struct fib_rule_hdr, which the attributes follow.
const ruleHeaderLen = 12

// AddRule returns the message that adds a rule of the daemon's. The kernel refuses it with EEXIST
// if it has the rule.
func AddRule(r Rule) netlink.Message {
	m := ruleMessage(unix.RTM_NEWRULE, r)
	m.Header.Flags = netlink.Create | netlink.Excl
	return m
}

// DeleteRule returns the message that removes a rule of the daemon's.
func DeleteRule(r Rule) netlink.Message { return ruleMessage(unix.RTM_DELRULE, r) }

// ruleMessage returns a message of the given type about a rule.
func ruleMessage(kind netlink.HeaderType, r Rule) netlink.Message {
	head := make([]byte, ruleHeaderLen, 48)
	head[0], head[7] = r.Family, unix.FR_ACT_TO_TBL
	attributes := netlink.NewAttributeEncoder()
	if r.From.IsValid() {
		head[2] = byte(r.From.BitLen())
		attributes.Bytes(unix.FRA_SRC, r.From.AsSlice())
	}
	attributes.Uint32(unix.FRA_TABLE, r.Table)
	attributes.Uint32(unix.FRA_PRIORITY, r.Priority)
	attributes.Uint8(unix.FRA_PROTOCOL, Protocol)
	return netlink.Message{
		Header: netlink.Header{Type: kind},
		Data:   append(head, Encode(attributes)...),
	}
}

// Rules reads the rules that AddRule could have made, and tells those with the protocol number
// Protocol from those of others. A kernel without rules has none.
func (r *Conn) Rules() (own, others []Rule, err error) {
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		head := make([]byte, ruleHeaderLen)
		head[0] = family
		messages, err := r.Dump(unix.RTM_GETRULE, head)
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read the rules: %w", err)
		}
		for _, m := range messages {
			switch rule, ours, ok := ParseRule(m); {
			case ok && ours:
				own = append(own, rule)
			case ok:
				others = append(others, rule)
			}
		}
	}
	return own, others, nil
}

// ParseRule reads a rule, and reports whether it is one of the daemon's. It returns false for ok if
// the message is no rule, or if the rule is one that AddRule does not make: with another action, or
// for some packets only in another way than by their source.
func ParseRule(m netlink.Message) (r Rule, ours, ok bool) {
	if len(m.Data) < ruleHeaderLen {
		return r, false, false
	}
	head := m.Data[:ruleHeaderLen]
	attributes, err := netlink.NewAttributeDecoder(m.Data[ruleHeaderLen:])
	if err != nil {
		return r, false, false
	}
	invert := binary.NativeEndian.Uint32(head[8:])&unix.FIB_RULE_INVERT != 0
	simple := head[1] == 0 && head[3] == 0 && head[7] == unix.FR_ACT_TO_TBL && !invert
	r.Family, r.Table = head[0], uint32(head[4])
	for attributes.Next() {
		switch attributes.Type() {
		case unix.FRA_SRC:
			r.From, _ = netip.AddrFromSlice(attributes.Bytes())
		case unix.FRA_TABLE:
			r.Table = attributes.Uint32()
		case unix.FRA_PRIORITY:
			r.Priority = attributes.Uint32()
		case unix.FRA_PROTOCOL:
			ours = attributes.Uint8() == Protocol
		case unix.FRA_SUPPRESS_PREFIXLEN, unix.FRA_SUPPRESS_IFGROUP:
			simple = simple && attributes.Uint32() == math.MaxUint32 // nothing is suppressed
		default:
			simple = false
		}
	}
	if int(head[2]) != r.From.BitLen() {
		simple = false // the rule is for a prefix
	}
	return r, ours, simple && attributes.Err() == nil
}
