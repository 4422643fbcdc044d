//go:build lab

package scenario

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"cygnet/test/lab"
)

// blockTime is how long a block may take to have its effect, and likewise the removal of a rule.
// The tests measure it by the daemons' logs and the kernels' notifications, because reading the
// tables of three routers takes longer than that on a busy machine.
const blockTime = time.Second

// shutOut returns nil when the kernel of a router has neither a neighbour nor an ESP state of
// another router any more.
func shutOut(s *lab.Site, overlay, nbma netip.Addr) error {
	if at, ok := s.Neighbors("gre1")[overlay]; ok {
		return lab.True(false, "%s has %s at %s", s.Name, overlay, at)
	}
	for _, state := range s.XfrmStates() {
		if state.Src == nbma || state.Dst == nbma {
			return lab.True(false, "the kernel of %s has %+v", s.Name, state)
		}
	}
	return nil
}

// loggedAt awaits a line in the log of a site's daemon that has all of these words, and returns the
// time of the first such line. The daemon may write it after others have seen what it tells of.
func loggedAt(m *lab.Mesh, s *lab.Site, words ...string) (at time.Time) {
	m.Helper()
	m.Await(fmt.Sprintf("%s logs %q", s.Name, words), soon, func() error {
		at = lineAt(s, words...)
		return lab.True(!at.IsZero(), "no line has them")
	})
	return at
}

// lineAt returns the time of the first line in a site's daemon log that has all of these words, or
// the zero time if no line has them.
func lineAt(s *lab.Site, words ...string) time.Time {
	for line := range strings.Lines(s.Daemon.Output()) {
		if stamp, ok := strings.CutPrefix(strings.Fields(line + " -")[0], "time="); ok &&
			contains(line, words...) {
			at, _ := time.Parse(time.RFC3339Nano, stamp)
			return at
		}
	}
	return time.Time{}
}

// takesEffect fails the test unless the hub logged the end of spoke2's binding, and spoke1 the end
// of its shortcut to spoke2, within blockTime of begun.
func takesEffect(t *testing.T, m *lab.Mesh, still *lab.Standstills, begun time.Time) {
	t.Helper()
	binding := still.Between(begun, loggedAt(m, m.Hub, "binding ended", "spoke2"))
	shortcut := still.Between(begun, loggedAt(m, m.Spoke1, "shortcut ended", "shut out"))
	t.Logf("the hub's binding ended after %v, the shortcut on the other spoke after %v", binding,
		shortcut)
	if max(binding, shortcut) > blockTime || min(binding, shortcut) < -blockTime {
		t.Errorf("that is not within %v", blockTime)
	}
}

// An ending follows how a router's kernel loses what it has of another router: the neighbour, and
// the ESP states, which charon deletes.
type ending struct {
	*monitor
	of   *lab.Site
	spis []uint32
}

// endingOf begins to watch a router's kernel (at) for the end of what it has of another router
// (of).
func endingOf(m *lab.Mesh, of, at *lab.Site) *ending {
	e := &ending{monitor: watch(m, at), of: of}
	// The kernel is asked for the states, because charon also lists those of a rekeyed CHILD_SA
	// that the kernel no longer has.
	for _, st := range at.XfrmStates() {
		if st.Src == of.Public || st.Dst == of.Public {
			e.spis = append(e.spis, st.SPI)
		}
	}
	return e
}

// within fails the test if the neighbour or an ESP state ended later than limit after the event, by
// the kernel's notifications.
func (e *ending) within(
	t *testing.T, still *lab.Standstills, event time.Time, limit time.Duration,
) {
	t.Helper()
	var neighbor, states time.Time
	e.mesh.Await("the kernel of "+e.site.Name+" tells the end of "+e.of.Name, soon, func() error {
		neighbor = e.neighborGone(e.of.Overlay, event.Add(-blockTime))
		for _, spi := range e.spis {
			at := e.stateGone(spi)
			if at.IsZero() {
				return lab.True(false, "the state %08x is there", spi)
			}
			if at.After(states) {
				states = at
			}
		}
		return lab.True(!neighbor.IsZero() && len(e.spis) > 0,
			"the neighbour is there, or there were no states: %08x", e.spis)
	})
	withdrawn, closed := still.Between(event, neighbor), still.Between(event, states)
	t.Logf("%s: neighbour gone after %v, ESP states after %v", e.site.Name, withdrawn, closed)
	if max(withdrawn, closed) > limit {
		t.Errorf("that is not within %v", limit)
	}
}

