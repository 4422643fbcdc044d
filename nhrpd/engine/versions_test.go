package engine

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/client"
	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/selection"
)

// dual is a hub and a spoke with an address of each IP version. The spoke knows the hub by a name
// with both addresses.
type dual struct {
	*world
	hub, spoke *node
}

// newDual makes the routers; broken reports whether nothing passes over IPv6 from the start.
func newDual(t *testing.T, broken bool, change ...func(*overlay.InterfaceConfig)) *dual {
	t.Helper()
	d := &dual{world: newWorld(t)}
	d.setIPv6(!broken)
	d.hub = d.addBoth("hub", hubConfig(), hub4, hub6, "172.16.0.1/24")
	d.hub.addRoutes(viaTunnel(lan1, "10.255.0.11"))
	cfg := spokeConfig("10.255.0.11/24")
	cfg.NHS = []overlay.NHSConfig{{Name: "hub.example.net"}}
	cfg.FallbackDelay = fallback
	for _, f := range change {
		f(&cfg)
	}
	d.spoke = d.addBoth("spoke1", cfg, "192.0.2.11", "2001:db8::11", "172.16.1.1/24")
	d.spoke.addRoutes(viaTunnel("172.16.0.0/24", "10.255.0.1"))
	d.resolve(hub4, hub6)
	return d
}

// resolve tells the spoke the addresses of the hub's name.
func (d *dual) resolve(addrs ...string) {
	ev := event.NHSResolved{Interface: "gre1", Name: "hub.example.net"}
	for _, a := range addrs {
		ev.NBMA = append(ev.NBMA, addr(a))
	}
	d.spoke.handle(ev)
}

// setIPv6 has packets pass over IPv6 or not.
func (d *dual) setIPv6(passes bool) { d.no6 = !passes }

// cutIPv6 ends what passes over IPv6. The two ends notice by dead peer detection.
func (d *dual) cutIPv6() {
	d.setIPv6(false)
	d.terminateOver(d.spoke, d.hub, true, "dead peer detection")
}

// serves reports whether the two routers have each other as neighbours over an IP version, and data
// passes both ways.
func (d *dual) serves(hub, spoke string) bool {
	return d.spoke.at("10.255.0.1") == peerAt(hub) && d.hub.at("10.255.0.11") == peerAt(spoke) &&
		d.ping(d.spoke, host1, hostHub) != nil && d.ping(d.hub, hostHub, host1) != nil
}

func (d *dual) overIPv4() bool { return d.serves(hub4, "192.0.2.11") }
func (d *dual) overIPv6() bool { return d.serves(hub6, "2001:db8::11") }

// served has time pass. The test fails if there is a moment at which no data passes.
func (d *dual) served(passed time.Duration) {
	d.t.Helper()
	for end := d.now.Add(passed); d.now.Before(end); d.run(time.Millisecond) {
		if d.ping(d.spoke, host1, hostHub) == nil || d.ping(d.hub, hostHub, host1) == nil {
			d.t.Fatalf("no data passes\n%s", d)
		}
	}
}

// usesOf returns what the spoke does with the addresses of the hub, IPv6 first.
func (d *dual) usesOf() (uses []report.NHSUse) {
	for _, n := range d.spoke.status().NHS {
		uses = append(uses, n.Use)
	}
	return uses
}

// requestsTo returns how many packets the spoke has sent to an address.
func (d *dual) requestsTo(to string) (count int) {
	for _, p := range d.spoke.sent {
		if p.to == peerAt(to) {
			count++
		}
	}
	return count
}

const hostHub = "172.16.0.2"

// Of a name with addresses of both IP versions, IPv6 is used where it answers. The hub hears
// nothing over IPv4.
func TestIPv6IsPreferred(t *testing.T) {
	d := newDual(t, false)
	d.until("registered over IPv6", time.Second, d.overIPv6)
	d.served(time.Minute)
	want := []report.NHSUse{report.UseInUse, report.UseReserve}
	if !slices.Equal(d.usesOf(), want) || d.requestsTo(hub4) != 0 {
		t.Errorf("uses %v, want %v; %d packets over IPv4", d.usesOf(), want, d.requestsTo(hub4))
	}
	if d.hasSAOver(d.spoke, d.hub, false) {
		t.Error("there is an SA over IPv4")
	}
}

// If IPv6 does not answer, IPv4 is used a good second later.
func TestIPv4WhereIPv6DoesNotAnswer(t *testing.T) {
	d := newDual(t, true)
	d.until("registered over IPv4", 1300*time.Millisecond, d.overIPv4)
	d.served(5 * time.Minute)
	want := []report.NHSUse{report.UseProbing, report.UseInUse}
	if !slices.Equal(d.usesOf(), want) || d.requestsTo(hub6) != 0 {
		t.Errorf("uses %v, want %v; %d packets over IPv6", d.usesOf(), want, d.requestsTo(hub6))
	}
}

// When IPv6 fails, IPv4 takes over. When IPv6 has answered again for the fallback delay, it is used
// again, and no packet is lost on the way back. The hub never takes the spoke for two routers.
func TestBackToIPv6(t *testing.T) {
	d := newDual(t, false)
	for range 3 {
		d.until("registered over IPv6", 2*time.Second, d.overIPv6)
		d.run(time.Minute)
		d.cutIPv6()
		d.until("registered over IPv4", 3*time.Second, d.overIPv4)
		d.served(2 * time.Minute)
		d.setIPv6(true)
		d.until("IPv6 is about to return", 5*time.Second, func() bool {
			return d.usesOf()[0] == report.UseReturning
		})
		returns := d.spoke.status().NHS[0].Returns
		d.served(returns.Sub(d.now) - 10*time.Millisecond)
		if !d.overIPv4() {
			t.Fatal("IPv6 is used before the fallback delay is over")
		}
		if m := d.hub.engine.Mismatches(d.now); len(m) > 0 {
			t.Errorf("the hub takes the SA that stands by for a mistake: %+v", m)
		}
		d.served(2 * time.Second)
	}
	for _, n := range d.hub.notices {
		if n.Kind == output.NoticeRejected {
			t.Errorf("the hub refuses: %s", n.Reason)
		}
	}
}

