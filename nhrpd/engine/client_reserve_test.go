package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/packet"
)

// fallback is the fallback delay of the spoke in these tests.
const fallback = 30 * time.Second

// reserve is a spoke with three hubs of one cluster, the best first. It uses one at a time.
type reserve struct {
	*world
	hubs  []*node
	spoke *node
}

// newReserve makes the hubs 10.255.0.1 to .3 at 192.0.2.1 to .3, and a spoke that is registered
// with the first.
func newReserve(t *testing.T, change ...func(*overlay.InterfaceConfig)) *reserve {
	t.Helper()
	r := &reserve{world: newWorld(t)}
	r.refuse = func(from, to *node) bool { return from.down || to != nil && to.down }
	cfg := spokeConfig("10.255.0.11/24")
	cfg.NHS = nil
	cfg.MaxConnections, cfg.FallbackDelay = map[uint8]int{0: 1}, fallback
	for i := range 3 {
		at := fmt.Sprintf("192.0.2.%d", i+1)
		hub := hubConfig()
		hub.Address = netip.MustParsePrefix(fmt.Sprintf("10.255.0.%d/24", i+1))
		r.hubs = append(r.hubs, r.add(fmt.Sprintf("hub%d", i+1), hub, at, ""))
		cfg.NHS = append(cfg.NHS, overlay.NHSConfig{Name: at, Priority: uint8(10 * i)})
	}
	for _, f := range change {
		f(&cfg)
	}
	r.spoke = r.add("spoke1", cfg, "192.0.2.11", "172.16.1.1/24", "172.16.0.0/16")
	return r
}

// serves reports whether a hub has registered the spoke, each has the other as neighbour, and they
// have an SA.
func (r *reserve) serves(hub int) bool {
	h := r.hubs[hub]
	return !h.down && r.hasSA(r.spoke, h) &&
		r.spoke.at(h.cfg.Address.Addr().String()) == peerid.At(h.local) &&
		h.at("10.255.0.11") == peerid.At(r.spoke.local)
}

// use returns what the spoke does with each NHS.
func (r *reserve) use() (uses []report.NHSUse) {
	for _, n := range r.spoke.status().NHS {
		uses = append(uses, n.Use)
	}
	return uses
}

// uses reports whether the spoke uses one hub, and that hub serves it.
func (r *reserve) uses(hub int) bool {
	return r.use()[hub] == report.UseInUse && r.serves(hub)
}

// awaitUse awaits that the spoke uses one hub.
func (r *reserve) awaitUse(hub int, within time.Duration) {
	r.t.Helper()
	r.until(fmt.Sprintf("hub%d is used", hub+1), within, func() bool { return r.uses(hub) })
}

// die switches a hub off. The spoke notices at once, as after dead peer detection.
func (r *reserve) die(hub int) {
	h := r.hubs[hub]
	h.down = true
	r.terminate(r.spoke, h, "dead peer detection")
}

// back switches a hub on again. It has forgotten everything.
func (r *reserve) back(hub int) { r.hubs[hub].boot(report.Saved{}) }

// always lets time pass. The test fails if there is a moment at which no hub serves the spoke.
func (r *reserve) always(d time.Duration) {
	r.t.Helper()
	for end := r.now.Add(d); r.now.Before(end); r.run(time.Millisecond) {
		if !r.serves(0) && !r.serves(1) && !r.serves(2) {
			r.t.Fatalf("no hub serves the spoke\n%s", r)
		}
	}
}

// A spoke uses the best hub of a cluster, and has nothing to do with the others.
func TestHubsInReserve(t *testing.T) {
	r := newReserve(t)
	r.awaitUse(0, time.Second)
	r.run(time.Minute)
	want := []report.NHSUse{report.UseInUse, report.UseReserve, report.UseReserve}
	if !slices.Equal(r.use(), want) {
		t.Errorf("uses %v, want %v", r.use(), want)
	}
	for _, n := range r.spoke.status().NHS[1:] {
		if n.State != report.NHSReserve || n.Error != "" {
			t.Errorf("%+v", n)
		}
	}
	if len(r.spoke.want) != 1 || len(r.spoke.neighbors) != 1 || len(r.spoke.admits) != 1 {
		t.Errorf("wants %v, neighbours %v, admits %v, want one hub alone",
			r.spoke.want, r.spoke.neighbors, r.spoke.admits)
	}
}