// The hub blocks a spoke that has live shortcuts. Within a second the hub has nothing left of that
// spoke, and the other spoke, which the hub informs, has neither a shortcut to it nor an SA with
// it. The blocked spoke does not come back until it is unblocked, not even when the hub's daemon is
// restarted.
func TestBlock(t *testing.T) {
	m := lab.NewMesh(t)
	m.Certify()
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	shortcut(m)
	traffic := m.Spoke2.Host.Train(m.Spoke1.Host.Addr, 20*time.Millisecond)
	ends := []*ending{endingOf(m, m.Spoke2, m.Hub), endingOf(m, m.Spoke2, m.Spoke1)}
	still := lab.NoteStandstills(t)

	m.Hub.Cygnet("peer", "block", "spoke2.example.net")
	m.Await("the hub has nothing of spoke2", soon, func() error {
		return shutOut(m.Hub, m.Spoke2.Overlay, m.Spoke2.Public)
	})
	m.Await("spoke1 has nothing of spoke2", soon, func() error {
		if hop := m.Spoke1.NextHop(m.Spoke2.Host.Addr); hop != m.Hub.Overlay {
			return lab.True(false, "spoke1 sends to spoke2's LAN via %s", hop)
		}
		return shutOut(m.Spoke1, m.Spoke2.Overlay, m.Spoke2.Public)
	})
	traffic.Stop()
	blocked := loggedAt(m, m.Hub, "identity blocked")
	takesEffect(t, m, still, blocked)
	for _, e := range ends {
		e.within(t, still, blocked, blockTime)
	}

	// The blocked spoke dials again and again. The hub ends each of its SAs at once.
	thrownOut := func() int {
		return count(m.Hub, "peer may do nothing here", "spoke2.example.net is blocked")
	}
	m.Await("it was thrown out again", later, func() error {
		return lab.True(thrownOut() > 0, "not yet")
	})
	neverBack := func(when string) {
		t.Helper()
		if at, ok := m.Hub.Neighbors("gre1")[m.Spoke2.Overlay]; ok {
			t.Errorf("%s the hub has spoke2 at %s", when, at)
		}
		if out := m.Hub.Cygnet("peer", "blocked"); !contains(out, "spoke2.example.net",
			"taken back") {
			t.Errorf("%s blocked are: %s", when, out)
		}
	}
	neverBack("before the restart")
	m.Hub.Daemon.Kill()
	m.Hub.Daemon.Start()
	before := thrownOut()
	m.Await("it is thrown out after the restart as well", later, func() error {
		return lab.True(thrownOut() > before, "not yet")
	})
	neverBack("after the restart")
	m.Spoke1.Host.Ping(m.Hub.Host.Addr, 3)
	if out := m.Hub.Cygnet("status"); !contains(out, "BLOCKED",
		"spoke2.example.net is blocked by an administrator") {
		t.Errorf("status: %s", out)
	}

	m.Hub.Cygnet("peer", "unblock", "spoke2.example.net")
	registered(m, m.Spoke2, later)
	shortcut(m)
	encrypted(m)
}

// A block that is set for some time ends when that time is over.
func TestBlockForATime(t *testing.T) {
	m := lab.NewMesh(t)
	m.Start()
	registered(m, m.Spoke1, soon)
	// On a slow machine spoke1 may be back before the test looks at the hub's table.
	atHub, begun := watch(m, m.Hub), time.Now()
	m.Hub.Cygnet("peer", "block", "spoke1.example.net", "--for", "5s")
	m.Await("the hub has nothing of spoke1", soon, func() error {
		gone := atHub.neighborGone(m.Spoke1.Overlay, begun)
		return lab.True(!gone.IsZero(), "its kernel has told of no end:\n%s",
			atHub.neighbors.Output())
	})
	registered(m, m.Spoke1, later)
	if err := logged(m.Hub, "identity no longer blocked", "spoke1.example.net",
		"its time is over"); err != nil {
		t.Error(err)
	}
	encrypted(m)
}

