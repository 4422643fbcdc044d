package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Mesh is the DMVPN that most scenarios need: a hub and two spokes, each with cygnetd, charon, a LAN and a host on it.
//
//	hub     192.0.2.1    10.255.0.1    172.16.0.0/24
//	spoke1  192.0.2.11   10.255.0.11   172.16.1.0/24
//	spoke2  192.0.2.12   10.255.0.12   172.16.2.0/24
//
// Routes between the LANs are static and lead to overlay addresses, the spokes' ones all to the hub, as a routing protocol
// would leave them.
type Mesh struct {
	*Net
	Hub, Spoke1, Spoke2 *Site
	Spoke3              *Site // nil unless asked for: 192.0.2.13, 10.255.0.13, 172.16.3.0/24
	Spoke4              *Site // nil unless asked for: 192.0.2.14, 10.255.0.14, 172.16.4.0/24
}

// Site is one router of a mesh. Nothing runs on it until Start, so that a scenario can change the configuration before.
type Site struct {
	*Router
	Host    *Host
	Overlay netip.Addr
	Public  netip.Addr // the NBMA address that the world sees
	NAT     *NAT       // that it is behind; nil: none
	PSK     string

	// Interface and IPsec are lines of the configuration's [interface.gre1] and [interface.gre1.ipsec]. Without lines for IPsec
	// there is no such table.
	Interface, IPsec []string

	// Limits are lines of [interface.gre1.limits]. A mesh allows 512 bindings: a hub takes memory
	// for as many clients as it may have when it starts, and a guest's kernel is slow to give it.
	Limits []string

	DaemonLines []string // of the configuration's [daemon]

	Rules []string // peer rules, as Rule makes them

	Charon *Charon
	Daemon *Cygnetd

	routes []string
}

// MeshOption changes a mesh before its routers are made.
type MeshOption func(*meshConfig)

type meshConfig struct {
	nat    map[string]bool
	shared bool
	third  bool
	fourth bool
}

// SpokeBehindNAT puts a spoke behind a NAT box of its own, which has the spoke's usual address.
func SpokeBehindNAT(name string) MeshOption { return func(c *meshConfig) { c.nat[name] = true } }

// HubBehindNAT puts the hub behind a NAT box that has the hub's usual address and forwards everything to it.
func HubBehindNAT() MeshOption { return func(c *meshConfig) { c.nat["hub"] = true } }

// SpokesBehindOneNAT puts both spokes behind one NAT box, which has spoke1's usual address, and adds a third spoke without NAT.
func SpokesBehindOneNAT() MeshOption {
	return func(c *meshConfig) { c.shared, c.third = true, true }
}

// ThreeSpokesBehindOneNAT is SpokesBehindOneNAT with a fourth spoke, which is behind the box as well.
func ThreeSpokesBehindOneNAT() MeshOption {
	return func(c *meshConfig) { c.shared, c.third, c.fourth = true, true, true }
}

// ThirdSpoke adds a third spoke.
func ThirdSpoke() MeshOption { return func(c *meshConfig) { c.third = true } }

// NewMesh makes a mesh on which nothing runs yet.
func NewMesh(t T, options ...MeshOption) *Mesh {
	t.Helper()
	c := meshConfig{nat: map[string]bool{}}
	for _, o := range options {
		o(&c)
	}
	m := &Mesh{Net: New(t)}
	m.Hub = m.site("hub", "192.0.2.1", 0, c)
	if m.Hub.NAT != nil {
		m.Hub.NAT.Forward(m.Hub.Router)
	}
	var box *NAT
	if c.shared {
		box = m.NAT("spokes-nat", "192.0.2.11/24", "10.1.0.1/24")
		m.Spoke1 = m.site("spoke1", "192.0.2.11", 1, c, Addr("10.1.0.2/24"), BehindNAT(box))
		m.Spoke2 = m.site("spoke2", "192.0.2.11", 2, c, Addr("10.1.0.3/24"), BehindNAT(box))
	} else {
		m.Spoke1 = m.site("spoke1", "192.0.2.11", 1, c)
		m.Spoke2 = m.site("spoke2", "192.0.2.12", 2, c)
	}

	m.Hub.Interface = append(m.Hub.Interface, "redirect = true")
	m.Hub.routes = []string{"172.16.1.0/24 via 10.255.0.11", "172.16.2.0/24 via 10.255.0.12"}
	if c.third {
		m.Spoke3 = m.site("spoke3", "192.0.2.13", 3, c)
		m.Hub.routes = append(m.Hub.routes, "172.16.3.0/24 via 10.255.0.13")
	}
	if c.fourth {
		m.Spoke4 = m.site("spoke4", "192.0.2.11", 4, c, Addr("10.1.0.4/24"), BehindNAT(box))
		m.Hub.routes = append(m.Hub.routes, "172.16.4.0/24 via 10.255.0.14")
	}
	for _, s := range m.Sites()[1:] {
		s.Interface = append(s.Interface, `nhs = [{ nbma = "192.0.2.1" }]`, "shortcut = true")
		s.routes = []string{"172.16.0.0/16 via 10.255.0.1"}
	}
	return m
}

