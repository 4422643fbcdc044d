package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"cygnet/nhrpd/packet"
	"cygnet/test/lab"
)

// idleTime is the value of the setting idle_time, after which a shortcut without traffic ends. The
// default is five minutes.
const idleTime = "5s"

// within is the most time that a step may take, on a slow machine.
const within = 40 * time.Second

// secure shows how both spokes register through IPsec.
func secure(s *story, m *lab.Mesh) {
	s.chapter("Both spokes register with the hub, through IPsec")
	for _, spoke := range []*lab.Site{m.Spoke1, m.Spoke2} {
		m.Await(spoke.Name+" registers", within, func() error {
			at := m.Hub.Neighbors("gre1")[spoke.Overlay]
			return lab.True(at == spoke.Public &&
				len(transport(spoke, m.Hub)) > 0, "the hub has %s at %s, %s has %+v", spoke.Overlay,
				at, spoke.Name, spoke.Charon.SAs())
		})
		s.say("%s: SA in transport mode with the hub; the hub's kernel has neighbour %s at %s",
			spoke.Name, spoke.Overlay, spoke.Public)
	}
	if sas := m.Spoke1.Charon.With(m.Spoke2.Public); len(sas) > 0 {
		m.Fatalf("there is an SA between the spokes already: %+v", sas)
	}
	s.say("between the spokes there is no SA")
}

// transport returns the SAs between two sites that carry GRE.
func transport(site, peer *lab.Site) []lab.SA {
	var list []lab.SA
	for _, sa := range site.Charon.With(peer.Public) {
		if sa.ChildUp && sa.Mode == "TRANSPORT" {
			list = append(list, sa)
		}
	}
	return list
}

// forward shows that the first packets go through the hub, and how the direct path results from
// that.
func forward(s *story, m *lab.Mesh) {
	one, two := m.Spoke1.Host, m.Spoke2.Host
	s.chapter(fmt.Sprintf("%s behind spoke1 talks to %s behind spoke2: first through the hub, then directly", one.Addr, two.Addr))
	atHub, atSpoke1, atSpoke2 := m.Hub.Capture("gre1"), m.Spoke1.Capture("gre1"), m.Spoke2.Capture("gre1")
	train := one.Train(two.Addr, 10*time.Millisecond)

	var forwarded, direct lab.Packet
	var indication lab.NHRP
	m.Await("the hub forwards the first packet", within, func() error {
		return first(&forwarded, atHub, one.Addr, two.Addr, m.Spoke1)
	})
	s.say("the hub forwards the first packet")
	m.Await("the hub indicates the shorter way", within, func() error {
		return indicated(&indication, atSpoke1, m.Hub)
	})
	s.say("the hub's traffic indication comes to spoke1, %d ms after that packet: there is a shorter way", indication.At.Sub(forwarded.At).Milliseconds())
	m.Await("a packet comes straight from spoke1 to spoke2", within, func() error {
		return first(&direct, atSpoke2, one.Addr, two.Addr, m.Spoke1)
	})
	for _, end := range [][2]*lab.Site{{m.Spoke1, m.Spoke2}, {m.Spoke2, m.Spoke1}} {
		site, peer := end[0], end[1]
		m.Await("a shortcut from "+site.Name+" to "+peer.Name, within, func() error {
			hop := site.NextHop(peer.Host.Addr)
			return lab.True(hop == peer.Overlay &&
				len(transport(site, peer)) > 0, "the next hop is %s, the SAs are %+v",
				hop, site.Charon.SAs())
		})
		s.say("%s has an SA with %s and the route %s via %s",
			site.Name, peer.Name, peer.LAN, peer.Overlay)
	}
	for line := range strings.Lines(m.Spoke1.Daemon.Output()) {
		if _, said, ok := strings.Cut(line, `msg="shortcut up"`); ok {
			s.say("cygnetd on spoke1 logs: shortcut up%s", strings.TrimRight(said, "\n"))
		}
	}
	if sent, lost := train.Stop(); lost > 0 {
		s.say("of %d pings %d were lost meanwhile", sent, lost)
	} else {
		s.say("of %d pings none was lost meanwhile", sent)
	}
	s.say("first packet forwarded by the hub to direct path, IKE included: %d ms",
		direct.At.Sub(forwarded.At).Milliseconds())
	encryptedPath(s, m, atHub, atSpoke2)
}

