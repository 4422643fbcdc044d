//go:build lab

package scenario

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"cygnet/test/lab"
)

const dualCloudRecipe = "../../doc/recipes/dual-cloud.md"

// newDualCloud starts the routers of the recipe. Each spoke has two lines, eth0 and eth1, with the
// recipe's tables, and a tunnel over each.
func newDualCloud(t *testing.T) *twoClouds {
	t.Helper()
	config := lab.Snippet(t, dualCloudRecipe, "# /etc/cygnet/cygnet.toml")
	for _, table := range []string{"gre1.ipsec", "gre2", "gre2.ipsec"} {
		config += lab.Snippet(t, dualCloudRecipe, "[interface."+table+"]")
	}
	tables := lab.Snippet(t, dualCloudRecipe,
		"ip route replace default via 198.51.100.254 dev eth0 table 100")
	// There are no gateways here: the networks of both providers are on the link.
	tables = replace(tables, "via 198.51.100.254 ", "", "via 203.0.113.254 ", "")
	return newClouds(t, config, func(hub, s *lab.Site, number int) netip.Addr {
		second := addr(fmt.Sprintf("203.0.113.%d", 11+number))
		hub.IP("route replace 203.0.113.0/24 dev eth0")
		s.SecondLine("eth1")
		// Both lines are in one bridge: a device must not answer for the other one's address.
		s.Sysctl("net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.arp_announce=2")
		s.IP("addr add "+second.String()+"/24 dev eth1", "link set eth1 up")
		s.Run("sh", "-c", tables)
		return second
	})
}

// Two clouds over two providers, by the recipe. When a spoke loses the line of the first cloud, its
// traffic goes by the second one. When the line is back, so is the traffic. A spoke whose lines are
// whole loses nothing.
func TestDualCloud(t *testing.T) {
	c := newDualCloud(t)
	spoke, other := c.Spoke1, c.Spoke2
	toHub := spoke.Host.Flow(c.Hub.Host.Addr, beat)
	between := spoke.Host.Flow(other.Host.Addr, beat)
	whole := other.Host.Flow(c.Hub.Host.Addr, beat)
	c.leads(c.first, 2)
	c.direct(c.first)
	c.watched()
	for i, s := range c.second.spokes {
		if out, _ := s.TryCygnet("check"); strings.Contains(out, "underlay_table") {
			t.Errorf("on %s cygnet check objects to the tables:\n%s", s.Name, out)
		}
		rules := s.Run("ip", "rule")
		for _, want := range []string{
			fmt.Sprintf("from %s lookup 100", c.first.spokes[i].Public),
			fmt.Sprintf("from %s lookup 101", s.Public),
		} {
			if !strings.Contains(rules, want) {
				t.Errorf("%s has no rule %q:\n%s", s.Name, want, rules)
			}
		}
	}
	for _, f := range []*lab.Flow{toHub, between, whole} {
		f.Back(time.Now(), soon)
	}

	lost := time.Now()
	spoke.Lose(100)
	c.leadsOf(0, c.second, 1)
	toHub.Back(time.Now(), soon)
	between.Back(time.Now(), soon)
	_, _, longest := toHub.Loss(lost)
	_, _, longestBetween := between.Loss(lost)
	t.Logf("without the line: the hubs' LAN was away for %s, the other spoke's for %s",
		longest.Round(time.Millisecond), longestBetween.Round(time.Millisecond))
	c.leadsOf(1, c.first, 2)

	repaired := time.Now()
	spoke.Lose(0)
	c.leads(c.first, 2)
	c.direct(c.first)
	for flow, since := range map[*lab.Flow]time.Time{
		toHub: repaired, between: repaired, whole: lost,
	} {
		flow.Back(time.Now(), soon)
		if sent, lost, longest := flow.Loss(since); lost > 0 || sent == 0 {
			t.Errorf("%s: %d of %d packets lost, for at most %s", flow.Name, lost, sent, longest)
		}
	}
	alive(c.Mesh)
	encrypted(c.Mesh)
}
