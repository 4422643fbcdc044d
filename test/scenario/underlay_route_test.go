//go:build lab

package scenario

import (
	"strings"
	"syscall"
	"testing"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// A routing protocol gives a spoke a route through the tunnel that covers the hub's underlay
// address. status and check name the route, who made it, the address that it swallows, and what to
// set. With underlay_table the spoke is back, and after a goodbye without a daemon nothing of the
// rule is left.
func TestRouteSwallowsTheUnderlay(t *testing.T) {
	m := lab.NewMesh(t)
	m.Start()
	registered(m, m.Spoke1, soon)
	s := m.Spoke1
	s.IP("route add 192.0.2.0/28 via 10.255.0.1 dev gre1 proto bgp")
	problem(m, s, soon, api.ProblemUnderlayRouting,
		"the route 192.0.2.0/28 (by BGP of FRR) swallows the way to 192.0.2.1",
		"the tunnel gre1", "underlay_table = 100", "underlay_vrf", "ip route add 192.0.2.1/32")
	if out, err := s.TryCygnet("check"); err == nil || !contains(out, "192.0.2.0/28") {
		t.Errorf("check does not name the route: %v\n%s", err, out)
	}

	s.Interface = append(s.Interface, "underlay_table = 100")
	s.WriteFile(lab.CygnetConfig, 0o640, s.Config())
	s.Daemon.Signal(syscall.SIGHUP)
	s.IP("route add 192.0.2.0/24 dev eth0 table 100")
	problem(m, s, soon, api.ProblemUnderlayRouting, "table 100 (underlay_table) has no default route")
	s.IP("route add default via 192.0.2.254 table 100",
		"route add unreachable default metric 4278198272 table 100")
	problem(m, s, soon, api.ProblemUnderlayRouting)
	registered(m, s, later)
	s.Host.Ping(m.Hub.Host.Addr, 3)

	s.Daemon.Terminate()
	if rules := s.Run("ip", "rule"); !strings.Contains(rules, "from 192.0.2.11 lookup 100") {
		t.Errorf("a stop took the rule back:\n%s", rules)
	}
	if out, err := s.LeaveStopped(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if rules := s.Run("ip", "rule"); strings.Contains(rules, "lookup 100") {
		t.Errorf("the rule is left after a goodbye:\n%s", rules)
	}
	// charon's own goodbye took the underlay, so that the hub does not wait for the end by dead
	// peer detection.
	m.Await("the hub has no SA with the spoke", soon, func() error { return unsecured(m.Hub, s) })
	encrypted(m)
}
