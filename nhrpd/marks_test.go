package nhrpd

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/config"
)

// markedInterface returns an open interface. The loop knows router 1 by its mark, at a NAT address.
// The kernel has SAs of routers 1 and 2 at that address. reads counts how often the kernel's
// policies were read.
func markedInterface(protected bool) (i *iface, reads *int) {
	nat := netip.MustParseAddr("203.0.113.9")
	reads = new(int)
	platform := &Platform{MarkedPeers: func(netip.Addr) (map[netip.Addr]netip.Addr, error) {
		*reads++
		return map[netip.Addr]netip.Addr{xfrm.MarkedNBMA(1): nat, xfrm.MarkedNBMA(2): nat}, nil
	}}
	return &iface{
		name:   "gre1",
		config: config.Interface{Name: "gre1", Protected: protected},
		runner: &runner{platform: platform},
		marked: map[netip.Addr]netip.Addr{xfrm.MarkedNBMA(1): nat},
	}, reads
}

// A packet with a router's mark is the router's only if it comes from the router's address. The
// site's firewall may set the same mark.
func TestMarkCountsWithItsOuterSourceOnly(t *testing.T) {
	nat, other := netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("198.51.100.7")
	for name, test := range map[string]struct {
		mark      uint32
		from      netip.Addr
		protected bool
		want      netip.Addr
	}{
		"no mark":                         {0, nat, true, nat},
		"a router that is known":          {1, nat, true, xfrm.MarkedNBMA(1)},
		"its mark, set by a firewall":     {1, other, true, other},
		"a router that is about to be":    {2, nat, true, xfrm.MarkedNBMA(2)},
		"its mark, set by a firewall too": {2, other, true, other},
		"a mark of nobody's":              {3, nat, true, nat},
		"a mark that names nobody":        {1 << 24, nat, true, nat},
		"where marks name nobody":         {1, nat, false, nat},
		"no outer source":                 {3, netip.Addr{}, true, netip.Addr{}},
	} {
		t.Run(name, func(t *testing.T) {
			i, _ := markedInterface(test.protected)
			m := &nhrpsocket.Message{NBMA: test.from, Mark: test.mark}
			if got := i.senderOf(time.Now(), m); got != test.want {
				t.Errorf("mark %d from %s is %s's packet, want %s",
					test.mark, test.from, got, test.want)
			}
		})
	}
}

// A firewall that marks every packet does not make the daemon read the kernel's policies all the
// time. The next reading still finds a new SA.
func TestMarksOfAFirewallCostLittle(t *testing.T) {
	gre1, reads := markedInterface(true)
	now := time.Now()
	for i := range 5000 {
		from := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
		gre1.senderOf(now.Add(time.Duration(i)*time.Millisecond/10),
			&nhrpsocket.Message{NBMA: from, Mark: 7})
	}
	if *reads != 1 {
		t.Errorf("the policies were read %d times in half a second, want once", *reads)
	}
	late := netip.MustParseAddr("203.0.113.10")
	gre1.runner.platform.MarkedPeers = func(netip.Addr) (map[netip.Addr]netip.Addr, error) {
		return map[netip.Addr]netip.Addr{xfrm.MarkedNBMA(7): late}, nil
	}
	m := &nhrpsocket.Message{NBMA: late, Mark: 7}
	if got := gre1.senderOf(now.Add(time.Hour), m); got != xfrm.MarkedNBMA(7) {
		t.Errorf("the new router's packet is %s's", got)
	}
	gre1.runner.platform.MarkedPeers = func(netip.Addr) (map[netip.Addr]netip.Addr, error) {
		return nil, errors.New("no policies")
	}
	m.Mark = 8
	if got := gre1.senderOf(now.Add(2*time.Hour), m); got != late {
		t.Errorf("with policies that cannot be read, the packet is %s's, want the outer source's",
			got)
	}
}
