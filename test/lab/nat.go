package lab

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Masquerade sets how the box chooses source ports from now on. Without random it keeps a router's
// port where it can, as Linux does by default and most home routers do. With random it chooses a
// random port for each destination, as a symmetric NAT does.
func (b *NAT) Masquerade(random bool) {
	b.net.Helper()
	rule := []string{"-t", "nat", "-A", "POSTROUTING", "-o", "eth0", "-j", "MASQUERADE"}
	if random {
		rule = append(rule, "--random")
	}
	b.IP("link set eth0 down") // no packet must leave while there is no rule
	b.Iptables("-t", "nat", "-F", "POSTROUTING")
	b.Iptables(rule...)
	b.IP("link set eth0 up")
}

// Close makes the box drop every packet from outside that is addressed to the box itself and
// answers nothing, as every home router does. Otherwise the box would answer the packet by which a
// peer punches a hole, and would keep a mapping for it.
func (b *NAT) Close() {
	b.net.Helper()
	b.Iptables("-A", "INPUT", "-i", "eth0", "-j", "DROP")
}

// Move gives the box another public address, written with its prefix length. The box makes all its
// mappings anew after that.
func (b *NAT) Move(public string) {
	b.net.Helper()
	b.IP(
		"addr del "+netip.PrefixFrom(b.Public, addr(b.net, public).Bits()).String()+" dev eth0",
		"addr add "+public+" dev eth0")
	b.Public = addr(b.net, public).Addr()
}

// Forward makes the box a one-to-one NAT: every packet from outside to the box's public address
// goes to the router, even if the router has sent nothing before.
func (b *NAT) Forward(r *Router) {
	b.net.Helper()
	b.Iptables("-t", "nat", "-A", "PREROUTING", "-i", "eth0", "-d", b.Public.String(),
		"-j", "DNAT", "--to-destination", r.NBMA.String())
}

// Forget makes the box forget its mappings for packets to an address. Packets from there are
// strangers to it until a router behind it sends something there again.
func (b *NAT) Forget(peer netip.Addr) {
	b.net.Helper()
	filter := &netlink.ConntrackFilter{}
	err := filter.AddIP(netlink.ConntrackOrigDstIP, peer.AsSlice())
	if err == nil {
		err = b.netlink(unix.NETLINK_NETFILTER, func(h *netlink.Handle) error {
			n, err := h.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, filter)
			if err == nil && n == 0 {
				return fmt.Errorf("it has none")
			}
			return err
		})
	}
	if err != nil {
		b.net.Fatalf("%s: forget the mappings to %s: %v", b.Name, peer, err)
	}
}
