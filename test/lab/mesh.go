package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Mesh is the DMVPN that most scenarios need: a hub and two spokes. Each has cygnetd, charon, and a
// LAN with one host.
//
//	hub     192.0.2.1    10.255.0.1    172.16.0.0/24
//	spoke1  192.0.2.11   10.255.0.11   172.16.1.0/24
//	spoke2  192.0.2.12   10.255.0.12   172.16.2.0/24
//
// The columns are NBMA address, overlay address and LAN. Static routes connect the LANs, with
// overlay addresses as next hops: those of the hub lead to the spokes, those of the spokes to the
// hub. A routing protocol would set the same routes.
type Mesh struct {
	*Net
	Hub, Spoke1, Spoke2 *Site

	// Spoke3 has 192.0.2.13, 10.255.0.13 and 172.16.3.0/24. It is nil unless an option adds it.
	Spoke3 *Site

	// Spoke4 has 10.255.0.14 and 172.16.4.0/24, and is behind the same NAT box as spoke1, so that
	// its NBMA address is 192.0.2.11 too. It is nil unless an option adds it.
	Spoke4 *Site

	// More has the spokes that MoreSpokes adds.
	More []*Site
}

// Site is one router of a mesh. Nothing runs on the router until Start, so that a scenario can
// change the configuration first.
type Site struct {
	*Router
	Host    *Host
	Overlay netip.Addr
	Public  netip.Addr // the NBMA address that other routers see
	NAT     *NAT       // the NAT box in front of the router, or nil
	PSK     string

	// Interface and IPsec are the lines of the tables [interface.gre1] and [interface.gre1.ipsec]
	// of the configuration. If IPsec has no lines, the configuration has no such table.
	Interface, IPsec []string

	// Limits are the lines of [interface.gre1.limits]. A mesh allows 512 bindings only: when a hub
	// starts, it allocates memory for as many clients as the limit allows, and the kernel of a
	// guest is slow to provide memory.
	Limits []string

	DaemonLines []string // the lines of the configuration's table [daemon]

	Rules []string // peer rules, as Rule makes them

	// Further has the lines of further tables, such as those of a second interface.
	Further []string

	Charon *Charon  // nil before Start, and without IPsec
	Daemon *Cygnetd // nil before Start

	routes []string // "PREFIX via ADDRESS" each: the routes that SetRoutes sets
}

// MeshOption says how a mesh differs from the usual one.
type MeshOption func(*meshConfig)

// meshConfig is what the options of a mesh set.
type meshConfig struct {
	nat    map[string]bool // names of the routers that get a NAT box of their own
	shared bool            // spoke1 and spoke2 are behind one NAT box
	third  bool            // the mesh has a third spoke
	fourth bool            // the mesh has a fourth spoke, behind the box of spoke1 and spoke2

	more int // spokes beyond the third

	machine bool // spoke1 is this machine
}

// SpokeBehindNAT puts a spoke behind a NAT box of its own. The box has the spoke's usual address.
func SpokeBehindNAT(name string) MeshOption { return func(c *meshConfig) { c.nat[name] = true } }

// HubBehindNAT puts the hub behind a NAT box. The box has the hub's usual address and forwards
// everything to the hub.
func HubBehindNAT() MeshOption { return func(c *meshConfig) { c.nat["hub"] = true } }

// SpokesBehindOneNAT puts spoke1 and spoke2 behind one NAT box, which has spoke1's usual address,
// and adds a third spoke without NAT.
func SpokesBehindOneNAT() MeshOption {
	return func(c *meshConfig) { c.shared, c.third = true, true }
}

// ThreeSpokesBehindOneNAT is SpokesBehindOneNAT with a fourth spoke, which is behind the same box.
func ThreeSpokesBehindOneNAT() MeshOption {
	return func(c *meshConfig) { c.shared, c.third, c.fourth = true, true, true }
}

// ThirdSpoke adds a third spoke without NAT.
func ThirdSpoke() MeshOption { return func(c *meshConfig) { c.third = true } }

// MoreSpokes is ThirdSpoke with n further spokes without NAT: spoke4 has 192.0.2.14, 10.255.0.14
// and 172.16.4.0/24, and so on.
func MoreSpokes(n int) MeshOption { return func(c *meshConfig) { c.third, c.more = true, n } }

