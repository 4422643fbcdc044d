package xfrm

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"cygnet/kernel/rtnl"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ClearIn returns how many packets arrived in clear although a policy demands ESP for them, since
// the network namespace was made. The kernel drops such packets.
func ClearIn() (uint64, error) {
	text, err := os.ReadFile("/proc/net/xfrm_stat")
	if err != nil {
		return 0, fmt.Errorf("read the kernel's IPsec counters: %w", err)
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) == 2 && fields[0] == "XfrmInTmplMismatch" {
			return strconv.ParseUint(fields[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("the kernel does not count packets in clear: no XfrmInTmplMismatch in /proc/net/xfrm_stat")
}

// PolicyUse returns when each address last sent GRE to local that the policy of an SA matched. The
// times are whole seconds of the kernel's clock. The kernel notes the time before it checks whether
// the packet came through ESP, so packets in clear count, too.
func PolicyUse(local netip.Addr) (map[netip.Addr]time.Time, error) {
	conn, err := netlink.Dial(unix.NETLINK_XFRM,
		&netlink.Config{MessageBufferSize: rtnl.MessageBuffer})
	if err != nil {
		return nil, rtnl.Explain(err, "open a netlink socket for IPsec")
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(rtnl.ReadTimeout)); err != nil {
		return nil, rtnl.Explain(err, "read the IPsec policies")
	}
	const getPolicy = 0x15 // XFRM_MSG_GETPOLICY
	messages, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: getPolicy, Flags: netlink.Request | netlink.Dump},
		Data:   make([]byte, 64),
	})
	if err != nil {
		return nil, rtnl.Explain(err, "read the IPsec policies")
	}
	uses := make(map[netip.Addr]time.Time)
	for _, m := range messages {
		if source, used, ok := policyUse(m.Data, local); ok && used.After(uses[source]) {
			uses[source] = used
		}
	}
	return uses, nil
}

// policyUse reads a struct xfrm_userpolicy_info. It returns false unless that is a policy for GRE
// that arrives at local from one host, and has been used.
func policyUse(b []byte, local netip.Addr) (source netip.Addr, used time.Time, ok bool) {
	const familyAt, prefixesAt, protocolAt, usedAt, directionAt, length = 40, 42, 44, 144, 160, 168
	if len(b) < length || b[protocolAt] != unix.IPPROTO_GRE || b[directionAt] != 0 {
		return source, used, false
	}
	size := 4
	if binary.NativeEndian.Uint16(b[familyAt:]) == unix.AF_INET6 {
		size = 16
	}
	destination, _ := netip.AddrFromSlice(b[:size])
	source, _ = netip.AddrFromSlice(b[16 : 16+size])
	host := byte(8 * size)
	at := int64(binary.NativeEndian.Uint64(b[usedAt:]))
	return source, time.Unix(at, 0), destination == local &&
		b[prefixesAt] == host && b[prefixesAt+1] == host && at != 0
}