// Without a limit all hubs are used, whatever their priorities.
func TestAllHubsAreUsed(t *testing.T) {
	r := newReserve(t, func(c *overlay.InterfaceConfig) { c.MaxConnections = nil })
	r.until("all serve", time.Second, func() bool { return r.uses(0) && r.uses(1) && r.uses(2) })
}

// When the hub in use is dead, the spoke uses the next one within three seconds of knowing it.
func TestNextHubTakesOver(t *testing.T) {
	for _, tt := range []struct {
		rule  string
		fails func(r *reserve)
	}{
		{"dead peer detection", func(r *reserve) { r.die(0) }},
		{"three registrations without an answer", func(r *reserve) {
			dead := r.hubs[0]
			r.lose = func(from, to *node, _ []byte) bool { return from == dead || to == dead }
			r.until("it is known", 10*time.Minute, func() bool {
				return r.spoke.status().NHS[0].Attempts >= 3
			})
		}},
		{"it refuses us", func(r *reserve) {
			dead := r.hubs[0]
			dead.configure(func(c *overlay.InterfaceConfig) { c.Server = false })
			refused := func() bool { return r.spoke.status().NHS[0].State == report.NHSRefused }
			r.until("it is known", 10*time.Minute, refused)
		}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			r := newReserve(t)
			r.awaitUse(0, time.Second)
			tt.fails(r)
			r.awaitUse(1, 3*time.Second)
			if u := r.use(); u[0] != report.UseProbing || u[2] != report.UseReserve {
				t.Errorf("uses %v, want the first on probe and the third in reserve", u)
			}
		})
	}
}

// An SA that is back at once, as after a restart of charon, moves nothing.
func TestShortLossMovesNothing(t *testing.T) {
	r := newReserve(t)
	r.awaitUse(0, time.Second)
	r.terminate(r.spoke, r.hubs[0], "charon was restarted")
	r.run(time.Minute)
	dialled := r.spoke.dials[peerid.At(r.hubs[1].local)]
	if !r.uses(0) || dialled != 0 {
		t.Errorf("hub2 was dialled %d times\n%s", dialled, r.world)
	}
}

// A better hub that is back is used when it has answered for the fallback delay. At each moment a
// hub serves the spoke. The worse one is told, and is left alone then.
func TestReturnToTheBetterHub(t *testing.T) {
	r := newReserve(t, func(c *overlay.InterfaceConfig) {
		c.Announce = append(c.Announce, mustPrefix("172.20.1.0/24"))
	})
	for _, h := range r.hubs {
		h.configure(func(c *overlay.InterfaceConfig) {
			c.Accept, c.Limits.Prefixes = append(c.Accept, mustPrefix("172.20.0.0/16")), 10
		})
	}
	r.awaitUse(0, time.Second)
	r.die(0)
	r.awaitUse(1, 3*time.Second)
	r.run(time.Minute)
	r.back(0)
	r.until("hub1 answers", 10*time.Second, func() bool {
		return r.use()[0] == report.UseReturning && r.serves(0)
	})
	answered := r.now
	if st := r.spoke.status().NHS[0]; !st.Returns.Equal(answered.Add(fallback)) {
		t.Errorf("returns at %s, want %s", st.Returns, answered.Add(fallback))
	}
	r.always(fallback - time.Second)
	if !r.uses(1) {
		t.Fatalf("hub2 is not used any more before the fallback delay is over\n%s", r)
	}
	r.always(2 * time.Second)
	if !r.uses(0) || r.serves(1) || len(r.hubs[1].status().Bindings) != 0 {
		t.Errorf("hub1 is not used alone\n%s", r)
	}
	if !r.spoke.at("10.255.0.2").IsValid() {
		t.Error("the neighbour of hub2 has to stay until routes no longer lead there")
	}
	r.always(10 * time.Second)
	if r.spoke.at("10.255.0.2").IsValid() {
		t.Error("the neighbour of hub2 stays")
	}
	if st := r.spoke.status().NHS; len(st[0].Announced) != 1 || st[1].State != report.NHSReserve {
		t.Errorf("%+v", st)
	}
	if n := r.spoke.last(output.NoticeReserve); n.Peer != peerid.At(r.hubs[1].local) ||
		!strings.Contains(n.Reason, "better") {
		t.Errorf("told %+v", n)
	}
	r.always(10 * time.Minute)
	if r.hasSA(r.spoke, r.hubs[1]) {
		t.Error("the SA with hub2 stays although nothing uses it")
	}
}

