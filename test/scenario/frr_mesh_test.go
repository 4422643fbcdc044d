//go:build lab

package scenario

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cygnet/test/lab"
)

// frrSite is a site of the mesh on which FRR runs instead of cygnetd.
type frrSite struct {
	*lab.Site
	*lab.FRR
	config string
	routes []string
}

// frrMesh returns a mesh without IPsec, since FRR's IPsec needs a strongSwan that is not stock, and
// without a GRE key, which FRR may drop.
func frrMesh(t lab.T) *lab.Mesh {
	t.Helper()
	m := lab.NewMesh(t)
	m.Unprotect()
	for _, s := range m.Sites() {
		s.Interface = slices.DeleteFunc(s.Interface, func(line string) bool {
			return strings.HasPrefix(line, "key")
		})
	}
	return m
}

// frrSpoke runs FRR on a spoke of the mesh, as FRR wants it: the spoke has a host address in the
// overlay, and the rest of the overlay is behind the hub.
func frrSpoke(m *lab.Mesh, s *lab.Site) *frrSite {
	m.Helper()
	f := &frrSite{
		Site:   s,
		config: "interface gre1\n ip nhrp network-id 1\n ip nhrp holdtime 60\n ip nhrp nhs dynamic nbma 192.0.2.1\n ip nhrp shortcut\n",
		routes: []string{"10.255.0.0/24 via 10.255.0.1", "172.16.0.0/16 via 10.255.0.1"},
	}
	f.tunnel(m)
	f.start(m)
	return f
}

// frrHub runs FRR on the mesh's hub.
func frrHub(m *lab.Mesh) *frrSite {
	m.Helper()
	return frrHubOn(m, m.Hub)
}

// frrFurtherHub adds a hub on which FRR runs, with the underlay address 192.0.2.NUMBER and the
// overlay address 10.255.0.NUMBER.
func frrFurtherHub(m *lab.Mesh, number int) *frrSite {
	m.Helper()
	r := m.Router(fmt.Sprintf("hub%d", number), lab.Addr(fmt.Sprintf("192.0.2.%d/24", number)))
	return frrHubOn(m,
		&lab.Site{Router: r, Overlay: addr(fmt.Sprintf("10.255.0.%d", number)), Public: r.NBMA})
}

// frrHubOn runs FRR as a hub, with the firewall rule that shows FRR what the hub sends back into
// the tunnel.
func frrHubOn(m *lab.Mesh, s *lab.Site) *frrSite {
	m.Helper()
	f := &frrSite{
		Site:   s,
		config: "nhrp nflog-group 1\ninterface gre1\n ip nhrp network-id 1\n ip nhrp holdtime 60\n ip nhrp redirect\n",
		routes: []string{"172.16.1.0/24 via 10.255.0.11", "172.16.2.0/24 via 10.255.0.12"},
	}
	f.tunnel(m)
	f.Iptables("-A", "FORWARD", "-i", "gre1", "-o", "gre1", "-m", "hashlimit",
		"--hashlimit-upto", "4/minute", "--hashlimit-burst", "1", "--hashlimit-mode", "srcip,dstip",
		"--hashlimit-srcmask", "24", "--hashlimit-dstmask", "24", "--hashlimit-name", "loglimit-0",
		"-j", "NFLOG", "--nflog-group", "1", "--nflog-size", "128")
	f.start(m)
	return f
}

// tunnel makes the tunnel device, which FRR does not make itself, and the routes over it.
func (f *frrSite) tunnel(m *lab.Mesh) {
	m.Helper()
	f.IP("link add gre1 type gre local "+f.NBMA.String()+f.key()+" ttl 64",
		"link set gre1 mtu 1400 arp on up",
		"addr add "+f.Overlay.String()+"/32 dev gre1")
	for _, r := range f.routes {
		f.IP("route add " + r + " dev gre1 onlink")
	}
}

// key returns the arguments of ip link for the site's GRE key, if it has one.
func (f *frrSite) key() string {
	for _, line := range f.Interface {
		if key, ok := strings.CutPrefix(line, "key = "); ok {
			return " key " + key
		}
	}
	return ""
}

// start starts FRR's nhrpd with the site's configuration.
func (f *frrSite) start(m *lab.Mesh) {
	m.Helper()
	f.FRR = f.Router.FRR("nhrpd", f.config)
}

// kill ends nhrpd and zebra as a crash would: they say goodbye to nobody.
func (f *frrSite) kill(m *lab.Mesh) {
	m.Helper()
	f.Run("sh", "-c", "kill -9 $(cat /run/frr/nhrpd.pid /run/frr/zebra.pid)")
	m.Await("FRR on "+f.Name+" is gone", soon, func() error {
		_, err := f.Try("vtysh", "-c", "show version")
		return lab.True(err != nil, "it still answers")
	})
}

// frrCache is FRR's NHRP cache: the NBMA address of each overlay address, and how FRR knows it.
type frrCache map[netip.Addr]struct {
	nbma netip.Addr
	kind string
}

// cache asks FRR for its NHRP cache.
func (f *frrSite) cache() (frrCache, error) {
	var answer struct {
		Table []struct{ Type, Protocol, NBMA string }
	}
	if err := f.Show(&answer, "show ip nhrp cache"); err != nil {
		return nil, err
	}
	c := frrCache{}
	for _, e := range answer.Table {
		protocol, err := netip.ParseAddr(e.Protocol)
		if err != nil {
			return nil, fmt.Errorf("the NHRP cache of %s has %+v: %w", f.Name, e, err)
		}
		entry := c[protocol]
		entry.nbma, _ = netip.ParseAddr(e.NBMA)
		entry.kind = e.Type
		c[protocol] = entry
	}
	return c, nil
}