// site adds a site. Where options say how it is connected, that is how; else it is on the underlay or behind a box of its own.
func (m *Mesh) site(name, public string, number int, c meshConfig, options ...RouterOption) *Site {
	m.Helper()
	connected := len(options) > 0
	options = append(options, LAN(fmt.Sprintf("172.16.%d.1/24", number)))
	switch {
	case connected:
	case c.nat[name]:
		box := m.NAT(name+"-nat", public+"/24", fmt.Sprintf("10.%d.0.1/24", number))
		options = append(options, Addr(fmt.Sprintf("10.%d.0.2/24", number)), BehindNAT(box))
	default:
		options = append(options, Addr(public+"/24"))
	}
	overlay := netip.AddrFrom4([4]byte{10, 255, 0, byte(10 + number)})
	if number == 0 {
		overlay = netip.AddrFrom4([4]byte{10, 255, 0, 1})
	}
	var connection routerConfig
	for _, o := range options {
		o(&connection)
	}
	s := &Site{Router: m.Router(name, options...), NAT: connection.nat, Overlay: overlay, Public: netip.MustParseAddr(public), PSK: "a long key for a mesh of the lab"}
	s.Host = s.Router.Host(fmt.Sprintf("host%d", number))
	s.Limits = []string{"bindings = 512"}
	s.Interface = []string{
		fmt.Sprintf("address = %q", overlay.String()+"/24"),
		`underlay = "eth0"`,
		"key = 42",
	}
	s.IPsec = []string{
		fmt.Sprintf("identity = %q", name+".example.net"),
		`psk_file = "/etc/cygnet/gre1.psk"`,
	}
	return s
}

// Sites lists hub and spokes.
func (m *Mesh) Sites() []*Site {
	sites := []*Site{m.Hub, m.Spoke1, m.Spoke2}
	if m.Spoke3 != nil {
		sites = append(sites, m.Spoke3)
	}
	if m.Spoke4 != nil {
		sites = append(sites, m.Spoke4)
	}
	return sites
}

// Add gives all sites further lines for [interface.gre1].
func (m *Mesh) Add(lines ...string) {
	for _, s := range m.Sites() {
		s.Interface = append(s.Interface, lines...)
	}
}

// SetAddress gives a site its overlay address with another prefix length, and further lines about it, such as overlay. Of a site that
// runs it changes the configuration only.
func (s *Site) SetAddress(bits int, lines ...string) {
	s.Interface[0] = strings.Join(append([]string{fmt.Sprintf("address = %q", netip.PrefixFrom(s.Overlay, bits))}, lines...), "\n")
}

// AddIPsec gives all sites further lines for [interface.gre1.ipsec].
func (m *Mesh) AddIPsec(lines ...string) {
	for _, s := range m.Sites() {
		s.IPsec = append(s.IPsec, lines...)
	}
}

// Unprotect makes all sites go without IPsec and charon.
func (m *Mesh) Unprotect() {
	for _, s := range m.Sites() {
		s.IPsec = nil
		s.Interface = append(s.Interface, `protection = "none"`)
	}
}

// Start starts all sites, the hub first.
func (m *Mesh) Start() {
	m.Helper()
	for _, s := range m.Sites() {
		s.Start()
	}
}

// Config is the site's configuration as it is now.
func (s *Site) Config() string {
	text := "[daemon]\n" + strings.Join(s.DaemonLines, "\n") + "\n\n[log.levels]\nengine = \"debug\"\nvici = \"debug\"\n\n[interface.gre1]\n" + strings.Join(s.Interface, "\n") + "\n"
	text += "\n[interface.gre1.limits]\n" + strings.Join(s.Limits, "\n") + "\n"
	if len(s.IPsec) > 0 {
		text += "\n[interface.gre1.ipsec]\n" + strings.Join(s.IPsec, "\n") + "\n"
	}
	return text + "\n" + strings.Join(s.Rules, "\n")
}

// Start starts charon, where IPsec is configured, and the daemon, and sets the routes to the other LANs.
func (s *Site) Start() {
	s.net.Helper()
	if len(s.IPsec) > 0 {
		s.Charon = s.Router.Charon()
		if slices.Contains(s.IPsec, `auth = "certificate"`) {
			s.Run("swanctl", "--load-creds")
		}
	}
	s.StartDaemon()
}

// StartDaemon is Start without charon.
func (s *Site) StartDaemon() {
	s.net.Helper()
	s.WriteFile("/etc/cygnet/gre1.psk", 0o600, s.PSK+"\n")
	s.Daemon = s.Cygnetd(s.Config())
	s.SetRoutes()
}

// UseRoutes has Start set these routes through the tunnel in the place of a mesh's usual ones: "PREFIX via ADDRESS" each.
func (s *Site) UseRoutes(routes ...string) { s.routes = routes }

// SetRoutes sets the static routes to the other LANs. They go with the tunnel.
func (s *Site) SetRoutes() {
	s.net.Helper()
	for _, r := range s.routes {
		s.IP("route replace " + r + " dev gre1 onlink")
	}
}