// A hub that comes and goes more often than the fallback delay is not used, and one that does so
// less often is used once in that time at most.
func TestFlappingHub(t *testing.T) {
	for _, tt := range []struct {
		up   time.Duration
		most int
	}{{10 * time.Second, 0}, {45 * time.Second, 13}} {
		r := newReserve(t)
		r.awaitUse(0, time.Second)
		used, before := 0, true
		for range 20 * time.Minute / (2 * tt.up) {
			for _, happens := range []func(int){r.die, r.back} {
				happens(0)
				for end := r.now.Add(tt.up); r.now.Before(end); r.run(10 * time.Millisecond) {
					if now := r.uses(0); now != before {
						before = now
						if now {
							used++
						}
					}
				}
			}
		}
		if used > tt.most || tt.most > 0 && used == 0 {
			t.Errorf("up for %s at a time: used %d times, want at most %d", tt.up, used, tt.most)
		}
		if !r.uses(0) && !r.uses(1) {
			t.Errorf("neither is used\n%s", r)
		}
	}
}

// When all hubs are dead, the spoke goes on trying all, and uses whichever is back first.
func TestAllHubsDead(t *testing.T) {
	r := newReserve(t)
	r.awaitUse(0, time.Second)
	for i := range r.hubs {
		r.die(i)
	}
	r.run(10 * time.Minute)
	for _, n := range r.spoke.status().NHS {
		if n.Use != report.UseProbing || n.State != report.NHSSecuring {
			t.Errorf("%+v", n)
		}
	}
	r.back(2)
	r.awaitUse(2, 3*time.Second)
	r.run(time.Minute)
	r.back(0)
	r.always(fallback + 3*time.Second)
	if !r.uses(0) {
		t.Errorf("hub1 is not used again\n%s", r)
	}
}

// A hub that takes no further clients refuses with code 5. The spoke uses the next hub at
// once, says why, and returns when there is room.
func TestFullHub(t *testing.T) {
	r := newReserve(t, func(c *overlay.InterfaceConfig) { c.MaxConnections[0] = 1 })
	r.awaitUse(0, time.Second)
	other := spokeConfig("10.255.0.12/24")
	other.NHS = slices.Clone(r.spoke.cfg.NHS)
	other.MaxConnections, other.FallbackDelay = map[uint8]int{0: 1}, fallback
	r.hubs[0].configure(func(c *overlay.InterfaceConfig) { c.Limits.Bindings = 1 })
	second := r.add("spoke2", other, "192.0.2.12", "172.16.2.1/24")
	uses := func(hub int) bool { return second.status().NHS[hub].Use == report.UseInUse }
	r.until("spoke2 uses hub2", time.Second, func() bool { return uses(1) })
	st := second.status().NHS[0]
	if st.State != report.NHSRefused || st.Use != report.UseProbing ||
		!strings.Contains(st.Error, packet.CodeInsufficientResources.String()) ||
		!strings.Contains(st.Error, "takes no further clients") {
		t.Errorf("%+v", st)
	}
	if !r.uses(0) {
		t.Error("spoke1, which hub1 has, does not use it any more")
	}
	r.hubs[0].configure(func(c *overlay.InterfaceConfig) { c.Limits.Bindings = 2 })
	r.until("spoke2 uses hub1", time.Minute+fallback+time.Second, func() bool { return uses(0) })
}

// Spokes spread over hubs of equal priority.
func TestSpokesSpread(t *testing.T) {
	var used [3]int
	for i := range 30 {
		r := newReserve(t, func(c *overlay.InterfaceConfig) {
			c.Address = netip.MustParsePrefix(fmt.Sprintf("10.255.0.%d/24", 20+i))
			for k := range c.NHS {
				c.NHS[k].Priority = 5
			}
		})
		r.run(time.Second)
		used[slices.Index(r.use(), report.UseInUse)]++
	}
	for i, n := range used {
		if n < 5 || n > 15 {
			t.Errorf("hub%d is used by %d of 30 spokes", i+1, n)
		}
	}
}

// resolve hands the spoke the addresses of a name.
func (r *reserve) resolve(name string, addrs ...string) {
	ev := event.NHSResolved{Interface: "gre1", Name: name}
	for _, a := range addrs {
		ev.NBMA = append(ev.NBMA, addr(a))
	}
	r.spoke.handle(ev)
}