// first finds the first packet from one host to another that a tunnel received from a router.
func first(p *lab.Packet, c *lab.Capture, from, to netip.Addr, router *lab.Site) error {
	seen := c.Packets(data(from, to), func(p lab.Packet) bool { return p.Link == router.Public })
	if len(seen) == 0 {
		return fmt.Errorf("none of the packets is from %s to %s by %s", from, to, router.Name)
	}
	*p = seen[0]
	return nil
}

// indicated finds the first Traffic Indication that a tunnel received from the hub.
func indicated(p *lab.NHRP, c *lab.Capture, hub *lab.Site) error {
	seen := c.NHRP(packet.TrafficIndication)
	i := slices.IndexFunc(seen, func(p lab.NHRP) bool { return !p.Sent && p.Link == hub.Public })
	if i < 0 {
		return fmt.Errorf("none of %d traffic indications is from the hub", len(seen))
	}
	*p = seen[i]
	return nil
}

// data returns a filter for packets out of a tunnel from one host to another.
func data(from, to netip.Addr) lab.Filter {
	return func(p lab.Packet) bool { return !p.Sent && p.Src == from && p.Dst == to }
}

// encryptedPath shows which way the packets take now.
func encryptedPath(s *story, m *lab.Mesh, atHub, atSpoke2 *lab.Capture) {
	one, two := m.Spoke1.Host, m.Spoke2.Host
	start := time.Now()
	one.Ping(two.Addr, 50)
	direct := atSpoke2.Count(data(one.Addr, two.Addr), lab.Since(start))
	via := atHub.Count(data(one.Addr, two.Addr),
		lab.Since(start)) + atHub.Count(data(two.Addr, one.Addr), lab.Since(start))
	esp := m.Underlay.Count(lab.OfKind(lab.ESP), lab.Between(m.Spoke1.Public, m.Spoke2.Public),
		lab.Since(start))
	s.say("50 pings more: %d requests straight from spoke1 to spoke2, %d packets through the hub, %d ESP packets between the spokes", direct, via, esp)
	if direct != 50 || via != 0 || esp < 100 {
		m.Fatalf("they should be 50, 0 and at least 100")
	}
}

// end shows that the shortcut and its SA end without traffic, while the hub's SAs stay.
func end(s *story, m *lab.Mesh) {
	s.chapter("Without traffic the shortcut and its SA go away again (idle_time is set to " +
		idleTime + " here)")
	ids := func(site *lab.Site) string {
		var list []string
		for _, sa := range transport(site, m.Hub) {
			list = append(list, sa.ID)
		}
		return strings.Join(list, " ")
	}
	before := [2]string{ids(m.Spoke1), ids(m.Spoke2)}
	for _, end := range [][2]*lab.Site{{m.Spoke1, m.Spoke2}, {m.Spoke2, m.Spoke1}} {
		site, peer := end[0], end[1]
		m.Await("the shortcut of "+site.Name+" ends", within, func() error {
			hop, sas := site.NextHop(peer.Host.Addr), site.Charon.With(peer.Public)
			return lab.True(hop == m.Hub.Overlay && len(sas) == 0, "the next hop is %s, the SAs are %+v", hop, sas)
		})
		s.say("%s sends to %s via the hub again; no SA with %s", site.Name, peer.LAN, peer.Name)
	}
	if after := [2]string{ids(m.Spoke1), ids(m.Spoke2)}; after != before || before[0] == "" ||
		before[1] == "" {
		m.Fatalf("the spokes' SAs with the hub were %q and are %q", before, after)
	}
	s.say("the SAs with the hub are the same as before")
}

// finish shows the state of all routers and what was sent on the underlay.
func finish(s *story, m *lab.Mesh) {
	s.chapter("What the three daemons say")
	for _, site := range m.Sites() {
		fmt.Printf("\n$ cygnet status      # on %s\n%s", site.Name, site.Cygnet("status"))
	}
	s.chapter("What was on the underlay, from before the tunnels were up until now")
	fmt.Println()
	for _, kind := range []lab.Kind{lab.ESP, lab.IKE, lab.GRE} {
		fmt.Printf("   %-18s %6d packets\n", kind, m.Underlay.Count(lab.OfKind(kind)))
	}
	if clear := m.Underlay.Packets(lab.OfKind(lab.GRE)); len(clear) > 0 {
		m.Fatalf("GRE in clear, the first: %v", clear[0])
	}
	if m.Underlay.Count(lab.OfKind(lab.ESP)) == 0 {
		m.Fatalf("no ESP was seen")
	}
}