// A path that lets IKE pass and ESP not is found out by the registrations: IPv4 takes over. The
// attempt to come back loses no packet.
func TestIPv6WithoutESP(t *testing.T) {
	d := newDual(t, false)
	d.until("registered over IPv6", time.Second, d.overIPv6)
	d.run(time.Minute)
	d.noESP6 = true
	for !d.overIPv4() {
		if d.now.Sub(d.start) > 80*time.Second {
			t.Fatalf("not registered over IPv4\n%s", d)
		}
		d.ping(d.spoke, host1, hostHub)
		d.run(500 * time.Millisecond)
	}
	if !d.hasSAOver(d.spoke, d.hub, true) {
		t.Fatal("there is no SA over IPv6 any more")
	}
	before := d.requestsTo(hub6)
	most := int(10*time.Minute/selection.Again) * (client.TriesPerAddr + 1)
	d.served(10 * time.Minute)
	if tried := d.requestsTo(hub6) - before; tried == 0 || tried > most {
		t.Errorf("IPv6 was tried with %d packets", tried)
	}
	d.noESP6 = false
	d.until("registered over IPv6", 2*selection.Again, d.overIPv6)
}

// An outage of IPv6 that is shorter than dead peer detection leaves the SA. The hub, which has seen
// the spoke at both addresses ever since, takes it for one router all the same: the spoke names its
// other address.
func TestShortOutageOfIPv6(t *testing.T) {
	d := newDual(t, false)
	d.until("registered over IPv6", time.Second, d.overIPv6)
	for range 2 {
		d.run(time.Minute)
		d.noESP6 = true
		d.until("registered over IPv4", 30*time.Second, func() bool {
			d.ping(d.spoke, host1, hostHub)
			return d.overIPv4()
		})
		d.noESP6 = false
		d.until("registered over IPv6", selection.Again+time.Second, d.overIPv6)
	}
	if n := d.hub.last(output.NoticeRejected); n.Reason != "" {
		t.Errorf("the hub refuses: %s", n.Reason)
	}
}

// The way back takes the fallback delay from the new SA on if dead peer detection ended the old one
// after the registrations failed.
func TestBackWithANewSA(t *testing.T) {
	d := newDual(t, false)
	d.until("registered over IPv6", time.Second, d.overIPv6)
	d.run(time.Minute)
	d.noESP6 = true
	d.until("registered over IPv4", 30*time.Second, func() bool {
		d.ping(d.spoke, host1, hostHub)
		return d.overIPv4()
	})
	d.run(5 * time.Second)
	d.noESP6 = false
	d.terminateOver(d.spoke, d.hub, true, "dead peer detection")
	d.until("registered over IPv6", fallback+time.Second, d.overIPv6)
}

// A hub that refuses over both versions is not asked in turn without end.
func TestRefusedOverBothVersions(t *testing.T) {
	d := newDual(t, false)
	d.hub.cfg.Server = false
	d.hub.engine.Configure(d.now,
		overlay.Config{Interfaces: []overlay.InterfaceConfig{d.hub.cfg}}, &d.hub.out)
	d.hub.carryOut()
	d.run(5 * time.Minute)
	if n := len(d.spoke.sent); n > 60 {
		t.Errorf("%d requests in five minutes, want no more than 60", n)
	}
}

// A spoke with one IP version uses the addresses of that one. When it gets the other one, it uses
// that as if it had been there before.
func TestNameForOneVersion(t *testing.T) {
	for _, tt := range []struct {
		name         string
		first, other string
		before       func(*dual) bool
	}{
		{"IPv4", "192.0.2.11", "", (*dual).overIPv4},
		{"IPv6", "2001:db8::11", "", (*dual).overIPv6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDual(t, false)
			d.spoke.local, d.spoke.second = addr(tt.first), netip.Addr{}
			d.spoke.handle(event.LocalAddress{Interface: "gre1", NBMA: d.spoke.local})
			d.until("registered", 12*time.Second, func() bool { return tt.before(d) })
			if n := d.spoke.status().NHS; len(n) != 1 {
				t.Errorf("want one NHS, have %+v", n)
			}
		})
	}
}

// When the IPv6 address of the spoke comes later, the spoke moves to IPv6 after the fallback delay.
func TestIPv6ComesLater(t *testing.T) {
	d := newDual(t, false)
	d.spoke.second = netip.Addr{}
	d.spoke.handle(event.LocalAddress{Interface: "gre1", NBMA: d.spoke.local})
	d.until("registered over IPv4", 12*time.Second, d.overIPv4)
	d.run(20 * time.Second)
	d.spoke.second = addr("2001:db8::11")
	d.spoke.handle(
		event.LocalAddress{Interface: "gre1", NBMA: d.spoke.local, Second: d.spoke.second})
	d.until("registered over IPv6", fallback+time.Second, d.overIPv6)
	if got := peerid.At(addr(hub6)); d.spoke.at("10.255.0.1") != got {
		t.Errorf("the hub is at %s", d.spoke.at("10.255.0.1"))
	}
}