// A hub that is added to the name of hubs with equal priority takes its share of the spokes once it
// has answered for the fallback delay. No spoke moves between the others, and each has a hub in use
// at every moment.
func TestAddedHubTakesItsShare(t *testing.T) {
	const spokes = 30
	moved := 0
	for i := range spokes {
		r := newReserve(t, func(c *overlay.InterfaceConfig) {
			c.Address = netip.MustParsePrefix(fmt.Sprintf("10.255.0.%d/24", 20+i))
			c.NHS = []overlay.NHSConfig{{Name: "hubs.example.net"}}
		})
		inUse := func() string {
			i := slices.Index(r.use(), report.UseInUse)
			if i < 0 {
				t.Fatalf("no hub is in use\n%s", r)
			}
			return r.spoke.status().NHS[i].NBMA.String()
		}
		r.resolve("hubs.example.net", "192.0.2.1", "192.0.2.2")
		r.run(time.Second)
		before := inUse()
		r.resolve("hubs.example.net", "192.0.2.1", "192.0.2.2", "192.0.2.3")
		for end := r.now.Add(fallback + 2*time.Second); r.now.Before(end); {
			r.run(100 * time.Millisecond)
			inUse()
		}
		if after := inUse(); after == "192.0.2.3" {
			moved++
		} else if after != before {
			t.Errorf("spoke %d moves from %s to %s, which were there before", i, before, after)
		}
	}
	if moved < spokes/6 || moved > spokes/2 {
		t.Errorf("%d of %d spokes moved to the third hub, want about a third", moved, spokes)
	}
}

// A name with several addresses is several hubs, of which as many are used as the cluster allows.
// When the address in use goes from the name, the next one takes over. A name whose hub fails is
// looked up again.
func TestNameWithSeveralAddresses(t *testing.T) {
	r := newReserve(t, func(c *overlay.InterfaceConfig) {
		c.NHS = []overlay.NHSConfig{{Name: "hubs.example.net"}}
	})
	r.resolve("hubs.example.net", "192.0.2.1", "192.0.2.2", "192.0.2.3")
	first := -1
	r.until("one is used", time.Second, func() bool {
		first = slices.Index(r.use(), report.UseInUse)
		return first >= 0
	})
	if st := r.spoke.status().NHS; len(st) != 3 || st[2].Name != "hubs.example.net" {
		t.Fatalf("%+v", st)
	}
	asked := len(r.spoke.lookups)
	r.die(first)
	second := -1
	r.until("another is used", 3*time.Second, func() bool {
		second = slices.Index(r.use(), report.UseInUse)
		return second >= 0 && second != first
	})
	if asked != 0 || !slices.Equal(r.spoke.lookups, []string{"hubs.example.net"}) {
		t.Errorf("looked up %d times before, then %v", asked, r.spoke.lookups)
	}
	left := slices.DeleteFunc([]string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}, func(a string) bool {
		return addr(a) == r.hubs[second].local
	})
	r.resolve("hubs.example.net", left...)
	r.until("the third is used", 3*time.Second, func() bool {
		return slices.Index(r.use(), report.UseInUse) >= 0 && r.serves(3-first-second)
	})
	if r.serves(second) || len(r.hubs[second].status().Bindings) != 0 {
		t.Errorf("the address that is gone from the name is used on\n%s", r)
	}
	r.resolve("hubs.example.net")
	if len(r.spoke.status().NHS) != 2 {
		t.Error("a name that resolves to nothing for a while ends registrations")
	}
}

// Other priorities take effect without a gap: the new best hub answers for the fallback delay, then
// it is used. An NHS that is taken out of the configuration is left at once.
func TestPrioritiesAreReloaded(t *testing.T) {
	r := newReserve(t)
	r.awaitUse(0, time.Second)
	r.spoke.configure(func(c *overlay.InterfaceConfig) {
		c.NHS = slices.Clone(c.NHS)
		c.NHS[0].Priority, c.NHS[2].Priority = 20, 0
	})
	r.always(fallback)
	if !r.uses(0) {
		t.Errorf("hub1 is left before hub3 has answered for the fallback delay\n%s", r)
	}
	r.always(time.Second)
	if !r.uses(2) || r.serves(0) {
		t.Errorf("hub3 is not used alone\n%s", r)
	}
	r.spoke.configure(func(c *overlay.InterfaceConfig) { c.NHS = c.NHS[:2] })
	r.awaitUse(1, time.Second)
	if len(r.hubs[2].status().Bindings) != 0 {
		t.Error("hub3 was not told")
	}
	r.spoke.configure(func(c *overlay.InterfaceConfig) { c.MaxConnections = map[uint8]int{0: 2} })
	r.until("both are used", time.Second, func() bool { return r.uses(0) && r.uses(1) })
	r.spoke.configure(func(c *overlay.InterfaceConfig) { c.MaxConnections = map[uint8]int{0: 1} })
	r.always(time.Second)
	if !r.uses(1) || r.serves(0) {
		t.Errorf("uses %v, want hub2 alone, which has priority 10 and not 20", r.use())
	}
}

