package sysctl

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"golang.org/x/sys/unix"
)

// CheckConfig holds what Check has to know about the node.
type CheckConfig struct {
	Peers    int  // how many peers the node may have
	Forwards bool // the node routes packets for the networks behind it
	IPv6     bool // it routes IPv6 packets, too
}

// Advice names a setting of the kernel that is too small or wrong for this node.
type Advice struct {
	Sysctl string // the name as in sysctl.d, with dots
	Have   string // the present value
	Want   string // the value that it should have
	Why    string // what happens with the present value
}

// String returns the advice as one sentence, for messages.
func (a Advice) String() string {
	return fmt.Sprintf("%s is %s: %s (set it to %s in /etc/sysctl.d)",
		a.Sysctl, a.Have, a.Why, a.Want)
}

// Check compares settings of the kernel with what the node needs. It changes nothing, and leaves
// out settings that this namespace does not have or that it cannot read.
func Check(cfg CheckConfig) []Advice {
	return advise(cfg, Read, canForceBuffers())
}

const (
	largestBuffer = 32 << 20 // the largest receive buffer that the daemon asks for
	acquireLimit  = 300      // seconds; strongSwan sets 165 by default
)

// advise is Check with a function that reads a setting. force says that the process may give
// sockets receive buffers above net.core.rmem_max.
func advise(cfg CheckConfig, read func(path string) (string, error), force bool) []Advice {
	var all []Advice
	check := func(name, path string, wrong func(have int) bool, want int, why string) {
		value, err := read(path)
		if err != nil {
			return
		}
		if have, err := strconv.Atoi(value); err == nil && wrong(have) {
			all = append(all, Advice{name, value, strconv.Itoa(want), why})
		}
	}
	below := func(want int) func(int) bool { return func(have int) bool { return have < want } }
	if cfg.Forwards {
		check("net.ipv4.ip_forward", "net/ipv4/ip_forward", below(1), 1,
			"this node does not forward packets between its networks and the tunnel")
	}
	if cfg.Forwards && cfg.IPv6 {
		check("net.ipv6.conf.all.forwarding", "net/ipv6/conf/all/forwarding", below(1), 1,
			"this node does not forward IPv6 packets between its networks and the tunnel")
	}
	for _, ip := range []string{"ipv4", "ipv6"} {
		// The daemon's own entries are permanent and do not count towards the limit. The underlay's
		// entries do count: there is one for each peer on the underlay's own link.
		want := powerAbove(2 * cfg.Peers)
		check("net."+ip+".neigh.default.gc_thresh3", "net/"+ip+"/neigh/default/gc_thresh3",
			below(want), want,
			"with that many peers on the underlay's own link, the kernel cannot resolve the addresses of all")
	}
	check("net.core.xfrm_acq_expires", "net/core/xfrm_acq_expires",
		func(have int) bool { return have > acquireLimit }, 165,
		"after a failed negotiation traffic to that peer asks for no other one for so many seconds")
	check("net.ipv4.nexthop_compat_mode", "net/ipv4/nexthop_compat_mode", below(1), 1,
		"routes of a routing daemon that uses next hop objects are listed without their next hop, and resolutions cannot follow them")
	if !force {
		check("net.core.rmem_max", "net/core/rmem_max", below(largestBuffer), largestBuffer,
			"this process may not exceed it (CAP_NET_ADMIN of the host could), and a burst of registrations or of route changes overflows the receive buffers")
	}
	return all
}

// powerAbove returns the smallest power of two that is not below n.
func powerAbove(n int) int {
	p := 1
	for p < n {
		p *= 2
	}
	return p
}

// canForceBuffers reports whether this process may give sockets receive buffers above
// net.core.rmem_max. If it cannot find out, it returns true.
func canForceBuffers() bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return true
	}
	defer unix.Close(fd)
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, largestBuffer)
	return !errors.Is(err, fs.ErrPermission)
}