// knows returns nil when FRR's cache has a peer at its NBMA address, and knows it in one of these
// ways ("nhs", "dynamic", "cached").
func (f *frrSite) knows(peer *lab.Site, kinds ...string) error {
	c, err := f.cache()
	if err != nil {
		return err
	}
	e := c[peer.Overlay]
	return lab.True(slices.Contains(kinds, e.kind) && e.nbma == peer.Public,
		"the NHRP cache of FRR on %s is %v", f.Name, c)
}

// registeredWith awaits that the FRR spoke has the hub as its NHS, and that the hub's kernel has
// the spoke as its neighbour.
func (f *frrSite) registeredWith(m *lab.Mesh, hub *lab.Site, within time.Duration) {
	m.Helper()
	registered(m, f.Site, within)
	m.Await("FRR on "+f.Name+" says that it is registered", within, func() error {
		return f.knows(hub, "nhs")
	})
}

// heads returns nil when the kernel of an FRR site sends packets for a peer's host straight to the
// peer's NBMA address. FRR has either a route through the peer's overlay address, or a route that
// makes the host itself a neighbour on the tunnel.
func (f *frrSite) heads(peer *lab.Site) error {
	hop := f.NextHop(peer.Host.Addr)
	if !hop.IsValid() {
		hop = peer.Host.Addr
	}
	if at := f.Neighbors("gre1")[hop]; at != peer.Public {
		return fmt.Errorf("%s sends what is for %s via %s at %s", f.Name, peer.Host.Addr, hop, at)
	}
	return f.knows(peer, "dynamic", "cached")
}

// shortcutWith keeps traffic going between our spoke and an FRR spoke until both send directly, by
// an SA that both have if there is IPsec. No packet is under way when it returns.
func shortcutWith(m *lab.Mesh, ours *lab.Site, f *frrSite) {
	m.Helper()
	flow := ours.Host.Flow(f.Host.Addr, 50*time.Millisecond)
	m.Await("shortcuts between our spoke and FRR's", 2*soon, func() error {
		return errors.Join(up(ours, f.Site), f.heads(ours), agreed(ours, f.Site))
	})
	flow.Stop()
}

// direct proves that packets between two hosts go straight from router to router, in both
// directions. The outer source of what arrives shows it, and so does the underlay.
func direct(m *lab.Mesh, a, b *lab.Site) {
	m.Helper()
	since := time.Now()
	goesStraight(m, a, b, 10)
	if n := m.Underlay.Count(lab.OfKind(lab.GRE), lab.Between(a.Public, b.Public),
		lab.Since(since)); n < 20 {
		m.Errorf("on the underlay there are %d packets between %s and %s", n, a.Name, b.Name)
	}
}

// decoded has tshark read every NHRP packet that these sites sent. None may be malformed, have a
// wrong checksum or be an Error Indication, and every site must have sent some.
func decoded(m *lab.Mesh, ours ...*lab.Site) {
	m.Helper()
	sent := nhrpFrom(m, ours) // more may come until the file is written
	path := filepath.Join(m.Hub.Path("/run"), "underlay.pcap")
	if err := m.Underlay.WritePcap(path); err != nil {
		m.Fatalf("write the capture: %v", err)
	}
	var sources []string
	for _, s := range ours {
		sources = append(sources, "ip.src == "+s.Public.String())
		if m.Underlay.Count(lab.OfKind(lab.GRE), lab.From(s.Public), ofNHRP) == 0 {
			m.Errorf("%s sent no NHRP packet: there is nothing to decode", s.Name)
		}
	}
	filter := "nhrp && (" + strings.Join(sources, " || ") + ")"
	all := m.Hub.Run("tshark", "-r", path, "-Y", filter, "-T", "fields",
		"-e", "frame.number", "-e", "nhrp.hdr.op.type", "-e", "nhrp.hdr.chksum.status",
		"-e", "frame.cap_len", "-e", "frame.len",
		"-e", "_ws.malformed", "-e", "_ws.expert.message", "-E", "separator=,")
	packets := 0
	for line := range strings.Lines(all) {
		fields := strings.SplitN(strings.TrimSpace(line), ",", 7)
		if len(fields) < 7 {
			continue // a warning of tshark's own
		}
		packets++
		if fields[1] == "7" || fields[2] != "1" || fields[3] != fields[4] || fields[5] != "" ||
			fields[6] != "" {
			detail, _ := m.Hub.Try("tshark", "-r", path, "-Y", "frame.number == "+fields[0],
				"-O", "nhrp")
			m.Errorf("tshark finds fault with what we sent (%s):\n%s", strings.TrimSpace(line),
				detail)
		}
	}
	if packets < sent {
		m.Errorf("of %d NHRP packets tshark decoded %d:\n%s", sent, packets, all)
	}
}

// nhrpFrom returns how many NHRP packets these sites sent.
func nhrpFrom(m *lab.Mesh, sites []*lab.Site) int {
	m.Helper()
	count := 0
	for _, s := range sites {
		count += m.Underlay.Count(lab.OfKind(lab.GRE), lab.From(s.Public), ofNHRP)
	}
	return count
}

// ofNHRP is a filter for GRE packets that carry NHRP.
func ofNHRP(p lab.Packet) bool { return p.GREProto == 0x2001 }
