package lab

import (
	"cmp"
	"fmt"
	"net/netip"
)

// Router is a node with an address on the underlay (eth0) and usually a LAN (lan0). It forwards
// packets.
type Router struct {
	*Node
	NBMA netip.Addr   // the router's own address; behind NAT, other routers see another one
	LAN  netip.Prefix // zero if the router has no LAN

	// Programs is the folder of the router's cygnetd and cygnet. If it is empty, the router has
	// those that 'make build' made.
	Programs string

	lan   netip.Prefix // the router's own address in the LAN, with the prefix length
	ports int          // number of hosts on the LAN
	port  string       // how the names of the devices towards the hosts begin; empty: port
	on    string       // the device of the LAN; empty: lan0
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
	machine   bool   // the router is this machine
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

// OnMachine makes this machine the router, with the services and files that it has. Its device on
// the underlay is down and has no address: giving it the address is up to the machine's own
// services. Of one network at most one router can be the machine.
func OnMachine() RouterOption { return func(c *routerConfig) { c.machine = true } }

// Router adds a router. The name is at most 11 characters long.
func (n *Net) Router(name string, options ...RouterOption) *Router {
	n.Helper()
	var c routerConfig
	for _, o := range options {
		o(&c)
	}
	r := &Router{NBMA: addr(n, c.addr).Addr()}
	if c.machine {
		r.Node = n.machine(name)
	} else {
		r.Node = n.node(name)
	}
	if c.nat != nil {
		c.nat.Connect(r.Node, "eth0")
		c.gateway = c.nat.inside.Addr().String()
	} else {
		n.connect(r.Node, "eth0")
	}
	if !c.machine {
		r.IP("addr add "+c.addr+" dev eth0", "link set eth0 up")
	}
	if c.gateway != "" {
		r.IP("route add default via " + c.gateway)
	}
	r.Sysctl("net.ipv4.ip_forward=1")
	if HasIPv6() {
		r.Sysctl("net.ipv6.conf.all.forwarding=1")
	}
	if c.lan != "" {
		r.makeLAN("lan0", c.lan)
	}
	return r
}

// makeLAN makes a LAN of the router, in which the router has the address prefix.
func (r *Router) makeLAN(device, prefix string) {
	r.net.Helper()
	r.lan = addr(r.net, prefix)
	r.LAN = r.lan.Masked()
	r.IP("link add "+device+" type bridge",
		"link add "+device+"-up type dummy",
		"link set "+device+"-up master "+device+" up",
		"link set "+device+" up",
		"addr add "+prefix+" dev "+device)
}

// SecondLAN gives the router another LAN, the device lan1, which may have the prefix of the first.
// It returns the router with that LAN in the place of the first one, for Host.
func (r *Router) SecondLAN(prefix string) *Router {
	r.net.Helper()
	second := &Router{Node: r.Node, NBMA: r.NBMA, port: "second", on: "lan1"}
	second.makeLAN("lan1", prefix)
	return second
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

// Connect joins a device of a node to the inside of the box. The device is down.
func (b *NAT) Connect(node *Node, device string) {
	b.net.Helper()
	port := fmt.Sprintf("port%d", b.ports)
	b.ports++
	b.IP(
		fmt.Sprintf("link add %s type veth peer name %s netns %s", port, device, node.netns()),
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
	if t.hosts[ip] == nil { // another VRF may have the same addresses
		t.hosts[ip] = h.Node
	}
	port := fmt.Sprintf("%s%d", cmp.Or(r.port, "port"), r.ports)
	r.ports++
	r.IP(fmt.Sprintf("link add %s type veth peer name eth0 netns %s", port, h.netns()),
		fmt.Sprintf("link set %s master %s up", port, cmp.Or(r.on, "lan0")))
	h.IP(fmt.Sprintf("addr add %s/%d dev eth0", ip, r.lan.Bits()), "link set eth0 up",
		"route add default via "+r.lan.Addr().String())
	return h
}

// JoinLAN connects a router that has no LAN to the LAN of another router. The prefix is the
// router's address in that LAN with the prefix length.
func (r *Router) JoinLAN(of *Router, prefix string) {
	t := r.net
	t.Helper()
	port := fmt.Sprintf("port%d", of.ports)
	of.ports++
	of.IP(fmt.Sprintf("link add %s type veth peer name lan0 netns %s", port, r.netns()),
		fmt.Sprintf("link set %s master lan0 up", port))
	r.lan = addr(t, prefix)
	r.LAN = r.lan.Masked()
	r.IP("link set lan0 up", "addr add "+prefix+" dev lan0")
}