// Spoke1OnMachine makes this machine spoke1, as OnMachine says. Its daemons are the machine's
// services, not those that Start starts.
func Spoke1OnMachine() MeshOption { return func(c *meshConfig) { c.machine = true } }

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
	for n := range c.more {
		number := 4 + n
		m.More = append(m.More,
			m.site(fmt.Sprintf("spoke%d", number), fmt.Sprintf("192.0.2.%d", 10+number), number, c))
		m.Hub.routes = append(m.Hub.routes,
			fmt.Sprintf("172.16.%d.0/24 via 10.255.0.%d", number, 10+number))
	}
	for _, s := range m.Sites()[1:] {
		s.Interface = append(s.Interface, `nhs = [{ nbma = "192.0.2.1" }]`, "shortcut = true")
		s.routes = []string{"172.16.0.0/16 via 10.255.0.1"}
	}
	return m
}

// site adds a site. Without options the site is on the underlay, or behind a NAT box of its own if
// the mesh's configuration says so. Options take the place of both.
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
		if c.machine && number == 1 {
			options = append(options, OnMachine())
		}
	}
	overlay := netip.AddrFrom4([4]byte{10, 255, 0, byte(10 + number)})
	if number == 0 {
		overlay = netip.AddrFrom4([4]byte{10, 255, 0, 1})
	}
	var connection routerConfig
	for _, o := range options {
		o(&connection)
	}
	s := &Site{
		Router:  m.Router(name, options...),
		NAT:     connection.nat,
		Overlay: overlay,
		Public:  netip.MustParseAddr(public),
		PSK:     "a long key for a mesh of the lab",
	}
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

// Sites lists the hub and the spokes, the hub first.
func (m *Mesh) Sites() []*Site {
	sites := []*Site{m.Hub, m.Spoke1, m.Spoke2}
	if m.Spoke3 != nil {
		sites = append(sites, m.Spoke3)
	}
	if m.Spoke4 != nil {
		sites = append(sites, m.Spoke4)
	}
	return append(sites, m.More...)
}

// Add appends lines to the table [interface.gre1] of all sites.
func (m *Mesh) Add(lines ...string) {
	for _, s := range m.Sites() {
		s.Interface = append(s.Interface, lines...)
	}
}

// SetAddress sets another prefix length for a site's overlay address, and adds lines that belong to
// the address, such as overlay. If the daemon runs already, only the site's lines change.
func (s *Site) SetAddress(bits int, lines ...string) {
	s.Interface[0] = strings.Join(
		append([]string{fmt.Sprintf("address = %q", netip.PrefixFrom(s.Overlay, bits))}, lines...),
		"\n")
}

// AddIPsec appends lines to the table [interface.gre1.ipsec] of all sites.
func (m *Mesh) AddIPsec(lines ...string) {
	for _, s := range m.Sites() {
		s.IPsec = append(s.IPsec, lines...)
	}
}

// Unprotect makes all sites run without IPsec and charon.
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

// Config returns the text of the site's configuration, made of the lines that the site has now.
func (s *Site) Config() string {
	text := "[daemon]\n" + strings.Join(s.DaemonLines, "\n") +
		"\n\n[log.levels]\nengine = \"debug\"\nvici = \"debug\"\n\n[interface.gre1]\n" +
		strings.Join(s.Interface, "\n") + "\n"
	text += "\n[interface.gre1.limits]\n" + strings.Join(s.Limits, "\n") + "\n"
	if len(s.IPsec) > 0 {
		text += "\n[interface.gre1.ipsec]\n" + strings.Join(s.IPsec, "\n") + "\n"
	}
	return text + "\n" + strings.Join(s.Rules, "\n") + "\n" + strings.Join(s.Further, "\n")
}

// Start starts charon, if the site has IPsec, then the daemon, and sets the routes to the other
// LANs. Start waits until charon answers and the daemon is ready.
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

// UseRoutes replaces the routes through the tunnel that Start sets. Each is "PREFIX via ADDRESS".
func (s *Site) UseRoutes(routes ...string) { s.routes = routes }

// SetRoutes sets the static routes to the other LANs. The kernel removes them when the tunnel
// device goes, so set them again after that.
func (s *Site) SetRoutes() {
	s.net.Helper()
	for _, r := range s.routes {
		s.IP(strings.Join(s.vrf.of("vrf", "route replace "+r+" dev gre1 onlink"), " "))
	}
}
