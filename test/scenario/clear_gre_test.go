//go:build lab

package scenario

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// bypass is a swanctl.conf by which charon lets everything between the routers pass in clear, as
// its bypass-lan plugin does for the networks that a router is in.
const bypass = `connections {
	bypass {
		remote_addrs = 127.0.0.1
		children {
			lan {
				local_ts = 192.0.2.0/24
				remote_ts = 192.0.2.0/24
				mode = pass
				start_action = trap
			}
		}
	}
}
`

// clearGRE returns what a router's status reports about GRE in clear.
func clearGRE(s *lab.Site) (*api.ClearGRE, error) {
	st, err := status(s)
	if err != nil {
		return nil, err
	}
	if len(st.Interfaces) != 1 || st.Interfaces[0].ClearGRE == nil {
		return nil, fmt.Errorf("the status says nothing of clear GRE: %+v", st.Interfaces)
	}
	return st.Interfaces[0].ClearGRE, nil
}

// leaked returns the leak to a peer that a status reports, or the zero leak if it reports none.
func leaked(c *api.ClearGRE, peer *lab.Site) api.ClearLeak {
	for _, l := range c.Leaks {
		if l.Peer == peer.Public {
			return l
		}
	}
	return api.ClearLeak{}
}

// wrong returns nil when the output of cygnet status has a line under WRONG about gre1 with all of
// the words.
func wrong(s *lab.Site, words ...string) error {
	text, _ := s.TryCygnet("status")
	for line := range strings.Lines(text) {
		if contains(line, append(words, "* gre1: ")...) {
			return nil
		}
	}
	return fmt.Errorf("nothing wrong with %q:\n%s", words, text)
}

// A clearCause makes the kernel of a router send GRE to a peer, or accept GRE from it, without
// IPsec.
type clearCause struct {
	name string
	do   func(at, peer *lab.Site)
	undo func(at, peer *lab.Site)
	says string // what the status says of the cause
}

// passPolicy adds or deletes policies by which everything between two routers passes in clear.
// Their selectors differ from those of the SA's policies, which would otherwise take their place.
func passPolicy(at, peer *lab.Site, how string) {
	for _, dir := range []string{"out src " + at.Public.String() + " dst " + peer.Public.String(),
		"in src " + peer.Public.String() + " dst " + at.Public.String()} {
		at.IP("xfrm policy " + how + " dir " + dir + map[string]string{"add": " priority 1"}[how])
	}
}

// clearCauses lists the causes that the tests produce.
var clearCauses = []clearCause{
	{"a pass policy in front of everything",
		func(at, peer *lab.Site) { passPolicy(at, peer, "add") },
		func(at, peer *lab.Site) { passPolicy(at, peer, "del") },
		"policy of priority 1 lets GRE out"},
	{"disable_xfrm on the device",
		func(at, _ *lab.Site) { at.Sysctl("net/ipv4/conf/eth0/disable_xfrm=1") },
		func(at, _ *lab.Site) { at.Sysctl("net/ipv4/conf/eth0/disable_xfrm=0") },
		"net/ipv4/conf/eth0/disable_xfrm is 1"},
}

