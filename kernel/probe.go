// Package kernel finds out what the kernel of this machine can do (Probe). The packages below it
// are the Linux side of a DMVPN node, one part each: the tunnel, the eBPF programs, IPsec, the NHRP
// socket, neighbours and routes, and what others change in the kernel.
package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"

	"cygnet/kernel/datapath"
	"cygnet/kernel/rtnl"
	"cygnet/kernel/xfrm"

	vnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Feature is a feature of the kernel that the daemon needs, or works better with.
type Feature struct {
	Name    string // such as "ESP with AES-GCM"
	Lacking error  // why the kernel does not have the feature; nil: the kernel has it
	Without string // what does not work without the feature, apart from what IPv6 says
	IPsec   bool   // only protected interfaces use the feature
	Needed  bool   // the daemon cannot work without the feature
	IPv6    bool   // routers at IPv6 addresses cannot be reached without the feature
}

// Probe finds out which features the kernel has, by trying them. With overIPv6 it also tries what
// the daemon needs for routers at IPv6 addresses. It does so in a network namespace of its own,
// which ends with the call. It changes nothing on this machine, but it may cause the kernel to load
// modules that the daemon would have it load, too. It returns rtnl.ErrNoPermission if this process
// lacks the permission.
func Probe(overIPv6 bool) ([]Feature, error) {
	type result struct {
		features []Feature
		err      error
	}
	done := make(chan result)
	go func() {
		// The goroutine never unlocks its thread. So the thread ends with the goroutine, and the
		// namespace ends with the thread.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- result{err: rtnl.Explain(err, "make a network namespace to try the kernel in")}
			return
		}
		features := probe()
		if overIPv6 {
			features = append(features, probeIPv6()...)
		}
		done <- result{features: features}
	}()
	r := <-done
	return r.features, r.err
}

// probe tries the features in the network namespace of the calling thread. For routers at IPv6
// addresses, the eBPF programs move packets between the tunnel and the device of each router, and
// mark what the router sends; the mark tells the daemon who sent an NHRP packet.
func probe() []Feature {
	local, peer := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	return []Feature{
		{
			Name:    "multipoint GRE",
			Lacking: probeGRE(local),
			Without: "nothing works",
			Needed:  true,
		},
		{
			Name:    "IPsec policies",
			Lacking: xfrm.EnsureGuard(local),
			Without: "protected interfaces do not work",
			IPsec:   true,
			Needed:  true,
		},
		{
			Name:    "ESP with AES-GCM",
			Lacking: probeESP(local, peer, "esp4"),
			Without: "the default proposals do not work",
			IPsec:   true,
			Needed:  true,
		},
		{
			Name:    "eBPF programs at network interfaces",
			Lacking: probePrograms(),
			Without: "shorter ways are noticed by NFLOG and idle ones by counters, later than they could be, and data is let in from peers that are not admitted",
			IPv6:    true,
		},
		{
			Name:    "marks of received packets (SO_RCVMARK, Linux 5.19)",
			Lacking: probeMark(),
			Without: "of several routers behind one NAT address only one is reached",
			IPsec:   true,
			IPv6:    true,
		},
		{
			Name:    "policy routing (CONFIG_IP_MULTIPLE_TABLES)",
			Lacking: probeRule(),
			Without: "shortcuts to single addresses do not come where a routing protocol has a host route to the very address (set host_table = 0)",
		},
	}
}

// probeIPv6 is probe for the features that only routers at IPv6 addresses need.
func probeIPv6() []Feature {
	local, peer := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	return []Feature{
		{
			Name:    "GRE over IPv6",
			Lacking: probePeerGRE(local, peer),
			IPsec:   true,
			IPv6:    true,
		},
		{
			Name:    "IPsec policies for IPv6",
			Lacking: xfrm.EnsureGuard(local),
			IPsec:   true,
			IPv6:    true,
		},
		{
			Name:    "ESP with AES-GCM over IPv6",
			Lacking: probeESP(local, peer, "esp6"),
			IPsec:   true,
			IPv6:    true,
		},
	}
}

// HasIPv6 reports whether this machine's kernel has IPv6 switched on. It may cause the kernel to
// load the module.
func HasIPv6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return !errors.Is(err, unix.EAFNOSUPPORT)
	}
	unix.Close(fd)
	return true
}

// probeGRE creates an mGRE tunnel.
func probeGRE(local netip.Addr) error {
	r, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	if err := r.CreateGRE("probe", rtnl.GREParams{
		Local:   local,
		TTL:     64,
		OuterDF: rtnl.OuterDFNever,
	}); errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%w (%w)", rtnl.ErrNoGRE, err)
	} else if err != nil {
		return rtnl.Explain(err, "make a tunnel")
	}
	return nil
}

// probePeerGRE creates a GRE tunnel over IPv6 as a router at an IPv6 address gets one.
func probePeerGRE(local, peer netip.Addr) error {
	r, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	return rtnl.ExplainPeerGRE(
		r.CreatePeerGRE("probe6", 1500, rtnl.PeerGREParams{Local: local, Remote: peer, TTL: 64}),
		"make a tunnel over IPv6")
}

// probeESP adds an ESP state as charon would. The state is an inbound one, which the kernel uses
// without a policy. module is that of ESP for the IP version of the addresses.
func probeESP(local, peer netip.Addr, module string) error {
	state := &vnl.XfrmState{
		Src:          net.IP(peer.AsSlice()),
		Dst:          net.IP(local.AsSlice()),
		Proto:        vnl.XFRM_PROTO_ESP,
		Mode:         vnl.XFRM_MODE_TRANSPORT,
		Spi:          0x1000,
		ReplayWindow: 32,
		Aead: &vnl.XfrmStateAlgo{
			Name:   "rfc4106(gcm(aes))",
			Key:    make([]byte, 20),
			ICVLen: 128,
		},
	}
	err := xfrm.WithHandle(func(h *vnl.Handle) error { return h.XfrmStateAdd(state) })
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: load the modules (modprobe %s gcm), or boot a kernel that has them",
		err, module)
}

// probePrograms loads the eBPF programs of a tunnel.
func probePrograms() error {
	if err := datapath.Probe(); err != nil {
		return fmt.Errorf("%w: boot a kernel that has eBPF (CONFIG_BPF_SYSCALL), and let it load programs",
			err)
	}
	return nil
}

// probeRule adds a rule, as routes in a table of their own need it.
func probeRule() error {
	rule := vnl.NewRule()
	rule.Table, rule.Priority = 84, 1
	if err := vnl.RuleAdd(rule); err != nil {
		return fmt.Errorf("add a rule: %w: boot a kernel that has policy routing", err)
	}
	return nil
}

// probeMark sets the option that has a socket report the marks of received packets.
func probeMark() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVMARK, 1)
	if errors.Is(err, unix.ENOPROTOOPT) {
		return fmt.Errorf("setsockopt SO_RCVMARK: %w: boot Linux 5.19 or later", err)
	}
	return os.NewSyscallError("setsockopt SO_RCVMARK", err)
}
