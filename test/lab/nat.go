package lab

import "net/netip"

// Masquerade has the box choose source ports from now on: as they are where it can (the default of Linux, and of most homes), or at
// random, another one for each peer, as a symmetric NAT does.
func (b *NAT) Masquerade(random bool) {
	b.net.Helper()
	rule := []string{"-t", "nat", "-A", "POSTROUTING", "-o", "eth0", "-j", "MASQUERADE"}
	if random {
		rule = append(rule, "--random")
	}
	b.IP("link set eth0 down") // without a rule nothing must leave
	b.Iptables("-t", "nat", "-F", "POSTROUTING")
	b.Iptables(rule...)
	b.IP("link set eth0 up")
}

// Close has the box drop what comes from outside to itself and is no answer, as every home router does. Without that it would answer, and
// so remember, what a peer sends to punch a hole.
func (b *NAT) Close() {
	b.net.Helper()
	b.Iptables("-A", "INPUT", "-i", "eth0", "-j", "DROP")
}

// Move gives the box another public address, with its prefix length. All mappings are new from then on.
func (b *NAT) Move(public string) {
	b.net.Helper()
	b.IP("addr del "+netip.PrefixFrom(b.Public, addr(b.net, public).Bits()).String()+" dev eth0", "addr add "+public+" dev eth0")
	b.Public = addr(b.net, public).Addr()
}

// Forward makes the box a NAT of one to one: what comes from outside goes to the router, whoever begins.
func (b *NAT) Forward(r *Router) {
	b.net.Helper()
	b.Iptables("-t", "nat", "-A", "PREROUTING", "-i", "eth0", "-d", b.Public.String(), "-j", "DNAT", "--to-destination", r.NBMA.String())
}