// Whatever makes the kernel send GRE without IPsec, no GRE leaves in clear and none is accepted in
// clear. The status reports the peer, the packets and the cause. Other peers lose nothing. The
// policies that charon sets to let traffic bypass IPsec have no effect at all.
func TestNothingLeavesInClear(t *testing.T) {
	m := lab.NewMesh(t)
	sender := m.Router("sender", lab.Addr("192.0.2.66/24"))
	// The first cause exists before the daemon, charon and any SA.
	first := clearCauses[0]
	first.do(m.Spoke1, m.Hub)
	m.Start()
	registered(m, m.Spoke2, soon)
	m.Await("spoke1 says that its GRE is stopped", later, func() error {
		return wrong(m.Spoke1, "GRE for peer 192.0.2.1 comes out of the kernel in clear",
			"stopped at eth0")
	})
	m.Await("and why", later, func() error { return wrong(m.Spoke1, first.says) })
	first.undo(m.Spoke1, m.Hub)
	registered(m, m.Spoke1, later)
	encrypted(m)

	m.Await("the guard is in front at the hub", soon, func() error {
		return logged(m.Hub, "the guard is in front")
	})
	others := m.Hub.Host.Flow(m.Spoke2.Host.Addr, 20*time.Millisecond)
	begun := time.Now()
	passed := m.Hub.Host.Flow(m.Spoke1.Host.Addr, 20*time.Millisecond)
	m.Hub.WriteFile("/etc/swanctl/swanctl.conf", 0o600, bypass)
	m.Hub.Run("swanctl", "--load-conns")
	m.Await("charon has set its policies", soon, func() error {
		return lab.True(contains(m.Hub.Run("ip", "xfrm", "policy"),
			"src 192.0.2.0/24 dst 192.0.2.0/24"), "there are none")
	})
	set := time.Now()
	m.Await("hosts talk past these policies", soon, func() error {
		sent, _, _ := passed.Loss(set)
		return lab.True(sent >= 50, "%d packets were sent", sent)
	})
	if sent, lost, _ := passed.Loss(begun); lost > 0 {
		t.Errorf("with charon's policies %d of %d packets were lost", lost, sent)
	}
	passed.Stop()
	encrypted(m)
	if c, err := clearGRE(m.Hub); err != nil || len(c.Leaks)+len(c.Causes) > 0 {
		t.Errorf("the hub says %+v, %v", c, err)
	}

	m.Hub.Host.Train(m.Spoke1.Host.Addr, 20*time.Millisecond)
	m.Spoke1.Host.Train(m.Hub.Host.Addr, 20*time.Millisecond)
	for _, c := range clearCauses {
		for at, peer := range map[*lab.Site]*lab.Site{m.Hub: m.Spoke1, m.Spoke1: m.Hub} {
			before, err := clearGRE(at)
			if err != nil {
				t.Fatal(err)
			}
			c.do(at, peer)
			m.Await(at.Name+" tells of "+c.name, later, func() error {
				now, err := clearGRE(at)
				if err != nil {
					return err
				}
				was, is := leaked(before, peer), leaked(now, peer)
				if !is.Stopped || is.Packets < was.Packets+20 || is.Device != "eth0" {
					return fmt.Errorf("leaks: %+v, before %+v", is, was)
				}
				return wrong(at, c.says)
			})
			c.undo(at, peer)
			if c.name == first.name && at == m.Hub {
				if sent, lost, _ := others.Loss(begun); lost > 0 {
					t.Errorf("the other spoke's hosts lost %d of %d packets", lost, sent)
				}
			}
			encrypted(m)
		}
	}
	others.Stop()
	registered(m, m.Spoke1, later)
	for _, s := range []*lab.Site{m.Hub, m.Spoke1} {
		m.Await("no cause is told any more", later, func() error {
			now, err := clearGRE(s)
			if err != nil {
				return err
			}
			return lab.True(len(now.Causes) == 0, "causes: %q", now.Causes)
		})
	}

	// On the way in: an unauthenticated sender sends packets in the name of a registered spoke.
	inside := m.Hub.Capture("gre1")
	m.Hub.Sysctl("net/ipv4/conf/eth0/disable_policy=1")
	before, err := clearGRE(m.Hub)
	if err != nil {
		t.Fatal(err)
	}
	sender.Forge(10*time.Millisecond,
		lab.Forgery{From: m.Spoke1.Public, To: m.Hub.Public, Key: 42, Protocol: 0x0800,
			Payload: lab.IPv4(forged, m.Hub.Host.Addr, 17,
				[]byte{0x30, 0x39, 0x30, 0x39, 0, 8, 0, 0})})
	m.Await("the hub stops what comes in clear", soon, func() error {
		now, err := clearGRE(m.Hub)
		if err != nil {
			return err
		}
		return lab.True(now.StoppedIn >= before.StoppedIn+20, "it stopped %d",
			now.StoppedIn-before.StoppedIn)
	})
	m.Await("and says what would have let it in", later, func() error {
		return wrong(m.Hub, "net/ipv4/conf/eth0/disable_policy is 1")
	})
	if n := inside.Count(func(p lab.Packet) bool { return p.Src == forged }); n > 0 {
		t.Errorf("%d forged packets came into the tunnel", n)
	}
	m.Hub.Sysctl("net/ipv4/conf/eth0/disable_policy=0")

	// A cause that the daemon does not look for.
	before, err = clearGRE(m.Hub)
	if err != nil {
		t.Fatal(err)
	}
	seen := time.Now()
	gre := lab.Forgery{
		From: m.Hub.Public, To: m.Spoke2.Public, Key: 42, Protocol: 0x0800,
		Payload: []byte("a clear packet"),
	}
	m.Hub.SendFrame("eth0", m.Spoke2.Ether("eth0"), gre.Packet())
	m.Await("the hub says that it knows no cause", soon, func() error {
		return wrong(m.Hub, "GRE for peer 192.0.2.12 comes out of the kernel in clear",
			"no IPsec policy and no sysctl explains it")
	})
	if now, err := clearGRE(m.Hub); err != nil ||
		leaked(now, m.Spoke2).Packets != leaked(before, m.Spoke2).Packets+1 {
		t.Errorf("it counts %+v after %+v, %v", now, before, err)
	}
	if n := m.Underlay.Count(lab.OfKind(lab.GRE), lab.From(m.Hub.Public), lab.Since(seen)); n > 0 {
		t.Errorf("%d clear packets left", n)
	}

	// A device that is added later. From its first moment on, the kernel does not look at IPsec
	// policies for what leaves by it.
	m.Hub.Sysctl("net/ipv4/conf/default/disable_xfrm=1")
	m.Hub.IP("link add late0 type dummy", "link set late0 up", "addr add 198.51.100.1/24 dev late0")
	late := m.Hub.Capture("late0")
	m.Await("the device that came later has the filters", soon, func() error {
		now, err := clearGRE(m.Hub)
		if err != nil {
			return err
		}
		return lab.True(contains(strings.Join(now.Devices, " "), "late0"), "filters on %q",
			now.Devices)
	})
	m.Hub.IP("route add " + m.Spoke1.Public.String() + " dev late0")
	m.Await("the hub says what was stopped there", later, func() error {
		return wrong(m.Hub, "GRE for peer 192.0.2.11 comes out of the kernel in clear",
			"stopped at late0")
	})
	m.Await("and why", later, func() error {
		return wrong(m.Hub, "net/ipv4/conf/late0/disable_xfrm is 1")
	})
	if n := late.Count(lab.OfKind(lab.GRE)); n > 0 {
		t.Errorf("%d clear packets left by the new device", n)
	}
	m.Hub.IP("link del late0")
	registered(m, m.Spoke1, later)
	mine := sender.Ether("eth0")
	if n := m.Underlay.Count(lab.OfKind(lab.GRE), func(p lab.Packet) bool {
		return p.Ether != mine
	}); n > 0 {
		t.Errorf("%d clear GRE packets on the underlay", n)
	}

	// cygnet leave removes the filters as well, with the daemon and without it.
	m.Spoke1.Cygnet("leave")
	m.Spoke2.Daemon.Kill()
	if out := m.Spoke2.Run("tc", "filter", "show", "dev", "eth0", "egress"); !contains(out,
		"cygnet_fence_out") {
		t.Errorf("without the daemon the filters are gone: %s", out)
	}
	if out, err := m.Spoke2.LeaveStopped(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	for _, s := range []*lab.Site{m.Spoke1, m.Spoke2} {
		m.Await("no filter is left on "+s.Name, soon, func() error {
			out := s.Run("tc", "filter", "show", "dev", "eth0", "egress") +
				s.Run("tc", "filter", "show", "dev", "eth0", "ingress")
			return lab.True(!contains(out, "cygnet_fence"), "%s", out)
		})
	}
}

// Where the filters cannot be attached, the daemon still notices GRE that leaves in clear, because
// no ESP state took it. It raises no false alarm while an SA is rekeyed, while TCP sends segments
// by the dozen, and when charon and the daemon are killed.
func TestClearGREIsNoticed(t *testing.T) {
	m := lab.NewMesh(t)
	m.Spoke1.IPsec = append(m.Spoke1.IPsec, `child_rekey_time = "10s"`)
	m.Hub.Run("tc", "qdisc", "add", "dev", "eth0", "handle", "ffff:", "ingress") // excludes clsact
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	m.Await("the hub says that it has no filters", soon, func() error {
		return wrong(m.Hub, "only IPsec policies keep GRE from leaving in clear",
			"eth0 has an ingress qdisc")
	})
	bulk := m.Hub.Host.Bulk(m.Spoke1.Host.Node, m.Spoke1.Host.Addr, 50*time.Millisecond)
	shortcut(m)
	m.Hub.Host.Train(m.Spoke2.Host.Addr, 20*time.Millisecond)
	silent := func(what string, d time.Duration) {
		m.Helper()
		end := time.Now().Add(d)
		m.Await("nothing is said for "+what, d+soon, func() error {
			for _, s := range m.Sites() {
				c, err := clearGRE(s)
				if err == nil && len(c.Leaks)+len(c.Causes) > 0 {
					m.Fatalf("%s says %+v", s.Name, c)
				}
			}
			return lab.True(time.Now().After(end), "not yet over")
		})
	}
	silent("rekeyings and segments", 25*time.Second)
	m.Hub.Charon.Kill()
	m.Hub.Charon.Start()
	registered(m, m.Spoke1, later)
	m.Hub.Daemon.Kill()
	m.Hub.Daemon.Start()
	silent("a restart of charon and of the daemon", 22*time.Second)
	encrypted(m)

	begun := time.Now()
	passPolicy(m.Hub, m.Spoke2, "add")
	m.Await("the hub says what left", later, func() error {
		return wrong(m.Hub, "LEFT IN CLEAR for peer 192.0.2.12", "no ESP state took them")
	})
	t.Logf("said after %v", time.Since(begun).Round(time.Second))
	if err := logged(m.Hub, "GRE left for a peer in clear", "192.0.2.12"); err != nil {
		t.Error(err)
	}
	m.Await("and why", soon, func() error {
		return wrong(m.Hub, "policy of priority 1 lets GRE out")
	})
	if c, err := clearGRE(m.Hub); err != nil || len(c.Leaks) != 1 {
		t.Errorf("it says so of %+v, %v", c, err)
	}
	if n := bulk.Stop(); n < 4<<20 {
		t.Errorf("%d bytes came by TCP, which proves nothing", n)
	}
	if n := m.Underlay.Count(lab.OfKind(lab.GRE), lab.From(m.Hub.Public),
		lab.Since(begun)); n == 0 {
		t.Error("nothing left in clear: the test proves nothing")
	}
}
