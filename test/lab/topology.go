package lab

import (
	"fmt"
	"net/netip"
)

// Router is a node with an address on the underlay (eth0) and usually a LAN (lan0). It forwards
// packets.
type Router struct {
	*Node
	NBMA netip.Addr   // the router's own address; behind NAT, other routers see another one
	LAN  netip.Prefix // zero if the router has no LAN

	lan   netip.Prefix // the router's own address in the LAN, with the prefix length
	ports int          // number of hosts on the LAN
}

// NAT is a node that gives the packets of the routers behind it its own source address on the
// underlay.
type NAT struct {
	*Node
	Public netip.Addr // the address on the underlay

	inside netip.Prefix // the address on the side of the routers, with the prefix length
	ports  int          // number of routers behind the box
}

// Host is a node on a router's LAN, with a default route to the router.
type Host struct {
	*Node
	Addr netip.Addr
}

// routerConfig is what the options of a router set.
type routerConfig struct {
	addr, lan string // address and prefix length each; lan may be empty
	nat       *NAT
	gateway   string // of the default route; empty: the router has none
}

// RouterOption says how a router is connected.
type RouterOption func(*routerConfig)

// Addr sets the router's address and prefix length on the underlay or, with BehindNAT, on the
// inside of the NAT box.
func Addr(prefix string) RouterOption { return func(c *routerConfig) { c.addr = prefix } }

// LAN gives the router a LAN. The prefix is the router's address in the LAN with the prefix length.
func LAN(prefix string) RouterOption { return func(c *routerConfig) { c.lan = prefix } }

// BehindNAT connects the router to a NAT box instead of the underlay. Several routers may share a
// box.
func BehindNAT(nat *NAT) RouterOption { return func(c *routerConfig) { c.nat = nat } }

// Via gives a router on the underlay a default route. A router behind NAT has one anyway.
func Via(gateway string) RouterOption { return func(c *routerConfig) { c.gateway = gateway } }

// Router adds a router. The name is at most 11 characters long.
func (n *Net) Router(name string, options ...RouterOption) *Router {
	n.Helper()
	var c routerConfig
	for _, o := range options {
		o(&c)
	}
	r := &Router{Node: n.node(name), NBMA: addr(n, c.addr).Addr()}
	if c.nat != nil {
		c.nat.connect(r.Node)
		c.gateway = c.nat.inside.Addr().String()
	} else {
		n.connect(r.Node, "eth0")
	}
	r.IP("addr add "+c.addr+" dev eth0", "link set eth0 up")
	if c.gateway != "" {
		r.IP("route add default via " + c.gateway)
	}
	r.Sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
	if c.lan != "" {
		r.lan = addr(n, c.lan)
		r.LAN = r.lan.Masked()
		r.IP("link add lan0 type bridge",
			"link add lan0-up type dummy",
			"link set lan0-up master lan0 up",
			"link set lan0 up",
			"addr add "+c.lan+" dev lan0")
	}
	return r
}

// NAT adds a NAT box. The box has the address public on the underlay and the address inside towards
// the routers behind it, and masquerades the packets of these routers.
func (n *Net) NAT(name, public, inside string) *NAT {
	n.Helper()
	box := &NAT{Node: n.node(name), Public: addr(n, public).Addr(), inside: addr(n, inside)}
	n.connect(box.Node, "eth0")
	box.IP("addr add "+public+" dev eth0", "link set eth0 up",
		"link add in0 type bridge", "link set in0 up", "addr add "+inside+" dev in0")
	box.Sysctl("net.ipv4.ip_forward=1")
	box.Iptables("-t", "nat", "-A", "POSTROUTING", "-o", "eth0", "-j", "MASQUERADE")
	return box
}

// connect joins the device eth0 of a node to the inside of the box.
func (b *NAT) connect(node *Node) {
	b.net.Helper()
	port := fmt.Sprintf("port%d", b.ports)
	b.ports++
	b.IP(
		fmt.Sprintf("link add %s type veth peer name eth0 netns %s", port, node.netns()),
		fmt.Sprintf("link set %s master in0 up", port))
}

// connect joins a device of the node to the underlay.
func (n *Net) connect(node *Node, device string) {
	n.Helper()
	n.ip(n.inet,
		fmt.Sprintf("link add %s type veth peer name %s netns %s", node.Name, device, node.netns()),
		fmt.Sprintf("link set %s master br0 up", node.Name))
}

// Host adds a host to the router's LAN. The first host has the tenth address of the LAN, the second
// host the eleventh, and so on.
func (r *Router) Host(name string) *Host {
	t := r.net
	t.Helper()
	if !r.lan.IsValid() {
		t.Fatalf("lab: %s has no LAN for host %s", r.Name, name)
	}
	ip := r.LAN.Addr()
	for range 10 + r.ports {
		ip = ip.Next()
	}
	h := &Host{Node: t.node(name), Addr: ip}
	port := fmt.Sprintf("port%d", r.ports)
	r.ports++
	r.IP(fmt.Sprintf("link add %s type veth peer name eth0 netns %s", port, h.netns()),
		fmt.Sprintf("link set %s master lan0 up", port))
	h.IP(fmt.Sprintf("addr add %s/%d dev eth0", ip, r.lan.Bits()), "link set eth0 up",
		"route add default via "+r.lan.Addr().String())
	return h
}