// An administrator deletes a spoke's rule from the file and reloads. That has the effect of a block
// at once: the hub ends the spoke's binding and SA, and informs the other spoke. The SA that the
// spoke makes next stays, but the hub refuses its registration. Once the rule is back in the file
// and reloaded, the hub accepts the spoke again. The other spoke loses no packet.
func TestRuleDroppedByReload(t *testing.T) {
	m := lab.NewMesh(t)
	m.Certify()
	all := []string{
		lab.Rule("spoke1.example.net", "10.255.0.11"),
		lab.Rule("spoke2.example.net", "10.255.0.12"),
	}
	m.Hub.Rules = all
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	shortcut(m)
	start := time.Now()
	flow := m.Spoke1.Host.Flow(m.Hub.Host.Addr, 20*time.Millisecond)
	flow.Back(start, soon)

	m.Hub.Rules = all[:1]
	m.Hub.WriteFile(lab.CygnetConfig, 0o640, m.Hub.Config())
	still, begun := lab.NoteStandstills(t), time.Now()
	m.Hub.Daemon.Signal(syscall.SIGHUP)
	m.Await("the hub has no binding of spoke2", soon, func() error {
		at, ok := m.Hub.Neighbors("gre1")[m.Spoke2.Overlay]
		return lab.True(!ok, "the hub has spoke2 at %s", at)
	})
	m.Await("spoke1 leads to spoke2 no more", soon, func() error {
		hop := m.Spoke1.NextHop(m.Spoke2.Host.Addr)
		return lab.True(hop == m.Hub.Overlay, "spoke1 sends to spoke2's LAN via %s", hop)
	})
	takesEffect(t, m, still, begun)
	m.Await("spoke2 is back with an SA, and refused", later, func() error {
		n, err := nhs(m.Spoke2)
		if err != nil {
			return err
		}
		if err := secured(m.Spoke2, m.Hub); err != nil {
			return err
		}
		return lab.True(n.State == "refused", "%+v", n)
	})
	m.Hub.Rules = all
	m.Hub.WriteFile(lab.CygnetConfig, 0o640, m.Hub.Config())
	m.Hub.Daemon.Signal(syscall.SIGHUP)
	registered(m, m.Spoke2, later)
	lossless(m, start, []*lab.Flow{flow})
	flow.Stop()
	encrypted(m)
}

// A spoke that the hub has blocked dials another spoke itself, without a daemon and with a
// certificate that is still valid. It gets an SA but no data through, because nobody vouches for
// it. Until the block it had a live shortcut to that spoke.
func TestBlockedSpokeDialsAnother(t *testing.T) {
	m := lab.NewMesh(t)
	m.Certify()
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	shortcut(m)
	rogue := m.Spoke2
	rogue.Daemon.Kill() // its neighbours, routes and SAs stay
	m.Hub.Cygnet("peer", "block", "spoke2.example.net")
	m.Await("spoke1 has nothing of spoke2", soon, func() error {
		return shutOut(m.Spoke1, rogue.Overlay, rogue.Public)
	})

	lan := m.Spoke1.Host.Capture("eth0")
	rogue.WriteFile("/etc/swanctl/swanctl.conf", 0o600,
		replace(rogueConnection, "LOCAL", rogue.Public.String(),
			"REMOTE", m.Spoke1.Public.String()))
	rogue.Run("swanctl", "--load-all")
	rogue.Run("swanctl", "--initiate", "--child", "gre", "--timeout", "20")
	if err := secured(rogue, m.Spoke1); err != nil {
		t.Fatalf("the rogue has no SA, and this test shows nothing: %v", err)
	}
	rogue.IP("neigh replace 10.255.0.11 lladdr 192.0.2.11 dev gre1 nud permanent",
		"route replace 172.16.1.0/24 via 10.255.0.11 dev gre1 onlink")
	before := lan.Count()
	rogue.Host.Start("rogue-ping", nil, "ping", "-n", "-i", "0.05", m.Spoke1.Host.Addr.String())
	m.Await("spoke1 drops what the rogue sends", soon, func() error {
		return droppedAtLeast(m.Spoke1, "data: not admitted", 40)
	})
	m.Hub.Host.Ping(m.Spoke1.Host.Addr, 3)
	fromRogue := func(p lab.Packet) bool { return p.Src == rogue.Host.Addr }
	if n := lan.Count(fromRogue); n > 0 || lan.Count() == before {
		t.Errorf("%d packets of the rogue came to spoke1's LAN, of %d in all", n, lan.Count())
	}
	encrypted(m)
}

// rogueConnection is the connection by which a router without a daemon dials another one, with its
// own certificate. The priority puts the SA's policies before the policy against clear GRE that the
// daemon left behind.
const rogueConnection = `connections {
	gre {
		version = 2
		local_addrs = LOCAL
		remote_addrs = REMOTE
		proposals = aes128gcm16-prfsha256-x25519
		local {
			auth = pubkey
			id = spoke2.example.net
		}
		remote { auth = pubkey }
		children {
			gre {
				mode = transport
				local_ts = dynamic[gre]
				remote_ts = dynamic[gre]
				esp_proposals = aes128gcm16-x25519
				priority = 1000
			}
		}
	}
}
`
