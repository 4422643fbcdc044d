//go:build lab

package scenario

import (
	"fmt"
	"net/netip"
	"testing"

	"cygnet/test/lab"
)

// The lab's FRR works by itself: an FRR spoke registers with an FRR hub. Other scenarios run
// against it.
func TestLabFRR(t *testing.T) {
	net := lab.New(t)
	hub := net.Router("hub", lab.Addr("192.0.2.1/24"))
	spoke := net.Router("spoke1", lab.Addr("192.0.2.11/24"))
	for r, overlay := range map[*lab.Router]string{hub: "10.255.0.1/32", spoke: "10.255.0.11/32"} {
		r.IP("link add gre1 type gre local "+r.NBMA.String()+" key 42 ttl 64",
			"link set gre1 arp on up", "addr add "+overlay+" dev gre1")
	}
	hubFRR := hub.FRR("nhrpd", "interface gre1\n ip nhrp network-id 1\n ip nhrp redirect\n")
	spoke.FRR("nhrpd",
		"interface gre1\n ip nhrp network-id 1\n ip nhrp nhs dynamic nbma 192.0.2.1\n ip nhrp shortcut\n")
	net.Await("the hub knows the spoke", soon, func() error {
		var cache any
		if err := hubFRR.Show(&cache, "show ip nhrp cache"); err != nil {
			return err
		}
		if err := answers(hub, addr("10.255.0.11"), spoke.NBMA); err != nil {
			return fmt.Errorf("cache %v: %w", cache, err)
		}
		return answers(spoke, addr("10.255.0.1"), hub.NBMA)
	})
	hub.Ping(addr("10.255.0.11"), 3)
}

// answers returns nil when the kernel of a router with FRR can send to a router by its overlay
// address. FRR's nhrpd knows the other router first, and has zebra set the neighbour and then the
// host route.
func answers(r *lab.Router, overlay, nbma netip.Addr) error {
	at, routes := r.Neighbors("gre1")[overlay], r.Routes(netip.PrefixFrom(overlay, 32).String())
	return lab.True(at == nbma && len(routes) > 0, "%s has %s at %s, and the routes %+v", r.Name,
		overlay, at, routes)
}