// After a restart the spoke goes on with the hub that it used, although a better one is configured
// that does not answer.
func TestRestartOnTheHubInReserve(t *testing.T) {
	r := newReserve(t)
	r.awaitUse(0, time.Second)
	r.die(0)
	r.awaitUse(1, 3*time.Second)
	r.run(time.Minute)
	r.spoke.boot(r.spoke.engine.Save())
	r.always(time.Minute)
	if !r.uses(1) {
		t.Errorf("hub2 is not used\n%s", r)
	}
}

// What a hub relays goes through the next one when that has taken over, and through the better one
// again, without a gap, when the spoke returns to that.
func TestRelaysFollowTheHub(t *testing.T) {
	r := newReserve(t)
	r.awaitUse(0, time.Second)
	other := spokeConfig("10.255.0.12/24")
	other.NHS = slices.Clone(r.spoke.cfg.NHS)
	spoke2 := r.add("spoke2", other, "192.0.2.12", "172.16.2.1/24")
	apart := func(a, b *node) bool { return a == r.spoke && b == spoke2 }
	r.refuse = func(from, to *node) bool {
		return to == nil || from.down || to.down || apart(from, to) || apart(to, from)
	}
	relayed := func(hub int) bool {
		return r.spoke.at("10.255.0.12") == peerid.At(r.hubs[hub].local)
	}
	missed := func() {
		r.spoke.handle(event.Missed{Interface: "gre1", Protocol: addr("10.255.0.12")})
	}
	r.run(time.Second)
	missed()
	r.until("hub1 relays", 10*time.Second, func() bool { return relayed(0) })
	r.die(0)
	r.awaitUse(1, 3*time.Second)
	missed()
	if !relayed(1) {
		t.Fatalf("what hub1 relayed does not go through hub2 at once\n%s", r)
	}
	r.back(0)
	for end := r.now.Add(fallback + 5*time.Second); r.now.Before(end); r.run(time.Millisecond) {
		if !relayed(0) && !relayed(1) {
			t.Fatalf("neither relays\n%s", r)
		}
	}
	if !relayed(0) {
		t.Error("hub1 does not relay again")
	}
}

// A hub that is drained asks its clients away. Each is registered with another hub first, if it has
// one, so that a hub serves it at each moment. A client without another hub stays until its
// registration expires.
func TestDrain(t *testing.T) {
	for _, tt := range []struct {
		rule string
		most map[uint8]int
	}{{"the others are in reserve", map[uint8]int{0: 1}}, {"all are used", nil}} {
		t.Run(tt.rule, func(t *testing.T) {
			r := newReserve(t, func(c *overlay.InterfaceConfig) { c.MaxConnections = tt.most })
			r.awaitUse(0, time.Second)
			alone := spokeConfig("10.255.0.12/24")
			other := r.add("spoke2", alone, "192.0.2.12", "172.16.2.1/24")
			r.until("spoke2 is registered", time.Second, other.registered)
			r.hubs[0].handle(event.Drain{Interface: "gre1"})
			if !r.hubs[0].status().Draining {
				t.Error("the status does not show it")
			}
			r.always(r.spoke.cfg.HoldingTime/3 + time.Second)
			if tt.most != nil && (!r.serves(0) || !r.serves(1)) {
				t.Error("both hubs have to serve the spoke until routes lead through hub2")
			}
			r.always(fallback + time.Second)
			if !r.uses(1) || r.serves(0) {
				t.Errorf("hub2 is not used in the place of hub1\n%s", r)
			}
			bound := r.hubs[0].status().Bindings
			if len(bound) != 1 || bound[0].Protocol != addr("10.255.0.12") {
				t.Errorf("hub1 has %+v, want spoke2 alone", bound)
			}
			if !other.at("10.255.0.1").IsValid() {
				t.Error("spoke2, which has no other hub, gave up the one it has")
			}
			if n := r.hubs[0].has(output.NoticeRejected); n != 0 {
				t.Errorf("told %d times that clients are refused", n)
			}
			r.hubs[0].handle(event.Drain{Interface: "gre1", Off: true})
			r.always(time.Minute + fallback + 2*time.Second)
			if !r.uses(0) {
				t.Errorf("hub1 is not used again\n%s", r)
			}
		})
	}
}
